//! One swtpm process with a folder and a socket of its own, killed on drop.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A loaded machine may need long to start a process.
const START_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The command socket's name in the folder.
const SOCKET: &str = "tpm";

pub struct Swtpm {
    process: RefCell<Child>,
    socket: PathBuf,
    folder: TempDir,
}

impl Swtpm {
    /// A new TPM, started up.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let process = RefCell::new(spawn(folder.path()));
        let tpm = Self { process, socket: folder.path().join(SOCKET), folder };
        tpm.wait_until_it_listens();
        tpm
    }

    /// Pulls the plug and starts the TPM again, with what it keeps.
    pub fn restart(&self) {
        let mut process = self.process.borrow_mut();
        process.kill().unwrap();
        process.wait().unwrap();
        std::fs::remove_file(&self.socket).unwrap();
        *process = spawn(self.folder.path());
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + START_MAX;
        while UnixStream::connect(&self.socket).is_err() {
            assert!(Instant::now() < deadline, "swtpm does not listen on {}", self.socket.display());
            thread::sleep(Duration::from_millis(5));
        }
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
        let process = self.process.get_mut();
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let process = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", path("state")))
        .arg("--server")
        .arg(format!("type=unixio,path={}", path(SOCKET)))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", path("control")))
        // It reports every connection that ends.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match process {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs the TPM emulator: apt-get install swtpm")
        }
        Err(error) => panic!("cannot start swtpm: {error}"),
    }
}
