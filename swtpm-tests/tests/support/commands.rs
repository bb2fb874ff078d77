//! TPM commands of the hostile agent's own, byte by byte (TCG TPM 2.0 Library, Part 3): empty passwords, sessions
//! without secrets.

use sealstone_swtpm_tests::Swtpm;

pub const CREATE: u32 = 0x153;
pub const CREATE_PRIMARY: u32 = 0x131;
pub const FLUSH_CONTEXT: u32 = 0x165;
pub const GET_CAPABILITY: u32 = 0x17a;
pub const GET_RANDOM: u32 = 0x17b;
pub const LOAD: u32 = 0x157;
pub const NV_INCREMENT: u32 = 0x134;
pub const NV_READ: u32 = 0x14e;
pub const PCR_READ: u32 = 0x17e;
pub const POLICY_NV: u32 = 0x149;
pub const READ_PUBLIC: u32 = 0x173;
pub const START_AUTH_SESSION: u32 = 0x176;
pub const UNSEAL: u32 = 0x15e;

const CLEAR: u32 = 0x126;
const NV_DEFINE_SPACE: u32 = 0x12a;
const NV_UNDEFINE_SPACE: u32 = 0x122;

pub const OWNER: u32 = 0x4000_0001;
pub const ENDORSEMENT: u32 = 0x4000_000b;
const LOCKOUT: u32 = 0x4000_000a;
const NULL: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;

/// Where the enclave keeps its counter.
pub const COUNTER: u32 = 0x0185_ea15;

/// The command code of a frame.
pub fn code_of(command: &[u8]) -> u32 {
    word(command, 6)
}

/// A big-endian number in a frame.
pub fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

/// A response with an error code.
pub fn error(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

/// A success without sessions.
pub fn success(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&[0x80, 0x01][..], &size.to_be_bytes(), &[0; 4], body].concat()
}

/// A buffer with its length before it.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// An authorisation: a session, or the password session, with what it shows.
pub fn authorisation(session: u32, secret: &[u8]) -> Vec<u8> {
    [&session.to_be_bytes()[..], &sized(&[]), &[1], &sized(secret)].concat()
}

pub fn password(secret: &[u8]) -> Vec<u8> {
    authorisation(PASSWORD, secret)
}

/// Executes a command; returns what follows the response's header, or the response code.
pub fn run(
    tpm: &Swtpm,
    code: u32,
    handles: &[u32],
    authorisations: &[u8],
    parameters: &[u8],
) -> Result<Vec<u8>, u32> {
    let response = tpm.transmit(&frame(code, handles, authorisations, parameters)).unwrap();
    match word(&response, 6) {
        0 => Ok(response[10..].to_vec()),
        code => Err(code),
    }
}

/// A whole command.
pub fn frame(code: u32, handles: &[u32], authorisations: &[u8], parameters: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    let mut tag = [0x80, 0x01];
    if !authorisations.is_empty() {
        tag = [0x80, 0x02];
        body.extend_from_slice(&u32::try_from(authorisations.len()).unwrap().to_be_bytes());
        body.extend_from_slice(authorisations);
    }
    body.extend_from_slice(parameters);
    let size = u32::try_from(10 + body.len()).unwrap();
    [&tag[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

/// Frees what a ceremony that was lied to, or killed, could not: the next one shall fail for its own reason only.
pub fn flush_everything(tpm: &Swtpm) {
    for kind in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
        for handle in handles(tpm, kind) {
            run(tpm, FLUSH_CONTEXT, &[], &[], &handle.to_be_bytes()).unwrap();
        }
    }
}

/// The handles of one kind that the TPM holds.
pub fn handles(tpm: &Swtpm, kind: u32) -> Vec<u32> {
    let query = [1u32, kind, 64].map(u32::to_be_bytes).concat();
    let answer = run(tpm, GET_CAPABILITY, &[], &[], &query).unwrap();
    // More data, capability, count.
    answer[9..].chunks(4).map(|handle| word(handle, 0)).collect()
}

/// Removes an NV index, as everybody can who has the owner's (empty) auth.
pub fn undefine(tpm: &Swtpm, index: u32) {
    run(tpm, NV_UNDEFINE_SPACE, &[OWNER, index], &password(&[]), &[]).unwrap();
}

/// Defines a counter as the enclave does, under an empty auth value, and gives it a value.
pub fn define_counter(tpm: &Swtpm, index: u32) {
    // COUNTER, AUTHREAD, AUTHWRITE, NO_DA; no policy; eight bytes.
    let attributes: u32 = (1 << 4) | (1 << 18) | (1 << 2) | (1 << 25);
    let public =
        [&index.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &sized(&[]), &[0, 8]].concat();
    let definition = [sized(&[]), sized(&public)].concat();
    run(tpm, NV_DEFINE_SPACE, &[OWNER], &password(&[]), &definition).unwrap();
    run(tpm, NV_INCREMENT, &[index, index], &password(&[]), &[]).unwrap();
}

/// Clears the TPM: another storage seed, no index of the owner's.
pub fn clear(tpm: &Swtpm) {
    run(tpm, CLEAR, &[LOCKOUT], &password(&[]), &[]).unwrap();
}

/// Makes the storage key that the enclave's blobs are children of: anybody can.
pub fn storage_key(tpm: &Swtpm) -> u32 {
    let template = [
        &[0, 0x23, 0, 0x0b, 0, 3, 0x04, 0x72, 0, 0][..],
        // AES-128-CFB, no scheme, P-256, no KDF, an empty point.
        &[0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0],
    ]
    .concat();
    create_primary(tpm, OWNER, &template)
}

/// Makes a primary key from a template, without auth value.
pub fn create_primary(tpm: &Swtpm, hierarchy: u32, template: &[u8]) -> u32 {
    let response = tpm.transmit(&create_primary_frame(hierarchy, template)).unwrap();
    assert_eq!(word(&response, 6), 0, "{response:02x?}");
    word(&response, 10)
}

/// The command for it.
pub fn create_primary_frame(hierarchy: u32, template: &[u8]) -> Vec<u8> {
    let parameters = [&[0, 4, 0, 0, 0, 0][..], &sized(template), &[0; 6]].concat();
    frame(CREATE_PRIMARY, &[hierarchy], &password(&[]), &parameters)
}

/// Starts an unsalted, unbound policy session.
pub fn policy_session(tpm: &Swtpm) -> u32 {
    // Nonce, no salt, a policy session, no parameter encryption, SHA-256.
    let parameters = [&sized(&[7; 32])[..], &sized(&[]), &[1], &[0, 0x10], &[0, 0x0b]].concat();
    word(&run(tpm, START_AUTH_SESSION, &[NULL, NULL], &[], &parameters).unwrap(), 0)
}
