//! The screen of a terminal: the bars of `warm`, and the short lines of requests. `script` of util-linux provides the terminal.

use std::io::Read as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use entrepot::oci::MediaType;
use serde_json::json;

use super::runner::stdout;
use crate::support::client::noise;
use crate::support::fault::Fault;
use crate::support::mirror::mirror;
use crate::support::registry::{Registry, binary, eventually, free_address};
use crate::support::upstream::Upstream;

const COLUMNS: usize = 100;

/// The lines of a terminal that is long enough for all of them.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// An escape sequence that has not ended yet.
    escape: String,
}

impl Screen {
    fn show(&mut self, text: &str) {
        for c in text.chars() {
            self.put(c);
        }
    }

    fn put(&mut self, c: char) {
        if !self.escape.is_empty() || c == '\u{1b}' {
            self.escape.push(c);
            let is_end = self.escape.len() > 2 && c.is_ascii_alphabetic() || self.escape.len() == 2 && c != '[';
            if is_end {
                let sequence = std::mem::take(&mut self.escape);
                self.control(&sequence[1..]);
            }
            return;
        }
        match c {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            c => {
                if self.column == COLUMNS {
                    (self.row, self.column) = (self.row + 1, 0);
                }
                let column = self.column;
                let line = self.line();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                self.column += 1;
            }
        }
    }

    fn control(&mut self, sequence: &str) {
        let number = sequence.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok();
        let count = number.unwrap_or(1);
        let column = self.column;
        match sequence.chars().last() {
            Some('A') => self.row = self.row.saturating_sub(count),
            Some('B') => self.row += count,
            Some('C') => self.column += count,
            Some('D') => self.column = self.column.saturating_sub(count),
            Some('G') => self.column = count - 1,
            Some('K') if number == Some(2) => self.line().clear(),
            Some('K') => self.line().truncate(column),
            Some('J') => {
                self.line().truncate(column);
                let row = self.row;
                self.lines.truncate(row + 1);
            }
            Some('h' | 'l' | 'm') => {}
            _ => panic!("the escape sequence {sequence:?} is unknown"),
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        let rows = self.lines.len().max(self.row + 1);
        self.lines.resize(rows, Vec::new());
        &mut self.lines[self.row]
    }

    /// Returns the lines that are not empty.
    fn text(&self) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }
}

/// A command at a terminal.
struct AtTerminal {
    script: Child,
    output: ChildStdout,
    screen: Screen,
    /// All that was shown, without the breaks of long lines.
    text: String,
    /// Bytes that are no whole character yet.
    rest: Vec<u8>,
}

impl AtTerminal {
    /// Starts a command. Returns `None` if `script` is not installed.
    fn start(command: &str, environment: &[(&str, &str)]) -> Option<Self> {
        if Command::new("script").arg("--version").output().is_err() {
            println!("skipped: script is not installed");
            return None;
        }
        let command = format!("stty cols {COLUMNS} rows 30; exec {} {command}", binary().display());
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").envs(environment.iter().copied());
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = script.stdout.take().unwrap();
        Some(Self { script, output, screen: Screen::default(), text: String::new(), rest: Vec::new() })
    }

    /// Shows the next output. Returns false at its end.
    fn next(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = self.output.read(&mut piece).unwrap_or(0);
        self.rest.extend_from_slice(&piece[..read]);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let shown: Vec<u8> = self.rest.drain(..whole).collect();
        let shown = String::from_utf8(shown).unwrap();
        self.screen.show(&shown);
        self.text.push_str(&shown);
        read > 0
    }

