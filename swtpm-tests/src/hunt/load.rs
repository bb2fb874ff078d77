//! Work for a node while it is looked at: every algorithm, asset and session keys, messages and digests, through the
//! agent and straight over the enclave's channel.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use sealstone_attestation::{Algorithm, Envelope, VerifiedReport};
use sealstone_wire::api::SignAnswer;
use sealstone_wire::client::Client;
use sealstone_wire::key_path::KeyPath;
use sealstone_wire::reply::Reply;
use sealstone_wire::request::{Payload, Request, SignRequest};
use serde_json::{Value, json};

use super::quarry::{Reported, Signature};
use crate::Node;
use crate::direct::{connect, request};
use crate::node::sign_body;

/// The asset that may sign bare digests.
pub const BARE: &str = "bare";

/// Requests under way on the direct connection: as many as keep all signing threads busy.
const DEPTH: u64 = 8;

/// Signatures of one kind of client at most: each has secrets that are looked for afterwards.
const SIGNATURES_MAX: usize = 4000;

/// Chain on which session keys sign.
const CHAIN: u64 = 1;

/// Nonces are spent for good.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// What was signed meanwhile.
#[derive(Debug, Default)]
pub struct Made {
    /// By asset and session keys.
    pub signatures: Vec<Signature>,
    /// By the report key: receipts and reports.
    pub reported: Vec<Reported>,
}

impl Made {
    /// Adds what another load made.
    pub fn take(&mut self, other: Self) {
        self.signatures.extend(other.signatures);
        self.reported.extend(other.reported);
    }
}

/// Creates the assets that the load signs with.
pub fn create_assets(node: &Node) {
    for algorithm in Algorithm::ALL {
        node.create_asset(algorithm.name(), algorithm.name());
    }
    node.create_asset(BARE, "ES256");
}

/// Where the load goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Two clients of the agent.
    Agent,
    /// The same, and a connection to the enclave with the agent's key, which is much faster. The agent's store never
    /// hears of those signatures, so an agent that starts again afterwards takes itself for rolled back.
    Both,
}

/// Keeps the node busy while `watched` runs, which is given the number of signatures so far.
///
/// # Panics
/// When the node answers something else than a signature or a refusal.
pub fn during<T>(node: &Node, through: Through, watched: impl FnOnce(&AtomicUsize) -> T) -> (T, Made) {
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        let direct = (through == Through::Both).then(|| scope.spawn(|| straight(node, &stop, &count)));
        let clients = [false, true].map(|session| {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || through_agent(node, session, stop, count))
        });
        let stopper = Stopper(&stop);
        let value = watched(&count);
        drop(stopper);
        let mut made = Made::default();
        if let Some(direct) = direct {
            made.take(direct.join().expect("the direct load does not panic"));
        }
        for client in clients {
            made.signatures.extend(client.join().expect("the agent's load does not panic"));
        }
        (value, made)
    })
}

/// Ends the load also when what it was for panics; the scope would wait for it for ever.
struct Stopper<'s>(&'s AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Signs through the agent, with asset or with session keys.
fn through_agent(node: &Node, session: bool, stop: &AtomicBool, count: &AtomicUsize) -> Vec<Signature> {
    let mut made = Vec::new();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) || made.len() >= SIGNATURES_MAX {
            break;
        }
        let algorithm = Algorithm::ALL[turn % Algorithm::ALL.len()];
        let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
        let message = format!("pay {nonce} to bob").into_bytes();
        let mut body = if session {
            json!({
                "tenant": "acme", "session": {"sender": "hot", "algorithm": algorithm.name()},
                "chain_id": CHAIN, "nonce": nonce, "payload": hex::encode(&message),
            })
        } else if turn % 5 == 4 {
            json!({"tenant": "acme", "asset": BARE, "chain_id": CHAIN, "nonce": nonce, "digest": format!("{nonce:064x}")})
        } else {
            sign_body(algorithm.name(), nonce, &message)
        };
        if algorithm == Algorithm::Es256k && turn % 2 == 0 && body["payload"].is_string() {
            body["hash"] = json!("keccak256");
        }
        let answer = node.api("POST", "/v1/sign", &body);
        if answer.status == 200 {
            made.push(signature(&answer.json(), &body, message));
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // A node that changes its manifest or is locked says so; it is asked again.
            assert!(answer.status >= 500, "{answer:?}");
        }
    }
    made
}

