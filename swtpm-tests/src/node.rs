//! A whole node: emulated TPM, enclave, agent, and the CLI to operate them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Answer};
use crate::process::{Running, binary};
use crate::swtpm::Swtpm;
use crate::wait::until;

/// The name of a node in its manifests, of the first where there are several.
pub const NAME: &str = "node-1";

/// Lets everybody of the tenants of the stories sign what nobody reads: stories about rules have their own.
pub const POLICY: &str = r#"version = 1
sanctions = "off"

[chains]
none = "opaque:0"
one = "opaque:1"
two = "opaque:2"

[[senders]]
tenant = "acme"
asset = "*"
chains = ["none", "one", "two"]
allow_opaque = true
allow_old_epochs = true

[[senders]]
tenant = "other"
asset = "*"
chains = ["none", "one"]
allow_opaque = true

[[senders]]
tenant = "acme"
session = "*"
chains = ["none", "one", "two"]
allow_opaque = true
"#;

/// A node in its own folder.
#[derive(Debug)]
pub struct Node {
    /// Its TPM.
    pub tpm: Swtpm,
    name: String,
    enclave_program: &'static str,
    enclave: Option<Running>,
    agent: Option<Running>,
    // Last, so that the processes end before their folder goes.
    folder: TempDir,
}

/// What a run of the CLI came to.
#[derive(Debug)]
pub struct Ran {
    /// 0 done, 1 refused, 2 unusable.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as one JSON object.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Itself, if it ended with this code.
    ///
    /// # Panics
    /// Otherwise, with everything that it said.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Node {
    /// A TPM with eight measured PCRs, keys and configuration; nothing runs yet.
    ///
    /// # Panics
    /// When something is missing.
    #[must_use]
    pub fn init() -> Self {
        Self::init_as(NAME, &["--new-authority", "alice"])
    }

    /// The same with another name, and with options of `sealstone init` that say who approves its manifests.
    ///
    /// # Panics
    /// When something is missing.
    #[must_use]
    pub fn init_as(name: &str, authority: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("sealstone-").tempdir().expect("a folder");
        let tpm = Swtpm::start(&folder.path().join("tpm"));
        let node = Self::init_on(tpm, folder, name, authority);
        // An elliptic-curve endorsement key is made in milliseconds; RSA has stories of its own.
        node.edit("agent.toml", |text| text.replace("[tpm]\n", "[tpm]\nek = \"p256\"\n"));
        node
    }

    /// A node on a TPM whose endorsement keys a vendor certified: of this kind, as `tpm.ek` names it. The vendor's own
    /// certificates are in the folder `vendor` beside the node's.
    ///
    /// # Panics
    /// When something is missing.
    #[must_use]
    pub fn init_certified(ek: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sealstone-").tempdir().expect("a folder");
        let tpm = Swtpm::start_certified(&folder.path().join("tpm"), &folder.path().join("vendor"));
        let node = Self::init_on(tpm, folder, NAME, &["--new-authority", "alice"]);
        node.edit("agent.toml", |text| text.replace("[tpm]\n", &format!("[tpm]\nek = \"{ek}\"\n")));
        node
    }

    fn init_on(tpm: Swtpm, folder: TempDir, name: &str, authority: &[&str]) -> Self {
        let name = name.to_owned();
        let node =
            Self { tpm, name, enclave_program: "sealstone-enclave", enclave: None, agent: None, folder };
        node.measure_boot();
        let tcti = node.tpm.tcti();
        let path = node.folder().display().to_string();
        let init = ["init", "--dir", &path, "--node", &node.name, "--tcti", &tcti];
        let _ = node.run(node.folder.path(), &[&init, authority].concat()).expect(0);
        std::fs::write(node.path("policy.toml"), POLICY).expect("the folder is writable");
        node
    }

    /// A running node with an approved state and an open session.
    #[must_use]
    pub fn ready() -> Self {
        Self::ready_under(POLICY)
    }

    /// The same under this policy.
    ///
    /// # Panics
    /// When something is missing.
    #[must_use]
    pub fn ready_under(policy: &str) -> Self {
        let mut node = Self::init();
        node.set_policy(policy);
        node.start_enclave();
        node.start_agent();
        let _ = node.approve_first();
        node.await_ready(true);
        node
    }

    /// Writes a policy, which the agent takes when it starts.
    ///
    /// # Panics
    /// When the folder is gone.
    pub fn set_policy(&self, policy: &str) {
        std::fs::write(self.path("policy.toml"), policy).expect("the folder is writable");
    }

    /// Ends the agent as a crash would, and starts it again.
    pub fn restart_agent(&mut self) {
        self.kill_agent();
        self.start_agent();
        self.await_ready(true);
    }

    /// What the firmware measures at every boot.
    pub fn measure_boot(&self) {
        for pcr in 0..8 {
            self.tpm.extend(pcr, format!("measurement of PCR {pcr}").as_bytes());
        }
    }

    /// Power off and on, into the same measured state.
    pub fn reboot_machine(&mut self) {
        self.tpm.power_off();
        self.tpm.power_on();
        self.measure_boot();
    }

