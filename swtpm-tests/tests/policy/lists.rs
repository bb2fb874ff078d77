//! What a policy looks up: the Treasury's sanctions list, and prices that its own people sign.

use sealstone_agent::clock;
use sealstone_attestation::UnixTime;
use sealstone_swtpm_tests::transactions::{BOB, USDC, call, erc20, evm_body, reasons, sign};
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, clients, trail};
use serde_json::{Value, json};

use crate::support::{entry, key, named, payments, policy, refused, signed};

/// Invented people who are listed: two in the list, one in a remark's end, one by an alias.
const LISTED: &str = "0xE7E7E7E7E7E7E7E7E7E7E7E7E7E7E7E7E7E7E7E7";
const AFTER_THE_CUT: &str = "0xd4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4";
const TOKEN: &str = "0xc0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";

/// Bytes at which the Treasury cuts a remark.
const REMARK_CUT: usize = 1000;

/// Files in the columns that the Treasury publishes: number, name, type, programme, title, call sign, vessel's type,
/// tonnage, gross tonnage, flag, owner, remarks. `-0- ` is nothing.
fn publish(node: &Node) {
    let row = |number: u32, name: &str, kind: &str, programme: &str, remarks: &str| {
        let nothing = ["-0- "; 7].join(",");
        let remarks = if remarks.is_empty() { "-0- ".to_owned() } else { format!("\"{remarks}\"") };
        format!("{number},\"{name}\",{kind},\"{programme}\",{nothing},{remarks}\r\n")
    };
    let person = "\"individual\"";
    let mut long = "DOB 03 Mar 1983; nationality Ruritania; Gender Male; ".to_owned();
    while long.len() < REMARK_CUT {
        long.push_str("a.k.a. 'SHADE'; Passport R0000001 (Ruritania); ");
    }
    let (begin, end) = long.split_at(REMARK_CUT);
    let sdn = [
        row(101, "EXAMPLE TRADING HOUSE", "-0- ", "RURITANIA", "(Linked To: EXAMPLE BANK)."),
        row(102, "MALLORY, Eve", person, "CYBER2", &format!(
            "DOB 01 Jan 1980; POB Strelsau; Digital Currency Address - XBT 1BoatSLRHtKNngkdXEeobR76b53LETtpyT; \
             Digital Currency Address - ETH {LISTED}; Secondary sanctions risk: none."
        )),
        row(103, "SHADE, Dan", person, "CYBER2", begin),
        row(104, "EXAMPLE TOKEN", "-0- ", "CYBER2", &format!("Digital Currency Address - ETH {TOKEN}.")),
        // A vessel has the columns between.
        "105,\"S.S. EXAMPLE\",\"vessel\",\"RURITANIA\",-0- ,\"RUR1\",\"Crude Oil Tanker\",\"10,000\",\"5,000\",\"Ruritania\",-0- ,\"IMO 0000000.\"\r\n\x1a".to_owned(),
    ];
    std::fs::write(node.path("sdn.csv"), sdn.concat()).unwrap();
    let rest = format!("103,\"{end}Digital Currency Address - ETH {AFTER_THE_CUT}.\"\r\n\x1a");
    std::fs::write(node.path("sdn_comments.csv"), rest).unwrap();
}

#[test]
fn whom_the_published_list_names_receives_nothing() {
    let mut node = Node::ready_under(&policy("required", "", &entry("hot", "")));
    node.create_asset("hot", "ES256K");
    let to = |address: &str| call(0, USDC, &erc20("a9059cbb", address, 1));
    let payloads =
        clients::build(&[to(BOB), to(LISTED), to(AFTER_THE_CUT), call(0, TOKEN, &erc20("a9059cbb", BOB, 1))]);
    let pay = |node: &Node, number: usize| sign(node, &evm_body("hot", 0, &payloads[number]));
    refused(&pay(&node, 0), &["SANCTIONS_UNAVAILABLE"]);

    publish(&node);
    let import = |files: &[&str]| {
        let arguments =
            [&["policy", "sanctions", "import"], files, &["-o", "sanctions.list", "--json"]].concat();
        node.cli(&arguments)
    };
    let cut = import(&["sdn.csv"]).expect(2);
    assert!(cut.stderr.contains("entity 103") || cut.stdout.contains("entity 103"), "{cut:?}");
    assert_eq!(import(&["sdn.csv", "sdn_comments.csv"]).expect(0).json()["addresses"], 4);
    node.edit("agent.toml", |text| text.replace("# sanctions =", "sanctions ="));
    node.restart_agent();
    refused(&pay(&node, 1), &["RECIPIENT_SANCTIONED"]);
    refused(&pay(&node, 2), &["RECIPIENT_SANCTIONED"]);
    refused(&pay(&node, 3), &["CURRENCY_UNKNOWN", "RECIPIENT_SANCTIONED"]);
    signed(&pay(&node, 0));

    // A damaged list is none, and an agent without its list does not start.
    let list = node.path("sanctions.list");
    let mut bytes = std::fs::read(&list).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&list, bytes).unwrap();
    node.kill_agent();
    does_not_start(&node, "sanctions.list");
}

