//! No environment. Removing variables would leave their bytes at the top of the first stack, where
//! `/proc/PID/environ` shows them; so the program executes itself again with none, before it holds anything.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::notice::notice;

/// The kernel's own link to the executed file, whatever its name now names.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The name in process lists, which the kernel would otherwise take from [`OWN_EXECUTABLE`]; it keeps 15 bytes.
const PROCESS_NAME: &std::ffi::CStr = c"sealstone-enclave";

/// Comes back with an empty environment, in the same process; at once if it is empty already.
pub fn start_without() {
    if std::env::vars_os().next().is_some() {
        let mut arguments = std::env::args_os();
        let mut again = Command::new(OWN_EXECUTABLE);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        let error = again.args(arguments).env_clear().exec();
        notice(format!("warning: environment kept: cannot execute {OWN_EXECUTABLE}: {error}"));
    }
    // A process without a name of its own serves as well.
    let _ = rustix::thread::set_name(PROCESS_NAME);
}

/// Whether the kernel shows no environment of this process; `None` if it shows nothing at all.
pub(super) fn is_empty() -> Option<bool> {
    let mut first = [0];
    let read = File::open("/proc/self/environ").and_then(|mut environ| environ.read(&mut first));
    Some(read.ok()? == 0)
}
