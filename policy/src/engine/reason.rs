//! Why a request is refused: a stable code for programs, and what was expected and found for people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a request is refused. The names never change, and their order here is that of reasons in an answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $variant,)*
        }

        impl ReasonCode {
            /// Each of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that programs compare.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// A field that the client declared differs from the payload, or the payload does not show it.
    PayloadMismatch = "PAYLOAD_MISMATCH",
    /// The policy has no entry for this sender; there is no default.
    SenderUnknown = "SENDER_UNKNOWN",
    /// The entry lists no chain that is read in this way.
    FormatNotAllowed = "FORMAT_NOT_ALLOWED",
    /// The entry does not list this chain.
    ChainNotAllowed = "CHAIN_NOT_ALLOWED",
    /// A part of the payload cannot be read, and the entry does not permit that.
    UnreadablePayload = "UNREADABLE_PAYLOAD",
    /// The key is of an epoch before the newest one, and the entry does not permit that.
    OldEpochNotAllowed = "OLD_EPOCH_NOT_ALLOWED",
    /// No time window of the entry is open now.
    OutsideTimeWindow = "OUTSIDE_TIME_WINDOW",
    /// The payload moves a currency that the policy does not name.
    CurrencyUnknown = "CURRENCY_UNKNOWN",
    /// The entry does not list a currency that the payload moves.
    CurrencyNotAllowed = "CURRENCY_NOT_ALLOWED",
    /// The payload grants an allowance, and the entry does not permit that.
    AllowanceNotAllowed = "ALLOWANCE_NOT_ALLOWED",
    /// The sanctions list names a recipient, spender or token contract.
    RecipientSanctioned = "RECIPIENT_SANCTIONED",
    /// The policy requires a sanctions list, and there is none.
    SanctionsUnavailable = "SANCTIONS_UNAVAILABLE",
    /// The entry's deny list names a recipient.
    RecipientDenied = "RECIPIENT_DENIED",
    /// The entry's allow list does not name a recipient.
    RecipientNotAllowed = "RECIPIENT_NOT_ALLOWED",
    /// Who holds the account that receives is not shown by the payload, and the entry has lists on which the holder may be.
    RecipientUnproven = "RECIPIENT_UNPROVEN",
    /// The fee is more than the entry permits, in another currency, or unreadable.
    FeeTooHigh = "FEE_TOO_HIGH",
    /// A rule needs a price that is missing or expired.
    PriceUnavailable = "PRICE_UNAVAILABLE",
    /// More than the entry permits for one transaction.
    TransactionLimitExceeded = "TRANSACTION_LIMIT_EXCEEDED",
    /// More than the entry permits within 24 hours.
    DailyLimitExceeded = "DAILY_LIMIT_EXCEEDED",
    /// More than the entry permits within another time than 24 hours.
    RollingLimitExceeded = "ROLLING_LIMIT_EXCEEDED",
    /// More transactions than the entry permits within a time.
    VelocityExceeded = "VELOCITY_EXCEEDED",
    /// An approval is by nobody whom the policy names, or its signature does not verify.
    ApprovalInvalid = "APPROVAL_INVALID",
    /// Fewer approvals than the entry demands.
    ApprovalsMissing = "APPROVALS_MISSING",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ReasonCode {
    type Err = UnknownReasonCode;

    fn from_str(text: &str) -> Result<Self, UnknownReasonCode> {
        Self::ALL.iter().copied().find(|code| code.name() == text).ok_or(UnknownReasonCode)
    }
}

/// Not the name of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a reason code such as DAILY_LIMIT_EXCEEDED, found another text; docs/policy.md lists them")]
pub struct UnknownReasonCode;

impl Serialize for ReasonCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ReasonCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One reason for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reason {
    /// Which.
    pub code: ReasonCode,
    /// What was expected and what was found; safe to log, without a payload.
    pub detail: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_as_it_is_written_and_no_two_share_a_name() {
        for code in ReasonCode::ALL {
            assert_eq!(code.name().parse(), Ok(*code));
            assert!(code.name().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
        for bad in ["", "daily_limit_exceeded", "DAILY_LIMIT_EXCEEDED ", "OTHER"] {
            assert_eq!(bad.parse::<ReasonCode>(), Err(UnknownReasonCode), "{bad:?}");
        }
    }
}
