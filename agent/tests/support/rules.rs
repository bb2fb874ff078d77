//! Rules that let the tests' tenants sign what nobody reads; one of their senders signs notes on Solana alone, one signs
//! once an hour and twice a day.

use std::path::Path;
use std::sync::Arc;

use sealstone_agent::assets::Actor;
use sealstone_agent::config::policy::PolicyConfig;
use sealstone_agent::rulebook::Rules;

const POLICY: &str = r#"version = 1
sanctions = "off"
[chains]
none = "opaque:0"
one = "opaque:1"
notes = "solana:900"
[currencies]
SOL = "solana:native"
[[senders]]
tenant = "acme"
asset = "*"
chains = ["none", "one"]
allow_opaque = true
[[senders]]
tenant = "acme"
session = "*"
chains = ["none", "one"]
allow_opaque = true
[[senders]]
tenant = "acme"
session = "notes"
chains = ["notes"]
currencies = ["SOL"]
fee = { SOL = "5000" }
[[senders]]
tenant = "acme"
session = "slow"
chains = ["none"]
allow_opaque = true
velocity = [{ over = "1h", count = 1 }, { over = "1d", count = 2 }]
"#;

/// The rules, in a file of this folder.
pub(crate) fn permissive(folder: &Path) -> Arc<Rules> {
    let file = folder.join("policy.toml");
    std::fs::write(&file, POLICY).unwrap();
    Arc::new(Rules::load(PolicyConfig { file, sanctions: None, prices: None }).unwrap())
}

/// Who acts in tests.
pub(crate) const OPERATOR: Actor<'static> = Actor { client: "operator", trace_id: "test" };
