//! `sealstone audit query`: search a node's audit log.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_attestation::{KeyId, RequestDigest, UnixTime};
use sealstone_wire::PathText;
use sealstone_wire::api::{AuditEntry, AuditPage};
use serde_json::json;

use super::table;
use crate::agent::{Agent, Bounds};
use crate::cmd::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{Answer, json_of, shown};
use crate::query::Query;

/// Pages that `--all` reads: a hundred million records. Each is written before the next is asked for.
const PAGES_MAX: usize = 100_000;

/// Records of one page, unless the command line says otherwise.
const LIMIT: u64 = 100;

#[derive(Debug, clap::Args)]
pub(in crate::cmd) struct QueryArgs {
    /// Not before this time, such as 2026-11-21T03:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<UnixTime>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<UnixTime>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<PathText>,
    /// Only of this asset, or sender of keys for one use
    #[arg(long)]
    sender: Option<PathText>,
    /// Only of this kind, such as signed or refused
    #[arg(long)]
    kind: Option<RecordKind>,
    /// Only with this code, such as RECIPIENT_NOT_ALLOWED
    #[arg(long)]
    code: Option<PathText>,
    /// Only of this client
    #[arg(long)]
    client: Option<PathText>,
    /// Only with this key
    #[arg(long)]
    key_id: Option<KeyId>,
    /// Only of this request
    #[arg(long, value_name = "DIGEST")]
    request: Option<RequestDigest>,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
    /// One page of at most so many, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// The page after the one that ended with this
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Every page
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    all: bool,
    /// How records are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where they are written, instead of standard output; an older file is replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people
    Text,
    /// One object, as the agent answers
    Json,
    /// One object on each line
    Jsonl,
    /// A table (RFC 4180) that no spreadsheet takes for formulas
    Csv,
}

pub(super) fn run(args: &QueryArgs, context: &Context, as_json: bool) -> Result<Answer, Failure> {
    let agent = context.agent()?;
    if args.all {
        return all(&agent, args, as_json);
    }
    let page = asked(&agent, args, Some(args.limit.unwrap_or(LIMIT)), args.after.clone())?;
    let mut text = written(&page, args.format);
    let Some(path) = &args.output else {
        if let (Format::Text, Some(next)) = (args.format, &page.next) {
            text.push_str(&format!("more: --after {}\n", shown(next)));
        }
        return Ok(Answer::done(json_of(&page), text));
    };
    files::replace(path, "records", text.as_bytes())?;
    let count = page.records.len();
    let more = page.next.as_ref().map_or_else(String::new, |next| format!("; more: --after {}", shown(next)));
    let said = format!("{count} records in {}{more}\n", path.display());
    Ok(Answer::done(json!({"records": count, "file": path, "next": page.next}), said))
}

/// Every page, each written before the next is asked for: a log is longer than memory.
fn all(agent: &Agent, args: &QueryArgs, as_json: bool) -> Result<Answer, Failure> {
    let Some(path) = &args.output else {
        let format = if as_json { Format::Json } else { args.format };
        let mut out = io::stdout().lock();
        match pages(agent, args, format, &mut out)? {
            Written::All { .. } | Written::Unread => return Ok(Answer::written()),
            Written::Failed(error) => return Err(unwritten("standard output", &error)),
        }
    };
    let count = files::replace_by(path, "records", |file| match pages(agent, args, args.format, file)? {
        Written::All { count } => Ok(count),
        Written::Unread => Err(unwritten(&path.display().to_string(), &io::ErrorKind::BrokenPipe.into())),
        Written::Failed(error) => Err(unwritten(&path.display().to_string(), &error)),
    })?;
    let said = format!("{count} records in {}\n", path.display());
    Ok(Answer::done(json!({"records": count, "file": path, "next": null}), said))
}

/// How far pages were written.
enum Written {
    All {
        count: usize,
    },
    /// Whoever read them left, as `head` does: nothing is wrong.
    Unread,
    Failed(io::Error),
}

