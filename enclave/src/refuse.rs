//! A refusal on its way to the agent.

use sealstone_wire::reply::{Refusal, RefusalCode, Reply};

/// What is returned instead of an answer; boxed so that a result stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse(Box<Refusal>);

/// Characters of a detail: more than any that is written here, and far less than a frame. What comes after that
/// was quoted from the agent's own bytes.
const DETAIL_CHARS_MAX: usize = 8 * 1024;

/// Refuses with a stable code and a text that says what was expected, found, and what to do; never a secret.
///
/// The text goes into logs, and may quote what the agent sent: it is cut, and stays on one line.
#[must_use]
pub fn refuse(code: RefusalCode, detail: impl Into<String>) -> Refuse {
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    let detail = detail.into().chars().map(shown).take(DETAIL_CHARS_MAX).collect();
    Refuse(Box::new(Refusal { code, detail }))
}

impl Refuse {
    /// The code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        self.0.code
    }

    /// The text.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl From<Refuse> for Reply {
    fn from(refuse: Refuse) -> Self {
        Self::Refused(*refuse.0)
    }
}

#[cfg(test)]
mod tests {
    use sealstone_wire::channel;
    use sealstone_wire::reply::ReplyMessage;

    use super::*;

    #[test]
    fn a_detail_that_quotes_the_agent_stays_on_one_line_and_fits_a_frame() {
        let line = "\n\u{1b}[2Jsealstone-enclave: all is well \u{1f980}";
        let refusal =
            refuse(RefusalCode::ManifestRefused, format!("unknown field `{}`", line.repeat(40_000)));
        assert!(!refusal.detail().contains(char::is_control));
        assert!(refusal.detail().starts_with("unknown field `  [2J"));
        let message = ReplyMessage { id: u64::MAX, reply: refusal.into() };
        channel::encode(&message).expect("a refusal fits a frame");
    }
}
