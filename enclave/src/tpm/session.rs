//! Salted sessions (TPM 2.0 Part 1, 19.6 and 21): keys, HMACs, parameter encryption, rolling nonces.
//!
//! A session key is derived from a salt that only the TPM with the pinned endorsement key can learn. A response is
//! believed only after its HMAC under that key verified; then it is decrypted; then it is parsed.

use aes::Aes128;
use aes::cipher::KeyIvInit;
use subtle::ConstantTimeEq;
use tpm2_protocol::data::{TpmCc, TpmSt, TpmaSession};

use super::auth::AuthValue;
use super::command::{Command, Frame, Response, SecretCommand, malformed, split_sized};
use super::error::TpmError;
use super::kdf::{DIGEST_LEN, hmac_sha256, kdfa, sha256};
use super::salt::Salt;
use crate::secret::{self, Inside, Secret, SecretBytes};

/// Bytes of every nonce, the enclave's and the TPM's: as long as the session's hash.
pub(super) const NONCE_LEN: usize = DIGEST_LEN;
/// AES-128: the half of KDFa's output that is the key; the other is the IV.
const CFB_KEY_LEN: usize = 16;

/// What a session does for one command.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    /// The auth value of the entity that the session authorises; none if that has none, or if the session
    /// authorises nothing.
    auth: Option<&'a AuthValue>,
    attributes: TpmaSession,
}

impl<'a> Use<'a> {
    /// Authorises the first handle under its auth value.
    pub(super) fn authorise(auth: &'a AuthValue) -> Self {
        Self { auth: Some(auth), attributes: TpmaSession::CONTINUE_SESSION }
    }

    /// Authorises the first handle, which has no auth value.
    pub(super) fn authorise_empty() -> Self {
        Self { auth: None, attributes: TpmaSession::CONTINUE_SESSION }
    }

    /// Authenticates a command that needs no authorisation.
    pub(super) fn audit() -> Self {
        Self { auth: None, attributes: TpmaSession::CONTINUE_SESSION | TpmaSession::AUDIT }
    }

    /// Authenticates a command that needs no authorisation and encrypts the first parameter of its response.
    pub(super) fn encrypt_only() -> Self {
        Self { auth: None, attributes: TpmaSession::CONTINUE_SESSION | TpmaSession::ENCRYPT }
    }

    /// Encrypts the command's first parameter, which must be a sized buffer.
    pub(super) fn encrypt_command(self) -> Self {
        Self { attributes: self.attributes | TpmaSession::DECRYPT, ..self }
    }

    /// Has the TPM encrypt the response's first parameter, which must be a sized buffer.
    pub(super) fn encrypt_response(self) -> Self {
        Self { attributes: self.attributes | TpmaSession::ENCRYPT, ..self }
    }
}

/// A session that the TPM has opened.
pub(super) struct Session {
    handle: u32,
    key: Secret<DIGEST_LEN>,
    nonce_tpm: [u8; NONCE_LEN],
}

/// A command on the wire and what is needed to check its response.
pub(super) struct Prepared {
    pub(super) frame: Vec<u8>,
    pub(super) code: TpmCc,
    nonce_caller: [u8; NONCE_LEN],
}

impl Session {
    /// The session of this handle. Both nonces are of [`NONCE_LEN`] bytes.
    pub(super) fn new(handle: u32, salt: &Salt, nonce_caller: &[u8], nonce_tpm: [u8; NONCE_LEN]) -> Self {
        let key = secret::run(|inside| {
            let key = kdfa(salt.secret.expose(inside), b"ATH", &nonce_tpm, nonce_caller);
            Secret::copied(inside, &key)
        });
        Self { handle, key, nonce_tpm }
    }

    pub(super) fn handle(&self) -> u32 {
        self.handle
    }

    /// Encrypts and authenticates a command under a fresh nonce.
    pub(super) fn prepare(&self, mut command: Command, usage: Use<'_>) -> Result<Prepared, TpmError> {
        let nonce_caller = fresh_nonce()?;
        let frame = secret::run(|inside| {
            if usage.attributes.contains(TpmaSession::DECRYPT) {
                self.encrypt(inside, usage, &nonce_caller, &mut command.parameters);
            }
            self.authorised(inside, &command, &nonce_caller, usage)
        });
        Ok(Prepared { frame, code: command.code, nonce_caller })
    }

