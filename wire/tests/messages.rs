//! Requests and replies as bytes: every one comes back as it went, fits a frame, and ends where it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Debug;

use proptest::prelude::*;
use sealstone_attestation::{
    Algorithm, AuthorityDigest, Binding, DeploymentId, KeyId, ManifestDigest, PcrBank, PcrIndex, PcrValues,
    Protection, PublicKey, QuoteEvidence, Receipt, ReceiptHash, RequestDigest, SessionId, Signature64,
    SignedReceipt, UnixTime,
    audit::{Checkpoint, TreeHash},
};
use sealstone_wire::channel::{CodecError, decode, encode};
use sealstone_wire::limits::{
    AUDIT_LEAVES_MAX, MANIFEST_CHUNK_MAX, MESSAGE_MAX, RECEIPTS_PER_REPLY, SHARES_MAX, TPM_FRAME_MAX,
};
use sealstone_wire::reply::{
    ManifestStatus, Phase, Refusal, RefusalCode, Reply, ReplyMessage, Session, Signed, Status,
};
use sealstone_wire::request::{Payload, Recipient, Request, RequestMessage, SignRequest, TpmHints};
use sealstone_wire::{Epoch, KeyPath, PathText};
use serde::{Serialize, de::DeserializeOwned};

/// Where a variant stands in the format. A new variant does not compile until it is placed here.
fn request_place(request: &Request) -> u8 {
    match request {
        Request::Status => 0,
        Request::ManifestChunk { .. } => 1,
        Request::Provision { .. } => 2,
        Request::Unlock { .. } => 3,
        Request::ApplyManifest { .. } => 4,
        Request::Relayed { .. } => 5,
        Request::Challenge => 6,
        Request::Attest { .. } => 7,
        Request::Report => 8,
        Request::Clock => 9,
        Request::PublicKey { .. } => 10,
        Request::Sign(_) => 11,
        Request::Receipts { .. } => 12,
        Request::Lock => 13,
        Request::ExportShares { .. } => 14,
        Request::ImportShare { .. } => 15,
        Request::ExportRoot { .. } => 16,
        Request::ImportRoot { .. } => 17,
        Request::CheckpointBegin => 18,
        Request::AuditLeaves { .. } => 19,
        Request::CheckpointSign { .. } => 20,
        Request::AuditResume { .. } => 21,
        Request::AuditBeginAnew => 22,
    }
}

/// As [`request_place`].
fn reply_place(reply: &Reply) -> u8 {
    match reply {
        Reply::Done => 0,
        Reply::Status(_) => 1,
        Reply::Relay { .. } => 2,
        Reply::Challenge { .. } => 3,
        Reply::Session(_) => 4,
        Reply::Report { .. } => 5,
        Reply::Clock { .. } => 6,
        Reply::PublicKey { .. } => 7,
        Reply::Signed(_) => 8,
        Reply::Receipts(_) => 9,
        Reply::Shares(_) => 10,
        Reply::ExportedRoot(_) => 11,
        Reply::Refused(_) => 12,
        Reply::CheckpointBegun { .. } => 13,
        Reply::Checkpoint(_) => 14,
        Reply::LogBegun { .. } => 15,
    }
}

fn text(text: &str) -> PathText {
    text.try_into().unwrap()
}

fn asset_path(name: &str) -> KeyPath {
    KeyPath::Asset {
        tenant: text(name),
        asset: text(name),
        epoch: Epoch(u64::MAX),
        algorithm: Algorithm::Es256k,
    }
}

fn session_path(name: &str) -> KeyPath {
    KeyPath::Session {
        tenant: text(name),
        sender: text(name),
        chain_id: u64::MAX,
        nonce: u64::MAX,
        hour: u64::MAX,
        algorithm: Algorithm::EdDsa,
    }
}

/// The largest request to sign around this payload.
fn sign(path: KeyPath, payload: Payload) -> Request {
    Request::Sign(SignRequest {
        path,
        binding: Binding::from_bytes([1; 32]),
        key_id: Some(KeyId::from_bytes([2; 32])),
        payload,
        request: RequestDigest::from_bytes([3; 32]),
        issued_at_ms: Some(u64::MAX),
    })
}

fn quote() -> QuoteEvidence {
    let mut pcrs = PcrValues::new();
    for bank in [PcrBank::Sha256, PcrBank::Sha384] {
        for index in 0..PcrIndex::COUNT {
            pcrs.insert(bank, PcrIndex::new(index).unwrap(), vec![index; bank.digest_len()]).unwrap();
        }
    }
    QuoteEvidence { attest: vec![1; 200], signature: vec![2; 520], pcrs }
}

