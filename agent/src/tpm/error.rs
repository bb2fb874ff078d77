//! What can go wrong at the TPM, and what is worth trying again.

use std::io;
use std::path::PathBuf;

use sealstone_attestation::{PcrBank, PcrIndex};
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind};

/// Why the TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// Nobody answers at the configured place.
    #[error("the TPM at {tcti} cannot be reached ({detail}); is it running, and may this user open it?")]
    Unreachable {
        /// Where.
        tcti: String,
        /// What the library said.
        detail: String,
    },
    /// It was asked and has not answered yet; it may still do so, and the next call profits.
    #[error("the TPM gave no answer within {seconds} s")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// Somebody else has it: a ceremony of the enclave, or a command that still has no answer.
    #[error("the TPM was not free within {seconds} s: a ceremony or an earlier command holds it")]
    Occupied {
        /// How long was waited.
        seconds: u64,
    },
    /// More callers than may wait.
    #[error("expected at most {max} callers to wait for the TPM; try again")]
    Overloaded {
        /// How many may wait.
        max: usize,
    },
    /// The TPM refused a command.
    #[error("the TPM refused {command}: {detail}")]
    Refused {
        /// Which.
        command: &'static str,
        /// Its response code in words and as a number.
        detail: String,
    },
    /// Its firmware has not started it.
    #[error("the TPM was not started; start swtpm with --flags not-need-init,startup-clear")]
    NotStarted,
    /// The attestation key belongs to another TPM, or this one was cleared.
    #[error(
        "the attestation key in {path} does not load under this TPM's endorsement key: another TPM, or a \
         cleared one; to enrol anew move ak.pub and ak.priv away and have the new keys approved in a manifest"
    )]
    ForeignKey {
        /// The private part.
        path: PathBuf,
    },
    /// A key file cannot be read, written or parsed.
    #[error("the key file {path} cannot be used")]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key is not what the configuration or the profile demands.
    #[error("the {which} key is not usable: {detail}")]
    UnsuitableKey {
        /// Endorsement or attestation.
        which: &'static str,
        /// Expected, found.
        detail: String,
    },
    /// The TPM has no such PCR active.
    #[error("expected PCR {index} of bank {bank}, which this TPM does not have active")]
    NoSuchPcr {
        /// The bank.
        bank: PcrBank,
        /// The index.
        index: PcrIndex,
    },
    /// PCRs kept changing.
    #[error("PCRs changed during each of {attempts} readings")]
    PcrsUnstable {
        /// How many readings were made.
        attempts: usize,
    },
    /// What the TPM returned does not parse or does not verify.
    #[error("the TPM's {what} is not usable: {detail}")]
    Garbled {
        /// A quote, a certificate.
        what: &'static str,
        /// Expected, found.
        detail: String,
    },
    /// It was made for another endorsement key, or beside another attestation key, or changed on its way.
    #[error(
        "expected a credential made for this TPM's endorsement and attestation keys, found one that does not open"
    )]
    Credential,
    /// The thread that owns the TPM ended: a bug.
    #[error("the thread that owns the TPM has ended")]
    ThreadEnded,
}

/// Why one attempt failed; see [`Fault::remedy`].
#[derive(Debug)]
pub(super) enum Fault {
    /// ESAPI, or the TPM through it.
    Esapi { command: &'static str, error: tss_esapi::Error },
    /// Our own judgement, which another attempt would not change.
    Own(TpmError),
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// Time, and a new connection.
    Wait,
    /// Loading the keys again: the TPM was reset, or a handle is stale.
    ReloadKeys,
    /// Flushing what a killed predecessor left loaded.
    FlushLeftBehind,
}

/// Names the command that an ESAPI error belongs to.
pub(super) trait During<T> {
    /// Of `command`, as Part 3 names it.
    fn during(self, command: &'static str) -> Result<T, Fault>;
}

impl<T> During<T> for tss_esapi::Result<T> {
    fn during(self, command: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault::Esapi { command, error })
    }
}

impl From<TpmError> for Fault {
    fn from(error: TpmError) -> Self {
        Self::Own(error)
    }
}

/// What loads a key that was saved; every refusal of it means that the TPM was reset since.
pub(super) const CONTEXT_LOAD: &str = "TPM2_ContextLoad";

/// What opens the connection; no command of the TPM.
pub(super) const CONNECT: &str = "connecting";

impl Fault {
    pub(super) fn remedy(&self) -> Remedy {
        let Self::Esapi { command, error } = self else { return Remedy::None };
        let tss_esapi::Error::Tss2Error(code) = error else { return Remedy::None };
        if *command == CONNECT || is_from_library(*code) {
            return Remedy::Wait;
        }
        match code.kind() {
            Some(
                Kind::ObjectMemory
                | Kind::SessionMemory
                | Kind::Memory
                | Kind::SessionHandles
                | Kind::ObjectHandles,
            ) => Remedy::FlushLeftBehind,
            Some(
                Kind::Retry
                | Kind::Yielded
                | Kind::Testing
                | Kind::Canceled
                | Kind::NvRate
                | Kind::NvUnavailable
                | Kind::PcrChanged,
            ) => Remedy::Wait,
            Some(
                Kind::ReferenceH0
                | Kind::ReferenceH1
                | Kind::ReferenceH2
                | Kind::ReferenceS0
                | Kind::ReferenceS1
                | Kind::ReferenceS2,
            ) => Remedy::ReloadKeys,
            Some(Kind::Initialize) => Remedy::None,
            _ if *command == CONTEXT_LOAD => Remedy::ReloadKeys,
            _ => Remedy::None,
        }
    }

