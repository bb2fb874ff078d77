//! Deterministic CBOR (RFC 8949, section 4.2.1). The library writes shortest lengths and no indefinite ones; the order of keys is
//! made here.

use coset::cbor::{Value, ser::into_writer};

/// A map, its keys in the bytewise order of their encodings.
pub(super) fn map(entries: Vec<(Value, Value)>) -> Value {
    let mut entries: Vec<(Vec<u8>, (Value, Value))> =
        entries.into_iter().map(|(key, value)| (bytes(&key), (key, value))).collect();
    entries.sort_by(|(one, _), (next, _)| one.cmp(next));
    Value::Map(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// A value's encoding.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}