fn requests() -> Vec<Request> {
    let tpm = TpmHints { ek_handle: Some(0x8101_0001) };
    let session = PathText::try_from("é".repeat(127)).unwrap();
    vec![
        Request::Status,
        Request::ManifestChunk { offset: u32::MAX, bytes: vec![7; MANIFEST_CHUNK_MAX] },
        Request::ManifestChunk { offset: 0, bytes: Vec::new() },
        Request::Provision { node: "node-1".to_owned(), tpm: tpm.clone() },
        Request::Provision { node: String::new(), tpm: TpmHints::default() },
        Request::Unlock { tpm: tpm.clone() },
        Request::ApplyManifest { tpm },
        Request::Relayed { to: u64::MAX, step: u32::MAX, response: vec![0x80; TPM_FRAME_MAX] },
        Request::Relayed { to: 0, step: 0, response: Vec::new() },
        Request::Challenge,
        Request::Attest { quote: quote(), checkpoint: vec![1; 100] },
        Request::Attest {
            quote: QuoteEvidence { attest: vec![], signature: vec![], pcrs: PcrValues::new() },
            checkpoint: vec![],
        },
        Request::Report,
        Request::Clock,
        Request::PublicKey { path: asset_path("acme"), binding: Some(Binding::from_bytes([9; 32])) },
        Request::PublicKey { path: session_path(session.as_str()), binding: None },
        sign(asset_path(&"x".repeat(255)), Payload::Message(vec![0xff; MESSAGE_MAX])),
        sign(session_path(&"x".repeat(255)), Payload::MessageKeccak(vec![0; MESSAGE_MAX])),
        sign(asset_path("a"), Payload::Message(Vec::new())),
        sign(asset_path("a"), Payload::Digest([0xff; 32])),
        Request::Receipts { from: u64::MAX },
        Request::Lock,
        Request::ExportShares {
            threshold: 255,
            recipients: vec![Recipient { name: "n".repeat(255), public_key: [3; 32] }; SHARES_MAX],
        },
        Request::ImportShare { share: vec![4; 200] },
        Request::ExportRoot { evidence: vec![5; 60_000] },
        Request::ImportRoot { sealed: vec![6; 200] },
        Request::CheckpointBegin,
        Request::AuditLeaves { index: u64::MAX, leaves: vec![7; AUDIT_LEAVES_MAX] },
        Request::AuditLeaves { index: 0, leaves: vec![] },
        Request::CheckpointSign { size: u64::MAX, root: TreeHash::from_bytes([8; 32]) },
        Request::AuditResume {
            checkpoint: vec![b'x'; Checkpoint::BYTES_MAX],
            frontier: vec![TreeHash::from_bytes([9; 32]); 64],
        },
        Request::AuditResume { checkpoint: vec![], frontier: vec![] },
        Request::AuditBeginAnew,
    ]
}

fn public_key() -> PublicKey {
    let generator =
        hex::decode("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296").unwrap();
    PublicKey::from_bytes(Algorithm::Es256, &generator).unwrap()
}

/// The largest that this can be.
fn signed() -> Signed {
    Signed {
        signature: Signature64::from_bytes([0xff; 64]),
        public_key: public_key(),
        digest: [0xff; 32],
        recovery_id: Some(u8::MAX),
        receipt: SignedReceipt {
            receipt: Receipt {
                sequence: u64::MAX,
                era: u64::MAX,
                previous: ReceiptHash::from_bytes([1; 32]),
                request: RequestDigest::from_bytes([2; 32]),
                key_id: KeyId::from_bytes([3; 32]),
                epoch: u64::MAX,
                binding: Binding::from_bytes([4; 32]),
                session: SessionId::from_bytes([5; 16]),
                time: UnixTime::from_secs(u64::MAX),
                signature: Signature64::from_bytes([6; 64]),
            },
            report_signature: Signature64::from_bytes([7; 64]),
        },
    }
}

fn session() -> Session {
    Session {
        id: SessionId::from_bytes([1; 16]),
        state: "2026-11".to_owned(),
        binding: Binding::from_bytes([2; 32]),
        expires_at: UnixTime::from_secs(1),
        warnings: vec![String::new(), "no verity".to_owned()],
    }
}

fn status(phase: Phase) -> Status {
    Status {
        phase,
        version: "0.1.0".to_owned(),
        deployment: None,
        node: None,
        manifest: None,
        era: 0,
        last_used_era: 0,
        sequence: 0,
        session: None,
        unfunded: true,
        protections: Vec::new(),
    }
}

