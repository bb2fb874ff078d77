//! `pg_dump` and `pg_restore`: what the server's own programs know of it, no copy of ours would.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::BackupError;

/// Bytes that are handed on at once.
const BLOCK: usize = 64 * 1024;

/// Where Debian keeps the certificates that are trusted: `libpq` does not look there by itself.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How long the server may take to answer, in seconds.
const CONNECT_DEADLINE: &str = "5";

/// How long a table may be locked by somebody else: a migration.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// Hands the schema on as an archive.
pub(super) fn dump(
    options: &PgConnectOptions,
    mut each: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let name = "pg_dump";
    let mut command = command(name, options);
    command.args(["--schema=sealstone", "--format=custom", "--no-password", LOCK_WAIT]);
    let mut program = Program::start(name, command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut output = program.child.stdout.take().expect("it is piped");
    let mut block = vec![0; BLOCK];
    loop {
        match output.read(&mut block) {
            Ok(0) => return program.finish(),
            Ok(length) => each(&block[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(BackupError::Program { program: name, source }),
        }
    }
}

/// Makes the schema from an archive, in one transaction.
pub(super) fn restore(
    options: &PgConnectOptions,
    first: Vec<u8>,
    mut next: impl FnMut() -> Result<Option<Vec<u8>>, BackupError>,
) -> Result<(), BackupError> {
    let name = "pg_restore";
    let database = options.get_database().unwrap_or(options.get_username());
    let database = database.replace('\\', "\\\\").replace('\'', "\\'");
    let mut command = command(name, options);
    command.args([
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        "--no-password",
    ]);
    command.arg(format!("--dbname=dbname='{database}'"));
    let mut program = Program::start(name, command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let mut input = program.child.stdin.take().expect("it is piped");
    let mut block = Some(first);
    while let Some(bytes) = block {
        match input.write_all(&bytes) {
            Ok(()) => block = next()?,
            // It ended; it says itself why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(source) => return Err(BackupError::Program { program: name, source }),
        }
    }
    drop(input);
    program.finish()
}

/// A program that runs; ended, and its transaction with it, if it is left early.
struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Result<Self, BackupError> {
        let child = command.spawn().map_err(|source| BackupError::Program { program: name, source })?;
        Ok(Self { name, child })
    }

    fn finish(mut self) -> Result<(), BackupError> {
        let program = self.name;
        let status = self.child.wait().map_err(|source| BackupError::Program { program, source })?;
        if status.success() { Ok(()) } else { Err(BackupError::Failed { program, status }) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing happens to one that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with the server in its environment, which other users cannot read as they can its arguments.
fn command(name: &str, options: &PgConnectOptions) -> Command {
    let mut command = Command::new(name);
    for other in ["PGSERVICE", "PGHOSTADDR", "PGOPTIONS", "PGTARGETSESSIONATTRS"] {
        command.env_remove(other);
    }
    match options.get_socket() {
        Some(socket) => command.env("PGHOST", socket),
        None => command.env("PGHOST", options.get_host().trim_matches(['[', ']'])),
    };
    command.env("PGPORT", options.get_port().to_string());
    command.env("PGUSER", options.get_username());
    command.env("PGDATABASE", options.get_database().unwrap_or(options.get_username()));
    command.env("PGAPPNAME", "sealstone-agent").env("PGCONNECT_TIMEOUT", CONNECT_DEADLINE);
    // The rest of what the options hold can be had from their URL only.
    let mut url = options.to_url_lossy();
    let mut trusted = false;
    for (key, value) in url.query_pairs() {
        let variable = match &*key {
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            "sslcert" => "PGSSLCERT",
            "sslkey" => "PGSSLKEY",
            _ => continue,
        };
        trusted |= variable == "PGSSLROOTCERT";
        // A certificate is shown as the file that it is read from.
        command.env(variable, value.strip_prefix("file: ").unwrap_or(&value));
    }
    if !trusted {
        command.env("PGSSLROOTCERT", CERTIFICATES);
    }
    if let Some(password) = url.password().map(|password| format!("password={password}")) {
        url.set_query(Some(&password));
        if let Some((_, password)) = url.query_pairs().next() {
            command.env("PGPASSWORD", &*password);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(url: &str) -> Vec<(String, String)> {
        let command = command("pg_dump", &url.parse().unwrap());
        assert_eq!(command.get_args().count(), 0);
        let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
        command.get_envs().filter_map(|(key, value)| Some((text(key), text(value?)))).collect()
    }

    #[test]
    fn the_server_and_its_password_are_in_the_environment() {
        let found = environment("postgres://u:p%40%2B%20s%25s@db.example:5433/keys?sslmode=verify-full");
        for (key, value) in [
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "u"),
            ("PGDATABASE", "keys"),
            ("PGPASSWORD", "p@+ s%s"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", CERTIFICATES),
        ] {
            assert!(found.contains(&(key.to_owned(), value.to_owned())), "{key}: {found:?}");
        }
        let found = environment("postgres://u@%2Frun%2Fpostgresql/keys?sslrootcert=/etc/ca.pem");
        for (key, value) in [("PGHOST", "/run/postgresql"), ("PGSSLROOTCERT", "/etc/ca.pem")] {
            assert!(found.contains(&(key.to_owned(), value.to_owned())), "{key}: {found:?}");
        }
        assert!(!found.iter().any(|(key, _)| key == "PGPASSWORD"), "{found:?}");
    }
}
