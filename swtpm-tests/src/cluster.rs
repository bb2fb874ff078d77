//! Several nodes of one deployment, whose enclaves derive the same keys.
//!
//! Their enclaves are builds that take the root from their configuration, as long as no enclave can give its root to
//! another.

use crate::node::Node;

/// The build of the enclave that takes its root from its configuration.
const GIVEN_ROOT: &str = "sealstone-enclave-danger-given-root";

/// The state in which every node is.
const STATE: &str = "boot-1";

/// Nodes under one manifest, all running and ready.
#[derive(Debug)]
pub struct Cluster {
    /// Named `node-1`, `node-2` and so on.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// So many nodes. `configure` changes each node's files before anything runs.
    ///
    /// # Panics
    /// When something is missing.
    #[must_use]
    pub fn ready(count: usize, configure: impl Fn(&Node)) -> Self {
        let mut root = [0; 32];
        getrandom::fill(&mut root).expect("the system has randomness");
        let root = hex::encode(root);
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for number in 1..=count {
            let name = format!("node-{number}");
            let mut node = match nodes.first() {
                None => Node::init_as(&name, &["--new-authority", "alice"]),
                Some(first) => {
                    Node::init_as(&name, &["--authority", &first.path("alice.pub").display().to_string()])
                }
            };
            node.edit("enclave.toml", |text| format!("{text}danger_root = \"{root}\"\n"));
            configure(&node);
            node.run_enclave_program(GIVEN_ROOT);
            node.start_enclave();
            node.start_agent();
            nodes.push(node);
        }
        let manifests = propose(&nodes);
        // The first node takes each in turn; the others begin with the newest, which enrols them.
        for (index, manifest) in manifests.iter().enumerate() {
            let provision: &[&str] = if index == 0 { &["--provision", nodes[0].name()] } else { &[] };
            let _ = nodes[0].cli(&[&["manifest", "apply", manifest], provision].concat()).expect(0);
        }
        for node in &nodes[1..] {
            let newest = manifests.last().expect("there is one for each node");
            let _ = node.cli(&["manifest", "apply", newest, "--provision", node.name()]).expect(0);
        }
        for node in &nodes {
            node.await_ready(true);
        }
        Self { nodes }
    }
}

/// A manifest for the first node, and one more for each that joins, signed; absolute paths.
fn propose(nodes: &[Node]) -> Vec<String> {
    let mut manifests: Vec<String> = Vec::with_capacity(nodes.len());
    let authority = nodes[0].path("alice.key").display().to_string();
    for (index, node) in nodes.iter().enumerate() {
        let out = nodes[0].path(&format!("m{}.json", index + 1)).display().to_string();
        let what: &[&str] = match manifests.last() {
            None => &["--draft", "manifest.json", "--state", STATE],
            Some(before) => &["--from", before, "--add-node"],
        };
        let common = ["manifest", "propose", "--node", node.name(), "-o", &out];
        let _ = node.cli(&[&common[..], what].concat()).expect(0);
        let _ = nodes[0].cli(&["manifest", "sign", &out, "--key", &authority]).expect(0);
        manifests.push(out);
    }
    manifests
}
