//! The agent's connection to the enclave, against a responder in this process that speaks the wire.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sealstone_agent::enclave::{CallError, Connection, Enclave, Endpoint, IN_FLIGHT_MAX};
use sealstone_agent::tpm::Tpm;
use sealstone_attestation::{Binding, RequestDigest};
use sealstone_wire::channel::ChannelKey;
use sealstone_wire::limits::{MESSAGE_MAX, PLAINTEXT_MAX, TPM_COMMANDS_MAX};
use sealstone_wire::reply::{Refusal, RefusalCode, Reply};
use sealstone_wire::request::{Payload, Request, RequestMessage, SignRequest};
use sealstone_wire::{Epoch, KeyPath, PathText};
use support::responder::{Responder, echo, question};
use support::swtpm::{Swtpm, bytes};

const DEADLINE: Duration = Duration::from_secs(60);

async fn up(enclave: &Enclave, at_least: u64) -> u64 {
    let mut connection = enclave.connection();
    let state = connection
        .wait_for(|state| matches!(state, Connection::Up { generation } if *generation >= at_least));
    match &*tokio::time::timeout(DEADLINE, state).await.unwrap().unwrap() {
        Connection::Up { generation } => *generation,
        Connection::Down { .. } => unreachable!("waited for up"),
    }
}

async fn down(enclave: &Enclave, why: &str) -> String {
    let mut connection = enclave.connection();
    let state =
        connection.wait_for(|state| matches!(state, Connection::Down { reason } if reason.contains(why)));
    match &*tokio::time::timeout(DEADLINE, state).await.unwrap().unwrap() {
        Connection::Down { reason } => reason.clone(),
        Connection::Up { .. } => unreachable!("waited for down"),
    }
}

