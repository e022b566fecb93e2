//! What a scenario works with: images to pull, and upstreams with a contestant in front of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::contestant::{Contestant, Who};
use crate::distribution::Distribution;
use crate::pull::{Pulled, Wanted};
use crate::support::client::noise;
use crate::support::upstream::{Auth, Bearer, Image, Upstream};

pub const MIB: u64 = 1 << 20;

pub const REPOSITORY: &str = "library/app";

/// The sizes of layers that scenarios ask for, in MiB.
const SIZES: [u64; 6] = [8, 20, 24, 40, 64, 100];

/// Nothing sent for so long is nothing more to come.
const QUIET: Duration = Duration::from_millis(150);

/// What still comes after so long is not waited for.
const SETTLED: Duration = Duration::from_secs(4);

pub struct Lab {
    stocks: BTreeMap<u64, Stock>,
    /// `registry:2`'s program, if it is installed.
    pub distribution: Option<PathBuf>,
}

/// An image of one layer.
pub struct Stock {
    pub content: Bytes,
    pub image: Image,
    /// Holds it, for other upstreams to take it from.
    shelf: Upstream,
}

/// What a scenario wants to stand on.
pub struct Recipe {
    /// Of the layer, in MiB; one of [`SIZES`].
    pub size: u64,
    pub tls: bool,
    pub endpoints: usize,
    /// More keys of Entrepot's upstream, each behind a comma.
    pub keys: &'static str,
    /// Keys of Entrepot's `mirror.fill`.
    pub fill: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { size: 20, tls: false, endpoints: 1, keys: "", fill: "" }
    }
}

impl Lab {
    pub fn new() -> Self {
        let largest = SIZES.into_iter().max().unwrap_or_default();
        let noise = Bytes::from(noise(1, (largest * MIB) as usize));
        let stock = |size: u64| {
            let (content, shelf) = (noise.slice(..(size * MIB) as usize), Upstream::start());
            let image = shelf.image(REPOSITORY, "1", &[&content]);
            (size, Stock { content, image, shelf })
        };
        Self { stocks: SIZES.into_iter().map(stock).collect(), distribution: Distribution::find() }
    }
}

/// Upstreams, and a contestant in front of them.
pub struct Stand<'a> {
    pub(crate) upstreams: Vec<Upstream>,
    pub contestant: Contestant,
    stock: &'a Stock,
}

impl<'a> Stand<'a> {
    /// Healthy upstreams that want a token and redirect blobs to their CDN; a contestant that has nothing yet.
    pub fn new(lab: &'a Lab, who: Who, recipe: &Recipe) -> Self {
        let stock = &lab.stocks[&recipe.size];
        let upstream = || {
            let upstream = if recipe.tls { Upstream::start_tls() } else { Upstream::start() };
            upstream.hold_what(&stock.shelf);
            upstream.set_auth(Auth::Bearer(Bearer::default()));
            upstream.set_cdn(true);
            upstream
        };
        let upstreams: Vec<Upstream> = (0..recipe.endpoints).map(|_| upstream()).collect();
        let contestant = Contestant::start(lab, who, recipe, &upstreams);
        upstreams.iter().for_each(Upstream::forget_log);
        Self { upstreams, contestant, stock }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstreams[0]
    }

    pub fn wanted(&self) -> Wanted<'_> {
        Wanted { repository: REPOSITORY, tag: "1", image: &self.stock.image, content: &self.stock.content, range: None }
    }

    /// One client: the tag, then its layer.
    pub fn pull(&self, cap: u64) -> Pulled {
        self.contestant.pull(&self.wanted(), deadline(cap))
    }

    /// So many clients at once.
    pub fn pulls(&self, clients: usize, cap: u64) -> Vec<Pulled> {
        thread::scope(|scope| {
            let pulls: Vec<_> = (0..clients).map(|_| scope.spawn(|| self.pull(cap))).collect();
            pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
        })
    }

    /// One client, while something befalls the upstream or the contestant.
    pub fn pull_while(&self, cap: u64, event: impl FnOnce(&Self)) -> Pulled {
        thread::scope(|scope| {
            let pull = scope.spawn(|| self.pull(cap));
            event(self);
            pull.join().unwrap()
        })
    }

    /// Waits until so much of the layer has left the upstreams, or nothing more will come of it.
    pub fn wait_for(&self, part: f64, patience: Duration) {
        let begun = Instant::now();
        while self.ratio() < part && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until nothing more leaves the upstreams: a server may fetch on when its clients have what they want.
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

    /// Bytes of the layer.
    pub fn size(&self) -> u64 {
        self.stock.content.len() as u64
    }

    /// Bytes of the layer that have left the upstreams, by its size.
    pub fn ratio(&self) -> f64 {
        let layer = &self.stock.image.layers[0];
        let sent: u64 = self.upstreams.iter().map(|upstream| upstream.bytes_sent(layer)).sum();
        sent as f64 / self.size() as f64
    }

    /// Requests of every kind: tokens, manifests, blobs, to the CDN.
    pub fn requests(&self) -> usize {
        self.upstreams.iter().map(|upstream| upstream.requests("*", "")).sum()
    }
}

/// So many seconds from now.
pub fn deadline(cap: u64) -> Instant {
    Instant::now() + Duration::from_secs(cap)
}
