//! The setting of a scenario: images to pull, and upstreams with a contestant in front of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aria2::Aria2;
use crate::contestant::{Contestant, Who};
use crate::distribution::Distribution;
use crate::pull::{Pulled, Wanted};
use crate::recipe::Recipe;
use crate::support::client::noise;
use crate::support::upstream::{Auth, Bearer, Image, Upstream};

pub const MIB: u64 = 1 << 20;

pub const REPOSITORY: &str = "library/app";

/// The sizes of the layers in scenarios, in MiB.
const SIZES: [u64; 7] = [8, 20, 24, 40, 64, 100, 300];

/// After this time without a byte, no more bytes are expected.
const QUIET: Duration = Duration::from_millis(150);

/// After this time, further bytes are not waited for.
const SETTLED: Duration = Duration::from_secs(4);

pub struct Lab {
    /// The images, by the size of their layer. Each is made when it is first needed.
    stocks: BTreeMap<u64, OnceLock<Stock>>,
    /// The program of `registry:2`, if it is installed.
    pub distribution: Option<PathBuf>,
    /// aria2c is installed.
    pub has_aria2: bool,
}

/// An image with one layer.
pub struct Stock {
    pub content: Bytes,
    pub image: Image,
    /// An upstream that holds the image, from which others take it.
    shelf: Upstream,
}

impl Lab {
    pub fn new() -> Self {
        let stocks = SIZES.into_iter().map(|size| (size, OnceLock::new())).collect();
        Self { stocks, distribution: Distribution::find(), has_aria2: Aria2::is_installed() }
    }

    /// Returns the image whose layer has this size in MiB.
    fn stock(&self, size: u64) -> &Stock {
        self.stocks[&size].get_or_init(|| {
            let (content, shelf) = (Bytes::from(noise(1, (size * MIB) as usize)), Upstream::start());
            let image = shelf.image(REPOSITORY, "1", &[&content]);
            Stock { content, image, shelf }
        })
    }
}

/// Holds upstreams and the contestant in front of them.
pub struct Stand<'a> {
    pub(crate) upstreams: Vec<Upstream>,
    pub contestant: Contestant,
    stock: &'a Stock,
}

impl<'a> Stand<'a> {
    /// Starts healthy upstreams that require a token and redirect blobs to their CDN, and a contestant with an empty store.
    pub fn new(lab: &'a Lab, who: Who, recipe: &Recipe) -> Self {
        let stock = lab.stock(recipe.size);
        let upstream = || {
            let upstream = if recipe.tls { Upstream::start_tls() } else { Upstream::start() };
            upstream.hold_what(&stock.shelf);
            upstream.set_auth(Auth::Bearer(Bearer::default()));
            upstream.set_cdn(true);
            upstream.omit_cookies();
            upstream
        };
        let upstreams: Vec<Upstream> = (0..recipe.endpoints).map(|_| upstream()).collect();
        let contestant = Contestant::start(lab.distribution.as_deref(), who, recipe, &upstreams);
        upstreams.iter().for_each(Upstream::forget_log);
        Self { upstreams, contestant, stock }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstreams[0]
    }

    pub fn wanted(&self) -> Wanted<'_> {
        Wanted { repository: REPOSITORY, tag: "1", image: &self.stock.image, content: &self.stock.content, range: None }
    }

    /// Pulls with one client: the tag, then its layer.
    pub fn pull(&self, cap: u64) -> Pulled {
        self.contestant.pull(&self.wanted(), deadline(cap))
    }

    /// Pulls with this number of clients at once.
    pub fn pulls(&self, clients: usize, cap: u64) -> Vec<Pulled> {
        thread::scope(|scope| {
            let pulls: Vec<_> = (0..clients).map(|_| scope.spawn(|| self.pull(cap))).collect();
            pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
        })
    }

    /// Pulls with one client while `during` changes the upstream or the contestant.
    pub fn pull_while(&self, cap: u64, event: impl FnOnce(&Self)) -> Pulled {
        thread::scope(|scope| {
            let pull = scope.spawn(|| self.pull(cap));
            event(self);
            pull.join().unwrap()
        })
    }

    /// Waits until the upstreams have sent this many bytes of the layer, or no more bytes are expected.
    pub fn wait_for(&self, part: f64, limit: Duration) {
        let begun = Instant::now();
        while self.ratio() < part && begun.elapsed() < limit {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the upstreams send nothing more. A server may go on fetching after its clients have everything.
    pub fn settle(&self) {
        let (begun, mut before) = (Instant::now(), (-1.0, 0));
        while begun.elapsed() < SETTLED {
            let now = (self.ratio(), self.requests());
            if now == before {
                return;
            }
            before = now;
            thread::sleep(QUIET);
        }
    }

    /// The size of the layer in bytes.
    pub fn size(&self) -> u64 {
        self.stock.content.len() as u64
    }

    /// Returns the bytes of the layer that the upstreams have sent, divided by its size.
    pub fn ratio(&self) -> f64 {
        let layer = &self.stock.image.layers[0];
        let sent: u64 = self.upstreams.iter().map(|upstream| upstream.bytes_sent(layer)).sum();
        sent as f64 / self.size() as f64
    }

    /// Returns the number of requests of every kind: tokens, manifests, blobs, to the CDN.
    pub fn requests(&self) -> usize {
        self.upstreams.iter().map(|upstream| upstream.requests("*", "")).sum()
    }
}

/// Returns the time in this many seconds.
pub fn deadline(cap: u64) -> Instant {
    Instant::now() + Duration::from_secs(cap)
}
