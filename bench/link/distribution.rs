//! `registry:2` as a proxy: Debian's `docker-registry`, with a port and a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::client::Client;
use crate::support::registry::{eventually, free_address};
use crate::support::upstream::Upstream;

pub struct Distribution {
    program: PathBuf,
    directory: tempfile::TempDir,
    addr: SocketAddr,
    child: Option<Child>,
}

impl Distribution {
    /// Returns the path of the program if it is installed.
    pub fn find() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join("docker-registry"))
            .find(|program| program.is_file())
    }

    /// Returns its version: `2.8.2+ds1`.
    pub fn version(program: &Path) -> String {
        let said = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).split_whitespace().last().unwrap_or("of an unknown version").to_owned()
    }

    pub(crate) fn start(program: &Path, upstream: &Upstream, tls: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addr = free_address();
        let (data, url) = (directory.path().join("data"), upstream.url());
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http: {{addr: \"{addr}\"}}\nproxy: {{remoteurl: \"{url}\"}}\n",
            data.display()
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        if tls {
            std::fs::write(directory.path().join("ca.pem"), upstream.authority().pem()).unwrap();
        }
        let mut distribution = Self { program: program.to_owned(), directory, addr, child: None };
        distribution.restart();
        distribution
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        let directory = self.directory.path();
        let mut command = Command::new(&self.program);
        command.args(["serve", "config.yml"]).current_dir(directory).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if directory.join("ca.pem").exists() {
            command.env("SSL_CERT_FILE", directory.join("ca.pem"));
        }
        self.child = Some(command.spawn().unwrap());
        let client = Client::new(self.addr);
        eventually("an answer of registry:2", || client.try_get("/v2/").filter(|answer| answer.status == 200));
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.kill();
    }
}
