//! Commands and responses as bytes (TPM 2.0 Part 1, 18): frames, handles, parameters.

use tpm2_protocol::data::{TpmCc, TpmRh, TpmSt};
use tpm2_protocol::frame::TpmUnmarshalBody;
use tpm2_protocol::{TpmMarshal, TpmWriter};

use super::error::TpmError;
use super::name::Name;
use super::relay::FRAME_MAX;
use crate::secret::{self, Inside, SecretBytes};

const HEADER_LEN: usize = 10;
/// An authorisation with the empty password: handle, no nonce, continueSession clear, no password.
const EMPTY_PASSWORD_LEN: u32 = 9;

/// A handle of a command, with the name that the command's HMAC covers.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) value: u32,
    pub(super) name: Name,
}

impl Handle {
    /// A hierarchy or a session, which is its own name.
    pub(super) fn plain(value: u32) -> Self {
        Self { value, name: Name::of_handle(value) }
    }

    /// An object or index with a name that was computed here.
    pub(super) fn named(value: u32, name: &Name) -> Self {
        Self { value, name: name.clone() }
    }
}

/// A command before it is authorised.
pub(super) struct Command {
    pub(super) code: TpmCc,
    pub(super) handles: Vec<Handle>,
    pub(super) parameters: Vec<u8>,
}

/// A command whose first parameter is a secret that must be encrypted before the command becomes a frame.
pub(super) struct SecretCommand {
    pub(super) code: TpmCc,
    pub(super) handles: Vec<Handle>,
    pub(super) parameters: SecretBytes,
}

impl SecretCommand {
    /// The command that is left once `encrypt` has encrypted the first parameter in place.
    pub(super) fn encrypted(mut self, inside: &Inside, encrypt: impl FnOnce(&mut [u8])) -> Command {
        encrypt(self.parameters.expose_mut(inside));
        let parameters = self.parameters.expose(inside).to_vec();
        Command { code: self.code, handles: self.handles, parameters }
    }
}

impl Command {
    pub(super) fn new(code: TpmCc, handles: Vec<Handle>, parameters: Vec<u8>) -> Self {
        Self { code, handles, parameters }
    }

    /// The frame without sessions.
    pub(super) fn bare_frame(&self) -> Vec<u8> {
        self.frame(TpmSt::NoSessions, &[])
    }

    /// The frame, authorised by the empty password: for what needs no secret to be allowed.
    pub(super) fn empty_password_frame(&self) -> Vec<u8> {
        let mut area = EMPTY_PASSWORD_LEN.to_be_bytes().to_vec();
        area.extend_from_slice(&TpmRh::Pw.value().to_be_bytes());
        area.extend_from_slice(&[0; 5]);
        self.frame(TpmSt::Sessions, &area)
    }

    /// The frame with this authorisation area, its size included.
    pub(super) fn frame(&self, tag: TpmSt, authorisation: &[u8]) -> Vec<u8> {
        let len = HEADER_LEN + 4 * self.handles.len() + authorisation.len() + self.parameters.len();
        let size = u32::try_from(len).expect("a command is a few KiB: its parts are bounded TPM structures");
        let mut frame = Vec::with_capacity(len);
        frame.extend_from_slice(&tag.value().to_be_bytes());
        frame.extend_from_slice(&size.to_be_bytes());
        frame.extend_from_slice(&self.code.value().to_be_bytes());
        for handle in &self.handles {
            frame.extend_from_slice(&handle.value.to_be_bytes());
        }
        frame.extend_from_slice(authorisation);
        frame.extend_from_slice(&self.parameters);
        frame
    }
}

/// The parts of a successful response. Nothing in it is authentic unless a session verified it.
pub(super) struct Response {
    code: TpmCc,
    handles: Vec<u8>,
    /// They can hold secrets once they are decrypted.
    parameters: SecretBytes,
}

impl Response {
    /// Takes parameters as they came, has `decrypt` decrypt them where they are then.
    pub(super) fn decrypted<E>(
        inside: &Inside,
        code: TpmCc,
        handles: &[u8],
        parameters: &[u8],
        decrypt: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut parameters = SecretBytes::new(inside, parameters.to_vec());
        decrypt(parameters.expose_mut(inside))?;
        Ok(Self { code, handles: handles.to_vec(), parameters })
    }