    /// The same for a command whose first parameter is a secret: it is encrypted, whatever `usage` says.
    pub(super) fn prepare_secret(
        &self,
        command: SecretCommand,
        usage: Use<'_>,
    ) -> Result<Prepared, TpmError> {
        let usage = usage.encrypt_command();
        let nonce_caller = fresh_nonce()?;
        let code = command.code;
        let frame = secret::run(|inside| {
            let command = command.encrypted(inside, |parameters| {
                self.encrypt(inside, usage, &nonce_caller, parameters);
            });
            self.authorised(inside, &command, &nonce_caller, usage)
        });
        Ok(Prepared { frame, code, nonce_caller })
    }

    /// Encrypts the sized buffer that parameters begin with.
    fn encrypt(&self, inside: &Inside, usage: Use<'_>, nonce_caller: &[u8], parameters: &mut [u8]) {
        let (key, iv) = self.cfb_key_and_iv(inside, usage.auth, nonce_caller, &self.nonce_tpm);
        let secret = first_buffer(parameters)
            .expect("a command whose parameter is to be encrypted begins with a sized buffer");
        cfb_mode::Encryptor::<Aes128>::new((&key).into(), (&iv).into()).encrypt(secret);
    }

    /// The frame of a command whose parameters are as they go out.
    fn authorised(
        &self,
        inside: &Inside,
        command: &Command,
        nonce_caller: &[u8; NONCE_LEN],
        usage: Use<'_>,
    ) -> Vec<u8> {
        // Over the encrypted parameters, and over what each handle must stand for.
        let names: Vec<u8> =
            command.handles.iter().flat_map(|handle| handle.name.as_bytes()).copied().collect();
        let cp_hash = sha256(&[&command.code.value().to_be_bytes(), &names, &command.parameters]);
        let attributes = usage.attributes.bits();
        let hmac = hmac_sha256(
            &self.hmac_key(inside, usage.auth),
            &[&cp_hash, nonce_caller, &self.nonce_tpm, &[attributes]],
        );
        command.frame(TpmSt::Sessions, &authorisation(self.handle, nonce_caller, attributes, &hmac))
    }

    /// Verifies, decrypts and splits the response to a prepared command. The TPM's nonce rolls only if it verifies.
    pub(super) fn accept(
        &mut self,
        bytes: &[u8],
        prepared: &Prepared,
        usage: Use<'_>,
    ) -> Result<Response, TpmError> {
        let code = prepared.code;
        let not_authentic = |what| TpmError::NotAuthentic { command: code, what };
        let frame = Frame::parse(code, bytes)?;
        if !frame.has_sessions {
            return Err(not_authentic("expected a response with a session, found one without"));
        }
        let (handles, rest) = frame.split_handles(code)?;
        let (parameters, rest) = split_sized(code, rest)?;
        let authorisation = ResponseAuthorisation::parse(rest)
            .ok_or_else(|| malformed(code, "exactly one session with a whole nonce and a whole HMAC"))?;

        let rp_hash = sha256(&[&[0; 4], &code.value().to_be_bytes(), parameters]);
        let ResponseAuthorisation { nonce_tpm, attributes, hmac } = authorisation;
        let verified = secret::run(|inside| {
            let expected = hmac_sha256(
                &self.hmac_key(inside, usage.auth),
                &[&rp_hash, &nonce_tpm, &prepared.nonce_caller, &[attributes]],
            );
            bool::from(expected.ct_eq(&hmac))
        });
        if !verified {
            return Err(not_authentic("the response's HMAC does not verify"));
        }
        // An audit session may come back as the exclusive one.
        if attributes & !TpmaSession::AUDIT_EXCLUSIVE.bits() != usage.attributes.bits() {
            return Err(not_authentic("the response's session attributes are not the command's"));
        }
        let is_encrypted = usage.attributes.contains(TpmaSession::ENCRYPT);
        if is_encrypted && first_len(parameters).is_none() {
            return Err(malformed(code, "an encrypted sized buffer"));
        }
        let parameters = secret::run(|inside| {
            let mut parameters = parameters.to_vec();
            if is_encrypted && let Some(secret) = first_buffer(&mut parameters) {
                let (key, iv) = self.cfb_key_and_iv(inside, usage.auth, &nonce_tpm, &prepared.nonce_caller);
                cfb_mode::Decryptor::<Aes128>::new((&key).into(), (&iv).into()).decrypt(secret);
            }
            SecretBytes::new(inside, parameters)
        });
        let response = Response::new(code, handles, parameters);
        self.nonce_tpm = nonce_tpm;
        Ok(response)
    }

