//! What a log says about a boot, each with the event that says it.
//!
//! A fact is `vouched` when the digests cover it. That makes it true of the machine only if the log also replays to quoted
//! values and has no findings; and what an operating system extended after the boot looks like the boot's own in every PCR
//! that has no separator (8 and above).

pub(super) mod boot;
pub(super) mod policy;

use serde::Serialize;

use crate::event_log::{
    EventLog,
    facts::{
        boot::{BootText, Image, ShimVariable},
        policy::{Authority, KeyDatabase, SecureBoot},
    },
};

/// What a log says about a boot. What it does not say is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// Whether the firmware verifies what it starts.
    pub secure_boot: SecureBoot,
    /// The keys of the Secure Boot policy.
    pub keys: Vec<KeyDatabase<'a>>,
    /// What verified images.
    pub authorities: Vec<Authority<'a>>,
    /// The images that were loaded, in the log's order.
    pub images: Vec<Image>,
    /// The event of the image that the firmware started first; `None` when the log does not say.
    pub boot_loader: Option<usize>,
    /// The kernels that a boot loader names.
    pub kernels: Vec<BootText>,
    /// Kernel command lines.
    pub command_lines: Vec<BootText>,
    /// Sections of a unified kernel image, by name.
    pub stub_sections: Vec<BootText>,
    /// Other things that a boot loader or a stub says, such as the configuration of systemd-boot.
    pub loader: Vec<BootText>,
    /// Shim's variables, by name: their digests are those of the content.
    pub shim: Vec<ShimVariable>,
}

/// Collects what a log says.
pub(super) fn facts<'a>(log: &EventLog<'a>) -> Facts<'a> {
    let boot = boot::collect(log.events());
    Facts {
        secure_boot: policy::secure_boot(log),
        keys: policy::keys(log.events()),
        authorities: policy::authorities(log.events()),
        images: boot.images,
        boot_loader: boot.boot_loader,
        kernels: boot.kernels,
        command_lines: boot.command_lines,
        stub_sections: boot.stub_sections,
        loader: boot.loader,
        shim: boot.shim,
    }
}
