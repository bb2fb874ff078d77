//! What every list has: how long a page is, and whose rows a client sees.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sealstone_wire::PathText;
use serde::Deserialize;

use crate::access::Client;
use crate::store::PAGE_MAX;

/// Rows of a page: 1 to [`PAGE_MAX`], and as many unless the client says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Limit(usize);

impl Limit {
    /// Rows asked for.
    pub(super) fn rows(asked: Option<Self>) -> usize {
        asked.map_or(PAGE_MAX, |Self(rows)| rows)
    }
}

impl TryFrom<u64> for Limit {
    type Error = String;

    fn try_from(rows: u64) -> Result<Self, String> {
        match usize::try_from(rows) {
            Ok(rows @ 1..=PAGE_MAX) => Ok(Self(rows)),
            _ => Err(format!("expected a limit of 1 to {PAGE_MAX}, found {rows}")),
        }
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX})
    }
}

/// The tenants whose rows a client sees that asks for those of one, or of all: every tenant's if `None`.
pub(super) fn visible(client: &Client, asked: Option<PathText>) -> Option<BTreeSet<PathText>> {
    match (client.tenants(), asked) {
        (None, None) => None,
        (None, Some(tenant)) => Some([tenant].into()),
        (Some(served), None) => Some(served.clone()),
        (Some(served), Some(tenant)) => Some(served.get(&tenant).cloned().into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Rate;

    #[test]
    fn a_page_is_never_empty_nor_endless() {
        for (rows, expected) in [(0, None), (1, Some(1)), (1000, Some(1000)), (1001, None), (u64::MAX, None)]
        {
            assert_eq!(Limit::try_from(rows).ok().map(|Limit(rows)| rows), expected, "{rows}");
        }
        assert_eq!(Limit::rows(None), PAGE_MAX);
    }

    #[test]
    fn a_client_of_some_tenants_sees_no_other() {
        let text = |text: &str| PathText::try_from(text).unwrap();
        let set = |names: &[&str]| names.iter().map(|name| text(name)).collect::<BTreeSet<_>>();
        let client = |tenants| Client::new("c".to_owned(), BTreeSet::new(), tenants, Rate::default());
        let (all, some) = (client(None), client(Some(set(&["a", "b"]))));
        assert_eq!(visible(&all, None), None);
        assert_eq!(visible(&all, Some(text("z"))), Some(set(&["z"])));
        assert_eq!(visible(&some, None), Some(set(&["a", "b"])));
        assert_eq!(visible(&some, Some(text("b"))), Some(set(&["b"])));
        assert_eq!(visible(&some, Some(text("z"))), Some(set(&[])));
    }
}
