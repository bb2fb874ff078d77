//! One transaction of the writer: many jobs, few statements, each job with its own outcome.

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row, SqlSafeStr, SqlStr};

use super::StoreError;
use super::progress::Progress;
use super::rows::{
    Answer, RESERVATION_COLUMNS, Reserve, Reserved, ReservedKey, bits, ordered, reservation_from_row,
    seconds, unsigned,
};

/// Rows of one statement. Every statement is a hand-over between two threads, which costs more than a row; each
/// number of rows is a prepared statement of its own, which this bounds.
const ROWS_MAX: usize = 16;

/// Prepared once, used by every transaction.
#[derive(Debug)]
pub(super) struct Statements {
    reserve: Vec<SqlStr>,
    answer: Vec<SqlStr>,
    /// By the number of reservations and of answers, from none of either.
    all_new: Vec<Vec<SqlStr>>,
    standing: SqlStr,
}

impl Statements {
    pub(super) fn new() -> Self {
        let of_rows = |(head, columns): (&str, usize), rows: usize, tail: &str| {
            let row = format!("({})", vec!["?"; columns].join(","));
            format!("{head} VALUES {} {tail}", vec![row.as_str(); rows].join(","))
        };
        let reserve = |rows, tail| of_rows(RESERVE, rows, tail);
        let answer = |rows, tail| of_rows(ANSWER, rows, tail);
        let all_new = |reserves, answers| match (reserves, answers) {
            (0, 0) => String::new(),
            (rows, 0) => reserve(rows, ""),
            (0, rows) => answer(rows, ""),
            (reserves, answers) => {
                format!("BEGIN IMMEDIATE; {}; {}; COMMIT", reserve(reserves, ""), answer(answers, ""))
            }
        };
        Self {
            reserve: (1..=ROWS_MAX)
                .map(|rows| {
                    sql(reserve(
                        rows,
                        "ON CONFLICT (chain_id, sender, nonce) DO NOTHING RETURNING id, request",
                    ))
                })
                .collect(),
            answer: (1..=ROWS_MAX)
                .map(|rows| {
                    sql(answer(rows, "ON CONFLICT (era, sequence) DO NOTHING RETURNING era, sequence"))
                })
                .collect(),
            all_new: (0..=ROWS_MAX)
                .map(|reserves| (0..=ROWS_MAX).map(|answers| sql(all_new(reserves, answers))).collect())
                .collect(),
            standing: sql(format!(
                "SELECT {RESERVATION_COLUMNS} FROM reservations r \
                 LEFT JOIN receipts p ON p.era = r.receipt_era AND p.sequence = r.receipt_sequence \
                 WHERE r.chain_id = ? AND r.sender = ? AND r.nonce = ?"
            )),
        }
    }
}

/// Beginning of the statement that reserves, and its columns.
const RESERVE: (&str, usize) = (
    "INSERT INTO reservations (id, chain_id, sender, nonce, request, epoch, hour, binding, issued_at_ms, era, \
     sequence_seen, created_at)",
    12,
);

/// Beginning of the statement that answers, and its columns.
const ANSWER: (&str, usize) = (
    "INSERT INTO receipts (era, sequence, reservation, algorithm, public_key, digest, recovery_id, previous, key_id, \
     epoch, binding, session, time, signature, report_signature, attested_until)",
    16,
);

/// The statements are built from constants only.
fn sql(text: String) -> SqlStr {
    AssertSqlSafe(std::sync::Arc::<str>::from(text)).into_sql_str()
}

