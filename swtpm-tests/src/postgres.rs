//! A PostgreSQL server of one story: its own cluster, port and folder.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::process::Running;
use crate::wait::until;

/// The Debian package that has the server.
const PACKAGE: &str = "postgresql";

/// The database's owner, whom the server trusts on its socket and on 127.0.0.1.
pub const OWNER: &str = "owner";

/// A running server, or one that was stopped. Its cluster ends with it.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    running: Option<Running>,
}

impl Postgres {
    /// A new cluster with one empty database, `keys`, served on a port of its own.
    ///
    /// # Panics
    /// When the server's programs are missing, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut server = Self::prepare();
        let data = server.data();
        let made = server.run(
            "initdb",
            &[
                "-D",
                path(&data),
                "-U",
                OWNER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-instructions",
                "--no-sync",
            ],
        );
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.power_on();
        server.sql("postgres", "CREATE DATABASE keys");
        server
    }

    /// A standby of `primary`, which follows it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn standby_of(primary: &Self) -> Self {
        let mut server = Self::prepare();
        let data = server.data();
        let copied = server.run(
            "pg_basebackup",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &primary.port.to_string(),
                "-U",
                OWNER,
                "-D",
                path(&data),
                "-R",
                "-c",
                "fast",
            ],
        );
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        server.power_on();
        server
    }

    fn prepare() -> Self {
        let folder = tempfile::tempdir().expect("a story has room for a folder");
        let programs = programs();
        give_to_postgres(folder.path());
        Self { folder, programs, port: 0, running: None }
    }

    /// Starts the server, on a port that is free, and keeps to that port from then on.
    ///
    /// # Panics
    /// When it does not start.
    pub fn power_on(&mut self) {
        let mut attempts = 0;
        while self.running.is_none() {
            attempts += 1;
            assert!(attempts <= 20, "PostgreSQL did not start; its log:\n{}", self.log());
            if self.port == 0 || attempts > 10 {
                self.port = free_port();
            }
            let mut command = self.command("postgres");
            let sockets = self.folder.path().display().to_string();
            command.args(["-D", path(&self.data()), "-p", &self.port.to_string(), "-k", &sockets]);
            command.args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=60",
                "-c",
                "shared_buffers=16MB",
            ]);
            let log = self.folder.path().join("log");
            let mut running = Running::start(&mut command, &log, PACKAGE);
            let up = until("PostgreSQL", || {
                if running.exited().is_some() {
                    return Some(false);
                }
                let port = self.port.to_string();
                let ready = self.run("pg_isready", &["-q", "-h", "127.0.0.1", "-p", &port]);
                ready.status.success().then_some(true)
            });
            self.running = up.then_some(running);
        }
    }

    /// Ends every process at once, as a crash of the machine's software would: nothing is finished.
    pub fn crash(&mut self) {
        if let Some(running) = &self.running {
            running.signal(Signal::QUIT);
        }
        self.stopped();
    }

    /// Ends it in order, without waiting for its clients.
    pub fn stop(&mut self) {
        if let Some(running) = &self.running {
            running.signal(Signal::INT);
        }
        self.stopped();
    }

    fn stopped(&mut self) {
        if let Some(mut running) = self.running.take() {
            until("the end of PostgreSQL", || running.exited());
        }
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        let promoted = self.run("pg_ctl", &["promote", "-w", "-D", path(&self.data())]);
        assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    }

    /// Runs statements in a database as its owner; what they print.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(OWNER, database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Runs statements as a user; what they print, or why they failed.
    ///
    /// # Errors
    /// What the server says.
    pub fn try_sql(&self, user: &str, database: &str, statements: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let arguments = [
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            user,
            "-d",
            database,
            "-c",
            statements,
        ];
        let done = self.run("psql", &arguments);
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    /// Where an agent finds the database `keys`, as its owner.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(OWNER, "keys")
    }

    /// Where a user finds a database.
    #[must_use]
    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output();
        output.unwrap_or_else(|error| {
            panic!("cannot run {program}: {error}; install it: apt-get install {PACKAGE}")
        })
    }

    /// A program of the server, as a user that it accepts, and in a folder that user can enter.
    fn command(&self, program: &str) -> Command {
        as_postgres(&self.programs.join(program), self.folder.path())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once: nobody needs what it holds.
        self.crash();
    }
}

/// A program as somebody else if this is root, whom the servers refuse: as the user `postgres`; where the machine keeps
/// `/dev/null` for root alone, as root by another number.
pub(crate) fn as_postgres(program: &Path, folder: &Path) -> Command {
    let mut command = if !rustix::process::getuid().is_root() {
        Command::new(program)
    } else if null_is_for_all() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1", "--map-group=1"]).arg(program);
        command
    };
    command.current_dir(folder).env("LC_ALL", "C").env_remove("PGHOST").env_remove("PGPORT");
    command
}

/// Gives a folder to whom [`as_postgres`] runs programs as.
pub(crate) fn give_to_postgres(folder: &Path) {
    if rustix::process::getuid().is_root() && null_is_for_all() {
        let given = Command::new("chown").arg("-R").arg("postgres:").arg(folder).status();
        assert!(
            given.is_ok_and(|status| status.success()),
            "no user postgres; install it: apt-get install {PACKAGE}"
        );
    }
}

fn null_is_for_all() -> bool {
    std::fs::metadata("/dev/null").is_ok_and(|null| null.permissions().mode() & 0o006 == 0o006)
}

/// Where Debian keeps the newest version's programs, which are not on the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|programs| programs.join("initdb").is_file())
        .max_by_key(|programs| {
            let version = programs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok())
        });
    newest.unwrap_or_else(|| panic!("no PostgreSQL server here; install it: apt-get install {PACKAGE}"))
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has free ports");
    listener.local_addr().expect("a listener has an address").port()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a story's folder has a name in UTF-8")
}