    /// Session key ‖ auth value. For the policy session too: it is only used after PolicyAuthValue.
    fn hmac_key(&self, inside: &Inside, auth: Option<&AuthValue>) -> Vec<u8> {
        let auth = auth.map_or(&[][..], |auth| auth.trimmed(inside));
        [self.key.expose(inside), auth].concat()
    }

    /// The key and IV of AES-128-CFB. The order of the nonces tells the directions apart.
    fn cfb_key_and_iv(
        &self,
        inside: &Inside,
        auth: Option<&AuthValue>,
        newer: &[u8],
        older: &[u8],
    ) -> ([u8; CFB_KEY_LEN], [u8; CFB_KEY_LEN]) {
        let bits = kdfa(&self.hmac_key(inside, auth), b"CFB", newer, older);
        let (mut key, mut iv) = ([0; CFB_KEY_LEN], [0; CFB_KEY_LEN]);
        key.copy_from_slice(&bits[..CFB_KEY_LEN]);
        iv.copy_from_slice(&bits[CFB_KEY_LEN..]);
        (key, iv)
    }
}

/// A nonce of the enclave.
pub(super) fn fresh_nonce() -> Result<[u8; NONCE_LEN], TpmError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// How many bytes the sized buffer has that parameters begin with.
fn first_len(parameters: &[u8]) -> Option<usize> {
    let (size, rest) = parameters.split_first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*size))).filter(|len| *len <= rest.len())
}

/// The bytes of the sized buffer that parameters begin with.
fn first_buffer(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (size, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size)))
}

/// `authorizationSize`, then one `TPMS_AUTH_COMMAND`.
fn authorisation(handle: u32, nonce: &[u8; NONCE_LEN], attributes: u8, hmac: &[u8; DIGEST_LEN]) -> Vec<u8> {
    const NONCE_SIZE: [u8; 2] = [0, 32];
    const HMAC_SIZE: [u8; 2] = [0, 32];
    const SIZE: u32 = 4 + 2 + 32 + 1 + 2 + 32;
    [&SIZE.to_be_bytes()[..], &handle.to_be_bytes(), &NONCE_SIZE, nonce, &[attributes], &HMAC_SIZE, hmac]
        .concat()
}

/// `TPMS_AUTH_RESPONSE` of a session here.
struct ResponseAuthorisation {
    nonce_tpm: [u8; NONCE_LEN],
    attributes: u8,
    hmac: [u8; DIGEST_LEN],
}

impl ResponseAuthorisation {
    /// The one session in these bytes; `None` if there are more or fewer bytes than that.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (nonce_size, rest) = bytes.split_first_chunk()?;
        let (nonce_tpm, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (attributes, rest) = rest.split_first()?;
        let (hmac_size, rest) = rest.split_first_chunk()?;
        let hmac = <[u8; DIGEST_LEN]>::try_from(rest).ok()?;
        let whole = usize::from(u16::from_be_bytes(*nonce_size)) == NONCE_LEN
            && usize::from(u16::from_be_bytes(*hmac_size)) == DIGEST_LEN;
        whole.then_some(Self { nonce_tpm: *nonce_tpm, attributes: *attributes, hmac })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::command::parameters;
    use super::*;
    use crate::secret::watch::{found, watch};

    const SALT: u8 = 5;
    const PLAINTEXT: [u8; 7] = [0, 5, 10, 20, 30, 40, 50];

    fn session() -> Session {
        session_of(SALT)
    }

    fn session_of(salt: u8) -> Session {
        let secret = secret::run(|inside| SecretBytes::new(inside, vec![salt; 32]));
        let salt = Salt { secret, encrypted: Vec::new() };
        Session::new(0x0200_0000, &salt, &[1; NONCE_LEN], [2; NONCE_LEN])
    }

    /// For as long as the tests run.
    fn auth(value: u8) -> &'static AuthValue {
        let bytes = secret::run(|inside| Secret::copied(inside, &[value; 32]));
        Box::leak(Box::new(AuthValue::new(bytes)))
    }

