//! Quotes that tpm2-tools take of a real swtpm, judged by `sealstone quote verify`, by `tpm2_checkquote` and by OpenSSL; and a
//! node's quote, handed to tpm2-tools.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};

use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::{Node, Swtpm};
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// A TPM and a folder in which tools are run.
struct Bench {
    folder: tempfile::TempDir,
    tpm: Swtpm,
}

/// A kind of attestation key, by what tpm2-tools call it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    algorithm: &'static str,
    scheme: &'static str,
    hash: &'static str,
}

const fn kind(algorithm: &'static str, scheme: &'static str, hash: &'static str) -> Kind {
    Kind { algorithm, scheme, hash }
}

const KINDS: [Kind; 6] = [
    kind("rsa", "rsassa", "sha256"),
    kind("rsa", "rsassa", "sha384"),
    kind("rsa", "rsapss", "sha256"),
    kind("ecc", "ecdsa", "sha256"),
    kind("ecc384", "ecdsa", "sha384"),
    kind("ecc", "ecdsa", "sha512"),
];

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tpm = Swtpm::start(&folder.path().join("tpm"));
        let bench = Self { folder, tpm };
        for index in [0, 7, 10, 16] {
            bench.tpm.extend(index, &[index]);
        }
        bench.done("tpm2_createek -c ek.ctx -G ecc -u ek.pub");
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn output(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let package = if program == "openssl" { "openssl" } else { "tpm2-tools" };
        Command::new(program)
            .args(words)
            .current_dir(self.path())
            .env("TPM2TOOLS_TCTI", self.tpm.tcti())
            .env("TSS2_LOG", "all+NONE")
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot run {program}: {error}; install it: apt-get install {package}")
            })
    }

    fn succeeds(&self, line: &str) -> bool {
        self.output(line).status.success()
    }

    /// Runs a tool that must succeed; the TPM has place for three objects, so none is left behind.
    fn done(&self, line: &str) {
        let output = self.output(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if line.starts_with("tpm2_") && !line.starts_with("tpm2_checkquote") {
            let flushed = self.output("tpm2_flushcontext -t");
            assert!(flushed.status.success(), "{}", String::from_utf8_lossy(&flushed.stderr));
        }
    }

    /// Makes an attestation key: `ak.ctx`, `ak.pub` (TPM2B_PUBLIC), `ak.pem` and `ak.der`.
    fn make_key(&self, Kind { algorithm, scheme, hash }: Kind) {
        self.done(&format!(
            "tpm2_createak -C ek.ctx -c ak.ctx -G {algorithm} -s {scheme} -g {hash} -u ak.pub -n ak.name"
        ));
        self.done("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
        self.done("openssl pkey -pubin -in ak.pem -pubout -outform DER -out ak.der");
    }

    /// Takes a quote: `q.msg`, `q.sig` and `q.pcrs`.
    fn quote(&self, kind: Kind, selection: &str, more: &str) {
        let Kind { scheme, hash, .. } = kind;
        self.done(&format!(
            "tpm2_quote -c ak.ctx -l {selection} -q {NONCE} -m q.msg -s q.sig -o q.pcrs -g {hash} --scheme {scheme} {more}"
        ));
    }

    /// `sealstone quote verify` of that quote.
    fn verify(&self, options: &str) -> (i32, Value) {
        let output = Command::new(binary("sealstone"))
            .args("quote verify --attest q.msg --signature q.sig --json".split(' '))
            .args(options.split_whitespace())
            .current_dir(self.path())
            .output()
            .unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), json)
    }

    fn accepted(&self, options: &str) -> Value {
        let (exit, json) = self.verify(options);
        assert_eq!((exit, &json["accepted"]), (0, &json!(true)), "{options}: {json}");
        json
    }

    fn refused(&self, options: &str, check: &str) {
        let (exit, json) = self.verify(options);
        assert_eq!((exit, &json["accepted"]), (1, &json!(false)), "{options}: {json}");
        assert_eq!(json["quote"], Value::Null, "nothing is said of a refused quote");
        let failed =
            json["checks"].as_array().unwrap().iter().any(|c| c["name"] == check && c["result"] == "failed");
        assert!(failed, "{check}: {json}");
    }

    /// What OpenSSL says of a plain signature over the quote.
    fn openssl_verifies(&self, Kind { scheme, hash, .. }: Kind, signature: &str) -> bool {
        let padding =
            if scheme == "rsapss" { "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:auto" } else { "" };
        self.succeeds(&format!("openssl dgst -{hash} -verify ak.pem {padding} -signature {signature} q.msg"))
    }

    /// What tpm2_checkquote says; that of tpm2-tools 5.4 cannot verify RSAPSS.
    fn checkquote(&self, hash: &str, nonce: &str) -> bool {
        self.succeeds(&format!("tpm2_checkquote -u ak.pem -m q.msg -s q.sig -f q.pcrs -g {hash} -q {nonce}"))
    }

    fn flip(&self, name: &str, at: usize) {
        let mut bytes = std::fs::read(self.path().join(name)).unwrap();
        bytes[at] ^= 1;
        std::fs::write(self.path().join(name), bytes).unwrap();
    }
}

