//! `sealstone`: what operators, participants and auditors type.
#![forbid(unsafe_code)]
// A test that unwraps fails where it should.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod boot;
mod cmd;
mod endpoint;
mod failure;
mod files;
mod html;
mod http;
mod keyfile;
mod output;
mod query;
mod signature;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cmd::Cli::try_parse() {
        Ok(cli) => {
            let json = cli.json;
            output::report(cmd::run(cli), json).into()
        }
        Err(error) => cmd::report_usage(&error).into(),
    }
}
