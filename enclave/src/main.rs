//! `sealstone-enclave`: harden, listen, serve until told to end; nothing else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use sealstone_enclave::config::Config;
use sealstone_enclave::notice::notice;
use sealstone_enclave::sandbox::guard::{self, Guard};
use sealstone_enclave::server::Server;
use sealstone_enclave::{build_info, channel_key, core, credential, harden, secret, state_file};
use sealstone_wire::address::Listener;
use sealstone_wire::channel::ChannelKey;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const HELP: &str = "\
The trusted process of a Sealstone node: holds the root, verifies quotes, derives, signs, wipes.

Usage: sealstone-enclave --config FILE
       sealstone-enclave --config FILE --public-key    print the channel's public key and end

Options:
  --config FILE   enclave.toml, as `sealstone init` writes it
  --public-key    make the channel key if there is none, print its public half (hex)
  --version
  --help

Examples:
  sealstone-enclave --config /etc/sealstone/enclave.toml
  sealstone-enclave --config enclave.toml --public-key

Ends on SIGTERM and SIGINT after wiping its secrets.
Exit codes: 0 ended as told, 2 unusable configuration, state or environment.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notice(&error);
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for.
enum Command {
    Help,
    Version,
    PublicKey(PathBuf),
    Serve(PathBuf),
}

fn run() -> Result<(), String> {
    match command(std::env::args_os().skip(1))? {
        Command::Help => println!("{HELP}"),
        Command::Version => println!("sealstone-enclave {}", env!("CARGO_PKG_VERSION")),
        Command::PublicKey(config) => {
            let config = load(&config)?;
            println!("{}", load_channel_key(&config.channel_key_file)?.public());
        }
        Command::Serve(config) => serve(&load(&config)?)?,
    }
    Ok(())
}

fn command(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<Command, String> {
    let mut config = None;
    let mut public_key = false;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--version" | "-V") => return Ok(Command::Version),
            Some("--public-key") => public_key = true,
            Some("--config") => {
                config = Some(PathBuf::from(arguments.next().ok_or("--config needs a file; see --help")?));
            }
            _ => return Err(format!("unknown argument {argument:?}; see --help")),
        }
    }
    let config = config.ok_or("expected --config FILE; see --help")?;
    Ok(if public_key { Command::PublicKey(config) } else { Command::Serve(config) })
}

fn load(path: &Path) -> Result<Config, String> {
    Config::load(path).map_err(|error| core::describe(&error))
}

fn load_channel_key(path: &Path) -> Result<ChannelKey, String> {
    channel_key::load_or_create(path)
        .map_err(|error| format!("channel key {}: {}", path.display(), core::describe(&error)))
}

/// The key in use, and the next one if there is one.
fn load_channel_keys(config: &Config) -> Result<Vec<ChannelKey>, String> {
    let mut keys = vec![load_channel_key(&config.channel_key_file)?];
    if let Some(path) = &config.next_channel_key_file {
        // Made by whoever begins a rotation, never here: a missing one is a mistake.
        let next = channel_key::load(path)
            .map_err(|error| format!("channel key {}: {}", path.display(), core::describe(&error)))?;
        if next.public() == keys[0].public() {
            return Err(format!(
                "expected another key in {} than in channel_key_file, found the same",
                path.display()
            ));
        }
        keys.push(next);
    }
    Ok(keys)
}

/// The guard, if there is to be one and there can be; the report says which.
fn trace_guard(wanted: bool) -> Option<Guard> {
    if !wanted {
        notice("warning: trace_guard = false; whoever may trace this process can read its registers");
        return None;
    }
    let failed = |error| notice(format!("warning: no tracer guard: {}", core::describe(&error)));
    guard::attach().map_err(failed).ok()
}

fn serve(config: &Config) -> Result<(), String> {
    // First of all: while there is one thread, nothing secret, and a dumpable process.
    let guard = trace_guard(config.trace_guard);
    harden::harden();
    let memory = secret::init(config.require_secret_memory, config.signing_threads)
        .map_err(|error| error.to_string())?;
    if memory == secret::Kind::Locked {
        notice("warning: no secret memory; secrets are in locked memory that root can read");
    }
    let channel_keys = load_channel_keys(config)?;
    let credential = credential::Credential::load_or_create(&config.credential_file)
        .map_err(|error| format!("credential {}: {error}", config.credential_file.display()))?;
    let file = state_file::StateFile::at(&config.state_file);
    let _alone = file.hold().map_err(|error| core::describe(&error))?;
    let state = file.load().map_err(|error| core::describe(&error))?;
    let settings = core::Settings {
        authority: config.authority,
        nv_index: config.nv_index,
        build: build_info::build_info(),
        protections: harden::measure(guard.as_ref()),
    };
    let enclave = Arc::new(core::Enclave::new(settings, credential, file, state));

    // Before the listener: a signal that comes early must not end the process unwiped.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("cannot take signals: {error}"))?;
    let listener = Listener::bind(&config.listen)
        .map_err(|error| format!("cannot listen on {}: {}", config.listen, core::describe(&error)))?;
    notice(&format!("listening on {}, {:?}", config.listen, enclave.status().phase));
    Server::start(
        listener,
        channel_keys,
        config.agent_public_keys.clone(),
        Arc::clone(&enclave),
        config.signing_threads,
    )
    .map_err(|error| format!("cannot start threads: {error}"))?;

    if let Some(signal) = signals.forever().next() {
        enclave.end();
        notice(&format!("wiped, ending on signal {signal}"));
    }
    Ok(())
}
