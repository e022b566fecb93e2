//! The contestants: a server in front of the link, or no server.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::aria2::Aria2;
use crate::distribution::Distribution;
use crate::pull::{self, End, Pulled, Step, Wanted};
use crate::recipe::Recipe;
use crate::support::registry::{Place, Registry};
use crate::support::upstream::Upstream;
use crate::upstream;

/// The bytes that curl may read ahead of its reader.
const PIPE: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Entrepot,
    /// `registry:2` as a proxy.
    Distribution,
    /// The bare link: one curl for each client, directly to the upstream.
    Curl,
    /// aria2c with 16 connections, directly to the upstream.
    Aria2,
}

impl Who {
    /// All contestants, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Entrepot, Self::Distribution, Self::Curl, Self::Aria2];
    /// The contestants of scenarios in which several connections for one transfer do not matter.
    pub const WITHOUT_ARIA2: [Self; 3] = [Self::Entrepot, Self::Distribution, Self::Curl];

    pub fn name(self) -> &'static str {
        match self {
            Self::Entrepot => "Entrepot",
            Self::Distribution => "registry:2",
            Self::Curl => "bare link",
            Self::Aria2 => "aria2c",
        }
    }
}

/// A contestant that runs.
pub enum Contestant {
    Entrepot(Registry),
    Distribution(Distribution),
    Curl(Curl),
    Aria2(Aria2),
}

impl Contestant {
    /// Starts a contestant. `distribution` is the program of `registry:2`, if it is installed.
    pub(crate) fn start(distribution: Option<&Path>, who: Who, recipe: &Recipe, upstreams: &[Upstream]) -> Self {
        match who {
            Who::Entrepot => Self::Entrepot(Registry::configured(|place| configuration(place, recipe, upstreams))),
            Who::Distribution => {
                let program = distribution.expect("it was looked for");
                Self::Distribution(Distribution::start(program, &upstreams[0], recipe.tls))
            }
            Who::Curl => Self::Curl(Curl::of(&upstreams[0], recipe.tls)),
            Who::Aria2 => Self::Aria2(Aria2::of(upstreams)),
        }
    }

    /// Returns its address for clients. Contestants without a server have none.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Entrepot(registry) => Some(registry.addr()),
            Self::Distribution(distribution) => Some(distribution.addr()),
            Self::Curl(_) | Self::Aria2(_) => None,
        }
    }

    /// Pulls a tag, then its layer.
    pub fn pull(&self, wanted: &Wanted, deadline: Instant) -> Pulled {
        match (self, self.addr()) {
            (Self::Curl(curl), _) => curl.pull(wanted, deadline),
            (Self::Aria2(aria2), _) => aria2.pull(wanted, deadline),
            (_, Some(addr)) => pull::pull(addr, wanted, deadline),
            (_, None) => unreachable!("servers have addresses"),
        }
    }

    /// Sends SIGKILL, which has the effect of a power cut on the process.
    pub fn kill(&mut self) {
        match self {
            Self::Entrepot(registry) => registry.kill(),
            Self::Distribution(distribution) => distribution.kill(),
            Self::Curl(_) | Self::Aria2(_) => {}
        }
    }

    /// Starts the server again with its store.
    pub fn restart(&mut self) {
        match self {
            Self::Entrepot(registry) => registry.restart(),
            Self::Distribution(distribution) => distribution.restart(),
            Self::Curl(_) | Self::Aria2(_) => {}
        }
    }
}

fn configuration(place: &Place, recipe: &Recipe, upstreams: &[Upstream]) -> String {
    let endpoints: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    let mut keys = recipe.keys.to_owned();
    if recipe.tls {
        let ca = place.write("ca.pem", upstreams[0].authority().pem());
        keys.push_str(&format!(", ca: {}", ca.display()));
    }
    let (usual, endpoints, fill) = (place.usual(), endpoints.join(", "), recipe.fill);
    format!(
        "{usual}\nmirror:\n  cache: {{reserve: 0}}\n  fill: {{{fill}}}\n  upstreams:\n    \
         docker.io: {{default: true, endpoints: [{endpoints}]{keys}}}\n"
    )
}

/// Runs curl for the token, the manifest and the layer, one after another.
pub struct Curl {
    url: String,
    ca: Option<tempfile::NamedTempFile>,
}

