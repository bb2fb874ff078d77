//! Schemas of values that the HTTP API writes as text: what generates the OpenAPI document needs to know their form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sealstone_attestation::audit::RecordKind;

use crate::PathText;
use crate::api::OperatorReason;

/// Declares a name for a form of text.
macro_rules! text {
    ($($name:ident: $schema:tt;)*) => {$(
        /// A form of text.
        #[allow(unreachable_pub, reason = "those that queries name are exported, the others need not be")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text! {
    Hex: {"type": "string", "pattern": "^([0-9a-f]{2})*$"};
    Hex32: {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "32 bytes"};
    Hex64: {"type": "string", "pattern": "^[0-9a-f]{128}$", "description": "64 bytes"};
    HexPayload: {"type": "string", "pattern": "^([0-9a-fA-F]{2})+$", "maxLength": 122_880};
    HexDigest: {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"};
    KeyThumbprint: {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$", "description": "RFC 7638, SHA-256"};
    Time: {"type": "string", "format": "date-time", "description": "RFC 3339, UTC"};
    Jwk: {"type": "object", "required": ["kty", "crv", "x"], "additionalProperties": {"type": "string"}};
    Deployment: {"type": "string", "pattern": "^[0-9a-f]+$"};
    AuditRecord: {"type": "object", "required": ["time_ms", "kind"], "description": "docs/audit.md describes its members"};
    SessionName: {"type": "string", "pattern": "^[0-9a-f]+$"};
}

/// Names an algorithm, as [`sealstone_attestation::Algorithm`] is written.
#[derive(Clone, Copy, Debug)]
pub struct AlgorithmName;

impl JsonSchema for AlgorithmName {
    fn schema_name() -> Cow<'static, str> {
        "Algorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": sealstone_attestation::Algorithm::ALL.map(|algorithm| algorithm.name())})
    }
}

/// Banks of PCRs, each an index and a value.
pub(crate) type Pcrs = BTreeMap<String, BTreeMap<String, Hex>>;

impl JsonSchema for PathText {
    fn schema_name() -> Cow<'static, str> {
        "PathText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": Self::BYTES_MAX,
            "description": "1 to 255 bytes of UTF-8, compared as bytes",
        })
    }
}

impl JsonSchema for OperatorReason {
    fn schema_name() -> Cow<'static, str> {
        "OperatorReason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": Self::CHARS_MAX})
    }
}

/// Names a kind of record, as [`RecordKind`] is written.
#[derive(Clone, Copy, Debug)]
pub struct RecordKindName;

impl JsonSchema for RecordKindName {
    fn schema_name() -> Cow<'static, str> {
        "RecordKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": RecordKind::ALL.map(|kind| kind.to_string())})
    }
}

/// One protection as the enclave measured it.
#[derive(JsonSchema)]
#[allow(
    dead_code,
    reason = "only its schema is used: the type itself belongs to the crate that auditors build"
)]
pub(crate) struct Protection {
    /// Stable name.
    name: String,
    /// Whether it is in force.
    active: bool,
    /// What was found.
    detail: String,
}
