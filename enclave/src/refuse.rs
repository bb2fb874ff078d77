//! A refusal on its way to the agent.

use sealstone_wire::reply::{Refusal, RefusalCode, Reply};

/// What is returned instead of an answer; boxed so that a result stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse(Box<Refusal>);

/// Refuses with a stable code and a text that says what was expected, found, and what to do; never a secret.
#[must_use]
pub fn refuse(code: RefusalCode, detail: impl Into<String>) -> Refuse {
    Refuse(Box::new(Refusal { code, detail: detail.into() }))
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
