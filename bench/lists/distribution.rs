//! `registry:2` with the same store: Debian's `docker-registry`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::client::Client;
use crate::support::registry::{eventually, free_address};

pub struct Distribution {
    addr: SocketAddr,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Distribution {
    /// Returns the path of the program if it is installed.
    pub fn find() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&path).map(|directory| directory.join("docker-registry"));
        found.into_iter().find(|program| program.is_file())
    }

    pub fn start(program: &Path, data: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addr = free_address();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"{addr}\"}}\n",
            data.display()
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let mut command = Command::new(program);
        command.args(["serve", "config.yml"]).current_dir(directory.path()).env_clear();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let distribution = Self { addr, child, _directory: directory };
        let client = Client::new(addr);
        eventually("an answer of registry:2", || client.try_get("/v2/").filter(|answer| answer.status == 200));
        distribution
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
