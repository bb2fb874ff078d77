//! Text of statements: many rows in one statement, placeholders numbered through.

use std::fmt::Write;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Columns that number placeholders: `VALUES ($1,$2),($3,$4)` for two rows of two columns, after `before` others.
pub(crate) fn rows(columns: usize, rows: usize, before: usize) -> String {
    let mut text = String::with_capacity(8 + rows * columns * 6);
    text.push_str("VALUES ");
    let mut number = before;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            number += 1;
            let separator = if column == 0 { "" } else { "," };
            write!(text, "{separator}${number}").expect("a String takes any text");
        }
        text.push(')');
    }
    text
}

/// A statement that is built from constants and numbers only: no value of a client is ever part of its text.
pub(crate) fn built(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(rows(2, 3, 0), "VALUES ($1,$2),($3,$4),($5,$6)");
        assert_eq!(rows(1, 2, 3), "VALUES ($4),($5)");
    }
}
