//! What the store is, for people.

use super::database::{Readers, values};
use super::{Store, StoreError};

impl Store {
    /// Its kind: `sqlite` or `postgresql`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.readers {
            Readers::Sqlite(_) => "sqlite",
            Readers::Postgres(_) => "postgresql",
        }
    }

    /// The version of its tables, as the database says it.
    ///
    /// # Errors
    /// The database's.
    pub async fn version(&self) -> Result<u64, StoreError> {
        let sql = match self.readers {
            Readers::Sqlite(_) => "SELECT user_version FROM pragma_user_version()",
            Readers::Postgres(_) => "SELECT max(version) FROM sealstone.version",
        };
        let rows = self.readers.fetch(sql.to_owned(), values([])).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { expected: "a version" })?;
        row.unsigned(0, "a version")
    }
}
