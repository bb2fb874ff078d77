//! `sealstone enroll`: is the attestation key of a node in a real TPM? Between two machines, by credential activation.

mod activate;
mod challenge;
mod files;
mod request;
mod sign;

use clap::Subcommand;

use super::Context;
use crate::failure::Failure;
use crate::output::Answer;

/// Enrol a node's TPM: a ceremony between the node and the enrolling authority
///
/// The node asks, the authority judges the TPM's certificate and challenges, the TPM answers, the authority signs what it saw.
/// Each step takes a file to the other machine; none of them is secret but the authority's PENDING.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example, node and authority in turn:\n  \
        sealstone enroll request -o request.json\n  \
        sealstone enroll challenge request.json --roots vendor-roots --pending node-1.pending -o challenge.json\n  \
        sealstone enroll activate challenge.json -o response.json\n  \
        sealstone enroll sign response.json --pending node-1.pending --key alice.key -o node-1.enrolment\n\n\
        The agent carries the record in its evidence: tpm.enrolment = \"/etc/sealstone/node-1.enrolment\".")]
pub(super) enum Verb {
    Request(request::Args),
    Challenge(challenge::Args),
    Activate(activate::Args),
    Sign(sign::Args),
}

pub(super) fn run(verb: Verb, context: &Context) -> Result<Answer, Failure> {
    match verb {
        Verb::Request(args) => request::run(args, context),
        Verb::Challenge(args) => challenge::run(&args),
        Verb::Activate(args) => activate::run(args, context),
        Verb::Sign(args) => sign::run(&args),
    }
}
