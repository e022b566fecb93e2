//! Everything that the seed of a round decides: content, configuration, faults, events, and readers.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::random::Random;
use crate::support::fault::Fault;
use crate::support::upstream::Links;

/// The largest blob of a round.
pub const LARGEST: u64 = 6 << 20;

/// One round. Two plans of the same seed are the same.
pub struct Plan {
    pub seed: u64,
    /// The place of each blob in the noise that all rounds share.
    pub blobs: Vec<Range<usize>>,
    /// The largest size of the cache.
    pub quota: Option<u64>,
    /// The keys of `mirror.fill`.
    pub fill: String,
    pub tls: bool,
    pub login: bool,
    /// Blobs are redirected to a CDN, with links of this lifetime.
    pub cdn: Option<Links>,
    pub waves: Vec<Wave>,
}

/// A time with faults, after which everything heals.
pub struct Wave {
    pub length: Duration,
    /// The faults of each endpoint.
    pub faults: Vec<Vec<Trouble>>,
    pub events: Vec<(Duration, Event)>,
    pub readers: Vec<Random>,
    /// Every reader must get everything at its first attempt, since the server must survive these faults.
    pub is_gentle: bool,
}

/// A fault of one endpoint, and the requests that it affects.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub path: &'static str,
    pub(crate) fault: Fault,
    pub after: usize,
    /// `None` means all requests.
    pub times: Option<usize>,
}

/// A change in the middle of a wave.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server is killed (`kill -9`) and starts again after this time.
    Kill(Duration),
    /// The endpoint with this number closes every connection, and comes back after this time.
    Gone(usize, Duration),
    /// The connections to the endpoint with this number stay open and carry nothing any more; new ones work.
    DieSilently(usize),
    /// The tokens of every endpoint become invalid.
    RevokeTokens,
    /// The disk follows these rules until the end of the wave.
    Disk(Vec<String>),
    /// The fill of this blob is cancelled through the API.
    Cancel(usize),
    /// This blob is deleted from the cache.
    Evict(usize),
}

impl Plan {
    pub fn endpoints(&self) -> usize {
        self.waves[0].faults.len()
    }

    /// Returns true if an endpoint may send wrong bytes, so that bytes before the end of a blob may be wrong.
    pub fn damages(&self) -> bool {
        let mut troubles = self.waves.iter().flat_map(|wave| wave.faults.iter().flatten());
        troubles.any(|trouble| matches!(trouble.fault, Fault::Corrupt | Fault::WrongRange))
    }

    /// Returns true if the server is killed, so that temporary files are left.
    pub fn kills(&self) -> bool {
        self.events().any(|event| matches!(event, Event::Kill(_)))
    }

    /// Returns true if the server cannot remove files.
    pub fn keeps_files(&self) -> bool {
        let keeps = |rule: &String| rule.starts_with("remove fail");
        self.events().any(|event| matches!(event, Event::Disk(rules) if rules.iter().any(keeps)))
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.waves.iter().flat_map(|wave| &wave.events).map(|(_, event)| event)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<usize> = self.blobs.iter().map(Range::len).collect();
        let quota = self.quota.map_or("none".to_owned(), |quota| quota.to_string());
        writeln!(f, "  blobs {sizes:?}, quota {quota}, fill {{{}}}, endpoints {}", self.fill, self.endpoints())?;
        writeln!(f, "  TLS {}, login {}, CDN {:?}", self.tls, self.login, self.cdn)?;
        for (number, wave) in self.waves.iter().enumerate() {
            let kind = if wave.is_gentle { "gentle" } else { "rough" };
            let readers = wave.readers.len();
            writeln!(f, "  wave {number}: {kind}, {:?}, {readers} readers, events {:?}", wave.length, wave.events)?;
            for (endpoint, troubles) in wave.faults.iter().enumerate() {
                writeln!(f, "    endpoint {endpoint}: {}", troubles.iter().map(brief).collect::<Vec<_>>().join(", "))?;
            }
        }
        Ok(())
    }
}

/// Returns `Cut(300000) of /blobs/ ×3 after 2`.
fn brief(trouble: &Trouble) -> String {
    let times = trouble.times.map_or(String::new(), |times| format!(" ×{times}"));
    let after = if trouble.after > 0 { format!(" after {}", trouble.after) } else { String::new() };
    format!("{:?} of {}{times}{after}", trouble.fault, trouble.path)
}