    /// Returns the id of the command.
    fn pid(&self) -> i32 {
        let script = self.script.id();
        eventually("the command below script", || {
            let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Each blob has one line while it arrives, and none afterwards.
#[test]
fn bars_of_warm_leave_no_dead_lines() {
    let upstream = Upstream::start();
    let layers: Vec<Vec<u8>> = (0..6).map(|seed| noise(seed, 120_000)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let images =
        ["1", "2"].map(|tag| upstream.image("library/app", tag, if tag == "1" { &layers[..3] } else { &layers[3..] }));
    for layer in images.iter().flat_map(|image| &image.layers) {
        upstream.fault("GET", &layer.to_string(), Fault::Throttle(100_000));
    }
    let mirror = mirror(&upstream);
    let command = format!("warm app:1 app:2 --platform all --server http://{}", mirror.addr());
    let Some(mut terminal) = AtTerminal::start(&command, &[]) else { return };
    let (mut bars_seen, mut estimates) = (0, 0);
    while terminal.next() {
        let shown = terminal.screen.text();
        let bars: Vec<&str> = shown.iter().filter(|line| line.contains('[')).map(String::as_str).collect();
        for image in &images {
            for layer in &image.layers {
                let digest = &layer.to_string()[.."sha256:".len() + 12];
                let lines = bars.iter().filter(|line| line.contains(digest)).count();
                assert!(lines <= 1, "{digest} has {lines} lines:\n{}", shown.join("\n"));
                bars_seen += lines;
            }
        }
        let totals = bars.iter().filter(|line| !line.contains("sha256:")).count();
        assert!(totals <= 1, "{totals} totals:\n{}", shown.join("\n"));
        estimates += shown.iter().filter(|line| line.contains(" ETA ")).count();
    }
    let left = terminal.screen.text();
    assert!(terminal.script.wait().unwrap().success(), "{left:?}");
    assert!(bars_seen > 0 && estimates > 0, "{bars_seen} bars and {estimates} estimates were seen");
    assert_eq!(left.len(), 2, "one line for each image stays: {left:?}");
    assert!(left.iter().all(|line| line.starts_with("app:") && line.contains(" fetched, ")), "{left:?}");
}

/// An image that fails, and one that is held already, leave their lines and nothing else.
#[test]
fn failed_and_shared_images_leave_no_bars() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[&noise(1, 50_000)]);
    let lost = upstream.image("library/app", "2", &[&noise(2, 50_000), &noise(3, 50_000)]);
    upstream.fault("GET", &lost.layers[1].to_string(), Fault::Status(404));
    let mirror = mirror(&upstream);
    let command = format!("warm app:1 app:2 app:none --platform all --server http://{}", mirror.addr());
    for _ in 0..2 {
        let Some(mut terminal) = AtTerminal::start(&command, &[]) else { return };
        while terminal.next() {}
        assert_eq!(terminal.script.wait().unwrap().code(), Some(1));
        let left = terminal.screen.text();
        let starts = |begin: &str| left.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(
            (starts("app:1: "), starts("entrepot: app:2: "), starts("entrepot: app:none: ")),
            (1, 1, 1),
            "{left:?}"
        );
        assert!(!left.iter().any(|line| line.contains('[')), "{left:?}");
    }
}

/// A person at the terminal of `serve` reads one short line for each request, and none for probes.
#[test]
fn serve_at_a_terminal_logs_short_lines() {
    let directory = tempfile::tempdir().unwrap();
    let (addr, file) = (free_address(), directory.path().join("config.yml"));
    let data = directory.path().join("data");
    std::fs::write(
        &file,
        format!(
            "version: 0.1\nhttp: {{addr: \"{addr}\"}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
            data.display()
        ),
    )
    .unwrap();
    let Some(mut terminal) = AtTerminal::start(&format!("serve {}", file.display()), &[]) else { return };
    let client = crate::support::client::Client::new(addr);
    eventually("an answer", || client.try_get("/readyz").filter(|answer| answer.status == 200));
    let image = client.push_image("team/app", "1", b"layer");
    client.get("/metrics");
    client.get("/livez");
    client.get(&format!("/v2/team/app/blobs/{}", image.layer));
    client.get("/v2/team/none/manifests/9");
    while !terminal.text.contains("team/none/manifests/9") {
        assert!(terminal.next(), "{}", terminal.text);
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(terminal.pid()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    while terminal.next() {}
    let shown = terminal.screen.text();
    let requests: Vec<&String> = shown.iter().filter(|line| line.contains(" /")).collect();
    for probe in ["/metrics", "/livez", "/readyz"] {
        assert!(!requests.iter().any(|line| line.contains(&format!("GET {probe} "))), "{shown:?}");
    }
    let blob = requests.iter().find(|line| line.contains("/blobs/sha256:")).unwrap();
    assert!(blob.contains(" 200 5 B ") && blob.chars().count() <= COLUMNS + 20, "{blob}");
    let unknown = requests.iter().find(|line| line.contains("manifests/9 404 ")).unwrap();
    assert!(unknown.contains("(tag 9 is not in team/none"), "{unknown}");
    assert!(!shown.iter().any(|line| line.contains("http.request.uri=")), "{shown:?}");
}

/// In a file or a pipe, a request keeps all its fields, and probes are written at the level `debug` only.
#[test]
fn probes_are_logged_at_debug_only() {
    for (level, logged) in [("info", false), ("debug", true)] {
        let registry = Registry::configured(|place| {
            format!("version: 0.1\nlog: {{level: {level}}}\n{}storage:{}\n", place.http(), place.root())
        });
        for probe in ["/livez", "/readyz", "/metrics", "/debug/health"] {
            assert_eq!(registry.client().get(probe).status, 200);
        }
        assert_eq!(registry.client().get("/v2/").status, 200);
        let line = registry.wait_for_log("http.request.uri=/v2/");
        assert!(line.contains("http.request.useragent=") || line.contains("http.response.duration="), "{line}");
        if logged {
            for probe in ["/livez", "/readyz", "/metrics", "/debug/health"] {
                let line = registry.wait_for_log(&format!("http.request.uri={probe}"));
                assert!(line.contains("level=debug"), "{line}");
            }
        } else {
            // The lines are written in order, so those of the probes would be there already.
            let log = registry.log();
            assert!(
                !log.contains("uri=/livez") && !log.contains("uri=/readyz") && !log.contains("uri=/metrics"),
                "{log}"
            );
        }
    }
}

/// An image without an index is for one platform, which its configuration names.
#[test]
fn image_of_another_platform_is_not_warmed() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 50_000)]);
    // An artifact has no platform.
    let config = upstream.blob("library/chart", b"{}");
    let chart = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": config.to_string(), "size": 2}});
    upstream.manifest("library/chart", "1", MediaType::OCI_MANIFEST, chart.to_string().as_bytes());
    let mirror = mirror(&upstream);
    let warm = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("warm").args(arguments).env("ENTREPOT_SERVER", format!("http://{}", mirror.addr()));
        command.output().unwrap()
    };
    for wanted in ["linux/arm64", "linux/s390x", "windows/amd64", "linux/arm/v7"] {
        let output = warm(&["app:1", "--platform", wanted]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{wanted}: {message}{}", stdout(&output));
        assert!(message.contains(&format!("has no image for {wanted}; it has images for linux/amd64")), "{message}");
    }
    assert_eq!(upstream.requests("GET", &image.layers[0].to_string()), 0, "no layer was fetched");
    let both = warm(&["app:1", "--platform", "linux/amd64,linux/arm64"]);
    assert_eq!(both.status.code(), Some(1));
    assert!(
        upstream.requests("GET", &image.layers[0].to_string()) > 0,
        "the layers for one of the platforms were fetched"
    );
    for good in ["linux/amd64", "all", "linux/amd64/v3"] {
        let output = warm(&["app:1", "--platform", good]);
        assert!(output.status.success(), "{good}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(warm(&["chart:1", "--platform", "linux/s390x"]).status.success());
}