/// Starts an agent that cannot use its rules, and waits for its end.
fn does_not_start(node: &Node, said: &str) {
    let output = std::process::Command::new(sealstone_swtpm_tests::process::binary("sealstone-agent"))
        .arg("--config")
        .arg(node.path("agent.toml"))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{log}");
    assert!(log.contains(said), "{log}");
}

/// Signs prices of ETH and USDC that hold from `from` to `until`, in seconds from now.
fn prices(node: &Node, signer: &str, from: i64, until: i64, currencies: &[Value]) {
    let now = i64::try_from(clock::now().as_secs()).unwrap();
    let at = |offset: i64| UnixTime::from_secs(u64::try_from(now + offset).unwrap()).to_string();
    let list = json!({
        "reference": "USD", "decimals": 2, "issued_at": at(from), "expires_at": at(until), "prices": currencies,
    });
    std::fs::write(node.path("prices.list"), list.to_string()).unwrap();
    let key = format!("{signer}.key");
    let _ =
        node.cli(&["policy", "prices", "sign", "prices.list", "--key", &key, "-o", "prices.json"]).expect(0);
}

#[test]
fn limits_in_the_reference_currency_need_prices_that_hold() {
    let mut node = Node::init();
    let [pricer, _stranger] = ["pricer", "stranger"].map(|name| key(&node, name, "EdDSA"));
    let definitions = format!(
        "[reference]\nname = \"USD\"\ndecimals = 2\n\n[prices]\nthreshold = 1\nkeys = [{}]\n",
        pricer.replace("{ algorithm", "{ name = \"pricer\", algorithm")
    );
    node.set_policy(&policy("off", &definitions, &entry("hot", r#"transaction = { USD = "1000" }"#)));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("hot", "ES256K");
    // A cent is ten thousand units; what the fee is worth is rounded up to one more cent.
    let payloads = payments(&[9_990_000, 9_990_001]);
    let pay = |node: &Node, number: usize| sign(node, &evm_body("hot", number as u64, &payloads[number]));
    refused(&pay(&node, 0), &["PRICE_UNAVAILABLE"]);

    node.edit("agent.toml", |text| text.replace("# prices =", "prices ="));
    let eth = json!({"currency": "ETH", "numerator": "310055", "denominator": "1000000000000000000"});
    let usdc = json!({"currency": "USDC", "numerator": "1", "denominator": "10000"});
    for (what, from, until, currencies) in [
        ("expired", -7200, -3600, vec![eth.clone(), usdc.clone()]),
        ("not yet", 3600, 7200, vec![eth.clone(), usdc.clone()]),
        ("without the fee's", -60, 3600, vec![usdc.clone()]),
    ] {
        prices(&node, "pricer", from, until, &currencies);
        node.restart_agent();
        let answer = pay(&node, 0);
        assert_eq!(reasons(&answer.json()), named(&["PRICE_UNAVAILABLE"]), "{what}: {answer:?}");
    }
    prices(&node, "pricer", -60, 3600, &[eth.clone(), usdc.clone()]);
    node.restart_agent();
    refused(&pay(&node, 1), &["TRANSACTION_LIMIT_EXCEEDED"]);
    signed(&pay(&node, 0));
    // Each file that came into force is in the log, by its digest, and the one that is in force in the status.
    let digest = node.try_get("/v1/status").unwrap().json()["rules"]["prices"]["digest"].clone();
    let loaded: Vec<_> =
        trail::records(&node).into_iter().filter(|record| record["kind"] == "prices_loaded").collect();
    assert_eq!(loaded.len(), 4, "{loaded:?}");
    assert_eq!(loaded[3]["detail"], format!("sha256 {}", digest.as_str().unwrap()));

    prices(&node, "stranger", -60, 3600, &[eth, usdc]);
    node.kill_agent();
    does_not_start(&node, "prices.json");
    until("the socket to be nobody's", || node.try_get("/healthz").is_none().then_some(()));
}
