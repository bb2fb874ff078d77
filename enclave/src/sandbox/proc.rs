//! What the kernel says of the process and the host: files below `/proc` and `/sys`, opened once and read again and
//! again, because nothing can be opened any more when the sandbox is closed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of such a file that are read at most; the longest, a process's status, has 1,500.
const FILE_MAX: usize = 16 * 1024;

/// Threads that are looked at; more than the crew can have.
const TASKS_MAX: usize = 256;

/// A file that stays open; none if the host has no such file.
#[derive(Debug)]
pub(super) struct Kept(Option<File>);

/// `statfs.f_type` of the process file system (statfs(2)).
pub(super) const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// That of the security file system.
pub(super) const SECURITYFS_MAGIC: u64 = 0x7363_6673;

impl Kept {
    /// The file, if it is on this file system: another that is mounted over it is not the kernel's word.
    pub(super) fn open(path: &str, file_system: u64) -> Self {
        let file = File::open(path).ok();
        Self(file.filter(|file| {
            rustix::fs::fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(file_system))
        }))
    }

    /// Its text as it is now.
    pub(super) fn read(&self) -> Option<String> {
        let mut text = vec![0; FILE_MAX];
        let mut length = 0;
        // The kernel may give less than there is, a page at a time.
        while length < FILE_MAX {
            match self.0.as_ref()?.read_at(&mut text[length..], u64::try_from(length).ok()?) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(_) => return None,
            }
        }
        text.truncate(length);
        Some(String::from_utf8(text).ok()?.trim().to_owned())
    }
}

/// The status of a process or a thread (proc_pid_status(5)).
#[derive(Debug)]
pub(super) struct Status(String);

impl Status {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| -> Option<usize> {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(line.len() - rest.len())
        };
        self.0.lines().find_map(|line| Some(line[value(line)?..].trim()))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.split_whitespace().next()?.parse().ok()
    }

    /// A set of signals or capabilities.
    pub(super) fn set(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }
}

/// The status of each thread of this process.
pub(super) fn tasks() -> io::Result<Vec<Status>> {
    fs::read_dir("/proc/self/task")?
        .take(TASKS_MAX)
        .map(|task| Ok(Status::new(fs::read_to_string(task?.path().join("status"))?)))
        .collect()
}

/// The hard and the soft limit of a line of proc_pid_limits(5); `None` for "unlimited".
pub(super) fn limit(limits: &str, name: &str) -> Option<u64> {
    let mut values = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let (soft, hard) = (values.next()?.parse().ok()?, values.next()?.parse().ok()?);
    Some(u64::max(soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_tells_what_is_now() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let kept = Kept(File::open(file.path()).ok());
        fs::write(file.path(), "one\n").unwrap();
        assert_eq!(kept.read().as_deref(), Some("one"));
        fs::write(file.path(), "two, and longer\n").unwrap();
        assert_eq!(kept.read().as_deref(), Some("two, and longer"));
        assert_eq!(Kept::open("/nowhere", PROC_SUPER_MAGIC).read(), None);
        let elsewhere = Kept::open(file.path().to_str().unwrap(), PROC_SUPER_MAGIC);
        assert_eq!(elsewhere.read(), None, "a file of another file system");
        assert!(Kept::open("/proc/self/status", PROC_SUPER_MAGIC).read().is_some());
        fs::write(file.path(), vec![b'x'; 2 * FILE_MAX]).unwrap();
        assert_eq!(kept.read().map(|text| text.len()), Some(FILE_MAX));
        fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert_eq!(kept.read(), None);
    }

    #[test]
    fn a_field_is_its_whole_name() {
        let status = Status::new(
            "Seccomp_filters:\t3\nSeccomp:\t2\nVmLck:\t 12 kB\nGroups:\t\nSigBlk:\tff".to_owned(),
        );
        assert_eq!(status.field("Seccomp"), Some("2"));
        assert_eq!(status.number("VmLck"), Some(12));
        assert_eq!(status.field("Groups"), Some(""));
        assert_eq!(status.set("SigBlk"), Some(255));
        assert_eq!(status.field("Sec"), None);
        assert_eq!(status.number("Groups"), None);
    }

    #[test]
    fn a_limit_is_the_higher_of_both_and_unlimited_is_none() {
        let limits = "Max core file size        0                    unlimited            bytes\nMax open files            20                   30                   files";
        assert_eq!(limit(limits, "Max open files"), Some(30));
        assert_eq!(limit(limits, "Max core file size"), None);
        assert_eq!(limit(limits, "Max locked memory"), None);
    }
}
