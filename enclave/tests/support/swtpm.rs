//! One swtpm process with a folder and a socket of its own, killed on drop.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A loaded machine may need long to start a process.
const START_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(60);

pub struct Swtpm {
    process: Child,
    socket: PathBuf,
    folder: TempDir,
}

impl Swtpm {
    /// A new TPM, started up.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("state")).unwrap();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", path("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", path("tpm").display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", path("control").display()))
            .stdout(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs the TPM emulator: apt-get install swtpm")
            }
            Err(error) => panic!("cannot start swtpm: {error}"),
        };
        let tpm = Self { process, socket: path("tpm"), folder };
        let deadline = Instant::now() + START_MAX;
        while UnixStream::connect(&tpm.socket).is_err() {
            assert!(Instant::now() < deadline, "swtpm does not listen on {}", tpm.socket.display());
            thread::sleep(Duration::from_millis(5));
        }
        tpm
    }

    /// Executes one command, on a connection of its own as a relay does.
    pub fn execute(&self, command: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        stream.write_all(command).unwrap();
        let mut response = vec![0; 10];
        stream.read_exact(&mut response).unwrap();
        let len = u32::from_be_bytes(response[2..6].try_into().unwrap());
        response.resize(usize::try_from(len).unwrap(), 0);
        stream.read_exact(&mut response[10..]).unwrap();
        response
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
