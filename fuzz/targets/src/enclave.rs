//! What an enclave reads from its files, its agent and its TPM.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;
use sealstone_enclave::config::Config;
use sealstone_enclave::payload::SealPayload;
use sealstone_enclave::secret::{self, SecretBytes};
use sealstone_enclave::state_file::StateFile;
use sealstone_enclave::tpm::{Ceremony, FRAME_MAX, Relay, RelayError};
use sealstone_enclave::upload::Upload;
use sealstone_wire::frame::read_frame;
use sealstone_wire::limits::{MANIFEST_CHUNK_MAX, MANIFEST_MAX};

use crate::golden::{EVIDENCE, QUOTES};

/// `enclave.toml`.
#[must_use]
pub fn config(bytes: &[u8]) -> bool {
    let file = Unnamed::holding(bytes);
    let Ok(config) = Config::load(&file.path()) else { return false };
    assert!((1..=64).contains(&config.signing_threads));
    assert!((0x0180_0000..=0x01bf_ffff).contains(&config.nv_index), "the range that owners may define");
    true
}

/// The state file. What was loaded, and is stored again, loads as the same.
#[must_use]
pub fn state_file(bytes: &[u8]) -> bool {
    let file = Unnamed::holding(bytes);
    let Ok(state) = StateFile::at(&file.path()).load() else { return false };
    let state = state.expect("the file is there");
    assert_eq!(state.is_sealed(), !state.slots.is_empty());
    assert!(state.slots.len() <= 2);
    let written = serde_json::to_vec(&state).expect("states are JSON");
    let file = Unnamed::holding(&written);
    let again = StateFile::at(&file.path()).load().expect("what was stored can be loaded");
    let again = again.expect("the file is there");
    assert_eq!(serde_json::to_vec(&again).expect("states are JSON"), written);
    true
}

/// A file in memory, with a path for as long as it is open.
struct Unnamed(File);

impl Unnamed {
    fn holding(bytes: &[u8]) -> Self {
        let descriptor = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC);
        let mut file = File::from(descriptor.expect("the kernel has memory files"));
        file.write_all(bytes).expect("there is memory");
        Self(file)
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string())
    }
}

/// What the TPM unsealed.
#[must_use]
pub fn seal_payload(bytes: &[u8]) -> bool {
    let unsealed = secret::run(|inside| SecretBytes::new(inside, bytes.to_vec()));
    let Some(payload) = SealPayload::decode(&unsealed) else { return false };
    assert_eq!(&bytes[32..64], payload.authority.as_bytes());
    assert_eq!(bytes[64..72], payload.least_version.to_be_bytes());
    let manifest = EVIDENCE.manifest.manifest();
    let again = SealPayload::encode(&payload.root, manifest, &payload.report_key);
    secret::run(|inside| {
        assert_eq!(&bytes[..32], payload.root.danger_bytes(inside));
        assert_eq!(&bytes[72..], payload.report_key.danger_seed(inside));
        let again = again.expose(inside);
        assert_eq!((&again[..32], &again[72..]), (&bytes[..32], &bytes[72..]));
    });
    assert_eq!(SealPayload::decode(&again).map(|again| again.least_version), Some(manifest.version()));
    true
}

/// A manifest in pieces: frames, each of them an offset and what goes there.
#[must_use]
pub fn upload(bytes: &[u8]) -> bool {
    let mut upload = Upload::default();
    let mut expected: Vec<u8> = Vec::new();
    let mut rest = bytes;
    let mut frame = Vec::new();
    while read_frame(&mut rest, &mut frame).is_ok() {
        let Some((offset, piece)) = frame.split_first_chunk() else { return false };
        let offset = u32::from_be_bytes(*offset);
        if offset == 0 {
            expected.clear();
        }
        let fits = usize::try_from(offset) == Ok(expected.len())
            && (1..=MANIFEST_CHUNK_MAX).contains(&piece.len())
            && expected.len() + piece.len() <= MANIFEST_MAX;
        assert_eq!(upload.push(offset, piece).is_ok(), fits);
        if fits {
            expected.extend_from_slice(piece);
        } else {
            expected.clear();
        }
    }
    assert_eq!(upload.take().ok(), Some(expected.clone()).filter(|whole| !whole.is_empty()));
    assert!(upload.take().is_err(), "an upload is taken once");
    !expected.is_empty()
}

/// Responses of a TPM that is not the enrolled one: frames, behind one byte that chooses the enrolled key and
/// whether its handle is known. Whatever they say, no conversation begins, and it ends soon.
#[must_use]
pub fn tpm_responses(bytes: &[u8]) -> bool {
    let Some((choice, responses)) = bytes.split_first() else { return false };
    let ek = &QUOTES[usize::from(*choice) % QUOTES.len()].0.ek;
    let hint = (choice & 0x80 == 0).then_some(0x8101_0001);
    let mut relay = Liar { responses, commands: 0 };
    let opened = Ceremony::open(&mut relay, ek, hint);
    assert!(opened.is_err(), "a session needs the private half of the endorsement key");
    drop(opened);
    // Finding the key, two sessions, one proof, and the flushing of what each of them loaded.
    assert!(relay.commands <= 16, "found {} commands", relay.commands);
    // The first commands do find a key and start sessions if the responses are well formed.
    relay.commands > 4
}

/// Answers with the given responses, then not at all.
struct Liar<'r> {
    responses: &'r [u8],
    commands: usize,
}

impl Relay for Liar<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError> {
        self.commands += 1;
        let size = command.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
        assert_eq!(size.map(usize::try_from), Some(Ok(command.len())), "a command is one whole frame");
        assert!(command.len() <= FRAME_MAX);
        let unreachable = || RelayError::Unreachable { reason: "nothing more to say".to_owned() };
        let mut response = Vec::new();
        read_frame(&mut self.responses, &mut response).map_err(|_| unreachable())?;
        // "Send it again" makes the enclave pause, which would only slow this down.
        if matches!(response.get(6..10), Some([0, 0, 9, 0x08 | 0x0a | 0x20 | 0x22])) {
            return Err(unreachable());
        }
        Ok(response)
    }
}