    /// The parameters of a response without sessions.
    pub(super) fn bare(code: TpmCc, frame: &Frame<'_>) -> Result<Self, TpmError> {
        let (handles, parameters) = frame.split_handles(code)?;
        let parameters = if frame.has_sessions { split_sized(code, parameters)?.0 } else { parameters };
        secret::run(|inside| Self::decrypted(inside, code, handles, parameters, |_| Ok::<_, TpmError>(())))
    }

    /// The one handle that the response gives. Handles are never authentic: what is behind one is decided by the
    /// name that the next command covers.
    pub(super) fn handle(&self) -> Result<u32, TpmError> {
        let bytes = self.handles.first_chunk().ok_or_else(|| malformed(self.code, "a handle"))?;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// The parameters as a structure without secrets: its buffers are never wiped.
    pub(super) fn parse<R: TpmUnmarshalBody>(&self) -> Result<R, TpmError> {
        secret::run(|inside| R::unmarshal_body(&self.handles, self.parameters.expose(inside)))
            .map_err(|_| malformed(self.code, "parameters as Part 3 has them"))
    }

    /// The parameters as one sized buffer, which can be secret.
    pub(super) fn sized_buffer<'a>(&'a self, inside: &'a Inside) -> Result<&'a [u8], TpmError> {
        let wrong = || malformed(self.code, "one sized buffer");
        let (size, bytes) = self.parameters.expose(inside).split_first_chunk().ok_or_else(wrong)?;
        if usize::from(u16::from_be_bytes(*size)) == bytes.len() { Ok(bytes) } else { Err(wrong()) }
    }

    /// That there are no parameters.
    pub(super) fn empty(&self) -> Result<(), TpmError> {
        if self.parameters.is_empty() { Ok(()) } else { Err(malformed(self.code, "no parameters")) }
    }
}

/// A response that is a whole frame with the code for success.
pub(super) struct Frame<'f> {
    pub(super) has_sessions: bool,
    body: &'f [u8],
}

impl<'f> Frame<'f> {
    /// The frame in these bytes.
    pub(super) fn parse(code: TpmCc, bytes: &'f [u8]) -> Result<Self, TpmError> {
        let (header, body) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(|| malformed(code, "a header"))?;
        let [tag0, tag1, size @ .., rc0, rc1, rc2, rc3] = *header;
        if bytes.len() > FRAME_MAX || usize::try_from(u32::from_be_bytes(size)) != Ok(bytes.len()) {
            return Err(malformed(code, "the size in the header"));
        }
        let rc = u32::from_be_bytes([rc0, rc1, rc2, rc3]);
        if rc != 0 {
            return Err(TpmError::Rc { command: code, code: rc });
        }
        let tag = u16::from_be_bytes([tag0, tag1]);
        let has_sessions = tag == TpmSt::Sessions.value();
        if !has_sessions && tag != TpmSt::NoSessions.value() {
            return Err(malformed(code, "a response tag"));
        }
        Ok(Self { has_sessions, body })
    }

    /// Handles, and what follows them.
    pub(super) fn split_handles(&self, code: TpmCc) -> Result<(&'f [u8], &'f [u8]), TpmError> {
        let len = match code {
            TpmCc::CreatePrimary | TpmCc::Load | TpmCc::StartAuthSession => 4,
            _ => 0,
        };
        self.body.split_at_checked(len).ok_or_else(|| malformed(code, "a handle"))
    }
}

/// Splits what a leading 32-bit size counts from what follows.
pub(super) fn split_sized(code: TpmCc, bytes: &[u8]) -> Result<(&[u8], &[u8]), TpmError> {
    let wrong = || malformed(code, "the size of the parameters");
    let (size, bytes) = bytes.split_first_chunk().ok_or_else(wrong)?;
    let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| wrong())?;
    bytes.split_at_checked(size).ok_or_else(wrong)
}

/// Parameters without secrets: the marshalled `parts`, one after the other.
pub(super) fn parameters(parts: &[&dyn TpmMarshal]) -> Vec<u8> {
    let mut buffer = vec![0; FRAME_MAX];
    let mut writer = TpmWriter::new(&mut buffer);
    for part in parts {
        part.marshal(&mut writer).expect("the parts are consistent structures and far smaller than a frame");
    }
    let len = writer.len();
    buffer.truncate(len);
    buffer
}

pub(super) fn malformed(code: TpmCc, what: &'static str) -> TpmError {
    TpmError::Malformed { command: code, what }
}