fn pages(agent: &Agent, args: &QueryArgs, format: Format, out: &mut dyn Write) -> Result<Written, Failure> {
    let (mut after, mut count) = (None, 0);
    for _ in 0..PAGES_MAX {
        let page = asked(agent, args, Some(1000), after.take())?;
        let text = part(&page, format, count == 0);
        count += page.records.len();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Written::Unread),
            Err(error) => return Ok(Written::Failed(error)),
        }
        if page.next.is_none() {
            return Ok(Written::All { count });
        }
        after = page.next;
    }
    Err(Failure::unusable(
        "TOO_MANY",
        format!("expected at most {PAGES_MAX} pages, found more"),
        "ask for less with the filters",
    ))
}

/// One page of many.
fn part(page: &AuditPage, format: Format, first: bool) -> String {
    let last = page.next.is_none();
    match format {
        Format::Json => {
            let mut text = if first { "{\"records\":[".to_owned() } else { String::new() };
            for (place, entry) in page.records.iter().enumerate() {
                let comma = if first && place == 0 { "" } else { "," };
                text.push_str(&format!("{comma}{}", json_of(entry)));
            }
            if last {
                text.push_str("]}\n");
            }
            text
        }
        Format::Csv => table::csv(&page.records, first),
        Format::Text if page.records.is_empty() && !first => String::new(),
        Format::Text | Format::Jsonl => written(page, format),
    }
}

fn unwritten(to: &str, error: &io::Error) -> Failure {
    Failure::unusable(
        "OUTPUT",
        format!("expected to write records to {to}, found: {error}"),
        "give another file, or make room",
    )
}

fn asked(
    agent: &Agent,
    args: &QueryArgs,
    limit: Option<u64>,
    after: Option<String>,
) -> Result<AuditPage, Failure> {
    let query = Query::of("/v1/audit")
        .with("from", args.from)
        .with("until", args.until)
        .with("tenant", args.tenant.as_ref())
        .with("sender", args.sender.as_ref())
        .with("kind", args.kind)
        .with("code", args.code.as_ref())
        .with("client", args.client.as_ref())
        .with("key_id", args.key_id)
        .with("request", args.request)
        .with("newest_first", args.newest_first.then_some(true))
        .with("limit", limit)
        .with("after", after);
    agent.get(query.target(), Bounds::List)
}

fn written(page: &AuditPage, format: Format) -> String {
    match format {
        Format::Text if page.records.is_empty() => "no records\n".to_owned(),
        Format::Text => page.records.iter().map(line).collect(),
        Format::Json => format!("{}\n", json_of(page)),
        Format::Jsonl => page.records.iter().map(|entry| format!("{}\n", json_of(entry))).collect(),
        Format::Csv => table::csv(&page.records, true),
    }
}

fn line(entry: &AuditEntry) -> String {
    let AuditEntry { node, index, record } = entry;
    let Record { time_ms, kind, code, client, tenant, sender, chain_id, nonce, detail, .. } = record;
    let mut text = format!("{}  {}/{index}  {kind}", UnixTime::from_secs(time_ms / 1000), shown(node));
    if let Some(code) = code {
        text.push_str(&format!("  {}", shown(code)));
    }
    if let (Some(tenant), Some(sender)) = (tenant, sender) {
        text.push_str(&format!("  {}/{}", shown(tenant), shown(sender)));
    }
    for (name, number) in [("chain", chain_id), ("nonce", nonce)] {
        if let Some(number) = number {
            text.push_str(&format!("  {name} {number}"));
        }
    }
    for (name, said) in [("by", client), ("", detail)] {
        if let Some(said) = said {
            text.push_str(&format!("  {name}{}{}", if name.is_empty() { "" } else { " " }, shown(said)));
        }
    }
    text.push('\n');
    text
}