/// A signature as the agent answers.
fn signature(answer: &Value, body: &Value, message: Vec<u8>) -> Signature {
    let answer: SignAnswer = serde_json::from_value(answer.clone()).expect("an answer of the API");
    let tenant = "acme".try_into().expect("a tenant");
    let path = match &body["session"]["sender"] {
        Value::String(sender) => KeyPath::Session {
            tenant,
            sender: sender.as_str().try_into().expect("a sender"),
            chain_id: CHAIN,
            nonce: body["nonce"].as_u64().expect("a nonce"),
            hour: answer.hour.expect("a session key has its hour"),
            algorithm: answer.algorithm,
        },
        _ => KeyPath::Asset {
            tenant,
            asset: body["asset"].as_str().expect("an asset").try_into().expect("an asset"),
            epoch: answer.epoch.expect("an asset has its epoch"),
            algorithm: answer.algorithm,
        },
    };
    Signature {
        path,
        binding: answer.binding,
        public_key: hex::decode(&answer.public_key).expect("hex"),
        message,
        digest: hex::decode(&answer.digest).expect("hex").try_into().expect("32 bytes"),
        signature: *answer.signature.as_bytes(),
    }
}

/// Pipelined requests with asset keys, as fast as the enclave signs. Few messages, so that few nonces are used often.
fn straight(node: &Node, stop: &AtomicBool, count: &AtomicUsize) -> Made {
    let mut made = Made::default();
    let mut client = connect(node);
    made.reported.push(report(&mut client).0);
    let requests: Vec<SignRequest> = Algorithm::ALL
        .into_iter()
        .flat_map(|algorithm| {
            [b"pay 1 to bob", b"pay 2 to bob"].map(|message| request(node, algorithm, message))
        })
        .collect();
    let mut next = 0;
    let mut answered = 0;
    let mut seen = vec![false; requests.len()];
    let index = |id: u64| usize::try_from(id).expect("small") % requests.len();
    while answered < next || !stop.load(Ordering::Relaxed) && made.reported.len() < SIGNATURES_MAX {
        if !stop.load(Ordering::Relaxed) && next - answered < DEPTH {
            client
                .send(next, Request::Sign(requests[index(next)].clone()))
                .expect("the enclave takes requests");
            next += 1;
            continue;
        }
        let answer = client.recv().expect("the enclave answers");
        answered += 1;
        match answer.reply {
            Reply::Signed(signed) => {
                let number = index(answer.id);
                if !seen[number] {
                    seen[number] = true;
                    let SignRequest { path, binding, payload, .. } = &requests[number];
                    let Payload::Message(message) = payload else { unreachable!("messages only") };
                    made.signatures.push(Signature {
                        path: path.clone(),
                        binding: *binding,
                        public_key: signed.public_key.as_bytes().to_vec(),
                        message: message.clone(),
                        digest: signed.digest,
                        signature: *signed.signature.as_bytes(),
                    });
                }
                count.fetch_add(1, Ordering::Relaxed);
                made.reported.push(Reported {
                    message: signed.receipt.receipt.encode(),
                    signature: *signed.receipt.report_signature.as_bytes(),
                });
            }
            // Locked, or without a session for the moment.
            Reply::Refused(_) => {}
            other => panic!("expected a signature or a refusal, found {other:?}"),
        }
    }
    made
}

/// A report with its signature, and the public report key.
///
/// # Panics
/// When the enclave gives none.
pub fn report(client: &mut Client) -> (Reported, Vec<u8>) {
    let Reply::Challenge { report, .. } = client.call(Request::Challenge).expect("the enclave answers")
    else {
        panic!("expected a challenge with a report")
    };
    let envelope = Envelope::parse(&report).expect("a report is an envelope");
    let public = VerifiedReport::parse(&report).expect("a report").report().report_key;
    let reported = Reported {
        message: Envelope::pae(&envelope.payload_type, &envelope.payload),
        signature: envelope.signatures[0].sig.as_slice().try_into().expect("64 bytes"),
    };
    (reported, public.to_vec())
}