#[test]
fn what_tpm2_quote_writes_is_judged_as_tpm2_checkquote_and_openssl_judge_it() {
    let bench = Bench::new();
    for kind in KINDS {
        bench.make_key(kind);
        for selection in
            ["sha256:0,1,2,3,4,5,6,7,10", "sha384:0,7", "sha512:7", "sha384:7+sha256:0,1,2,3,4,5,6,7,16"]
        {
            bench.quote(kind, selection, "");
            for key in ["--ak ak.pub", "--ak ak.pem --ak-trusted", "--ak ak.der --ak-trusted"] {
                let json = bench.accepted(&format!("{key} --nonce {NONCE} --pcrs q.pcrs"));
                assert_eq!(json["quote"]["nonce"], json!(NONCE));
                bench.accepted(&format!("{key} --nonce {NONCE}"));
            }
            bench.refused(&format!("--ak ak.pem --nonce {NONCE} --pcrs q.pcrs"), "ak.attributes");
            bench.refused(&format!("--ak ak.pub --nonce {NONCE}00 --pcrs q.pcrs"), "nonce.answered");
            if kind.scheme != "rsapss" {
                assert!(bench.checkquote(kind.hash, NONCE), "{kind:?} {selection}");
                assert!(!bench.checkquote(kind.hash, &format!("{NONCE}00")), "{kind:?} {selection}");
            }
            bench.quote(kind, selection, "-F values");
            bench.accepted(&format!("--ak ak.pub --nonce {NONCE} --pcrs q.pcrs"));
        }
        bench.quote(kind, "sha256:0,7", "-f plain");
        assert!(bench.openssl_verifies(kind, "q.sig"), "{kind:?}");
        for key in ["--ak ak.pub", "--ak ak.pem --ak-trusted"] {
            bench.accepted(&format!("{key} --nonce {NONCE} --pcrs q.pcrs"));
        }
        bench.flip("q.sig", 40);
        assert!(!bench.openssl_verifies(kind, "q.sig"), "{kind:?}");
        bench.refused(&format!("--ak ak.pub --nonce {NONCE} --pcrs q.pcrs"), "signature.valid");
    }
}

#[test]
fn what_was_changed_is_refused_as_tpm2_checkquote_refuses_it() {
    let bench = Bench::new();
    for kind in [KINDS[0], KINDS[3]] {
        bench.make_key(kind);
        let usual = format!("--ak ak.pub --nonce {NONCE} --pcrs q.pcrs");
        for (file, at, check) in [
            ("q.msg", 0, "quote.magic"),
            ("q.msg", 5, "quote.type"),
            ("q.msg", 60, "signature.valid"),
            ("q.sig", 30, "signature.valid"),
            ("q.pcrs", 132 + 4 + 4 + 2, "pcr.digest"),
        ] {
            bench.quote(kind, "sha256:0,7,10", "");
            bench.accepted(&usual);
            bench.flip(file, at);
            bench.refused(&usual, check);
            assert!(!bench.checkquote(kind.hash, NONCE), "{kind:?} {file} {at}");
        }
        // Another key's quote.
        bench.quote(kind, "sha256:0,7", "");
        bench.make_key(kind);
        bench.refused(&usual, "signature.valid");
        assert!(!bench.checkquote(kind.hash, NONCE));
    }
}

