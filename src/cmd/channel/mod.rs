//! `sealstone channel`: the keys between agent and enclave, and how they are replaced without a pause.

mod edit;
mod folder;
mod retire;
mod rotate;
mod show;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::output::Answer;

/// Show and replace the keys of the channel between agent and enclave
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealstone channel rotate --side agent --dir node\n  sealstone channel retire --side agent --dir node"
)]
pub(super) enum Verb {
    /// Show both sides' keys, and whether each side knows the other's
    #[command(after_help = "Example:\n  sealstone channel show --dir node")]
    Show {
        /// The node's folder
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Make a side's next key and have both configurations name it beside the one in use
    ///
    /// Run it as the user who owns the side's key. A configuration that is not in the folder, as when the enclave is
    /// in a guest, is not edited: the line for it is printed.
    #[command(after_help = "Examples:\n  sealstone channel rotate --side agent --dir node\n  \
            sealstone channel rotate --side enclave --dir /etc/sealstone")]
    Rotate(Args),
    /// Have both configurations name the next key only; the last step, when both sides run with it
    #[command(after_help = "Example:\n  sealstone channel retire --side agent --dir node")]
    Retire(Args),
}

/// Whose key.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose key
    #[arg(long)]
    side: Side,
    /// The node's folder
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    Agent,
    Enclave,
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    match verb {
        Verb::Show { dir } => show::run(&dir),
        Verb::Rotate(Args { side, dir }) => rotate::run(side, &dir),
        Verb::Retire(Args { side, dir }) => retire::run(side, &dir),
    }
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Enclave => "enclave",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Agent => Self::Enclave,
            Self::Enclave => Self::Agent,
        }
    }
}
