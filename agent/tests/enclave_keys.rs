//! The keys of the channel are replaced while the agent asks: nothing fails, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use sealstone_agent::enclave::{CallError, Connection, Enclave, Endpoint};
use sealstone_agent::tpm::Tpm;
use sealstone_wire::channel::{ChannelError, ChannelKey, ChannelPublic};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::{Request, RequestMessage};
use support::responder::{Peer, Responder, echo, question};
use support::swtpm::{Swtpm, bytes};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(60);

/// TPM2_GetRandom of sixteen bytes.
const GET_RANDOM: &str = "8001 0000000c 0000017b 0010";

/// How often a test asks while it waits for the new connection to take over.
const ASK_EVERY: Duration = Duration::from_millis(2);

async fn up(enclave: &Enclave) -> u64 {
    let mut connection = enclave.connection();
    let state = connection.wait_for(|state| matches!(state, Connection::Up { .. }));
    match &*tokio::time::timeout(DEADLINE, state).await.unwrap().unwrap() {
        Connection::Up { generation } => *generation,
        Connection::Down { .. } => unreachable!("waited for up"),
    }
}

async fn ask(enclave: &Enclave, number: u64) -> Result<Reply, CallError> {
    enclave.call(question(number), DEADLINE).await
}

/// Asks on and on until something came over the new connection; every question is answered as it should be.
async fn ask_until(enclave: &Enclave, mut taken_over: mpsc::Receiver<()>, mut asked: Vec<Asked>) {
    let end = Instant::now() + DEADLINE;
    for number in 100.. {
        asked.push((number, spawn_ask(enclave, number)));
        if tokio::time::timeout(ASK_EVERY, taken_over.recv()).await.is_ok() {
            break;
        }
        assert!(Instant::now() < end, "the new connection never took over");
    }
    for (number, asked) in asked {
        assert_eq!(asked.await.unwrap(), Ok(Reply::Clock { now_ms: number }));
    }
}

type Asked = (u64, tokio::task::JoinHandle<Result<Reply, CallError>>);

fn spawn_ask(enclave: &Enclave, number: u64) -> tokio::task::JoinHandle<Result<Reply, CallError>> {
    let enclave = enclave.clone();
    tokio::spawn(async move { ask(&enclave, number).await })
}

fn key(byte: u8) -> ChannelKey {
    ChannelKey::from_secret(&[byte; 32])
}

