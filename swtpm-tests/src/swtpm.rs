//! An emulated TPM of one story: its own state folder and ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use sha2::{Digest, Sha256};

use crate::process::Running;
use crate::wait::until;

/// A running swtpm, or one that is switched off.
#[derive(Debug)]
pub struct Swtpm {
    folder: PathBuf,
    port: u16,
    running: Option<Running>,
}

impl Swtpm {
    /// Starts a new TPM with its state in `folder`.
    ///
    /// # Panics
    /// When swtpm is missing or does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the story's folder is writable");
        let mut tpm = Self { folder: folder.to_owned(), port: 0, running: None };
        // Another story may take the ports between the look and the start; swtpm then ends and says so.
        let mut attempts = 0;
        while tpm.running.is_none() {
            attempts += 1;
            assert!(attempts <= 20, "swtpm did not start; see {}", folder.join("log").display());
            tpm.port = free_ports();
            tpm.try_power_on();
        }
        tpm
    }

    /// The same with endorsement keys that a vendor certified: swtpm's local authority, which keeps its own certificates in
    /// `authority`.
    ///
    /// # Panics
    /// When swtpm-tools is missing or refuses.
    #[must_use]
    pub fn start_certified(folder: &Path, authority: &Path) -> Self {
        for folder in [folder, authority] {
            std::fs::create_dir_all(folder).expect("the story's folder is writable");
        }
        let path = |name: &str| authority.join(name).display().to_string();
        let authority_config = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            authority.display(),
            path("signkey.pem"),
            path("issuercert.pem"),
            path("certserial"),
        );
        std::fs::write(path("localca.conf"), authority_config).expect("the story's folder is writable");
        let setup_config = format!(
            "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = /etc/swtpm-localca.options\n",
            path("localca.conf"),
        );
        std::fs::write(path("setup.conf"), setup_config).expect("the story's folder is writable");
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--overwrite", "--tpmstate"])
            .arg(format!("dir://{}", folder.display()))
            .args(["--config", &path("setup.conf")])
            .output()
            .expect("swtpm_setup runs; apt-get install swtpm-tools");
        assert!(made.status.success(), "swtpm_setup: {made:?}");
        Self::start(folder)
    }

    /// The TCTI string by which it is reached.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// The port of its commands.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Switches it off without an orderly shutdown.
    pub fn power_off(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Switches it on: PCRs begin at zero again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn power_on(&mut self) {
        assert!(self.running.is_none(), "it is on");
        self.try_power_on();
        assert!(self.running.is_some(), "swtpm did not start again on its port {}", self.port);
    }

    /// Stops answering, as a hung chip does.
    pub fn freeze(&self) {
        self.running.as_ref().expect("it is on").signal(Signal::STOP);
    }

    /// Answers again.
    pub fn thaw(&self) {
        self.running.as_ref().expect("it is on").signal(Signal::CONT);
    }

    /// One raw command.
    ///
    /// # Errors
    /// The TPM is off.
    pub fn transmit(&self, command: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(command)?;
        let mut header = [0; 10];
        stream.read_exact(&mut header)?;
        let length = usize::try_from(u32::from_be_bytes([header[2], header[3], header[4], header[5]]))
            .expect("a length");
        let mut response = header.to_vec();
        response.resize(length.clamp(10, 4096), 0);
        stream.read_exact(&mut response[10..])?;
        Ok(response)
    }

    /// Extends a PCR of the SHA-256 bank by the hash of `event` (TPM2_PCR_Extend, TCG TPM 2.0 Part 3, 22.2).
    ///
    /// # Panics
    /// When the TPM refuses.
    pub fn extend(&self, pcr: u8, event: &[u8]) {
        self.extend_digest(pcr, &Sha256::digest(event));
    }

    /// Extends a PCR of the SHA-256 bank by this digest.
    ///
    /// # Panics
    /// When the TPM refuses.
    pub fn extend_digest(&self, pcr: u8, digest: &[u8]) {
        let mut command = vec![0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82];
        command.extend_from_slice(&[0, 0, 0, pcr]);
        // An empty password session: size, TPM_RS_PW, no nonce, attributes, no auth.
        command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        command.extend_from_slice(&[0, 0, 0, 1, 0x00, 0x0b]);
        command.extend_from_slice(digest);
        let response = self.transmit(&command).expect("the TPM answers");
        assert_eq!(&response[6..10], &[0; 4], "PCR_Extend failed: {response:02x?}");
    }

    fn try_power_on(&mut self) {
        let state = format!("dir={}", self.folder.display());
        let mut running = Running::start(
            Command::new("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate", &state])
                .args(["--server", &format!("type=tcp,port={},bindaddr=127.0.0.1,disconnect", self.port)])
                .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", self.port + 1)]),
            &self.folder.join("log"),
            "swtpm",
        );
        // TPM2_GetRandom of one byte: the answer shows that it is this TPM and that it has started.
        let probe = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 1];
        let alive = until("swtpm to answer or to end", || {
            if running.exited().is_some() {
                return Some(false);
            }
            self.transmit(&probe).ok().map(|_| true)
        });
        if alive {
            self.running = Some(running);
        }
    }
}

/// Two neighbouring ports that nobody listens on: commands, and the control channel that TCTIs expect after it.
fn free_ports() -> u16 {
    until("two neighbouring free ports", || {
        let first = TcpListener::bind(("127.0.0.1", 0)).ok()?;
        let port = first.local_addr().ok()?.port();
        let second = TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
        drop((first, second));
        Some(port)
    })
}
