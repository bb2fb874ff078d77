//! Whether evidence shows which code ran: by the means that its manifest demands, and by no other.

mod boot;
mod command_line;
mod grub;
mod harmless;
mod ima;
mod verity;

use crate::{
    CodeMeasurement, Sha256Digest, State,
    appraisal::{ima::TiedList, verdict::Checklist},
    event_log::EventLog,
};
use boot::{Booted, booted};
use command_line::CommandLine;
use harmless::check_harmless;

/// The check's name.
const CHECK: &str = "code.measured";

/// What of evidence says which code ran.
pub(crate) struct ShownCode<'a> {
    /// The one state that the quote shows; `None` if it shows none.
    pub(crate) state: Option<&'a State>,
    /// A log that explains the quoted values.
    pub(crate) event_log: Option<EventLog<'a>>,
    /// A list that is tied to the quote.
    pub(crate) ima_log: Option<TiedList<'a>>,
    /// Of the enclave's binary, as its report says.
    pub(crate) binary: Option<Sha256Digest>,
}

/// Makes the check.
pub(crate) fn check_code(list: &mut Checklist, demanded: CodeMeasurement, shown: &ShownCode<'_>) {
    if demanded == CodeMeasurement::None {
        list.not_applicable(CHECK, "the manifest says code = \"none\"");
        list.warn(
            "the quote shows the machine's boot state; that the approved binaries ran on it is not shown \
             (code = \"none\": neither dm-verity nor enforced IMA)"
                .to_owned(),
        );
        return;
    }
    // Under an unknown state nothing was approved, so that nothing can be shown.
    let Some(state) = shown.state.filter(|_| list.passed("state.approved")) else { return };
    let result = command_line(state, shown.event_log.as_ref()).and_then(|Booted { line, pcr, initrd_measured }| {
        let line = CommandLine::parse(&line)?;
        check_harmless(&line)?;
        // The kernel itself reads that one, and needs no initial file system.
        if !initrd_measured && line.only("dm-mod.create")?.is_none() {
            return Err(
                "expected a unified kernel image with its own initial file system, found none in PCR 11".to_owned()
            );
        }
        let by = format!("by the command line in the approved PCR {pcr}");
        match demanded {
            CodeMeasurement::Verity => {
                let verity::Verified { what, hash } = verity::verified(&line)?;
                if what == "usr" {
                    list.warn(
                        "dm-verity covers /usr alone: what the rest of the root file system makes the approved programs do is \
                         not shown"
                            .to_owned(),
                    );
                }
                Ok(format!("dm-verity over the {what} file system with the root hash {hash}, {by}"))
            }
            CodeMeasurement::Ima => {
                ima::check_enforced(&line)?;
                let tied = shown.ima_log.as_ref().ok_or(
                    "expected a measurement list that is tied to the quoted PCR 10, found none",
                )?;
                let enclave = ima::enclave_measured(tied, shown.binary.as_ref())?;
                list.warn(
                    "IMA appraises files by their labels: who could write labels on that disk is not shown".to_owned(),
                );
                Ok(format!("IMA appraises and enforces, {by}; {enclave}"))
            }
            CodeMeasurement::None => Err("expected a means to be demanded, found none".to_owned()),
        }
    });
    list.record(CHECK, result);
}

fn command_line(state: &State, log: Option<&EventLog<'_>>) -> Result<Booted, String> {
    let log = log.ok_or(
        "expected an event log that explains the approved values, and in it the kernel's command line, found none",
    )?;
    booted(log, state)
}
