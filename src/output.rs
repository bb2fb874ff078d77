//! One answer per command: a short text for people, or one JSON object with `--json`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// What a command answers.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    exit: Exit,
    /// As JSON, and for people; `None` when everything was written already.
    said: Option<(Value, String)>,
}

impl Answer {
    /// Done or accepted.
    pub(crate) fn done(json: Value, text: impl Into<String>) -> Self {
        Self { exit: Exit::Done, said: Some((json, text.into())) }
    }

    /// Done if `accepted`, else refused; both are answers, with the same shape.
    pub(crate) fn verdict(accepted: bool, json: Value, text: impl Into<String>) -> Self {
        Self { exit: if accepted { Exit::Done } else { Exit::Refused }, said: Some((json, text.into())) }
    }

    /// Done, and written by the command itself.
    pub(crate) fn written() -> Self {
        Self { exit: Exit::Done, said: None }
    }

    /// What the process ends with.
    #[cfg(test)]
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

/// Prints what a command came to and says what the process ends with.
///
/// A closed standard output (`sealstone … | head`) changes nothing about the outcome; any other failure to
/// write makes the outcome unusable, because a program waits for it.
pub(crate) fn report(result: Result<Answer, Failure>, as_json: bool) -> Exit {
    let (exit, written) = match result {
        Ok(Answer { exit, said: None }) => (exit, Ok(())),
        Ok(Answer { exit, said: Some((json, text)) }) => {
            let text = if as_json { format!("{json}\n") } else { text };
            (exit, write_all(&mut io::stdout(), &text))
        }
        Err(failure) if as_json => {
            (failure.exit(), write_all(&mut io::stdout(), &format!("{}\n", failure.json())))
        }
        Err(failure) => (failure.exit(), write_all(&mut io::stderr(), &failure.text())),
    };
    match written {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => {
            // Nothing is left to tell it to if this fails as well.
            let _ = write_all(&mut io::stderr(), &format!("sealstone: cannot write the answer: {error}\n"));
            Exit::Unusable
        }
    }
}

fn write_all(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// A value of our own types as JSON.
pub(crate) fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("our own types have string keys and no failing serializer")
}

/// Text that others chose, made harmless for a terminal: control characters and those that reorder a line
/// are escaped, so that a name can neither forge a line nor hide one.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Named values, one per line, aligned.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let mut out = String::new();
    for (name, value) in rows {
        out.push_str(&format!("{:<width$} {value}\n", format!("{name}:")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_line_or_turn_one_round() {
        assert_eq!(shown("boot-1 é"), "boot-1 é");
        assert_eq!(shown("ok\naccepted"), "ok\\naccepted");
        assert_eq!(shown("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn a_refusal_is_an_answer_with_exit_code_1() {
        assert_eq!(Answer::verdict(false, Value::Null, "").exit(), Exit::Refused);
        assert_eq!(Answer::verdict(true, Value::Null, "").exit(), Exit::Done);
    }
}
