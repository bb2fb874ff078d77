//! The text of `agent.toml` and `enclave.toml`.

use sealstone_attestation::AuthorityDigest;
use sealstone_wire::address::Address;
use sealstone_wire::channel::ChannelPublic;

/// Names of the files that `init` makes.
pub(super) const AGENT_KEY: &str = "agent.key";
/// The enclave's channel key.
pub(super) const ENCLAVE_KEY: &str = "enclave.key";
/// The enclave's TPM auth value.
pub(super) const CREDENTIAL: &str = "enclave.credential";
/// The agent's configuration.
pub(in crate::cmd) const AGENT_CONFIG: &str = "agent.toml";
/// The enclave's configuration.
pub(in crate::cmd) const ENCLAVE_CONFIG: &str = "enclave.toml";
/// The rules that requests are judged by.
pub(super) const POLICY: &str = "policy.toml";
/// The agent's own files. A folder of their own: its copy of the manifest is not the skeleton beside it.
pub(super) const STATE_DIR: &str = "state";
/// The skeleton of the first manifest.
pub(super) const MANIFEST: &str = "manifest.json";

/// `VMADDR_CID_ANY` (linux/vm_sockets.h): an enclave in a guest need not know the guest's own number.
const CID_ANY: u32 = u32::MAX;

/// What both configurations are made of.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) node: &'a str,
    pub(super) tcti: &'a str,
    pub(super) address: &'a Address,
    pub(super) authority: AuthorityDigest,
    pub(super) agent_public: ChannelPublic,
    pub(super) enclave_public: ChannelPublic,
    /// The user who makes the node.
    pub(super) owner: u32,
}

/// The agent's configuration.
pub(super) fn agent_toml(settings: &Settings<'_>) -> String {
    let Settings { node, tcti, address, authority: _, agent_public: _, enclave_public, owner } = settings;
    let clients = clients(*owner);
    let (node, tcti, address) = (quoted(node), quoted(tcti), quoted(&address.to_string()));
    format!(
        r#"# The host daemon of one node. Relative paths are relative to this file.

# The node's name in the manifest.
node = {node}

[enclave]
address = {address}
key_file = "{AGENT_KEY}"
# The enclave's channel key; `sealstone-enclave --public-key` prints it, `sealstone channel rotate` replaces it.
public_keys = ["{enclave_public}"]

[tpm]
tcti = {tcti}
# Evidence carries these logs when the files exist.
event_log = "/sys/kernel/security/tpm0/binary_bios_measurements"
ima_log = "/sys/kernel/security/ima/binary_runtime_measurements"

[api]
socket = "agent.sock"

# Who may ask what: nobody else, and nothing else. In production give each client the roles that it needs, and no two
# of signer, approver and admin to one.
{clients}[policy]
# What may be signed for whom: nothing but what this file permits. `docs/policy.md` describes it.
file = "{POLICY}"
# sanctions = "sanctions.list"
# prices = "prices.json"

[store]
path = "agent.db"

[state]
# The attestation key's blobs and the manifest in force.
dir = "{STATE_DIR}"
"#
    )
}

/// A policy that permits nothing yet.
pub(super) const POLICY_TEXT: &str = r#"# What may be signed for whom. What no entry permits is refused, so this file permits nothing yet: `sealstone policy check`
# reads it, `sealstone policy test` tries it, and the agent takes changes at SIGHUP or `sealstone policy reload`.
version = 1
sanctions = "off"

# [chains]
# ethereum = "evm:1"
#
# [currencies]
# ETH = "evm:1:native"
#
# [[senders]]
# tenant = "acme"
# asset = "hot"
# chains = ["ethereum"]
# currencies = ["ETH"]
# transaction = { ETH = "2000000000000000000" }
# rolling = [{ over = "24h", amounts = { ETH = "10000000000000000000" } }]
# fee = { ETH = "50000000000000000" }
"#;

/// The enclave's configuration.
pub(super) fn enclave_toml(settings: &Settings<'_>) -> String {
    let Settings { node: _, tcti: _, address, authority, agent_public, enclave_public: _, owner: _ } =
        settings;
    let listen = quoted(&listen_address(address).to_string());
    format!(
        r#"# The trusted process of one node. Relative paths are relative to this file.

listen = {listen}
channel_key_file = "{ENCLAVE_KEY}"
# The agent's channel key: no other agent may speak to this enclave.
agent_public_keys = ["{agent_public}"]
state_file = "enclave.state"
# The TPM auth value of the sealed root: only the enclave's user may read it.
credential_file = "{CREDENTIAL}"
# Who may provision this enclave; `sealstone authority digest` computes it.
authority = "{authority}"
"#
    )
}

/// Root and the user who makes the node, as clients who may do everything.
fn clients(owner: u32) -> String {
    let entry = |name: &str, uid: u32| {
        format!(
            "[[access.client]]\nname = \"{name}\"\nuid = {uid}\nroles = [\"signer\", \"operator\", \"approver\", \"auditor\", \"admin\"]\n\n"
        )
    };
    let root = entry("root", 0);
    if owner == 0 { root } else { root + &entry("owner", owner) }
}

/// Where the enclave listens when the agent dials `address`: the same socket, or inside a guest that port.
fn listen_address(address: &Address) -> Address {
    match address {
        Address::Unix { .. } => address.clone(),
        Address::Vsock { cid: _, port } | Address::UnixVsock { path: _, port } => {
            Address::Vsock { cid: CID_ANY, port: *port }
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
