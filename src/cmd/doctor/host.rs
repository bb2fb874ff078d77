//! What this machine's kernel does for, or against, the secrets of the enclave.

use std::fs;
use std::path::PathBuf;

use super::Line;

/// Bytes of the kernel's files that are looked at; they have a few hundred.
const KERNEL_FILE_MAX: usize = 64 * 1024;

/// The kernel keeps 15 bytes of a process's name.
const ENCLAVE_COMM: &str = "sealstone-encla";

/// Processes that are looked at for the enclave; Linux's own default maximum.
const PROCESSES_MAX: usize = 32_768;

/// Where the kernel's files are; a test gives folders of its own.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) proc: PathBuf,
    pub(super) sys: PathBuf,
}

impl Host {
    /// This machine.
    pub(super) fn this() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }

    fn text(&self, root: &std::path::Path, name: &str) -> Option<String> {
        let path = root.join(name);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(
            &mut std::io::Read::take(fs::File::open(path).ok()?, u64::try_from(KERNEL_FILE_MAX).ok()?),
            &mut bytes,
        )
        .ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

/// Examines swap, core dumps, ptrace and lockdown.
pub(super) fn examine(host: &Host) -> Vec<Line> {
    vec![swap(host), core_dumps(host), ptrace(host), lockdown(host)]
}

fn swap(host: &Host) -> Line {
    let Some(swaps) = host.text(&host.proc, "swaps") else {
        return Line::warn("host.swap", "expected /proc/swaps, found none", "check `swapon --show` yourself");
    };
    // The first line is a heading.
    let areas: Vec<&str> = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if areas.is_empty() {
        return Line::ok("host.swap", "no swap");
    }
    Line::warn(
        "host.swap",
        format!("expected no swap, found {}", areas.join(", ")),
        "the enclave's secret memory is never swapped, other processes are: `swapoff -a`, or encrypt the swap \
         with a key of this boot",
    )
}

fn core_dumps(host: &Host) -> Line {
    let name = "host.core_dumps";
    let Some(pid) = enclave_pid(host) else {
        let pattern = host.text(&host.proc, "sys/kernel/core_pattern").unwrap_or_default();
        return Line::ok(
            name,
            format!("no enclave process runs here to look at; core_pattern is {pattern:?}"),
        );
    };
    let Some(limits) = host.text(&host.proc, &format!("{pid}/limits")) else {
        return Line::warn(
            name,
            format!(
                "expected to read the limits of the enclave (process {pid}), found that this user may not"
            ),
            "run doctor as root or as the enclave's user",
        );
    };
    let found = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .map(|rest| rest.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    match found.as_deref() {
        Some("0 0") => Line::ok(name, format!("the enclave (process {pid}) may write no core file")),
        found => Line::fail(
            name,
            format!(
                "expected a core limit of 0 for the enclave (process {pid}), found {}",
                found.unwrap_or("no such limit")
            ),
            "stop it: this is not the released enclave, which sets the limit itself",
        ),
    }
}

/// The process that is named as the enclave is, if one runs in this PID namespace.
fn enclave_pid(host: &Host) -> Option<u32> {
    fs::read_dir(&host.proc)
        .ok()?
        .take(PROCESSES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| host.text(&host.proc, &format!("{pid}/comm")).as_deref() == Some(ENCLAVE_COMM))
}

fn ptrace(host: &Host) -> Line {
    let name = "host.ptrace_scope";
    match host.text(&host.proc, "sys/kernel/yama/ptrace_scope").as_deref() {
        Some("3") => Line::ok(name, "3: no process may attach to another"),
        Some(found) => Line::warn(
            name,
            format!("expected 3, found {found}: root (or more) may attach to the enclave and inject code"),
            "`sysctl kernel.yama.ptrace_scope=3` at boot; it cannot be lowered until the next boot",
        ),
        None => Line::warn(
            name,
            "expected Yama's ptrace_scope, found none: this kernel lets root attach to the enclave",
            "boot a kernel with Yama (CONFIG_SECURITY_YAMA, and yama in the lsm list)",
        ),
    }
}

fn lockdown(host: &Host) -> Line {
    let name = "host.lockdown";
    let action = "boot with `lockdown=integrity` or more, so that root cannot write the kernel's memory";
    let Some(modes) = host.text(&host.sys, "kernel/security/lockdown") else {
        return Line::warn(
            name,
            "expected the kernel's lockdown mode, found none (or this user may not see it)",
            action,
        );
    };
    // The mode in force stands in brackets.
    match modes.split_whitespace().find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']')) {
        Some(mode @ ("integrity" | "confidentiality")) => Line::ok(name, mode),
        found => Line::warn(
            name,
            format!("expected integrity or confidentiality, found {}", found.unwrap_or("no mode in force")),
            action,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    /// A machine whose kernel files are these.
    fn host(dir: &tempfile::TempDir, files: &[(&str, &str)]) -> Host {
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Host { proc: dir.path().join("proc"), sys: dir.path().join("sys") }
    }

    fn health(files: &[(&str, &str)], name: &str) -> Health {
        let dir = tempfile::tempdir().unwrap();
        let lines = examine(&host(&dir, files));
        lines.into_iter().find(|line| line.name == name).unwrap().result
    }

    #[test]
    fn a_hardened_machine_has_nothing_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let lines = examine(&host(
            &dir,
            &[
                ("proc/swaps", "Filename Type Size Used Priority\n"),
                ("proc/sys/kernel/yama/ptrace_scope", "3\n"),
                ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
                ("proc/17/comm", "sealstone-encla\n"),
                (
                    "proc/17/limits",
                    "Limit  Soft Limit  Hard Limit  Units\nMax core file size   0   0   bytes\n",
                ),
            ],
        ));
        assert!(lines.iter().all(|line| line.result == Health::Ok && line.action.is_empty()), "{lines:?}");
    }

    #[test]
    fn each_weakness_is_a_line_with_something_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let lines = examine(&host(
            &dir,
            &[
                ("proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n"),
                ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
                ("sys/kernel/security/lockdown", "[none] integrity confidentiality\n"),
                ("proc/17/comm", "sealstone-encla\n"),
                ("proc/17/limits", "Max core file size   0   unlimited   bytes\n"),
            ],
        ));
        assert!(lines.iter().all(|line| line.result != Health::Ok && !line.action.is_empty()), "{lines:?}");
    }

    #[test]
    fn absent_and_strange_kernel_files_are_no_reason_to_trust() {
        assert_eq!(health(&[], "host.swap"), Health::Warn);
        assert_eq!(health(&[], "host.ptrace_scope"), Health::Warn);
        assert_eq!(health(&[], "host.lockdown"), Health::Warn);
        assert_eq!(health(&[("sys/kernel/security/lockdown", "integrity")], "host.lockdown"), Health::Warn);
        assert_eq!(health(&[("proc/17/comm", "sealstone-encla")], "host.core_dumps"), Health::Warn);
        let no_limit = [("proc/17/comm", "sealstone-encla"), ("proc/17/limits", "Max cpu time 0 0")];
        assert_eq!(health(&no_limit, "host.core_dumps"), Health::Fail);
    }
}