/// Where we are stricter than tpm2_checkquote on purpose.
#[test]
fn what_tpm2_checkquote_accepts_and_we_do_not() {
    let bench = Bench::new();
    let kind = KINDS[0];
    bench.make_key(kind);
    bench.quote(kind, "sha1:0,7", "");
    assert!(bench.checkquote(kind.hash, NONCE));
    bench.refused(&format!("--ak ak.pub --nonce {NONCE} --pcrs q.pcrs"), "selection.sha2");

    bench.done("tpm2_quote -c ak.ctx -l sha256:0,7 -m q.msg -s q.sig -o q.pcrs -g sha256");
    assert!(bench.succeeds("tpm2_checkquote -u ak.pem -m q.msg -s q.sig -f q.pcrs -g sha256"));
    bench.refused("--ak ak.pub --nonce= --pcrs q.pcrs", "nonce.answered");

    // A key that signs whatever it is given: a software quote by it verifies, too.
    bench.done("tpm2_createprimary -C o -c primary.ctx");
    bench.done("tpm2_create -C primary.ctx -G rsa2048:rsassa:null -u key.pub -r key.priv -a sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth");
    bench.done("tpm2_load -C primary.ctx -u key.pub -r key.priv -c ak.ctx");
    bench.done("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
    bench.quote(kind, "sha256:0,7", "");
    assert!(bench.checkquote(kind.hash, NONCE));
    bench.refused(&format!("--ak key.pub --nonce {NONCE} --pcrs q.pcrs"), "ak.attributes");

    let signs_sha1 = Kind { hash: "sha1", ..kind };
    bench.done("tpm2_createak -C ek.ctx -c ak.ctx -G rsa -s rsassa -g sha1 -u ak.pub -n ak.name");
    bench.done("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
    bench.quote(signs_sha1, "sha256:0,7", "");
    bench.refused(&format!("--ak ak.pub --nonce {NONCE} --pcrs q.pcrs"), "signature.scheme");
    bench.refused(&format!("--ak ak.pem --ak-trusted --nonce {NONCE} --pcrs q.pcrs"), "signature.scheme");
}

/// Values of PCRs are JSON as well; more, fewer and others than quoted are refused.
#[test]
fn values_as_json_must_be_exactly_those_that_were_quoted() {
    let bench = Bench::new();
    let kind = KINDS[3];
    bench.make_key(kind);
    bench.quote(kind, "sha256:7,16", "");
    let usual = format!("--ak ak.pub --nonce {NONCE} --pcrs pcrs.json");
    let raw = std::fs::read(bench.path().join("q.pcrs")).unwrap();
    let value = |at: usize| -> String {
        let from = 132 + 4 + 4 + at * 66 + 2;
        raw[from..from + 32].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let with = |values: Value| std::fs::write(bench.path().join("pcrs.json"), values.to_string()).unwrap();
    with(json!({"sha256": {"7": value(0), "16": value(1)}}));
    let accepted = bench.accepted(&usual);
    assert_eq!(accepted["quote"]["pcrs"], json!({"sha256": {"7": value(0)}}), "PCR 16 can be reset");
    assert!(accepted["warnings"].to_string().contains("PCR 16"), "{accepted}");
    for (values, check) in [
        (json!({"sha256": {"7": value(0)}}), "pcr.values"),
        (json!({}), "pcr.values"),
        (json!({"sha256": {"7": value(0), "16": value(1), "8": value(1)}}), "pcr.values"),
        (json!({"sha256": {"7": value(1), "16": value(0)}}), "pcr.digest"),
    ] {
        with(values);
        bench.refused(&usual, check);
    }
    // An auditor without a TPM has nothing to reset: what cannot be read is said to be unusable.
    for text in ["", "{", "[]", "{\"sha256\":{\"7\":\"00\"}}"] {
        std::fs::write(bench.path().join("pcrs.json"), text).unwrap();
        let (exit, json) = bench.verify(&usual);
        assert_eq!(exit, 2, "{json}");
    }
    for bad in ["--ak q.msg", "--ak q.pcrs", "--ak absent"] {
        let (exit, json) = bench.verify(&format!("{bad} --nonce {NONCE}"));
        assert_eq!(exit, 2, "{json}");
    }
    let (exit, json) = bench.verify("--ak ak.pub --nonce xyz");
    assert_eq!((exit, &json["error"]["code"]), (2, &json!("NONCE")));
}

#[test]
fn a_nodes_quote_is_accepted_by_tpm2_checkquote() {
    let node = Node::ready();
    let written =
        node.cli(&["attest", "--nonce", NONCE, "--format", "tpm2-tools", "quote", "--json"]).expect(0).json();
    let folder = node.path("quote");
    let command = written["command"].as_str().unwrap();
    let readme = std::fs::read_to_string(folder.join("README")).unwrap();
    assert!(readme.contains(command), "{readme}");
    let run = |command: &str| Command::new("sh").args(["-c", command]).current_dir(&folder).output().unwrap();
    let checked = run(command);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let by_area = run(&command.replace("ak.pem", "ak.pub"));
    assert!(by_area.status.success(), "{}", String::from_utf8_lossy(&by_area.stderr));
    assert!(!run(&command.replace("$(cat nonce.hex)", "00ff")).status.success());

    let nonce = std::fs::read_to_string(folder.join("nonce.hex")).unwrap();
    let verified = node.cli(&[
        "quote",
        "verify",
        "--attest",
        "quote/quote.msg",
        "--signature",
        "quote/quote.sig",
        "--ak",
        "quote/ak.pub",
        "--pcrs",
        "quote/pcrs.bin",
        "--nonce",
        &nonce,
        "--json",
    ]);
    assert_eq!(verified.expect(0).json()["accepted"], json!(true));
}
