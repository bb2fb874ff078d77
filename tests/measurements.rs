//! Stories of measurement lists, from files alone.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::Desk;

/// What the kernel's developers show of a machine without a TPM.
const FIRST: &str = "10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ng sha256:\
                     0000000000000000000000000000000000000000000000000000000000000000 boot_aggregate\n";

/// PCR 10 of the SHA-256 bank after it: the entry's data as the kernel hashes them, then one extend.
fn pcr10() -> String {
    let digest = [b"sha256:\0".as_slice(), &[0; 32]].concat();
    let name = b"boot_aggregate\0";
    let data = [&40_u32.to_le_bytes()[..], &digest, &15_u32.to_le_bytes(), name].concat();
    hex(&Sha256::digest([&[0; 32][..], &Sha256::digest(data)].concat()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ima(desk: &Desk, list: &[u8], options: &str) -> (i32, Value) {
    desk.write("list", list);
    let outcome = desk.run(&format!("ima list {options}"));
    (outcome.exit, outcome.json)
}

#[test]
fn a_list_is_read_and_replayed() {
    let desk = Desk::new();
    let (exit, json) = ima(&desk, FIRST.as_bytes(), "");
    assert_eq!(exit, 0, "{json}");
    assert_eq!((&json["entries"], &json["violations"]), (&json!(1), &json!(0)));
    assert_eq!(json["pcr10"]["sha256"], json!(pcr10()));
    assert_eq!(json["boot_aggregate"], json!(format!("sha256:{}", "00".repeat(32))));
    assert_eq!((&json["format"], &json["bank"]), (&json!("ascii"), &json!("sha1")));
    assert_eq!(json["templates"], json!({"ima-ng": 1}));

    let (exit, json) = ima(&desk, b"", "");
    assert_eq!((exit, &json["entries"], &json["boot_aggregate"]), (0, &json!(0), &Value::Null));
    assert_eq!(json["pcr10"]["sha256"], json!("00".repeat(32)));
}

#[test]
fn a_list_is_held_to_values_of_pcrs() {
    let desk = Desk::new();
    let with = |values: Value| {
        desk.write("pcrs.json", values.to_string());
        ima(&desk, FIRST.as_bytes(), "--pcrs pcrs.json")
    };
    let (exit, json) = with(json!({"sha256": {"10": pcr10()}}));
    assert_eq!((exit, &json["verdict"]["accepted"]), (0, &json!(true)), "{json}");
    for other in [json!({"sha256": {"10": "00".repeat(32)}}), json!({"sha256": {"9": pcr10()}}), json!({})] {
        let (exit, json) = with(other);
        assert_eq!((exit, &json["verdict"]["accepted"]), (1, &json!(false)), "{json}");
    }
    let (exit, json) = with(json!({"sha256": {"10": "00"}}));
    assert_eq!((exit, &json["error"]["code"]), (2, &json!("PCR_VALUES")));
}

#[test]
fn data_that_do_not_hash_to_their_digest_are_refused() {
    let desk = Desk::new();
    let (exit, json) = ima(&desk, FIRST.replace("boot_aggregate", "boot_aggregatf").as_bytes(), "");
    assert_eq!((exit, &json["template_digest_mismatches"]), (1, &json!(1)));
    assert_eq!(json["mismatches"][0], json!({"at": "line 1", "name": "boot_aggregatf"}));
}

#[test]
fn a_file_that_is_no_list_is_unusable_and_the_place_and_reason_are_said() {
    let desk = Desk::new();
    for (bytes, place) in [
        (b"this-is-an-invalid-ima-log-file\n".to_vec(), "at line 1: expected"),
        ([FIRST.as_bytes(), b"10 00\n"].concat(), "at line 2: expected"),
        (vec![0x0a, 0, 0, 0, 1], "at offset 0: expected"),
        (vec![0; 100], "at offset 0: expected"),
        (b"\x7fELF".to_vec(), "at line 1: expected"),
    ] {
        let (exit, json) = ima(&desk, &bytes, "");
        assert_eq!((exit, &json["error"]["code"]), (2, &json!("IMA_LIST")), "{json}");
        let detail = json["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(place), "{detail}");
    }
    assert_eq!(desk.run("ima absent").exit, 2);
}
