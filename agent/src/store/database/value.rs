//! What crosses between the store and a database: numbers, texts and bytes, each of which may be absent.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Column, Row as _, TypeInfo, ValueRef};

use crate::store::StoreError;

/// A value to be written, or to be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// Whether it is a text with a NUL, which PostgreSQL cannot hold.
    pub(crate) fn has_nul(&self) -> bool {
        matches!(self, Self::Text(Some(text)) if text.contains('\0'))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_owned()))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl From<Option<[u8; 32]>> for Value {
    fn from(value: Option<[u8; 32]>) -> Self {
        Self::Bytes(value.map(|bytes| bytes.to_vec()))
    }
}

/// Values in the order of their placeholders.
pub(crate) fn values<const N: usize>(values: [Value; N]) -> Vec<Value> {
    values.into()
}

pub(super) fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, StoreError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(|error| StoreError::from(sqlx::Error::Encode(error)))?;
    }
    Ok(arguments)
}

pub(super) fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    for value in values {
        if value.has_nul() {
            return Err(StoreError::NulInText);
        }
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(|error| StoreError::from(sqlx::Error::Encode(error)))?;
    }
    Ok(arguments)
}

/// A row that was read: its values in the order of its columns.
#[derive(Clone, Debug)]
pub(crate) struct Row(Vec<Value>);

impl Row {
    pub(super) fn from_sqlite(row: &SqliteRow) -> Result<Self, StoreError> {
        let mut values = Vec::with_capacity(row.len());
        for column in 0..row.len() {
            let raw = row.try_get_raw(column)?;
            let kind = if raw.is_null() { "NULL".to_owned() } else { raw.type_info().name().to_owned() };
            values.push(match kind.as_str() {
                "NULL" => Value::Int(None),
                "INTEGER" => Value::Int(row.try_get(column)?),
                "TEXT" => Value::Text(row.try_get(column)?),
                "BLOB" => Value::Bytes(row.try_get(column)?),
                _ => return Err(StoreError::Corrupt { expected: "a number, a text or bytes" }),
            });
        }
        Ok(Self(values))
    }

    pub(super) fn from_postgres(row: &PgRow) -> Result<Self, StoreError> {
        let mut values = Vec::with_capacity(row.len());
        for (column, described) in row.columns().iter().enumerate() {
            values.push(match described.type_info().name() {
                "INT8" => Value::Int(row.try_get(column)?),
                "BOOL" => Value::Int(row.try_get::<Option<bool>, _>(column)?.map(i64::from)),
                "INT4" => Value::Int(row.try_get::<Option<i32>, _>(column)?.map(i64::from)),
                "TEXT" | "VARCHAR" | "NAME" => Value::Text(row.try_get(column)?),
                "BYTEA" => Value::Bytes(row.try_get(column)?),
                // What a function returns that returns nothing.
                "VOID" => Value::Int(None),
                _ => return Err(StoreError::Corrupt { expected: "a number, a text or bytes" }),
            });
        }
        Ok(Self(values))
    }

    /// A number that may be absent.
    pub(crate) fn int_or_none(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            Some(Value::Text(None) | Value::Bytes(None)) => Ok(None),
            _ => Err(StoreError::Corrupt { expected: "a number" }),
        }
    }

    /// A number.
    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.int_or_none(column)?.ok_or(StoreError::Corrupt { expected: "a number" })
    }

    /// A text that may be absent.
    pub(crate) fn text_or_none(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value.as_deref()),
            Some(Value::Int(None) | Value::Bytes(None)) => Ok(None),
            _ => Err(StoreError::Corrupt { expected: "a text" }),
        }
    }

    /// A text.
    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.text_or_none(column)?.ok_or(StoreError::Corrupt { expected: "a text" })
    }

    /// Bytes that may be absent.
    pub(crate) fn bytes_or_none(&self, column: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(value.as_deref()),
            Some(Value::Int(None) | Value::Text(None)) => Ok(None),
            _ => Err(StoreError::Corrupt { expected: "bytes" }),
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8], StoreError> {
        self.bytes_or_none(column)?.ok_or(StoreError::Corrupt { expected: "bytes" })
    }

    /// A number that is never negative.
    pub(crate) fn unsigned(&self, column: usize, expected: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| StoreError::Corrupt { expected })
    }

    /// Bytes of fixed length.
    pub(crate) fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], StoreError> {
        self.bytes(column)?
            .try_into()
            .map_err(|_| StoreError::Corrupt { expected: "a value of fixed length" })
    }
}
