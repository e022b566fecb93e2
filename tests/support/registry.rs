//! The built binary. It serves on a port and from a directory of its own.
#![expect(clippy::disallowed_methods, reason = "tests are outside the product, so the seams of sys do not apply")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::client::Client;

/// The time after which [`eventually`] gives up. It is far longer than any wait on a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// A running server. Dropping it kills it and removes its store.
pub struct Registry {
    directory: tempfile::TempDir,
    addr: SocketAddr,
    environment: Vec<(String, String)>,
    /// Commands of a shell that set limits before the server starts.
    limits: String,
    child: Option<Child>,
}

impl Registry {
    /// Starts a private registry that allows deletion.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts such a registry with more sections of YAML. `http:` and `storage:` are there already; see [`Registry::configured`].
    pub fn with(sections: &str) -> Self {
        Self::configured(|place| format!("{}\n{sections}\n", place.usual()))
    }

    /// Starts a server with the configuration that `write` returns for its place.
    pub fn configured(write: impl FnOnce(&Place) -> String) -> Self {
        Self::configured_in(&[], write)
    }

    /// Starts a server after commands of a shell such as `ulimit -n 128`.
    pub fn limited(limits: &str, write: impl FnOnce(&Place) -> String) -> Self {
        Self::prepared(&[], limits, write)
    }

    /// Starts such a server with these environment variables only.
    pub fn configured_in(environment: &[(&str, String)], write: impl FnOnce(&Place) -> String) -> Self {
        Self::prepared(environment, "", write)
    }

    fn prepared(environment: &[(&str, String)], limits: &str, write: impl FnOnce(&Place) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addr = free_address();
        let place = Place { directory: directory.path().to_owned(), addr };
        fs::write(directory.path().join("config.yml"), write(&place)).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut registry = Self { directory, addr, environment, limits: limits.to_owned(), child: None };
        registry.launch();
        registry
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn client(&self) -> Client {
        Client::new(self.addr)
    }

    /// Returns the directory of its store.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Returns the id of the running process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Returns the whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Waits until the log contains `words`. A line is written after the end of a body, which the client may see first.
    pub fn wait_for_log(&self, words: &str) -> String {
        let line = || self.log().lines().find(|line| line.contains(words)).map(ToOwned::to_owned);
        eventually(&format!("{words:?} in the log"), line)
    }

    /// Returns the resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref().unwrap().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sends SIGKILL, which has the effect of a power cut on the process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends SIGTERM; [`Registry::wait`] waits for the end.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        eventually("the end of the process", || child.try_wait().unwrap())
    }

    /// Kills the server and starts it again with the same address and the same directory.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Starts the server again. Returns false if it ended before it was ready.
    pub fn try_restart(&mut self) -> bool {
        self.kill();
        self.try_launch().is_ok()
    }

    fn launch(&mut self) {
        if let Err(status) = self.try_launch() {
            panic!("the server ended with {status}:\n{}", self.log());
        }
    }

    /// Starts the server. Returns its exit status if it ended before it was ready.
    fn try_launch(&mut self) -> Result<(), ExitStatus> {
        let log = fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        // The shell becomes the server.
        let child = Command::new("sh")
            .args(["-c", &format!("{}\nexec \"$0\" \"$@\"", self.limits)])
            .arg(binary())
            .arg("serve")
            .arg(self.directory.path().join("config.yml"))
            .current_dir(self.directory.path())
            .env_clear()
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let (addr, client) = (self.addr, self.client());
        eventually(&format!("an answer of {addr}"), || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                return Some(Err(status));
            }
            client.try_get("/readyz").filter(|answer| answer.status == 200).map(|_| Ok(()))
        })
    }
}

/// Returns the path of the tested binary: the one built with the tests, or the one that `ENTREPOT` names.
pub fn binary() -> PathBuf {
    std::env::var_os("ENTREPOT").map_or_else(|| env!("CARGO_BIN_EXE_entrepot").into(), PathBuf::from)
}

impl Drop for Registry {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- the end of the server's log:\n{}", tail(&self.log()));
        }
        self.kill();
    }
}

/// The address and the directory of a server, for its configuration.
pub struct Place {
    pub directory: PathBuf,
    pub addr: SocketAddr,
}

impl Place {
    /// Returns the sections of a private registry that allows deletion.
    pub fn usual(&self) -> String {
        format!("{}{}storage:{}\n  delete: {{enabled: true}}", self.version(), self.http(), self.root())
    }

    pub fn version(&self) -> &'static str {
        "version: 0.1\nlog: {formatter: json}\n"
    }

    pub fn http(&self) -> String {
        format!("http:\n  addr: {}\n", self.addr)
    }

    /// Returns the value of `storage:` that names the directory.
    pub fn root(&self) -> String {
        format!("\n  filesystem: {{rootdirectory: {}}}", self.directory.join("data").display())
    }

    /// Writes a file beside the configuration and returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// Returns an address on which no process listens.
///
/// Its port lies below the range from which the kernel takes the ports of outgoing connections and of listeners on port 0, so that
/// none of those takes it before the server listens there. Each call returns another port, also in other processes of tests.
pub fn free_address() -> SocketAddr {
    static PORTS: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    loop {
        let port = {
            let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
            if ports.is_empty() {
                *ports = claim_ports();
            }
            ports.pop().unwrap()
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        // The socket must not listen: a process that another test is just starting has a copy of it, and the server could not
        // listen beside it.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        if socket.bind(&addr.into()).is_ok() {
            return addr;
        }
    }
}

/// Claims ports for this process until it ends. Tests of several worktrees run at the same time on one machine.
fn claim_ports() -> Vec<u16> {
    const FIRST: u16 = 10_000;
    const BLOCKS: u16 = 40;
    const PORTS: u16 = 500;
    let claim = |block: u16| {
        let path = std::env::temp_dir().join(format!("entrepot-test-ports-{block}"));
        // A user may lock another user's file, and may not be allowed to write to it.
        let file = fs::File::create_new(&path).or_else(|_| fs::File::open(&path)).ok()?;
        file.try_lock().ok()?;
        std::mem::forget(file);
        let first = FIRST + block * PORTS;
        Some((first..first + PORTS).collect())
    };
    eventually("ports that no other process of tests uses", || (0..BLOCKS).find_map(claim))
}

/// Repeats `attempt` until it returns a value. Panics after a time that suffices on a busy machine.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < WAIT_LIMIT, "waited {WAIT_LIMIT:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the last lines of a text.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
