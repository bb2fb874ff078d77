//! What is read must read the same once it is written again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::{Serialize, de::DeserializeOwned};

/// JSON, unless the bytes are none of this type.
pub(crate) fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, value);
    Some(value)
}

/// postcard that takes up all of the bytes.
pub(crate) fn postcard<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let (value, rest): (T, _) = postcard::take_from_bytes(bytes).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let written = postcard::to_stdvec(&value).expect("what was read can be written");
    // A number can be spelt longer than needed, never shorter.
    assert!(written.len() <= bytes.len(), "{value:?} took {} bytes to write", written.len());
    assert_eq!(postcard::from_bytes::<T>(&written).as_ref(), Ok(&value));
    Some(value)
}

/// A text with several spellings.
pub(crate) fn text<T: FromStr + Display + PartialEq + Debug>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
    true
}

/// A text with one spelling.
pub(crate) fn spelling<T: FromStr + Display + Debug>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    assert_eq!(value.to_string(), text);
    true
}
