//! Policies of the stories, and how refusals are held to their codes.

use std::process::Command;

use sealstone_swtpm_tests::http::Answer;
use sealstone_swtpm_tests::transactions::{USDC, reasons, usdc};
use sealstone_swtpm_tests::{Node, clients};

/// What all policies here define; `sanctions` is `off` or `required`.
pub(crate) fn policy(sanctions: &str, definitions: &str, entries: &str) -> String {
    format!(
        "version = 1\nsanctions = \"{sanctions}\"\n\n[chains]\nethereum = \"evm:1\"\n\n[currencies]\n\
         ETH = \"evm:1:native\"\nUSDC = \"evm:1:{USDC}\"\n\n{definitions}\n{entries}"
    )
}

/// An entry for payments of USDC by an asset of tenant `acme`, for the fee of each, with these rules.
pub(crate) fn entry(asset: &str, rules: &str) -> String {
    format!(
        "[[senders]]\ntenant = \"acme\"\nasset = \"{asset}\"\nchains = [\"ethereum\"]\ncurrencies = [\"USDC\"]\n\
         fee = {{ ETH = \"10000000\" }}\n{rules}\n\n"
    )
}

/// Transfers of USDC with the nonces from 0 on.
pub(crate) fn payments(amounts: &[u64]) -> Vec<Vec<u8>> {
    let made: Vec<_> = (0..).zip(amounts).map(|(nonce, amount)| usdc(nonce, *amount)).collect();
    clients::build(&made)
}

/// Holds an answer to its codes.
#[track_caller]
pub(crate) fn refused(answer: &Answer, codes: &[&str]) {
    let problem = answer.json();
    assert_eq!(answer.status, 403, "{problem}");
    assert_eq!((problem["code"].as_str(), reasons(&problem)), (Some(codes[0]), named(codes)), "{problem}");
}

/// Codes as they are read.
pub(crate) fn named(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

#[track_caller]
pub(crate) fn signed(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Makes a key pair, and says it as a policy names it: algorithm and public key.
pub(crate) fn key(node: &Node, name: &str, algorithm: &str) -> String {
    let _ = node.cli(&["authority", "new", name, "--algorithm", algorithm]).expect(0);
    // The compressed point, or the raw key, is the end of the SPKI encoding.
    let (command, length): (&[&str], usize) = match algorithm {
        "ES256" => (&["ec", "-conv_form", "compressed"], 33),
        _ => (&["pkey"], 32),
    };
    let output = Command::new("openssl")
        .args(command)
        .args(["-pubin", "-outform", "DER", "-in"])
        .arg(node.path(&format!("{name}.pub")))
        .output()
        .expect("this story needs openssl: apt-get install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let raw = hex::encode(&output.stdout[output.stdout.len() - length..]);
    format!("{{ algorithm = \"{algorithm}\", public_key = \"{raw}\" }}")
}
