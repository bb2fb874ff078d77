//! The system calls that the guard has: to attach to the enclave and to no other process, to wait, to let go on.
//!
//! None of them reads or writes another process: not registers, not memory. Anything else kills the guard, and with it
//! the enclave.

use std::ffi::c_uint;
use std::os::fd::RawFd;

use rustix::process::Pid;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// The filter for the guard of this enclave, which answers on this descriptor.
pub(super) fn program(enclave: Pid, channel: RawFd) -> Result<BpfProgram, BackendError> {
    let enclave = u64::from(enclave.as_raw_pid().cast_unsigned());
    let channel = u64::from(channel.cast_unsigned());
    let rules = [
        // To attach, once, to this process alone.
        (libc::SYS_ptrace, vec![all(&[request(libc::PTRACE_SEIZE), (1, enclave)])?]),
        // To let what stopped go on, and to leave stopped what somebody else stopped.
        (libc::SYS_ptrace, vec![all(&[request(libc::PTRACE_CONT)])?, all(&[request(libc::PTRACE_LISTEN)])?]),
        // To hear of stops and ends.
        (libc::SYS_wait4, vec![]),
        // To give up capabilities after attaching. The call can take none back.
        (libc::SYS_capset, vec![]),
        // To say that attaching failed.
        (libc::SYS_write, vec![all(&[(0, channel)])?]),
        // To say, without a word, that it did not.
        (libc::SYS_close, vec![all(&[(0, channel)])?]),
        // To end, when there is nothing left to wait for.
        (libc::SYS_exit_group, vec![]),
    ];
    let mut by_call = std::collections::BTreeMap::<i64, Vec<SeccompRule>>::new();
    for (call, rules) in rules {
        by_call.entry(call).or_default().extend(rules);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(by_call, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

const fn request(request: c_uint) -> (u8, u64) {
    (0, request as u64)
}

/// All of these arguments have these values, in all of their bits.
fn all(arguments: &[(u8, u64)]) -> Result<SeccompRule, BackendError> {
    let equal = |&(argument, value): &(u8, u64)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
    };
    SeccompRule::new(arguments.iter().map(equal).collect::<Result<_, _>>()?)
}