fn replies() -> Vec<Reply> {
    let full = Status {
        deployment: Some(DeploymentId::from_bytes([1; 16])),
        node: Some("node-1".to_owned()),
        manifest: Some(ManifestStatus {
            version: 3,
            digest: ManifestDigest::from_bytes([2; 32]),
            authority: AuthorityDigest::from_bytes([3; 32]),
        }),
        era: 4,
        last_used_era: 3,
        sequence: u64::MAX,
        session: Some(session()),
        unfunded: false,
        protections: vec![Protection {
            name: "seccomp".to_owned(),
            active: true,
            detail: "filter".to_owned(),
        }],
        ..status(Phase::Attested)
    };
    let mut replies = vec![
        Reply::Done,
        Reply::Status(status(Phase::Unprovisioned)),
        Reply::Status(status(Phase::Locked)),
        Reply::Status(status(Phase::Unlocked)),
        Reply::Status(full),
        Reply::Relay { step: u32::MAX, command: vec![0x80; TPM_FRAME_MAX] },
        Reply::Challenge { nonce: [9; 32], report: vec![b'{'; 8000] },
        Reply::Session(session()),
        Reply::Report { envelope: vec![b'{'; 8000] },
        Reply::Clock { now_ms: u64::MAX },
        Reply::PublicKey { public_key: public_key(), binding: Binding::from_bytes([1; 32]) },
        Reply::Signed(Box::new(signed())),
        Reply::Signed(Box::new(Signed { recovery_id: None, ..signed() })),
        Reply::Receipts(Vec::new()),
        Reply::Receipts(vec![signed(); RECEIPTS_PER_REPLY]),
        Reply::Shares(vec![vec![1; 300]; SHARES_MAX]),
        Reply::ExportedRoot(vec![2; 300]),
    ];
    replies
        .extend(codes().map(|code| Reply::Refused(Refusal { code, detail: "expected, found".to_owned() })));
    replies.push(Reply::CheckpointBegun { era: u64::MAX, sequence: u64::MAX, size: u64::MAX, resume: true });
    replies.push(Reply::Checkpoint(vec![b'x'; Checkpoint::BYTES_MAX]));
    replies.push(Reply::LogBegun { size: u64::MAX, root: TreeHash::from_bytes([8; 32]) });
    replies
}

/// Every refusal code, by its place in the format.
fn codes() -> impl Iterator<Item = RefusalCode> {
    (0..=u8::MAX).map_while(|place| decode(&[place]).ok())
}

/// The bytes of a message that is also checked to come back, whole and alone.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) -> Vec<u8> {
    let mut bytes = encode(message).unwrap();
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(message));
    // Some length may stand at any byte, so each truncation is tried for short messages and many for long ones.
    for length in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
        assert!(decode::<T>(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    bytes.push(0);
    assert_eq!(decode::<T>(&bytes), Err(CodecError::Trailing { found: 1 }));
    bytes.pop();
    bytes
}

#[test]
fn every_request_comes_back_and_stands_at_its_place() {
    let mut places = Vec::new();
    for request in requests() {
        let place = request_place(&request);
        let bytes = round_trip(&RequestMessage { id: 5, request });
        assert_eq!(bytes[..2], [5, place]);
        places.push(place);
    }
    places.dedup();
    assert_eq!(places, (0..=22).collect::<Vec<u8>>());
    assert!(decode::<RequestMessage>(&[5, 23]).is_err());
}

#[test]
fn every_reply_comes_back_and_stands_at_its_place() {
    let mut places = Vec::new();
    for reply in replies() {
        let place = reply_place(&reply);
        let bytes = round_trip(&ReplyMessage { id: 5, reply });
        assert_eq!(bytes[..2], [5, place]);
        places.push(place);
    }
    places.dedup();
    assert_eq!(places, (0..=15).collect::<Vec<u8>>());
    assert!(decode::<ReplyMessage>(&[5, 15]).is_err());
}

#[test]
fn every_refusal_code_has_one_name_in_all_formats() {
    let codes: Vec<_> = codes().collect();
    assert_eq!(codes.first(), Some(&RefusalCode::Malformed));
    assert_eq!(codes.last(), Some(&RefusalCode::AuditBehind));
    for (place, code) in codes.iter().enumerate() {
        assert_eq!(encode(code).unwrap(), [u8::try_from(place).unwrap()]);
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        assert_eq!(code.to_string(), code.name());
    }
}

#[test]
fn a_length_that_lies_allocates_nothing_and_is_refused() {
    // 2^64 - 1 and 2^32 - 1 bytes of manifest, of response, of message.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let large = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for length in [huge.as_slice(), &large] {
        for begun in
            [[0, 1, 0].as_slice(), &[0, 5, 0, 0], &[0, 15], &[0, 14, 2], &[0, 19, 0], &[0, 21], &[0, 21, 0]]
        {
            let bytes = [begun, length, &[1, 2, 3]].concat();
            assert!(matches!(decode::<RequestMessage>(&bytes), Err(CodecError::Decode(_))), "{bytes:?}");
        }
        let bytes = [[0, 9].as_slice(), length].concat();
        assert!(matches!(decode::<ReplyMessage>(&bytes), Err(CodecError::Decode(_))));
    }
}