    /// Its name in its manifests.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file of the node.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Changes a text file of the node.
    ///
    /// # Panics
    /// When it is not there.
    pub fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).expect("the file is there");
        std::fs::write(&path, change(text)).expect("the folder is writable");
    }

    /// Runs another build of the enclave from the next start on.
    pub fn run_enclave_program(&mut self, name: &'static str) {
        self.enclave_program = name;
    }

    /// Starts the enclave and waits until it listens.
    pub fn start_enclave(&mut self) {
        self.start_enclave_by(&mut Command::new(binary(self.enclave_program)));
    }

    /// The same by a command that becomes the enclave, to which its arguments are added.
    pub fn start_enclave_by(&mut self, command: &mut Command) {
        assert!(self.enclave.is_none(), "it runs");
        let socket = self.path("enclave.sock");
        let running = Running::start(
            command.arg("--config").arg(self.path("enclave.toml")),
            &self.path("enclave.log"),
            "nothing: it is built here",
        );
        self.enclave = Some(running);
        until("the enclave to listen", || std::os::unix::net::UnixStream::connect(&socket).ok());
    }

    /// Starts the agent and waits until it answers.
    pub fn start_agent(&mut self) {
        self.start_agent_by(&mut Command::new(binary("sealstone-agent")));
    }

    /// The same by a command that becomes the agent, to which its arguments are added.
    pub fn start_agent_by(&mut self, command: &mut Command) {
        assert!(self.agent.is_none(), "it runs");
        let running = Running::start(
            command.arg("--config").arg(self.path("agent.toml")),
            &self.path("agent.log"),
            "nothing: it is built here",
        );
        self.agent = Some(running);
        until("the agent to answer", || self.try_get("/healthz"));
    }

    /// Ends the enclave as a crash would.
    pub fn kill_enclave(&mut self) {
        self.enclave.take().expect("it runs").kill();
    }

    /// Ends the agent as a crash would.
    pub fn kill_agent(&mut self) {
        self.agent.take().expect("it runs").kill();
    }

    /// The enclave's process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn enclave_pid(&self) -> u32 {
        self.enclave.as_ref().expect("it runs").pid()
    }

    /// The enclave's process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn enclave(&mut self) -> &mut Running {
        self.enclave.as_mut().expect("it runs")
    }

    /// The agent's process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn agent(&mut self) -> &mut Running {
        self.agent.as_mut().expect("it runs")
    }

    /// The processes of agent and enclave.
    ///
    /// # Panics
    /// When one of them does not run.
    #[must_use]
    pub fn pids(&self) -> (u32, u32) {
        (self.agent.as_ref().expect("it runs").pid(), self.enclave.as_ref().expect("it runs").pid())
    }

    /// Takes the enclave's process out of the node, to end it in another way.
    pub fn take_enclave(&mut self) -> Running {
        self.enclave.take().expect("it runs")
    }

    /// Takes the agent's process out of the node, to end it in another way.
    pub fn take_agent(&mut self) -> Running {
        self.agent.take().expect("it runs")
    }

    /// Runs the CLI against this node.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        self.run(&self.folder(), arguments)
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = Command::new(binary("sealstone"))
            .args(arguments)
            .current_dir(folder)
            .env("SEALSTONE_SOCKET", self.path("agent.sock"))
            .output()
            .expect("the CLI runs");
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Proposes the machine's state as the first manifest, signs it with alice's key and applies it.
    #[must_use]
    pub fn approve_first(&self) -> Ran {
        self.propose_first("m1.json");
        let _ = self.cli(&["manifest", "sign", "m1.json", "--key", "alice.key"]).expect(0);
        self.cli(&["manifest", "apply", "m1.json", "--provision", NAME, "--json"]).expect(0)
    }

    /// Proposes the machine's state as the first manifest, unsigned.
    pub fn propose_first(&self, output: &str) {
        let _ = self
            .cli(&[
                "manifest",
                "propose",
                "--draft",
                "manifest.json",
                "--node",
                NAME,
                "--state",
                "boot-1",
                "--pcrs",
                "sha256:0,1,2,3,4,5,6,7",
                "-o",
                output,
            ])
            .expect(0);
    }

    /// Waits until the node says that it is ready, or that it is not.
    pub fn await_ready(&self, ready: bool) {
        until(if ready { "the node to be ready" } else { "the node to be not ready" }, || {
            let status = self.try_get("/v1/status")?.json();
            // A manifest that was just applied has ended the session, which the agent learns a moment later.
            let attested = status["enclave"]["phase"] == json!("attested");
            (status["ready"] == json!(ready) && (attested || !ready)).then_some(())
        });
    }

    /// One API request.
    ///
    /// # Panics
    /// When the agent does not answer.
    #[must_use]
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        http::request(&self.socket(), method, path, &bytes).expect("the agent answers")
    }

    /// A GET, if the agent answers.
    #[must_use]
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        http::request(&self.socket(), "GET", path, &[]).ok()
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    /// Creates an asset of tenant `acme`.
    pub fn create_asset(&self, asset: &str, algorithm: &str) -> Value {
        let answer = self.api(
            "POST",
            "/v1/assets",
            &json!({"tenant": "acme", "asset": asset, "algorithm": algorithm}),
        );
        assert!(answer.status < 300, "{answer:?}");
        answer.json()
    }

    /// Asks for one signature of tenant `acme` on chain 1.
    #[must_use]
    pub fn sign(&self, asset: &str, nonce: u64, payload: &[u8]) -> Answer {
        self.api("POST", "/v1/sign", &sign_body(asset, nonce, payload))
    }

    /// The folder that `sealstone init` made.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("node")
    }
}

/// The body of a signing request of tenant `acme` on chain 1.
#[must_use]
pub fn sign_body(asset: &str, nonce: u64, payload: &[u8]) -> Value {
    json!({"tenant": "acme", "asset": asset, "chain_id": 1, "nonce": nonce, "payload": hex::encode(payload)})
}
