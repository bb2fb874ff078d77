//! Where a store is that is measured: a file in a folder, or a server, of the measurement's own.

use sealstone_agent::config::store::StoreConfig;
use sealstone_swtpm_tests::{Node, Postgres};
use tempfile::TempDir;

/// The database that a node's store is in.
const NODES: &str = "keys";

/// A database, for a node and for the bare store beside it.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Box<Postgres>),
}

impl Place {
    pub(crate) fn both() -> [Self; 2] {
        [Self::Sqlite(tempfile::tempdir().unwrap()), Self::Postgres(Box::new(Postgres::start()))]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// A new store of this name beside the node's.
    pub(crate) fn store(&self, name: &str) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::sqlite(folder.path().join(format!("{name}.db"))),
            Self::Postgres(server) => {
                server.sql("postgres", &format!("CREATE DATABASE {name}"));
                StoreConfig::postgres(
                    &server.url_of(sealstone_swtpm_tests::postgres::OWNER, name),
                    None,
                    None,
                )
                .unwrap()
            }
        }
    }

    /// A node that is ready, with its store here and under this policy.
    pub(crate) fn node(&self, policy: &str) -> Node {
        let mut node = Node::init();
        let store = match self {
            Self::Sqlite(folder) => format!("path = \"{}\"", folder.path().join("agent.db").display()),
            Self::Postgres(server) => {
                server.sql("postgres", &format!("DROP DATABASE {NODES}"));
                server.sql("postgres", &format!("CREATE DATABASE {NODES}"));
                format!("url = \"{}\"", server.url())
            }
        };
        if let Self::Sqlite(folder) = self {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.path().join(format!("agent.db{suffix}")));
            }
        }
        node.edit("agent.toml", |text| text.replace("path = \"agent.db\"", &store));
        std::fs::write(node.path("policy.toml"), policy).unwrap();
        node.start_enclave();
        node.start_agent();
        let _ = node.approve_first();
        node.await_ready(true);
        node
    }
}
