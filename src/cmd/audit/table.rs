//! Records as a table of comma-separated values (RFC 4180).

use sealstone_attestation::UnixTime;
use sealstone_attestation::audit::Record;
use sealstone_wire::api::AuditEntry;

/// The columns.
const COLUMNS: [&str; 25] = [
    "node",
    "index",
    "time",
    "time_ms",
    "kind",
    "code",
    "reasons",
    "client",
    "tenant",
    "sender",
    "chain_id",
    "nonce",
    "request",
    "policy",
    "key_id",
    "epoch",
    "binding",
    "signer",
    "session",
    "trace_id",
    "receipt_era",
    "receipt_sequence",
    "receipt_hash",
    "manifest",
    "detail",
];

/// Records, with a head if they are the first.
pub(super) fn csv(entries: &[AuditEntry], first: bool) -> String {
    const INTO_MEMORY: &str = "memory takes what is written to it";
    let mut writer = csv::Writer::from_writer(Vec::new());
    if first {
        writer.write_record(COLUMNS).expect(INTO_MEMORY);
    }
    for entry in entries {
        writer.write_record(row(entry)).expect(INTO_MEMORY);
    }
    String::from_utf8(writer.into_inner().expect(INTO_MEMORY)).expect("texts are UTF-8")
}

fn row(entry: &AuditEntry) -> [String; COLUMNS.len()] {
    let AuditEntry { node, index, record } = entry;
    let Record {
        time_ms,
        kind,
        code,
        reasons,
        client,
        tenant,
        sender,
        chain_id,
        nonce,
        request,
        policy,
        key_id,
        epoch,
        binding,
        signer,
        session,
        trace_id,
        receipt,
        manifest,
        detail,
    } = record;
    let text = |text: &Option<String>| text.as_deref().map(harmless).unwrap_or_default();
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    [
        harmless(node),
        index.to_string(),
        UnixTime::from_secs(time_ms / 1000).to_string(),
        time_ms.to_string(),
        kind.to_string(),
        text(code),
        harmless(&reasons.join(" ")),
        text(client),
        text(tenant),
        text(sender),
        written(chain_id.as_ref()),
        written(nonce.as_ref()),
        written(request.as_ref()),
        written(policy.as_ref()),
        // Base64url may begin with a minus.
        harmless(&written(key_id.as_ref())),
        written(epoch.as_ref()),
        written(binding.as_ref()),
        text(signer),
        written(session.as_ref()),
        text(trace_id),
        written(receipt.as_ref().map(|receipt| receipt.era).as_ref()),
        written(receipt.as_ref().map(|receipt| receipt.sequence).as_ref()),
        written(receipt.as_ref().map(|receipt| receipt.hash).as_ref()),
        written(manifest.as_ref()),
        text(detail),
    ]
}

fn written(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// A text that others chose, so that no spreadsheet takes it for a formula (OWASP, CSV injection): what begins as one
/// does gets an apostrophe in front.
fn harmless(text: &str) -> String {
    // Full-width signs are taken for the plain ones in some languages.
    let formula =
        |first: char| matches!(first, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    // What is trimmed before it is read.
    let first = text.trim_start_matches([' ', '\u{a0}', '\u{feff}', '\0']).chars().next();
    if first.is_some_and(formula) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use sealstone_attestation::audit::RecordKind;

    use super::*;

    #[test]
    fn no_text_of_a_record_becomes_a_formula() {
        for text in [
            "=HYPERLINK(\"http://evil\",\"x\")",
            "+1+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            " =1",
            "\u{feff}=1",
            "＝1",
        ] {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        for text in ["", "acme", "a=b", "1-2", "'", "hot\n=1"] {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn a_table_is_read_back_as_it_was_meant() {
        let record = Record {
            client: Some("=cmd|' /C calc'!A0".to_owned()),
            tenant: Some("a,\"b\"\nc".to_owned()),
            nonce: Some(7),
            ..Record::new(1_795_230_000_123, RecordKind::Refused)
        };
        let text = csv(&[AuditEntry { node: "node-1".to_owned(), index: 3, record }], true);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap().len(), COLUMNS.len());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1);
        let found: Vec<&str> = [0, 1, 2, 4, 7, 8, 11].map(|column| rows[0].get(column).unwrap()).to_vec();
        let expected =
            ["node-1", "3", "2026-11-21T03:00:00Z", "refused", "'=cmd|' /C calc'!A0", "a,\"b\"\nc", "7"];
        assert_eq!(found, expected);
    }
}