    fn unseal() -> (Prepared, Use<'static>) {
        static AUTH: std::sync::LazyLock<&AuthValue> = std::sync::LazyLock::new(|| auth(1));
        let usage = Use::authorise(&AUTH).encrypt_response();
        let prepared = session().prepare(Command::new(TpmCc::Unseal, Vec::new(), parameters(&[])), usage);
        (prepared.unwrap(), usage)
    }

    /// What the TPM answers: encrypted, then authenticated.
    fn answer(prepared: &Prepared, usage: Use<'_>) -> Vec<u8> {
        let nonce_tpm = [3; NONCE_LEN];
        let mut body = PLAINTEXT.to_vec();
        let session = session();
        let (mut key, mut iv) = ([0; CFB_KEY_LEN], [0; CFB_KEY_LEN]);
        secret::run(|inside| {
            (key, iv) = session.cfb_key_and_iv(inside, usage.auth, &nonce_tpm, &prepared.nonce_caller);
        });
        cfb_mode::Encryptor::<Aes128>::new((&key).into(), (&iv).into()).encrypt(&mut body[2..]);
        let rp_hash = sha256(&[&[0; 4], &TpmCc::Unseal.value().to_be_bytes(), &body]);
        let attributes = [usage.attributes.bits()];
        let parts = [&rp_hash[..], &nonce_tpm, &prepared.nonce_caller, &attributes];
        let hmac = secret::run(|inside| hmac_sha256(&session.hmac_key(inside, usage.auth), &parts));
        let sessions = [&[0, 32][..], &nonce_tpm, &attributes, &[0, 32], &hmac[..]].concat();
        let body = [&7u32.to_be_bytes()[..], &body, &sessions].concat();
        let size = u32::try_from(10 + body.len()).unwrap();
        [&[0x80, 0x02][..], &size.to_be_bytes(), &[0; 4], &body].concat()
    }

    #[test]
    fn a_genuine_response_is_decrypted_and_rolls_the_nonce_once() {
        let (prepared, usage) = unseal();
        let response = answer(&prepared, usage);
        let mut session = session();
        let opened = session.accept(&response, &prepared, usage).unwrap();
        assert_eq!(opened.sized_buffer_len(), Ok(PLAINTEXT.len() - 2));
        secret::run(|inside| assert_eq!(opened.sized_buffer(inside), &PLAINTEXT[2..]));
        let (next, _) = unseal();
        assert!(matches!(session.accept(&response, &next, usage), Err(TpmError::NotAuthentic { .. })));
    }

    #[test]
    fn every_flipped_bit_is_refused_and_does_not_roll_the_nonce() {
        let (prepared, usage) = unseal();
        let response = answer(&prepared, usage);
        let mut session = session();
        for position in 0..response.len() {
            for bit in 0..8 {
                let mut altered = response.clone();
                altered[position] ^= 1 << bit;
                assert!(session.accept(&altered, &prepared, usage).is_err(), "byte {position}, bit {bit}");
            }
        }
        assert!(session.accept(&response, &prepared, usage).is_ok());
    }