/// The client's next connection, to an enclave that knows these agents.
fn accept(responder: &Responder, agents: &[ChannelPublic]) -> Result<Peer, ChannelError> {
    let (stream, _) = responder.listener.accept().unwrap();
    responder.shake_with(stream, agents)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_takes_over_while_the_old_connection_still_answers() {
    let responder = Responder::start();
    let (config, old, new) = (responder.config(), responder.agent_key(), key(8));
    let agents = [old.public(), new.public()];
    let enclave = responder.client();
    let (first_asked, mut first) = mpsc::channel(1);
    let (second_asked, second) = mpsc::channel(1);
    let serving = thread::spawn(move || {
        let mut first = accept(&responder, &agents[..1]).unwrap();
        let RequestMessage { id, request } = first.receive().unwrap();
        first_asked.blocking_send(()).unwrap();
        let mut second = accept(&responder, &agents[1..]).unwrap();
        let over_second = second.receive().unwrap();
        second_asked.blocking_send(()).unwrap();
        second.send(over_second.id, echo(&over_second.request));
        let serving_second = thread::spawn(move || second.echo());
        // What was asked on the first connection is answered there, also now; then that connection ends.
        first.send(id, echo(&request));
        first.echo();
        serving_second
    });
    let generation = up(&enclave).await;
    let early = spawn_ask(&enclave, 1);
    first.recv().await.unwrap();
    enclave.replace_keys(Endpoint::new(&config, vec![new, old]));
    ask_until(&enclave, second, vec![(1, early)]).await;
    assert_eq!(up(&enclave).await, generation, "what is known of the enclave still holds");
    let serving_second = tokio::task::spawn_blocking(|| serving.join().unwrap()).await.unwrap();
    assert_eq!(ask(&enclave, 2).await, Ok(Reply::Clock { now_ms: 2 }));
    drop(enclave);
    serving_second.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_enclave_does_not_know_leave_the_open_connection_alone() {
    let responder = Responder::start();
    let (config, known) = (responder.config(), responder.agent_key().public());
    let enclave = responder.client();
    let (refused, mut refusals) = mpsc::channel(1);
    let (taken_over, second) = mpsc::channel(1);
    thread::spawn(move || {
        let mut first = accept(&responder, &[known]).unwrap();
        thread::spawn(move || first.echo());
        for _ in 0..3 {
            assert!(accept(&responder, &[known]).is_err());
            refused.blocking_send(()).unwrap();
        }
        // The enclave was told of the new key.
        let mut second = accept(&responder, &[known, key(8).public()]).unwrap();
        let RequestMessage { id, request } = second.receive().unwrap();
        taken_over.blocking_send(()).unwrap();
        second.send(id, echo(&request));
        second.echo();
    });
    let generation = up(&enclave).await;
    enclave.replace_keys(Endpoint::new(&config, vec![key(8)]));
    for number in 0..3 {
        refusals.recv().await.unwrap();
        assert_eq!(ask(&enclave, number).await, Ok(Reply::Clock { now_ms: number }));
    }
    ask_until(&enclave, second, Vec::new()).await;
    assert_eq!(up(&enclave).await, generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_keys_is_tried_the_next_ones_first() {
    let responder = Responder::start();
    let (mut config, known) = (responder.config(), responder.agent_key());
    let foreign = key(9).public();
    config.public_keys.insert(0, foreign);
    let enclave = Enclave::spawn(Endpoint::new(&config, vec![key(8), known]), std::future::pending());
    let known = responder.agent_key().public();
    let serving = thread::spawn(move || {
        for attempt in 0..3 {
            assert!(accept(&responder, &[known]).is_err(), "attempt {attempt}");
        }
        accept(&responder, &[known]).unwrap().echo();
    });
    up(&enclave).await;
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
    drop(enclave);
    serving.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_is_finished_on_its_own_connection_before_another_one_takes_over() {
    let responder = Responder::start();
    let (config, old, new) = (responder.config(), responder.agent_key(), key(8));
    let agents = [old.public(), new.public()];
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let enclave = responder.client();
    let (relaying, mut relayed) = mpsc::channel(1);
    let (taken_over, second) = mpsc::channel(1);
    thread::spawn(move || {
        let mut first = accept(&responder, &agents).unwrap();
        let RequestMessage { id, .. } = first.receive().unwrap();
        relaying.blocking_send(()).unwrap();
        let mut second = accept(&responder, &agents[1..]).unwrap();
        // The successor is there: what the ceremony wants relayed still comes over its own connection.
        for step in 0..5 {
            first.send(id, Reply::Relay { step, command: bytes(GET_RANDOM) });
            let RequestMessage { request, .. } = first.receive().unwrap();
            let Request::Relayed { to, step: answered, .. } = request else { panic!("{request:?}") };
            assert_eq!((to, answered), (id, step));
        }
        first.send(id, Reply::Done);
        let over_second = second.receive().unwrap();
        taken_over.blocking_send(()).unwrap();
        second.send(over_second.id, echo(&over_second.request));
        let serving_second = thread::spawn(move || second.echo());
        first.echo();
        serving_second.join().unwrap();
    });
    let generation = up(&enclave).await;
    let ceremony = {
        let (enclave, mut relay) = (enclave.clone(), tpm.relay().await.unwrap());
        tokio::spawn(async move { enclave.ceremony(Request::Lock, &mut relay).await })
    };
    relayed.recv().await.unwrap();
    enclave.replace_keys(Endpoint::new(&config, vec![new, old]));
    assert_eq!(ceremony.await.unwrap(), Ok(Reply::Done));
    ask_until(&enclave, second, Vec::new()).await;
    assert_eq!(up(&enclave).await, generation);
}
