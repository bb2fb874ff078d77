//! One connection of the hostile agent: it has the node's agent key and says what a story wants.

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, QuoteEvidence, RequestDigest, VerifiedReport,
};
use sealstone_swtpm_tests::Swtpm;
use sealstone_wire::client::{Client, ClientError};
use sealstone_wire::limits::MANIFEST_CHUNK_MAX;
use sealstone_wire::reply::{Refusal, Reply, Session, Signed, Status};
use sealstone_wire::request::{Payload, Request, SignRequest, TpmHints};
use sealstone_wire::{Epoch, KeyPath};

/// What the agent does with one TPM command; `None` as if the TPM were gone.
pub type Conduct<'a> = dyn FnMut(&[u8]) -> Option<Vec<u8>> + 'a;

/// An authenticated connection.
pub struct Agent(pub Client);

/// A challenge with the report to bind.
#[derive(Debug)]
pub struct Challenge {
    pub nonce: [u8; 32],
    pub report: VerifiedReport,
}

/// A relayed command and its answer.
#[derive(Clone)]
pub struct Exchange {
    pub command: Vec<u8>,
    pub response: Vec<u8>,
}

/// Where the TPM can be asked: nothing is known.
pub fn unlock() -> Request {
    Request::Unlock { tpm: TpmHints::default() }
}

pub fn apply() -> Request {
    Request::ApplyManifest { tpm: TpmHints::default() }
}

pub fn provision() -> Request {
    provision_as(sealstone_swtpm_tests::node::NAME)
}

pub fn provision_as(node: &str) -> Request {
    Request::Provision { node: node.to_owned(), tpm: TpmHints::default() }
}

impl Agent {
    /// One request that needs no TPM.
    pub fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        judged(self.0.call(request).unwrap())
    }

    pub fn status(&mut self) -> Status {
        match self.ask(Request::Status) {
            Ok(Reply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// A manifest, in pieces.
    pub fn upload(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        for (number, piece) in envelope.chunks(MANIFEST_CHUNK_MAX).enumerate() {
            let offset = u32::try_from(number * MANIFEST_CHUNK_MAX).unwrap();
            self.ask(Request::ManifestChunk { offset, bytes: piece.to_vec() })?;
        }
        Ok(())
    }

    /// A ceremony in which the agent does with each command what `conduct` says.
    pub fn ceremony(&mut self, request: Request, conduct: &mut Conduct<'_>) -> Result<Status, Refusal> {
        match judged(self.try_ceremony(request, conduct).unwrap())? {
            Reply::Status(status) => Ok(status),
            other => panic!("{other:?}"),
        }
    }

    /// The same, when the enclave may be killed meanwhile.
    pub fn try_ceremony(
        &mut self,
        request: Request,
        conduct: &mut Conduct<'_>,
    ) -> Result<Reply, ClientError> {
        self.0.call_with_tpm(request, &mut |command| conduct(command))
    }

    /// A ceremony as an honest agent does it.
    pub fn honest(&mut self, request: Request, tpm: &Swtpm) -> Result<Status, Refusal> {
        self.ceremony(request, &mut |command| tpm.transmit(command).ok())
    }

    /// The same, with a record of what was relayed.
    pub fn watched(&mut self, request: Request, tpm: &Swtpm) -> (Result<Status, Refusal>, Vec<Exchange>) {
        let mut seen = Vec::new();
        let result = self.ceremony(request, &mut |command| {
            let response = tpm.transmit(command).ok()?;
            seen.push(Exchange { command: command.to_vec(), response: response.clone() });
            Some(response)
        });
        (result, seen)
    }

    pub fn challenge(&mut self) -> Result<Challenge, Refusal> {
        match self.ask(Request::Challenge)? {
            Reply::Challenge { nonce, report } => {
                Ok(Challenge { nonce, report: VerifiedReport::parse(&report).unwrap() })
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn attest(&mut self, quote: QuoteEvidence) -> Result<Session, Refusal> {
        match self.ask(Request::Attest { quote, checkpoint: Vec::new() })? {
            Reply::Session(session) => Ok(session),
            other => panic!("{other:?}"),
        }
    }

    pub fn public_key(&mut self, path: &KeyPath, binding: Option<Binding>) -> Result<PublicKey, Refusal> {
        match self.ask(Request::PublicKey { path: path.clone(), binding })? {
            Reply::PublicKey { public_key, .. } => Ok(public_key),
            other => panic!("{other:?}"),
        }
    }

    pub fn sign(&mut self, request: SignRequest) -> Result<Signed, Refusal> {
        match self.ask(Request::Sign(request))? {
            Reply::Signed(signed) => Ok(*signed),
            other => panic!("{other:?}"),
        }
    }

    /// The enclave's clock, in Unix milliseconds.
    pub fn clock(&mut self) -> u64 {
        match self.ask(Request::Clock) {
            Ok(Reply::Clock { now_ms }) => now_ms,
            other => panic!("{other:?}"),
        }
    }
}

/// An asset of tenant `acme`, whose messages the stories' manifests permit.
pub fn asset(name: &str, algorithm: Algorithm) -> KeyPath {
    KeyPath::Asset {
        tenant: "acme".parse().unwrap(),
        asset: name.parse().unwrap(),
        epoch: Epoch(0),
        algorithm,
    }
}

/// A signature over a message.
pub fn signing(path: &KeyPath, binding: Binding, key_id: Option<KeyId>) -> SignRequest {
    SignRequest {
        path: path.clone(),
        binding,
        key_id,
        payload: Payload::Message(b"pay 1 to bob".to_vec()),
        request: RequestDigest::of(b"the client's request"),
        issued_at_ms: None,
    }
}

fn judged(reply: Reply) -> Result<Reply, Refusal> {
    match reply {
        Reply::Refused(refusal) => Err(refusal),
        reply => Ok(reply),
    }
}
