//! The command tree: what can be typed, and which file does it.

mod approve;
mod asset;
mod attest;
mod audit;
mod authority;
mod challenge;
mod channel;
mod doctor;
mod ek;
mod enroll;
mod eventlog;
mod ima;
mod init;
mod judge;
mod key;
mod lock;
mod manifest;
mod nonces;
mod pcr_file;
mod policy;
mod quote;
mod reservation;
mod sign;
mod status;
mod verdict;
mod verify;

use std::path::Path;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use sealstone_attestation::UnixTime;

use crate::agent::Agent;
use crate::endpoint::Options;
use crate::failure::{Exit, Failure};
use crate::output::{self, Answer};

/// Operate a hardware-attested enclave signer, and verify its evidence.
#[derive(Debug, Parser)]
#[command(
    name = "sealstone",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done or accepted; 1 refused by a check or a policy; 2 unusable input, configuration or\n\
                  environment. Start with `sealstone init --help`."
)]
pub(crate) struct Cli {
    /// Print one JSON object on standard output, errors included
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    #[command(flatten)]
    agent: Options,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Args),
    #[command(subcommand)]
    Authority(authority::Verb),
    #[command(subcommand)]
    Manifest(manifest::Verb),
    #[command(subcommand)]
    Asset(asset::Verb),
    #[command(subcommand)]
    Reservation(reservation::Verb),
    #[command(subcommand)]
    Nonces(nonces::Verb),
    Sign(sign::Args),
    Approve(approve::Args),
    Key(key::Args),
    #[command(subcommand)]
    Challenge(challenge::Verb),
    Attest(attest::Args),
    Verify(verify::Args),
    #[command(subcommand)]
    Verdict(verdict::Verb),
    #[command(subcommand)]
    Quote(quote::Verb),
    Eventlog(eventlog::Args),
    Ima(ima::Args),
    #[command(subcommand)]
    Ek(ek::Verb),
    #[command(subcommand)]
    Enroll(enroll::Verb),
    #[command(subcommand)]
    Audit(audit::Verb),
    Status(status::Args),
    Doctor(doctor::Args),
    Lock(lock::Args),
    #[command(subcommand)]
    Channel(channel::Verb),
    #[command(subcommand)]
    Policy(policy::Verb),
}

/// What every command may need from around it.
#[derive(Debug)]
struct Context {
    agent: Options,
}

impl Context {
    /// The agent, for commands that talk to it.
    fn agent(&self) -> Result<Agent, Failure> {
        self.agent.endpoint().map(Agent::at)
    }
}

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Result<Answer, Failure> {
    let Cli { json, agent, verb } = cli;
    let context = Context { agent };
    match verb {
        Verb::Init(args) => init::run(args),
        Verb::Authority(verb) => authority::run(verb),
        Verb::Manifest(verb) => manifest::run(verb, &context),
        Verb::Asset(verb) => asset::run(verb, &context),
        Verb::Reservation(verb) => reservation::run(verb, &context),
        Verb::Nonces(verb) => nonces::run(verb, &context),
        Verb::Sign(args) => sign::run(args, &context),
        Verb::Approve(args) => approve::run(&args),
        Verb::Key(args) => key::run(args, &context),
        Verb::Challenge(verb) => challenge::run(verb),
        Verb::Attest(args) => attest::run(args, &context),
        Verb::Verify(args) => verify::run(args),
        Verb::Verdict(verb) => verdict::run(verb),
        Verb::Ek(verb) => ek::run(verb),
        Verb::Enroll(verb) => enroll::run(verb, &context),
        Verb::Quote(verb) => quote::run(verb),
        Verb::Eventlog(args) => eventlog::run(&args),
        Verb::Ima(args) => ima::run(args),
        Verb::Audit(verb) => audit::run(verb, &context, json),
        Verb::Status(args) => status::run(args, &context),
        Verb::Doctor(args) => doctor::run(args, &context),
        Verb::Lock(args) => lock::run(args, &context),
        Verb::Channel(verb) => channel::run(verb),
        Verb::Policy(verb) => policy::run(verb, &context, json),
    }
}

/// Prints help, the version or what is wrong with the command line.
pub(crate) fn report_usage(error: &clap::Error) -> Exit {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    if asked_for || !as_json {
        // A closed terminal changes nothing about the outcome.
        let _ = error.print();
        return if asked_for { Exit::Done } else { Exit::Unusable };
    }
    let rendered = error.render().to_string();
    // What is wrong stands before the first empty line; usage and hints follow.
    let lines: Vec<&str> = rendered.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let detail = lines.join(" ");
    let detail = detail.trim_start_matches("error: ");
    output::report(Err(Failure::unusable("USAGE", detail, "see `sealstone --help`")), true)
}

/// This machine's time.
fn now() -> Result<UnixTime, Failure> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|_| {
        Failure::unusable(
            "CLOCK",
            "expected this machine's clock to be after 1970, found it before",
            "set the clock",
        )
    })?;
    Ok(UnixTime::from_secs(since.as_secs()))
}

/// A name made from a file's, for keys that have none: `keys/alice.pub` is `alice`.
fn name_of(path: &Path) -> Result<String, Failure> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|stem| !stem.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::unusable(
                "FILE_NAME",
                format!("expected a file name in UTF-8 such as alice.pub, found {}", path.display()),
                "rename the file: its name names the key",
            )
        })
}