async fn ask(enclave: &Enclave, number: u64) -> Result<Reply, CallError> {
    enclave.call(question(number), DEADLINE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_find_their_requests_in_whatever_order_they_come() {
    let responder = Responder::start();
    let enclave = responder.client();
    let serving = thread::spawn(move || {
        let mut peer = responder.accept();
        // Nothing is answered before everything was asked: the requests are in flight at once.
        let asked: Vec<RequestMessage> = (0..100).map(|_| peer.receive().unwrap()).collect();
        for RequestMessage { id, request } in asked.iter().rev() {
            peer.send(*id, echo(request));
        }
        peer.echo();
    });
    up(&enclave, 1).await;
    let asking: Vec<_> = (0..100)
        .map(|number| {
            let enclave = enclave.clone();
            tokio::spawn(async move { (number, ask(&enclave, number).await) })
        })
        .collect();
    for asked in asking {
        let (number, reply) = asked.await.unwrap();
        assert_eq!(reply, Ok(Reply::Clock { now_ms: number }));
    }
    drop(enclave);
    serving.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_request_is_lost_with_its_connection_and_an_unwritten_one_was_not_sent() {
    let responder = Responder::start();
    let enclave = responder.client();
    let (go_on, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut peer = responder.accept();
        peer.receive().unwrap();
        drop(peer);
        wait.recv().unwrap();
        responder.accept().echo();
    });
    up(&enclave, 1).await;
    let found = ask(&enclave, 1).await.unwrap_err();
    assert!(matches!(found, CallError::Lost { .. }), "{found}");

    down(&enclave, "").await;
    let found = ask(&enclave, 2).await.unwrap_err();
    assert!(matches!(found, CallError::NotSent { .. }), "{found}");

    go_on.send(()).unwrap();
    let generation = up(&enclave, 2).await;
    assert_eq!(ask(&enclave, 3).await, Ok(Reply::Clock { now_ms: 3 }));
    let found = enclave.call_in(generation - 1, question(4), DEADLINE).await.unwrap_err();
    assert!(matches!(found, CallError::NotSent { .. }), "meant for the old connection: {found}");
    assert_eq!(enclave.call_in(generation, question(5), DEADLINE).await, Ok(Reply::Clock { now_ms: 5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_in_flight_than_the_enclave_queues() {
    let responder = Responder::start();
    let enclave = responder.client();
    let (report, asked) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let open: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| peer.receive().unwrap()).collect();
        report.send(()).unwrap();
        wait.recv().unwrap();
        for RequestMessage { id, request } in open {
            peer.send(id, echo(&request));
        }
        peer.echo();
    });
    up(&enclave, 1).await;
    let asking: Vec<_> = (0..IN_FLIGHT_MAX)
        .map(|number| {
            let enclave = enclave.clone();
            tokio::spawn(async move { ask(&enclave, u64::try_from(number).unwrap()).await })
        })
        .collect();
    tokio::task::block_in_place(|| asked.recv().unwrap());
    for _ in 0..10 {
        let found = ask(&enclave, 0).await.unwrap_err();
        assert_eq!(found, CallError::NotSent { reason: "overloaded".to_owned() });
    }
    go_on.send(()).unwrap();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(ask(&enclave, 9).await, Ok(Reply::Clock { now_ms: 9 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_disturbs_nobody_and_frees_its_place() {
    let responder = Responder::start();
    let enclave = responder.client();
    let (go_on, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let late: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| peer.receive().unwrap()).collect();
        wait.recv().unwrap();
        for RequestMessage { id, request } in late {
            peer.send(id, echo(&request));
        }
        // Nor do answers that nobody asked for, and second answers.
        peer.send(u64::MAX, Reply::Done);
        peer.send(1, Reply::Done);
        peer.echo();
    });
    up(&enclave, 1).await;
    let asking: Vec<_> = (0..IN_FLIGHT_MAX)
        .map(|_| {
            let enclave = enclave.clone();
            tokio::spawn(async move { enclave.call(question(1), Duration::from_millis(300)).await })
        })
        .collect();
    for asked in asking {
        let found = asked.await.unwrap().unwrap_err();
        assert!(matches!(found, CallError::Lost { .. }), "{found}");
    }
    // The enclave still works on them, so their places are taken.
    let found = ask(&enclave, 2).await.unwrap_err();
    assert_eq!(found, CallError::NotSent { reason: "overloaded".to_owned() });
    go_on.send(()).unwrap();
    while ask(&enclave, 3).await != Ok(Reply::Clock { now_ms: 3 }) {}
}

fn large_request() -> Request {
    let text = |text: &str| PathText::try_from(text).unwrap();
    Request::Sign(SignRequest {
        path: KeyPath::Asset {
            tenant: text("tenant"),
            asset: text("asset"),
            epoch: Epoch(1),
            algorithm: sealstone_attestation::Algorithm::EdDsa,
        },
        binding: Binding::from_bytes([0; 32]),
        key_id: None,
        payload: Payload::Message(vec![0xff; MESSAGE_MAX]),
        request: RequestDigest::from_bytes([0; 32]),
        issued_at_ms: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_written_is_withdrawn_and_never_arrives() {
    let responder = Responder::start();
    let enclave = responder.client();
    let (go_on, wait) = mpsc::channel::<()>();
    let serving = thread::spawn(move || {
        let mut peer = responder.accept();
        // The socket fills up while nobody reads.
        wait.recv().unwrap();
        let mut arrived = 0;
        loop {
            let RequestMessage { id, request } = peer.receive().unwrap();
            match request {
                Request::Sign(_) => arrived += 1,
                other => {
                    peer.send(id, echo(&other));
                    return arrived;
                }
            }
        }
    });
    up(&enclave, 1).await;
    let asking: Vec<_> = (0..40)
        .map(|_| {
            let enclave = enclave.clone();
            tokio::spawn(async move { enclave.call(large_request(), Duration::from_millis(500)).await })
        })
        .collect();
    let (mut lost, mut not_sent) = (0, 0);
    for asked in asking {
        match asked.await.unwrap().unwrap_err() {
            CallError::Lost { .. } => lost += 1,
            CallError::NotSent { .. } => not_sent += 1,
            other => panic!("{other}"),
        }
    }
    assert!(lost > 0 && not_sent > 0, "lost {lost}, not sent {not_sent}");
    go_on.send(()).unwrap();
    ask(&enclave, 1).await.unwrap();
    assert_eq!(serving.join().unwrap(), lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_requests_that_do_not_fit_leave_the_connection_alone() {
    let responder = Responder::start();
    let enclave = responder.client();
    let refusal = Refusal { code: RefusalCode::NoSession, detail: "attest first".to_owned() };
    let answer = refusal.clone();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let asked = peer.receive().unwrap();
        peer.send(asked.id, Reply::Refused(answer));
        peer.echo();
    });
    up(&enclave, 1).await;
    assert_eq!(ask(&enclave, 1).await, Err(CallError::Refused(refusal)));
    let too_long = Request::ManifestChunk { offset: 0, bytes: vec![0; PLAINTEXT_MAX] };
    let found = enclave.call(too_long, DEADLINE).await.unwrap_err();
    assert!(matches!(found, CallError::NotSent { .. }), "{found}");
    assert_eq!(ask(&enclave, 2).await, Ok(Reply::Clock { now_ms: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_comes_later_is_found() {
    let responder = Responder::start();
    let (socket, config, key) = (responder.socket(), responder.config(), responder.agent_key());
    std::fs::remove_file(&socket).unwrap();
    let enclave = Enclave::spawn(Endpoint::new(&config, vec![key]), std::future::pending());
    let reason = down(&enclave, "cannot be reached").await;
    assert!(reason.contains("enclave.sock") && reason.contains("is the enclave running"), "{reason}");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        responder.shake(stream).unwrap().echo();
    });
    up(&enclave, 1).await;
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_with_another_key_is_no_enclave() {
    let mut responder = Responder::start();
    let config = responder.config();
    responder.key = ChannelKey::generate().unwrap();
    let enclave = Enclave::spawn(Endpoint::new(&config, vec![responder.agent_key()]), std::future::pending());
    thread::spawn(move || {
        for stream in responder.listener.incoming() {
            assert!(responder.shake(stream.unwrap()).is_err());
        }
    });
    let reason = down(&enclave, "handshake").await;
    assert!(reason.contains("public_key"), "{reason}");
    let found = ask(&enclave, 1).await.unwrap_err();
    assert!(matches!(found, CallError::NotSent { .. }), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_garbles_or_says_nothing_is_left() {
    let responder = Responder::start();
    let enclave = responder.client();
    thread::spawn(move || {
        // In turn: garbage for a handshake, an empty frame, garbage and a replay in the session, and at last sense.
        let (mut stream, _) = responder.listener.accept().unwrap();
        let _ = stream.write_all(&[0, 48].into_iter().chain([0xff; 48]).collect::<Vec<_>>());
        let (mut stream, _) = responder.listener.accept().unwrap();
        let _ = stream.write_all(&[0, 0]);
        for garbage in [vec![0, 0], vec![0, 20].into_iter().chain([0xff; 20]).collect(), vec![0, 1, 0xff]] {
            let mut peer = responder.accept();
            peer.receive().unwrap();
            peer.send_raw(&garbage);
            assert!(peer.receive().is_none(), "the client leaves");
        }
        // Half open: accepts and says nothing.
        let (mut stream, _) = responder.listener.accept().unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink);
        responder.accept().echo();
    });
    let (mut generation, mut lost) = (0, 0);
    loop {
        generation = up(&enclave, generation + 1).await;
        match ask(&enclave, generation).await {
            Ok(reply) => {
                assert_eq!(reply, Reply::Clock { now_ms: generation });
                break;
            }
            Err(found) => {
                assert!(matches!(found, CallError::Lost { .. }), "{found}");
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_hangs_up_at_once_is_not_stormed() {
    let responder = Responder::start();
    let _enclave = responder.client();
    let counting = thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(3);
        responder.listener.set_nonblocking(true).unwrap();
        let mut connections = 0;
        while Instant::now() < end {
            match responder.listener.accept() {
                Ok(_) => connections += 1,
                Err(_) => thread::yield_now(),
            }
        }
        connections
    });
    let connections = tokio::task::spawn_blocking(|| counting.join().unwrap()).await.unwrap();
    assert!((2..=10).contains(&connections), "{connections}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_reached_through_its_vmm() {
    let responder = Responder::start();
    let config = responder.config_at("unix-vsock:enclave.sock:5000");
    let enclave = Enclave::spawn(Endpoint::new(&config, vec![responder.agent_key()]), std::future::pending());
    thread::spawn(move || {
        for answer in
            ["NO\n", "OK x\n", "OK 10737418241073741824107374182410737418241073741824", "OK 1073741824\n"]
        {
            let (mut stream, _) = responder.listener.accept().unwrap();
            let mut line = [0; 13];
            stream.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"CONNECT 5000\n");
            stream.write_all(answer.as_bytes()).unwrap();
            if answer == "OK 1073741824\n" {
                responder.shake(stream).unwrap().echo();
            }
        }
    });
    down(&enclave, "expected \"OK <port>\"").await;
    up(&enclave, 1).await;
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_leaves_no_caller_waiting() {
    let responder = Responder::start();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let enclave = Enclave::spawn(responder.endpoint(), async {
        let _ = ended.await;
    });
    let (report, asked) = mpsc::channel();
    let serving = thread::spawn(move || {
        let mut peer = responder.accept();
        peer.receive().unwrap();
        report.send(()).unwrap();
        assert!(peer.receive().is_none(), "the client hangs up");
    });
    up(&enclave, 1).await;
    let asking = tokio::spawn({
        let enclave = enclave.clone();
        async move { ask(&enclave, 1).await }
    });
    tokio::task::block_in_place(|| asked.recv().unwrap());
    end.send(()).unwrap();
    let found = asking.await.unwrap().unwrap_err();
    assert!(matches!(found, CallError::Lost { .. }), "{found}");
    down(&enclave, "shutting down").await;
    let found = ask(&enclave, 2).await.unwrap_err();
    assert!(matches!(found, CallError::NotSent { .. }), "{found}");
    serving.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_relays_and_leaves_other_requests_room() {
    let responder = Responder::start();
    let enclave = responder.client();
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let (report, relayed) = mpsc::channel();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let ceremony = loop {
            let RequestMessage { id, request } = peer.receive().unwrap();
            match request {
                Request::Lock => break id,
                other => peer.send(id, echo(&other)),
            }
        };
        // GetRandom, which is relayed, and Clear, which is not.
        let commands =
            ["8001 0000000c 0000017b 0010", "8002 0000001b 00000126 4000000c 00000009 40000009 0000 00 0000"];
        let mut responses = Vec::new();
        for (step, command) in commands.into_iter().enumerate() {
            let step = u32::try_from(step).unwrap();
            peer.send(ceremony, Reply::Relay { step, command: bytes(command) });
            let relayed = loop {
                let RequestMessage { id, request } = peer.receive().unwrap();
                match request {
                    Request::Relayed { to, step: answered, response } => {
                        assert_eq!((to, answered), (ceremony, step));
                        break response;
                    }
                    other => peer.send(id, echo(&other)),
                }
            };
            responses.push(relayed);
        }
        peer.send(ceremony, Reply::Done);
        report.send(responses).unwrap();
        peer.echo();
    });
    up(&enclave, 1).await;
    let mut relay = tpm.relay().await.unwrap();
    let performing = tokio::spawn({
        let enclave = enclave.clone();
        async move { enclave.ceremony(Request::Lock, &mut relay).await }
    });
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
    assert_eq!(performing.await.unwrap(), Ok(Reply::Done));
    let responses = relayed.recv().unwrap();
    assert_eq!(responses[0].len(), 28, "sixteen random bytes in their frame");
    assert_eq!(responses[1], Vec::<u8>::new(), "what is not allowed was not executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_without_end_ends() {
    let responder = Responder::start();
    let enclave = responder.client();
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let ceremony = peer.receive().unwrap().id;
        let mut commands = 0;
        // Refused before it reaches the TPM, so that this is quick.
        peer.send(ceremony, Reply::Relay { step: 0, command: Vec::new() });
        while let Some(RequestMessage { id, request }) = peer.receive() {
            if let Request::Relayed { step, .. } = request {
                commands += 1;
                assert!(commands <= TPM_COMMANDS_MAX + 1);
                peer.send(ceremony, Reply::Relay { step: step + 1, command: Vec::new() });
            } else {
                peer.send(id, echo(&request));
            }
        }
    });
    up(&enclave, 1).await;
    let mut relay = tpm.relay().await.unwrap();
    let found = enclave.ceremony(Request::Lock, &mut relay).await.unwrap_err();
    assert!(matches!(found, CallError::Lost { .. }), "{found}");
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_relayed_commands_ends_the_connection() {
    let responder = Responder::start();
    let enclave = responder.client();
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    thread::spawn(move || {
        let mut peer = responder.accept();
        let ceremony = peer.receive().unwrap().id;
        for step in 0..200 {
            peer.send(ceremony, Reply::Relay { step, command: bytes("8001 0000000c 0000017b 0010") });
        }
        while peer.receive().is_some() {}
        responder.accept().echo();
    });
    up(&enclave, 1).await;
    let mut relay = tpm.relay().await.unwrap();
    let found = enclave.ceremony(Request::Lock, &mut relay).await.unwrap_err();
    assert!(matches!(found, CallError::Lost { .. }), "{found}");
    up(&enclave, 2).await;
    assert_eq!(ask(&enclave, 1).await, Ok(Reply::Clock { now_ms: 1 }));
}
