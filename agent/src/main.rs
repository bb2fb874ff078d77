//! `sealstone-agent`: reads its configuration, runs, ends on a signal.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use sealstone_agent::access::Access;
use sealstone_agent::api::openapi;
use sealstone_agent::config::Config;
use sealstone_agent::reload::Reload;
use sealstone_agent::shutdown::Shutdown;
use sealstone_agent::store::Store;
use sealstone_agent::{logging, run};

/// Unusable input, configuration or environment.
const EXIT_UNUSABLE: u8 = 2;

/// Threads for blocking work: reading a log for evidence, now and then.
const BLOCKING_THREADS_MAX: usize = 4;

/// The host daemon of a Sealstone node.
///
/// Serves the HTTP API, keeps the enclave attested and the nonces durable. Holds no signing key. SIGHUP has it read
/// the keys of the channel to the enclave, its clients, what belongs to TLS and the rules anew, without a pause.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "agent.toml")]
    config: PathBuf,
    /// Check the configuration file and the certificates that it names, and end.
    #[arg(long)]
    check: bool,
    /// Print the OpenAPI document of the HTTP API and end.
    #[arg(long)]
    openapi: bool,
    /// Make the store's tables, or bring them to this version, and end: with the url of the role that owns them, so that
    /// the agent itself needs no right to change them.
    #[arg(long, conflicts_with = "check")]
    migrate: bool,
    /// Go on with a store that lacks signatures which the enclave made. Nonces may be free in it that are spent:
    /// first make sure elsewhere (on the chain) that they are not used again.
    #[arg(long)]
    danger_accept_lost_receipts: bool,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealstone-agent: {error:#}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    if arguments.openapi {
        print!("{}", openapi::text());
        return Ok(());
    }
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        Access::load(&config).context("cannot use [api.tls]")?;
        println!("{}: good", arguments.config.display());
        return Ok(());
    }
    logging::init(&config.log).map_err(|error| anyhow::anyhow!("cannot begin to log: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("cannot start the runtime")?;
    if arguments.migrate {
        runtime.block_on(Store::migrate(&config.store, &config.node))?;
        println!("{}: of this version", config.store);
        return Ok(());
    }
    runtime.block_on(async {
        let shutdown = Shutdown::on_signal().context("cannot catch signals")?;
        let reload = Reload::on_signal(&arguments.config).context("cannot catch signals")?;
        run::run(config, arguments.danger_accept_lost_receipts, reload, shutdown).await
    })
}
