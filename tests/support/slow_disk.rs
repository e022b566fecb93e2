//! A disk that is slow, hangs or fails on demand: `slow_disk.c`, compiled here and preloaded into the server.
#![expect(clippy::disallowed_methods, reason = "tests are outside the product, so the seams of sys do not apply")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::registry::eventually;

/// The rules of one server's disk. Dropping it ends all faults.
pub struct SlowDisk {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl SlowDisk {
    /// Returns a disk without faults. Says so and returns `None` where there is no C compiler.
    pub fn new() -> Option<Self> {
        static LIBRARY: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
        let Some((_, library)) = LIBRARY.get_or_init(compile) else {
            println!("skipped: there is no C compiler (`cc`) to build tests/support/slow_disk.c");
            return None;
        };
        let disk = Self { directory: tempfile::tempdir().unwrap(), library: library.clone() };
        disk.set(&[]);
        Some(disk)
    }

    /// Returns the variables that put a server on this disk.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", self.library.display().to_string()), ("SLOW_DISK", self.rules().display().to_string())]
    }

    /// Replaces the rules, which `slow_disk.c` describes. Calls that were held by an earlier rule continue.
    pub fn set(&self, rules: &[&str]) {
        let new = self.directory.path().join("new");
        fs::write(&new, rules.join("\n")).unwrap();
        fs::rename(new, self.rules()).unwrap();
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.set(&[]);
    }

    /// Returns the calls that a rule has affected, as `begun OPERATION PATH OFFSET` and `done …`, in this order.
    pub fn affected(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("rules.log")).unwrap_or_default();
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// Forgets the calls that rules have affected so far.
    pub fn forget(&self) {
        let _ = fs::remove_file(self.directory.path().join("rules.log"));
    }

    /// Waits until a rule has affected a call whose line contains all `words`.
    pub fn wait_for(&self, words: &[&str]) -> String {
        let matching = |line: &String| words.iter().all(|word| line.contains(word));
        eventually(&format!("a call of the disk: {words:?}"), || self.affected().into_iter().find(matching))
    }

    fn rules(&self) -> PathBuf {
        self.directory.path().join("rules")
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.rules());
    }
}

/// Compiles the library. Returns its directory and its path.
fn compile() -> Option<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("slow_disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/slow_disk.c");
    let flags = ["-shared", "-fPIC", "-O1", "-o"];
    let mut compiler = Command::new("cc");
    compiler.args(flags).arg(&library).arg(source).args(["-ldl", "-lpthread"]);
    let output = compiler.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((directory, library))
}
