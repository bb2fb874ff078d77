//! A relay that keeps what it saw, and does with each command what a test says.

use sealstone_enclave::tpm::{Relay, RelayError};
use tpm2_protocol::data::TpmCc;

use super::commands::is;
use super::swtpm::Swtpm;

/// One relayed command and its response.
#[derive(Clone)]
pub struct Exchange {
    pub command: Vec<u8>,
    pub response: Vec<u8>,
}

/// What a relay does with a command, given everything that it saw before.
pub type Conduct<'t> = dyn FnMut(&Swtpm, &[u8], &[Exchange]) -> Result<Vec<u8>, RelayError> + 't;

pub struct TapRelay<'t> {
    tpm: &'t Swtpm,
    conduct: Box<Conduct<'t>>,
    pub seen: Vec<Exchange>,
}

impl<'t> TapRelay<'t> {
    pub fn honest(tpm: &'t Swtpm) -> Self {
        Self::new(tpm, |tpm, command, _| Ok(tpm.execute(command)))
    }

    pub fn new(
        tpm: &'t Swtpm,
        conduct: impl FnMut(&Swtpm, &[u8], &[Exchange]) -> Result<Vec<u8>, RelayError> + 't,
    ) -> Self {
        Self { tpm, conduct: Box::new(conduct), seen: Vec::new() }
    }

    /// How often this command was relayed.
    pub fn commands(&self, code: TpmCc) -> usize {
        self.seen.iter().filter(|exchange| is(&exchange.command, code)).count()
    }

    /// Whether these bytes went over the wire.
    pub fn saw(&self, needle: &[u8]) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        self.seen.iter().any(|exchange| holds(&exchange.command) || holds(&exchange.response))
    }
}

impl Relay for TapRelay<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError> {
        let response = (self.conduct)(self.tpm, command, &self.seen)?;
        self.seen.push(Exchange { command: command.to_vec(), response: response.clone() });
        Ok(response)
    }
}
