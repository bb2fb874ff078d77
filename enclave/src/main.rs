//! `sealstone-enclave`: harden, listen, serve until told to end; nothing else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use sealstone_enclave::config::Config;
use sealstone_enclave::notice::{notice, panics_are_notices};
use sealstone_enclave::sandbox::{self, Crew};
use sealstone_enclave::server::Server;
use sealstone_enclave::{build_info, channel_key, core, credential, secret, state_file};
use sealstone_wire::address::Listener;
use sealstone_wire::channel::ChannelKey;

const HELP: &str = "\
The trusted process of a Sealstone node: holds the root, verifies quotes, derives, signs, wipes.

Usage: sealstone-enclave --config FILE
       sealstone-enclave --config FILE --public-key    print the channel's public key and end
       sealstone-enclave --print-seccomp               print which system calls its threads may make, and why

Options:
  --config FILE     enclave.toml, as `sealstone init` writes it
  --public-key      make the channel key if there is none, print its public half (hex)
  --print-seccomp   print the lists of system calls as JSON
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
    PrintSeccomp,
    Serve(PathBuf),
}

fn run() -> Result<(), String> {
    match command(std::env::args_os().skip(1))? {
        Command::Help => println!("{HELP}"),
        Command::Version => println!("sealstone-enclave {}", env!("CARGO_PKG_VERSION")),
        Command::PrintSeccomp => {
            let lists = sandbox::seccomp::json().map_err(|error| core::describe(&error))?;
            println!("{lists:#}");
        }
        Command::PublicKey(config) => {
            begin()?;
            let config = load(&config)?;
            drop(sandbox::harden(config.trace_guard));
            init_secrets(&config)?;
            println!("{}", load_channel_key(&config.channel_key_file)?.public());
        }
        Command::Serve(config) => serve(&config)?,
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
            Some("--print-seccomp") => return Ok(Command::PrintSeccomp),
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

fn begin() -> Result<(), String> {
    panics_are_notices();
    sandbox::begin().map_err(|error| format!("cannot begin in safety: {error}"))
}

fn init_secrets(config: &Config) -> Result<(), String> {
    let memory = secret::init(config.require_secret_memory, config.signing_threads)
        .map_err(|error| error.to_string())?;
    if memory == secret::Kind::Locked {
        notice("warning: no secret memory; secrets are in locked memory that root can read");
    }
    #[cfg(feature = "danger-given-root")]
    if let Some(root) = &config.danger_root {
        sealstone_enclave::danger_given_root::give(root);
    }
    Ok(())
}

fn serve(config: &Path) -> Result<(), String> {
    begin()?;
    sandbox::descriptors::drop_standard_streams()
        .map_err(|error| format!("cannot let go of standard input and output: {error}"))?;
    let config = load(config)?;
    let protections = Arc::new(sandbox::harden(config.trace_guard));
    init_secrets(&config)?;
    let channel_keys = load_channel_keys(&config)?;
    let credential = credential::Credential::load_or_create(&config.credential_file)
        .map_err(|error| format!("credential {}: {error}", config.credential_file.display()))?;
    let file = state_file::StateFile::open(&config.state_file).map_err(|error| core::describe(&error))?;
    let state = file.load().map_err(|error| core::describe(&error))?;
    let settings = core::Settings {
        authority: config.authority,
        nv_index: config.nv_index,
        build: build_info::build_info(),
        protections: Arc::clone(&protections),
    };
    let enclave = Arc::new(core::Enclave::new(settings, credential, file, state));
    let listener = Listener::bind(&config.listen)
        .map_err(|error| format!("cannot listen on {}: {}", config.listen, core::describe(&error)))?;

    sandbox::identity::give_up().map_err(|error| format!("cannot give up privileges: {error}"))?;
    let mut crew = Crew::default();
    let server = Server::start(
        listener,
        channel_keys,
        config.agent_public_keys.clone(),
        Arc::clone(&enclave),
        config.signing_threads,
        &mut crew,
    )
    .map_err(|error| core::describe(&error))?;
    let phase = enclave.status().phase;
    crew.close(&protections).map_err(|error| core::describe(&error))?;
    notice(format!("listening on {}, {phase:?}", config.listen));
    server.open();

    let signal =
        sandbox::signals::wait_for_end().map_err(|error| format!("cannot wait for signals: {error}"))?;
    enclave.end();
    notice(format!("wiped, ending on {signal}"));
    Ok(())
}
