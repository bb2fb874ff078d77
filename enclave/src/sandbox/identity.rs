//! No supplementary groups and no capabilities, whoever started the process.
//!
//! These are properties of a thread: they are given up before the second one is born. What the user was never
//! allowed to give up (groups and bounding set of an ordinary user) stays and is measured.

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_thread_groups,
};

/// One more than the highest number that a capability can have: the sets are 64 bits wide.
const CAPABILITIES_END: u32 = 64;

/// Gives up groups, then every set of capabilities; the permitted one last, because it allows the rest.
///
/// # Errors
/// The kernel does not let a thread give up its own capabilities, which it always does.
pub fn give_up() -> rustix::io::Result<()> {
    // Refused to ordinary users; `no_supplementary_groups` tells what is left.
    let _ = set_thread_groups(&[]);
    for number in 0..CAPABILITIES_END {
        // Refused to ordinary users, who gain nothing from the bounding set either: no new privileges.
        if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)).is_err() {
            break;
        }
    }
    // User 0 gets nothing back by executing a program or by changing users.
    let _ = set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    );
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
