//! A PgBouncer of one story, in transaction mode: each transaction may meet another server process.

use std::net::TcpStream;
use std::path::Path;

use crate::postgres::{OWNER, Postgres, as_postgres, free_port, give_to_postgres};
use crate::process::Running;
use crate::wait::until;

/// The Debian package that has it.
const PACKAGE: &str = "pgbouncer";

/// A running pooler.
#[derive(Debug)]
pub struct PgBouncer {
    _folder: tempfile::TempDir,
    _running: Running,
    port: u16,
}

impl PgBouncer {
    /// A pooler before this server.
    ///
    /// # Panics
    /// When it is missing, or does not start.
    #[must_use]
    pub fn before(server: &Postgres) -> Self {
        let folder = tempfile::tempdir().expect("a story has room for a folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("users"), format!("\"{OWNER}\" \"\"\n")).expect("the story's folder is writable");
        give_to_postgres(folder.path());
        for _ in 0..20 {
            let port = free_port();
            let settings = format!(
                "[databases]\nkeys = host=127.0.0.1 port={} dbname=keys\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = 4\nunix_socket_dir =\nserver_reset_query_always = 0\n",
                server.port(),
                file("users").display(),
            );
            std::fs::write(file("settings.ini"), settings).expect("the story's folder is writable");
            let mut command = as_postgres(Path::new("/usr/sbin/pgbouncer"), folder.path());
            command.arg(file("settings.ini"));
            let mut running = Running::start(&mut command, &file("log"), PACKAGE);
            let up = until("PgBouncer", || {
                if running.exited().is_some() {
                    return Some(false);
                }
                TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
            });
            if up {
                return Self { _folder: folder, _running: running, port };
            }
        }
        panic!("PgBouncer did not start; is it there? apt-get install {PACKAGE}")
    }

    /// Where an agent finds the database `keys` through it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/keys?sslmode=disable", self.port)
    }
}