#[test]
fn what_does_not_fit_a_frame_is_refused_on_both_sides() {
    let long = Request::ExportRoot { evidence: vec![0; 65_519] };
    assert_eq!(encode(&RequestMessage { id: 0, request: long }), Err(CodecError::TooLong));
    assert_eq!(decode::<RequestMessage>(&vec![0; 65_520]), Err(CodecError::TooLong));
}

#[test]
fn a_path_that_no_key_can_have_does_not_decode() {
    let long = "x".repeat(256);
    for name in ["", long.as_str()] {
        // Public key of an asset: id, variant, variant, tenant.
        let bytes =
            [[0, 10, 0].as_slice(), &encode(&name).unwrap(), &encode(&("a", 0_u64, 0_u8)).unwrap(), &[0]];
        assert!(
            matches!(decode::<RequestMessage>(&bytes.concat()), Err(CodecError::Decode(_))),
            "{}",
            name.len()
        );
    }
    let good = [[0, 10, 0].as_slice(), &encode(&("t", "a", 0_u64, 0_u8)).unwrap(), &[0]].concat();
    assert!(decode::<RequestMessage>(&good).is_ok());
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(Algorithm::ALL.to_vec())
}

fn any_path() -> impl Strategy<Value = KeyPath> {
    let name = || ".{1,60}".prop_map(|name| PathText::try_from(name).unwrap());
    prop_oneof![
        (name(), name(), any::<u64>(), any_algorithm()).prop_map(|(tenant, asset, epoch, algorithm)| {
            KeyPath::Asset { tenant, asset, epoch: Epoch(epoch), algorithm }
        }),
        (name(), name(), any::<(u64, u64, u64)>(), any_algorithm()).prop_map(
            |(tenant, sender, (chain_id, nonce, hour), algorithm)| KeyPath::Session {
                tenant,
                sender,
                chain_id,
                nonce,
                hour,
                algorithm
            }
        ),
    ]
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..500);
    prop_oneof![
        bytes().prop_map(Payload::Message),
        bytes().prop_map(Payload::MessageKeccak),
        any::<[u8; 32]>().prop_map(Payload::Digest),
    ]
}

proptest! {
    #[test]
    fn any_request_to_sign_comes_back(
        id in any::<u64>(),
        path in any_path(),
        payload in any_payload(),
        digests in any::<[[u8; 32]; 2]>(),
        key_id in any::<Option<[u8; 32]>>(),
        issued_at_ms in any::<Option<u64>>(),
    ) {
        let request = Request::Sign(SignRequest {
            path,
            binding: Binding::from_bytes(digests[0]),
            key_id: key_id.map(KeyId::from_bytes),
            payload,
            request: RequestDigest::from_bytes(digests[1]),
            issued_at_ms,
        });
        round_trip(&RequestMessage { id, request });
    }

    #[test]
    fn any_bytes_decode_to_something_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = decode::<RequestMessage>(&bytes) {
            prop_assert_eq!(decode::<RequestMessage>(&encode(&message).unwrap()), Ok(message));
        }
        if let Ok(message) = decode::<ReplyMessage>(&bytes) {
            prop_assert_eq!(decode::<ReplyMessage>(&encode(&message).unwrap()), Ok(message));
        }
    }

    #[test]
    fn a_changed_message_decodes_to_something_or_is_refused(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let requests = requests();
        let mut bytes = encode(&RequestMessage { id: 1, request: index.get(&requests).clone() }).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(message) = decode::<RequestMessage>(&bytes) {
            prop_assert_eq!(decode::<RequestMessage>(&encode(&message).unwrap()), Ok(message));
        }
    }
}