    /// Whether the TPM itself answered, if only to refuse.
    pub(super) fn was_answered(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Esapi { command, error: tss_esapi::Error::Tss2Error(code) } => {
                *command != CONNECT && !is_from_library(*code)
            }
            Self::Esapi { error: tss_esapi::Error::WrapperError(_), .. } => true,
        }
    }

    /// Whether the TPM's answer was of this kind.
    pub(super) fn is(&self, kind: Kind) -> bool {
        matches!(self, Self::Esapi { error: tss_esapi::Error::Tss2Error(code), .. }
            if !is_from_library(*code) && code.kind() == Some(kind))
    }

    pub(super) fn into_error(self, tcti: &impl ToString) -> TpmError {
        let answered = self.was_answered();
        let not_started = self.is(Kind::Initialize);
        match self {
            Self::Own(error) => error,
            Self::Esapi { .. } if not_started => TpmError::NotStarted,
            Self::Esapi { command, error } => {
                let detail = match error {
                    tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatZero(code)) => {
                        format!("{error} ({code})")
                    }
                    tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatOne(code)) => {
                        format!("{error} ({code})")
                    }
                    other => other.to_string(),
                };
                if answered {
                    TpmError::Refused { command, detail }
                } else {
                    TpmError::Unreachable { tcti: tcti.to_string(), detail }
                }
            }
        }
    }
}

/// Layers of the TSS that are not the TPM: ESAPI, SAPI, marshalling, TCTI (TCG TSS 2.0 Overview, section 4.2).
const LIBRARY_LAYERS: std::ops::RangeInclusive<u32> = 0x7..=0xa;

/// More codes than a layer of the library defines.
const LIBRARY_CODES: std::ops::RangeInclusive<u32> = 1..=0x3f;

/// Whether the code comes from the library rather than from the TPM. The wrapper hides the number, so the
/// candidates are compared with it.
fn is_from_library(code: Tss2ResponseCode) -> bool {
    LIBRARY_LAYERS
        .flat_map(|layer| LIBRARY_CODES.map(move |number| layer << 16 | number))
        .any(|candidate| Tss2ResponseCode::from(candidate) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(command: &'static str, code: u32) -> Fault {
        Fault::Esapi { command, error: tss_esapi::Error::Tss2Error(Tss2ResponseCode::from(code)) }
    }

    #[test]
    fn each_code_has_the_remedy_that_can_help() {
        for (command, code, remedy) in [
            ("TPM2_Quote", 0x000a_000a, Remedy::Wait),
            ("TPM2_Quote", 0x000a_0001, Remedy::Wait),
            ("TPM2_Quote", 0x0007_0007, Remedy::Wait),
            ("TPM2_Quote", 0x922, Remedy::Wait),
            ("TPM2_Quote", 0x908, Remedy::Wait),
            ("TPM2_Quote", 0x90a, Remedy::Wait),
            ("TPM2_Quote", 0x128, Remedy::Wait),
            ("TPM2_Load", 0x902, Remedy::FlushLeftBehind),
            ("TPM2_StartAuthSession", 0x903, Remedy::FlushLeftBehind),
            ("TPM2_Quote", 0x910, Remedy::ReloadKeys),
            (CONTEXT_LOAD, 0x1df, Remedy::ReloadKeys),
            ("TPM2_Load", 0x1df, Remedy::None),
            ("TPM2_Quote", 0x100, Remedy::None),
            ("TPM2_Quote", 0x101, Remedy::None),
            ("TPM2_Quote", 0x9a2, Remedy::None),
        ] {
            assert_eq!(fault(command, code).remedy(), remedy, "{command} {code:#x}");
        }
    }

    #[test]
    fn an_error_names_the_command_and_the_code() {
        let text = fault("TPM2_Load", 0x1df).into_error(&"swtpm:").to_string();
        assert!(text.contains("TPM2_Load") && text.contains("0x1df"), "{text}");
        let text = fault("TPM2_Load", 0x000a_000a).into_error(&"swtpm:here").to_string();
        assert!(text.contains("swtpm:here") && text.contains("cannot be reached"), "{text}");
        assert!(matches!(fault("TPM2_Load", 0x100).into_error(&""), TpmError::NotStarted));
    }
}