impl Curl {
    fn of(upstream: &Upstream, tls: bool) -> Self {
        let ca = tls.then(|| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), upstream.authority().pem()).unwrap();
            file
        });
        Self { url: upstream.url(), ca }
    }

    fn pull(&self, wanted: &Wanted, deadline: Instant) -> Pulled {
        let begun = Instant::now();
        let (url, repository) = (&self.url, wanted.repository);
        let mut token = Vec::new();
        let scope = format!("{url}/token?service=test&scope=repository:{repository}:pull");
        let end = self.get(&scope, &[], deadline, &mut |body| _ = body.read_to_end(&mut token));
        if end != End::Whole {
            return Pulled::failed(end, Step::Tag, begun);
        }
        let token: serde_json::Value = serde_json::from_slice(&token).unwrap();
        let authorization = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
        let mut options = vec!["--header", authorization.as_str()];
        let mut manifest = Vec::new();
        let target = format!("{url}{}", wanted.manifest());
        let end = self.get(&target, &options, deadline, &mut |body| _ = body.read_to_end(&mut manifest));
        if end != End::Whole || manifest != wanted.image.manifest {
            return Pulled::failed(if end == End::Whole { End::Wrong } else { end }, Step::Tag, begun);
        }
        let target = format!("{url}{}", wanted.layer());
        let range = wanted.range.as_ref().map(|range| format!("{}-{}", range.start, range.end - 1));
        options.extend(range.iter().flat_map(|range| ["--range", range.as_str()]));
        let asked = begun.elapsed();
        let mut read = pull::Read::default();
        let end = self.get(&target, &options, deadline, &mut |body| read = pull::read(body, wanted.bytes()));
        let end = match end {
            End::Whole => read.end(wanted.bytes()),
            broken => broken,
        };
        let first = read.first.map(|first| first - begun);
        Pulled { end, step: Step::Layer, asked, first, last: begun.elapsed() }
    }

    /// Pipes the layer into `openssl dgst -sha256`, since a digest must be computed in any case. With `store`, `tee` also
    /// writes the layer into a file, as a registry has to.
    pub fn pull_and_hash(&self, wanted: &Wanted, deadline: Instant, store: bool) -> Pulled {
        let begun = Instant::now();
        let Ok(link) = upstream::link(&self.url, wanted) else {
            return Pulled::failed(End::Refused, Step::Layer, begun);
        };
        let (asked, directory) = (begun.elapsed(), tempfile::tempdir().unwrap());
        let mut curl = Command::new("curl");
        let limit = deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.01);
        curl.args(["--silent", "--fail", "--noproxy", "*", "--max-time", &format!("{limit:.3}")]).arg(link);
        let (mut curl, mut pipe) = piped(&mut curl, Stdio::null());
        let mut tee = None;
        if store {
            let (child, copy) = piped(Command::new("tee").arg(directory.path().join("layer")), pipe.into());
            (tee, pipe) = (Some(child), copy);
        }
        let hashed = Command::new("openssl").args(["dgst", "-sha256", "-r"]).stdin(pipe).output().unwrap();
        let is_stored = tee.is_none_or(|mut tee| tee.wait().unwrap().success());
        let is_right = is_stored && hashed.stdout.starts_with(wanted.image.layers[0].hex().as_bytes());
        let end = match (curl.wait().unwrap().code(), is_right) {
            (Some(0), true) => End::Whole,
            (Some(0), false) => End::Wrong,
            (Some(28), _) => End::Late,
            _ => End::Cut,
        };
        Pulled { end, step: Step::Layer, asked, first: None, last: begun.elapsed() }
    }

    fn get(&self, url: &str, options: &[&str], deadline: Instant, body: &mut dyn FnMut(&mut dyn Read)) -> End {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.01);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--location", "--noproxy", "*"]);
        curl.args(["--write-out", "%{stderr}%{http_code}", "--max-time", &format!("{left:.3}")]).args(options);
        if let Some(ca) = &self.ca {
            curl.arg("--cacert").arg(ca.path());
        }
        let mut child =
            curl.arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        // A small pipe would slow down an unthrottled link.
        let _ = rustix::pipe::fcntl_setpipe_size(&*stdout, PIPE);
        body(stdout);
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(0) => End::Whole,
            Some(7) => End::Refused,
            Some(22) => End::Status(String::from_utf8_lossy(&output.stderr).trim().parse().unwrap_or_default()),
            Some(28) => End::Late,
            _ => End::Cut,
        }
    }
}

/// Starts a program whose output goes into a large pipe.
fn piped(program: &mut Command, input: Stdio) -> (Child, ChildStdout) {
    let mut child = program.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = child.stdout.take().unwrap();
    // A small pipe only makes the comparison slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
    (child, pipe)
}