/// Commits reservations and answers that are all new, as nearly all are, in one hand-over to the database's thread:
/// hand-overs, not rows, are what a transaction costs. `None`, and nothing is changed, if they are not all new or
/// are too many for one statement each; then [`reserve`] and [`answer`] find out, one by one. `first_id` is the
/// first reservation's number, of numbers that are free.
pub(super) async fn commit_all_new(
    connection: &mut SqliteConnection,
    statements: &Statements,
    progress: Option<&Progress>,
    first_id: i64,
    (reserves, answers): (&[&Reserve], &[&Answer]),
) -> Result<Option<()>, StoreError> {
    let Some(progress) = progress else { return Ok(None) };
    let named = reserves.iter().any(|ask| ask.idempotency.is_some());
    if named || reserves.len() > ROWS_MAX || answers.len() > ROWS_MAX || reserves.len() + answers.len() == 0 {
        return Ok(None);
    }
    let mut arguments = SqliteArguments::default();
    for (id, ask) in (first_id..).zip(reserves) {
        add_reserve(&mut arguments, progress, id, ask)?;
    }
    for answer in answers {
        add_answer(&mut arguments, answer)?;
    }
    let statement = statements.all_new[reserves.len()][answers.len()].clone();
    match sqlx::query_with(statement, arguments).execute(&mut *connection).await {
        Ok(_) => Ok(Some(())),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
            if !reserves.is_empty() && !answers.is_empty() {
                sqlx::raw_sql("ROLLBACK").execute(connection).await?;
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reserves each nonce for its request, or says who has it. Requests that carry a client's own key go one by
/// one: they are few, and each must see the key of the one before.
pub(super) async fn reserve(
    connection: &mut SqliteConnection,
    statements: &Statements,
    progress: Option<&Progress>,
    mut first_id: i64,
    asks: &[&Reserve],
) -> Result<Vec<Result<Reserved, StoreError>>, StoreError> {
    let Some(progress) = progress else {
        return Ok(asks.iter().map(|_| Err(StoreError::NoEra)).collect());
    };
    let mut outcomes = Vec::with_capacity(asks.len());
    for chunk in asks.chunk_by(|a, b| a.idempotency.is_none() && b.idempotency.is_none()) {
        for rows in chunk.chunks(ROWS_MAX) {
            match rows {
                [ask] if ask.idempotency.is_some() => {
                    outcomes.push(reserve_by_key(connection, statements, progress, first_id, ask).await?);
                }
                _ => outcomes.extend(reserve_rows(connection, statements, progress, first_id, rows).await?),
            }
            first_id += ids(rows.len());
        }
    }
    Ok(outcomes)
}

async fn reserve_rows(
    connection: &mut SqliteConnection,
    statements: &Statements,
    progress: &Progress,
    first_id: i64,
    asks: &[&Reserve],
) -> Result<Vec<Result<Reserved, StoreError>>, StoreError> {
    let mut arguments = SqliteArguments::default();
    for (id, ask) in (first_id..).zip(asks) {
        add_reserve(&mut arguments, progress, id, ask)?;
    }
    let statement = statements.reserve[asks.len() - 1].clone();
    let rows = sqlx::query_with(statement, arguments).fetch_all(&mut *connection).await?;
    let mut fresh = rows
        .iter()
        .map(|row| Ok((row.try_get::<i64, _>(0)?, row.try_get::<&[u8], _>(1)?)))
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let mut outcomes = Vec::with_capacity(asks.len());
    for ask in asks {
        let place = fresh.iter().position(|(_, request)| *request == ask.request.as_bytes());
        outcomes.push(Ok(match place {
            Some(place) => Reserved::Fresh { id: fresh.swap_remove(place).0 },
            None => standing(connection, statements, ask).await?,
        }));
    }
    Ok(outcomes)
}

/// As many numbers of reservations.
pub(super) fn ids(count: usize) -> i64 {
    i64::try_from(count).expect("jobs are few")
}

fn add_reserve(
    arguments: &mut SqliteArguments,
    progress: &Progress,
    id: i64,
    ask: &Reserve,
) -> Result<(), StoreError> {
    let (epoch, hour, binding, issued) = match ask.key {
        ReservedKey::Asset { epoch } => (Some(ordered("an epoch", epoch.0)?), None, None, None),
        ReservedKey::Session { hour, binding, issued_at_ms } => (
            None,
            Some(ordered("an hour", hour)?),
            Some(binding.as_bytes().to_vec()),
            Some(ordered("a time of issue", issued_at_ms)?),
        ),
    };
    let mut add = Adder(arguments);
    add.value(id)?
        .value(bits(ask.nonce.chain_id))?
        .value(ask.nonce.sender.as_str())?
        .value(bits(ask.nonce.nonce))?
        .value(&ask.request.as_bytes()[..])?
        .value(epoch)?
        .value(hour)?
        .value(binding)?
        .value(issued)?
        .value(ordered("an era", progress.era)?)?
        .value(ordered("a sequence", progress.newest())?)?
        .value(seconds(ask.now))?;
    Ok(())
}

/// What holds a nonce that was not free.
async fn standing(
    connection: &mut SqliteConnection,
    statements: &Statements,
    ask: &Reserve,
) -> Result<Reserved, StoreError> {
    let mut arguments = SqliteArguments::default();
    Adder(&mut arguments)
        .value(bits(ask.nonce.chain_id))?
        .value(ask.nonce.sender.as_str())?
        .value(bits(ask.nonce.nonce))?;
    let row = sqlx::query_with(statements.standing.clone(), arguments).fetch_one(connection).await?;
    let standing = reservation_from_row(&row)?;
    Ok(if standing.request != ask.request {
        Reserved::NonceUsed
    } else if let Some(answer) = standing.answer {
        Reserved::Answered(answer)
    } else {
        Reserved::Open(standing.open)
    })
}

async fn reserve_by_key(
    connection: &mut SqliteConnection,
    statements: &Statements,
    progress: &Progress,
    first_id: i64,
    ask: &Reserve,
) -> Result<Result<Reserved, StoreError>, StoreError> {
    let Some(name) = &ask.idempotency else {
        return Err(StoreError::Corrupt { expected: "a request with an idempotency key" });
    };
    let named: Option<SqliteRow> = sqlx::query(
        "SELECT r.request FROM idempotency i JOIN reservations r ON r.id = i.reservation \
         WHERE i.client = ? AND i.key = ?",
    )
    .bind(&name.client)
    .bind(&name.key)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = named
        && row.try_get::<&[u8], _>(0)? != ask.request.as_bytes()
    {
        return Ok(Ok(Reserved::KeyReused));
    }
    let mut outcomes = reserve_rows(connection, statements, progress, first_id, &[ask]).await?;
    let outcome = outcomes.pop().ok_or(StoreError::Corrupt { expected: "one outcome for one request" })?;
    if matches!(outcome, Ok(Reserved::Fresh { .. } | Reserved::Open(_) | Reserved::Answered(_))) {
        sqlx::query(
            "INSERT OR IGNORE INTO idempotency (client, key, reservation) \
             SELECT ?, ?, id FROM reservations WHERE chain_id = ? AND sender = ? AND nonce = ?",
        )
        .bind(&name.client)
        .bind(&name.key)
        .bind(bits(ask.nonce.chain_id))
        .bind(ask.nonce.sender.as_str())
        .bind(bits(ask.nonce.nonce))
        .execute(connection)
        .await?;
    }
    Ok(outcome)
}

/// Records each signature. The same receipt again changes nothing; its sequence for another reservation is an
/// error of that job alone.
pub(super) async fn answer(
    connection: &mut SqliteConnection,
    statements: &Statements,
    answers: &[&Answer],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let mut outcomes = Vec::with_capacity(answers.len());
    for chunk in answers.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for answer in chunk {
            add_answer(&mut arguments, answer)?;
        }
        let statement = statements.answer[chunk.len() - 1].clone();
        let rows = sqlx::query_with(statement, arguments).fetch_all(&mut *connection).await?;
        let mut fresh = rows
            .iter()
            .map(|row| Ok((unsigned(row, 0, "an era")?, unsigned(row, 1, "a sequence")?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        for answer in chunk {
            let name = (answer.receipt.receipt.era, answer.receipt.receipt.sequence);
            outcomes.push(match fresh.iter().position(|inserted| *inserted == name) {
                Some(place) => {
                    fresh.swap_remove(place);
                    Ok(())
                }
                None => recorded_before(connection, answer).await?,
            });
        }
    }
    Ok(outcomes)
}

fn add_answer(arguments: &mut SqliteArguments, answer: &Answer) -> Result<(), StoreError> {
    let Answer { reservation, receipt: signed, public_key, digest, recovery_id, attested_until } = answer;
    let receipt = &signed.receipt;
    let mut add = Adder(arguments);
    add.value(ordered("an era", receipt.era)?)?
        .value(ordered("a sequence", receipt.sequence)?)?
        .value(*reservation)?
        .value(public_key.algorithm().name())?
        .value(public_key.as_bytes())?
        .value(&digest[..])?
        .value(recovery_id.map(i64::from))?
        .value(&receipt.previous.as_bytes()[..])?
        .value(&receipt.key_id.as_bytes()[..])?
        .value(ordered("an epoch", receipt.epoch)?)?
        .value(&receipt.binding.as_bytes()[..])?
        .value(&receipt.session.as_bytes()[..])?
        .value(seconds(receipt.time))?
        .value(&receipt.signature.as_bytes()[..])?
        .value(&signed.report_signature.as_bytes()[..])?
        .value(seconds(*attested_until))?;
    Ok(())
}

async fn recorded_before(
    connection: &mut SqliteConnection,
    answer: &Answer,
) -> Result<Result<(), StoreError>, StoreError> {
    let receipt = &answer.receipt.receipt;
    let row = sqlx::query("SELECT reservation, signature FROM receipts WHERE era = ? AND sequence = ?")
        .bind(ordered("an era", receipt.era)?)
        .bind(ordered("a sequence", receipt.sequence)?)
        .fetch_one(connection)
        .await?;
    let same = row.try_get::<i64, _>(0)? == answer.reservation
        && row.try_get::<&[u8], _>(1)? == receipt.signature.as_bytes();
    Ok(if same {
        Ok(())
    } else {
        Err(StoreError::SequenceTaken { era: receipt.era, sequence: receipt.sequence })
    })
}

/// Adds bound values one after the other.
struct Adder<'a>(&'a mut SqliteArguments);

impl Adder<'_> {
    fn value<'t, T>(&mut self, value: T) -> Result<&mut Self, StoreError>
    where
        T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.0.add(value).map_err(|error| StoreError::from(sqlx::Error::Encode(error)))?;
        Ok(self)
    }
}
