//! Several nodes of one deployment.

use sealstone_swtpm_tests::cluster::Cluster;
use serde_json::Value;

/// The three enclaves have one root: what one signs, the others could have signed.
#[test]
fn every_node_of_a_deployment_derives_the_same_keys() {
    let cluster = Cluster::ready(3, |_| {});
    let keys: Vec<Value> =
        cluster.nodes.iter().map(|node| node.create_asset("hot", "ES256K")["public_key"].clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0] && key.is_string()), "{keys:?}");
    let signatures: Vec<Value> = cluster
        .nodes
        .iter()
        .map(|node| node.sign("hot", 1, b"payload").json()["signature"].clone())
        .collect();
    assert!(signatures.iter().all(|signature| *signature == signatures[0] && signature.is_string()));
}
