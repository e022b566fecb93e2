//! The setting of a round: upstreams that share an image, and the tested server in front of them.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use entrepot::oci::Digest;

use crate::plan::{Event, Plan, Wave};
use crate::support::client::Client;
use crate::support::fault::Rule;
use crate::support::mirror::blob;
use crate::support::registry::{Place, Registry};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::{Auth, Bearer, Upstream};

/// Two repositories hold the same blobs.
pub const REPOSITORIES: [&str; 2] = ["library/app", "library/copy"];

/// The servers get this variable of the program's environment, so that the log of a round that fails can tell more.
const LOG_LEVEL: &str = "REGISTRY_LOG_LEVEL";

pub struct Site<'a> {
    pub registry: Registry,
    pub blobs: Vec<Blob<'a>>,
    upstreams: Vec<Upstream>,
    disk: Option<SlowDisk>,
}

/// The number of times that the server may refuse to start because of the disk.
const REFUSALS: usize = 5;

/// A blob that the upstreams hold.
pub struct Blob<'a> {
    pub content: &'a [u8],
    pub digest: Digest,
}

impl<'a> Site<'a> {
    /// Starts healthy upstreams and a server with an empty store.
    pub fn start(plan: &Plan, noise: &'a [u8], has_disk: bool) -> Self {
        let contents: Vec<&[u8]> = plan.blobs.iter().map(|blob| &noise[blob.clone()]).collect();
        let upstreams = upstreams(plan, &contents);
        let disk = has_disk.then(SlowDisk::new).flatten();
        let mut environment = disk.as_ref().map(|disk| disk.environment().to_vec()).unwrap_or_default();
        environment.extend(std::env::var(LOG_LEVEL).ok().map(|level| (LOG_LEVEL, level)));
        let registry = Registry::configured_in(&environment, |place| configuration(place, plan, &upstreams));
        let blob = |content: &&'a [u8]| Blob { content, digest: crate::support::client::digest_of(content) };
        Self { registry, blobs: contents.iter().map(blob).collect(), upstreams, disk }
    }

    pub fn addr(&self) -> SocketAddr {
        self.registry.addr()
    }

    pub fn client(&self) -> Client {
        self.registry.client()
    }

    /// Arms the faults of a wave.
    pub fn arm(&self, wave: &Wave) {
        for (upstream, troubles) in self.upstreams.iter().zip(&wave.faults) {
            for trouble in troubles {
                let rule = Rule::new("GET", trouble.path, trouble.fault.clone()).after(trouble.after);
                upstream.arm(rule.times(trouble.times.unwrap_or(usize::MAX)));
            }
        }
    }

    /// Lets an event happen.
    pub fn happen(&mut self, event: &Event) {
        match event {
            Event::Kill(pause) => {
                self.registry.kill();
                thread::sleep(*pause);
                self.restart();
            }
            Event::Gone(endpoint, pause) => {
                self.upstreams[*endpoint].gone();
                thread::sleep(*pause);
                self.upstreams[*endpoint].back();
            }
            Event::DieSilently(endpoint) => self.upstreams[*endpoint].restart_nat(),
            Event::RevokeTokens => self.upstreams.iter().for_each(Upstream::revoke_tokens),
            Event::Disk(rules) => {
                let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
                self.disk.iter().for_each(|disk| disk.set(&rules));
            }
            Event::Cancel(number) => self.delete(&format!("/api/v1/fills/{}", self.blobs[*number].digest)),
            Event::Evict(number) => self.delete(&blob(REPOSITORIES[0], self.blobs[*number].digest)),
        }
    }

    /// Starts the server again, as a supervisor does. While the disk fails, the server may refuse to start, and must say why.
    /// After several refusals the disk is replaced by a good one.
    fn restart(&mut self) {
        for _ in 0..REFUSALS {
            let before = self.registry.log().len();
            if self.registry.try_restart() {
                return;
            }
            let log = self.registry.log();
            let refusal = log.get(before..).unwrap_or_default();
            assert!(self.disk.is_some() && refusal.contains("cannot be used"), "the server ended:\n{refusal}");
        }
        self.disk.iter().for_each(SlowDisk::heal);
        self.registry.restart();
    }

    /// Sends a DELETE. A slow disk may hold up its answer, so nothing waits for it.
    fn delete(&self, target: &str) {
        let (client, target) = (self.client(), target.to_owned());
        thread::spawn(move || std::panic::catch_unwind(|| client.request("DELETE", &target).send_head()));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.upstreams.iter().for_each(Upstream::heal);
        self.disk.iter().for_each(SlowDisk::heal);
    }

    /// Returns the bytes of blobs that the upstreams sent.
    pub fn sent(&self) -> u64 {
        let sent = |upstream: &Upstream| self.blobs.iter().map(|blob| upstream.bytes_sent(&blob.digest)).sum::<u64>();
        self.upstreams.iter().map(sent).sum()
    }
}

fn upstreams(plan: &Plan, contents: &[&[u8]]) -> Vec<Upstream> {
    let start = || if plan.tls { Upstream::start_tls() } else { Upstream::start() };
    let upstreams: Vec<Upstream> = (0..plan.endpoints()).map(|_| start()).collect();
    for repository in REPOSITORIES {
        upstreams[0].image(repository, "1", contents);
    }
    for upstream in &upstreams[1..] {
        upstream.hold_what(&upstreams[0]);
    }
    for upstream in &upstreams {
        if plan.login {
            upstream.set_auth(Auth::Bearer(Bearer::default()));
        }
        if let Some(links) = plan.cdn {
            upstream.set_cdn(true);
            upstream.set_links(links);
        }
    }
    upstreams
}

fn configuration(place: &Place, plan: &Plan, upstreams: &[Upstream]) -> String {
    let endpoints: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    let quota = plan.quota.map_or(String::new(), |quota| format!(", maxsize: {quota}"));
    let (usual, endpoints, fill, tls) = (place.usual(), endpoints.join(", "), &plan.fill, plan.tls);
    format!(
        "{usual}\nmirror:\n  cache: {{reserve: 0{quota}}}\n  fill: {{{fill}}}\n  upstreams:\n    docker.io: {{default: true, \
         endpoints: [{endpoints}], insecure: {tls}, negativettl: 1s, connecttimeout: 5s, firstbytetimeout: 4s}}\n"
    )
}

/// Time between two looks at something that is expected to change.
pub const LOOK: Duration = Duration::from_millis(50);