    #[test]
    fn every_truncated_or_lengthened_response_is_refused() {
        let (prepared, usage) = unseal();
        let response = answer(&prepared, usage);
        let with_own_size = |mut bytes: Vec<u8>| {
            if let (Ok(size), Some(field)) = (u32::try_from(bytes.len()), bytes.get_mut(2..6)) {
                field.copy_from_slice(&size.to_be_bytes());
            }
            bytes
        };
        for len in 0..response.len() {
            let short = response[..len].to_vec();
            assert!(session().accept(&short, &prepared, usage).is_err(), "{len} bytes");
            assert!(session().accept(&with_own_size(short), &prepared, usage).is_err(), "{len} bytes");
        }
        // A second session, as if the command had had two.
        let twice = [&response[..], &response[response.len() - 69..]].concat();
        let refused = session().accept(&with_own_size(twice), &prepared, usage).err();
        assert!(matches!(refused, Some(TpmError::Malformed { .. })), "{refused:?}");
    }

    #[test]
    fn other_keys_other_auth_values_and_other_commands_do_not_verify() {
        let (prepared, usage) = unseal();
        let response = answer(&prepared, usage);
        let not_authentic = |result: Result<Response, TpmError>| {
            assert!(matches!(result.err(), Some(TpmError::NotAuthentic { .. })));
        };
        let mut other_salt = session_of(SALT + 1);
        not_authentic(other_salt.accept(&response, &prepared, usage));
        let other_auth = Use::authorise(auth(2)).encrypt_response();
        not_authentic(session().accept(&response, &prepared, other_auth));
        not_authentic(session().accept(
            &response,
            &prepared,
            Use { attributes: TpmaSession::CONTINUE_SESSION, ..usage },
        ));
        let other_command = Prepared { code: TpmCc::NvRead, ..unseal().0 };
        not_authentic(session().accept(&response, &other_command, usage));
    }

    #[test]
    fn a_secret_parameter_leaves_encrypted_and_never_twice_the_same() {
        let create = || {
            let parameters = secret::run(|inside| SecretBytes::new(inside, PLAINTEXT.to_vec()));
            let command = SecretCommand { code: TpmCc::Create, handles: Vec::new(), parameters };
            session().prepare_secret(command, Use::authorise_empty()).unwrap().frame
        };
        let (one, other) = (create(), create());
        assert!(!one.ends_with(&PLAINTEXT[2..]) && one != other);
        assert_eq!(one[one.len() - 7..][..2], PLAINTEXT[..2], "the size stays readable");
    }

    #[test]
    fn neither_salt_nor_key_nor_auth_value_nor_plaintext_is_ever_in_an_ordinary_block() {
        let secret = |fill: u8| secret::run(|inside| SecretBytes::new(inside, [fill, 0x91, 0xe7].repeat(11)));
        let salt = Salt { secret: secret(0xa1), encrypted: Vec::new() };
        let auth = AuthValue::new(secret::run(|inside| Secret::copied(inside, &[0xd3; 32])));
        let mut session = Session::new(0x0200_0000, &salt, &[1; NONCE_LEN], [2; NONCE_LEN]);
        let plaintext = secret::run(|inside| {
            watch(salt.secret.expose(inside));
            watch(session.key.expose(inside));
            watch(auth.trimmed(inside));
            let bytes = [&[0, 30][..], &[0xc5, 0x17, 0x5e].repeat(10)].concat();
            watch(&bytes[2..]);
            SecretBytes::new(inside, bytes)
        });
        let command = SecretCommand { code: TpmCc::Create, handles: Vec::new(), parameters: plaintext };
        let usage = Use::authorise(&auth).encrypt_response();
        let prepared = session.prepare_secret(command, usage).unwrap();
        assert!(session.accept(&[0; 100], &prepared, usage.encrypt_command()).is_err());
        drop((prepared, session, salt));
        assert_eq!(found(), 0, "ordinary blocks with a secret in them");
    }

    proptest! {
        #[test]
        fn no_response_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), tag in 0u8..3) {
            let (prepared, usage) = unseal();
            prop_assert!(session().accept(&bytes, &prepared, usage).is_err());
            // With a header that leads further in.
            let size = u32::try_from(10 + bytes.len()).unwrap();
            let framed = [&[0x80, tag][..], &size.to_be_bytes(), &[0; 4], &bytes].concat();
            prop_assert!(session().accept(&framed, &prepared, usage).is_err());
        }
    }
}
