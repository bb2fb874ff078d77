//! A software TPM of one test's own: its folder, its ports, its process; gone with it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use sealstone_agent::config::tpm::{RawTpm, TpmConfig};

/// How long starting may take on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Swtpm {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
    process: Child,
}

impl Swtpm {
    /// Starts a fresh TPM.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--flags", "not-need-init,startup-clear"])
    }

    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a folder for the test's TPM");
        let port = free_port_pair();
        let process = spawn(&directory.path().join("tpm"), port, flags);
        Self { directory, port, process }
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("swtpm was running");
        self.process.wait().expect("swtpm can be waited for");
    }

    /// Starts it again on the same state and port.
    pub(crate) fn restart(&mut self) {
        self.process =
            spawn(&self.directory.path().join("tpm"), self.port, &["--flags", "not-need-init,startup-clear"]);
    }

    /// Puts another TPM into the same place: new seeds, same port.
    pub(crate) fn replace(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.directory.path().join("tpm")).expect("the state can be removed");
        self.restart();
    }

    /// Sends a signal by name, as `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        run(Command::new("kill").args(["-s", name, &id]));
    }

    pub(crate) fn config(&self, more: &str) -> TpmConfig {
        let text = format!("tcti = \"swtpm:port={}\"\n{more}", self.port);
        let raw: RawTpm = toml::from_str(&text).expect("a [tpm] section");
        raw.check(self.directory.path(), self.directory.path()).expect("a good [tpm] section")
    }

    /// Has the TPM execute one raw command, as a program that knows no manners would.
    pub(crate) fn raw(&self, command: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("swtpm listens");
        stream.write_all(command).expect("swtpm reads");
        let mut response = vec![0; 10];
        stream.read_exact(&mut response).expect("swtpm answers");
        let size = u32::from_be_bytes(response[2..6].try_into().expect("four bytes"));
        response.resize(usize::try_from(size).expect("a size"), 0);
        stream.read_exact(&mut response[10..]).expect("swtpm answers in whole");
        response
    }

    pub(crate) fn extend(&self, pcr: u8) {
        let mut command = bytes("8002 00000041 00000182 000000");
        command.push(pcr);
        command.extend(bytes("00000009 40000009 0000 00 0000 00000001 000b"));
        command.extend([0xab; 32]);
        assert_eq!(self.raw(&command)[6..10], [0; 4], "TPM2_PCR_Extend");
    }

    /// Handles of transient objects and loaded sessions.
    pub(crate) fn loaded(&self) -> usize {
        ["80000000", "02000000"]
            .into_iter()
            .map(|first| {
                let answer = self.raw(&bytes(&format!("8001 00000016 0000017a 00000001 {first} 00000040")));
                usize::try_from(u32::from_be_bytes(answer[15..19].try_into().expect("four bytes")))
                    .expect("a count")
            })
            .sum()
    }

    /// Runs one of tpm2-tools against this TPM, in the test's folder.
    pub(crate) fn tool(&self, arguments: &[&str]) {
        let tcti = format!("swtpm:port={}", self.port);
        run(Command::new(arguments[0])
            .args(&arguments[1..])
            .env("TPM2TOOLS_TCTI", tcti)
            .current_dir(self.directory.path()));
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A TPM command or response written as hex with spaces.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).expect("hex")
}

fn spawn(state: &Path, port: u16, flags: &[&str]) -> Child {
    std::fs::create_dir_all(state).expect("a folder for the TPM's state");
    let log: PathBuf = state.with_extension("log");
    let mut process = Command::new("swtpm")
        .args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", state.display())])
        .args([
            "--server",
            &format!("type=tcp,port={port}"),
            "--ctrl",
            &format!("type=tcp,port={}", port + 1),
        ])
        .args(["--log", &format!("file={},level=1", log.display())])
        .args(flags)
        .stdin(Stdio::null())
        .spawn()
        .expect("this test needs swtpm: apt-get install swtpm");
    let end = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = process.try_wait().expect("swtpm can be waited for") {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("swtpm ended with {status}: {log}");
        }
        if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
            return process;
        }
        assert!(Instant::now() < end, "swtpm does not listen on port {}", port + 1);
        std::thread::yield_now();
    }
}

/// Two ports side by side that nobody has now, different for each call of this process.
fn free_port_pair() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 1_000).expect("below 1,000") * 20;
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(2, Ordering::Relaxed) % 2_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports side by side");
}

fn run(command: &mut Command) {
    let name = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("this test needs {name:?} ({error}): apt-get install tpm2-tools procps")
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
