//! The login that docker's configuration file, or a credential helper, has for an upstream.
//!
//! Looked up when the upstream asks who we are, so never for what is held here; and remembered.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::docker_config::{self, DockerConfig, Found, Site};
use super::login::Login;
use crate::config;
use crate::oci::HostName;
use crate::state::SingleFlight;
use crate::sys::disk::{self, Stamp};
use crate::sys::process::{self, Patience};
use crate::sys::{Clock, Moment, Tasks, blocking};

/// How often, at most, the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a helper's answer is good.
const ANSWER_LIVES: Duration = Duration::from_secs(600);
/// A helper that failed is not asked again for so long.
const FAILURE_LIVES: Duration = Duration::from_secs(30);
/// After the upstream refused a login, another one is looked for this often at most.
const RENEW_EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Patience = Patience { time: Duration::from_secs(10), output: 64 << 10 };

/// The login of one upstream, wherever it is kept.
#[derive(Debug)]
pub(super) struct Keyring {
    search: Arc<Search>,
    /// By whether what is remembered counts.
    flights: SingleFlight<Effort, ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Effort {
    /// What is remembered is good until it is too old.
    Remember,
    /// The upstream refused it.
    Renew,
}

/// What a lookup needs; it outlives the callers.
#[derive(Debug)]
struct Search {
    upstream: HostName,
    origin: Origin,
    sites: Vec<Site>,
    clock: Clock,
    /// A std mutex: held for assignments, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Program(config::Helper),
}

/// Where the file says that the login may be, and the file that said so.
#[derive(Clone, Debug)]
pub(super) struct Places {
    stamp: Option<Stamp>,
    found: Vec<Found>,
}

#[derive(Debug)]
struct State {
    places: Places,
    looked: Moment,
    known: Known,
    since: Moment,
    /// `None`: until the file changes.
    life: Option<Duration>,
    /// There was a login since the process began: what came may have come with it.
    had_login: bool,
    renewed: Option<Moment>,
}

#[derive(Clone, Debug)]
enum Known {
    NotYet,
    Login(Arc<Login>),
    Nobody,
    /// The reason.
    Failed(String),
}

/// Reads the file; an error is the reason why it cannot be used.
pub(super) fn read(path: &Path, sites: &[Site]) -> Result<Places, String> {
    let path = disk::expand_home(path);
    // Seen before it is read: a change in between is seen the next time.
    let why = |error| disk::why(&path, &error);
    let stamp = Stamp::of(&path).map_err(why)?;
    let content = disk::read_named(&path, disk::NAMED_BYTES).map_err(why)?;
    let found = DockerConfig::parse(&content)?.find(sites)?;
    Ok(Places { stamp: Some(stamp), found })
}

impl Keyring {
    /// For docker's configuration file, with what was read from it at start.
    pub(super) fn of_file(
        spec: &config::Upstream,
        path: &Path,
        places: Option<Places>,
        machine: (Clock, Tasks),
    ) -> Self {
        let keyring = Self::new(spec, Origin::File(path.to_owned()), machine);
        if let Some(places) = places {
            keyring.search.begin_with(places);
        }
        keyring
    }

    /// For a program that speaks like a credential helper.
    pub(super) fn of_program(spec: &config::Upstream, helper: &config::Helper, machine: (Clock, Tasks)) -> Self {
        let keyring = Self::new(spec, Origin::Program(helper.clone()), machine);
        let key = keyring.search.sites.first().map(|site| site.key.clone()).unwrap_or_default();
        let found = vec![Found::Helper { name: helper.command.clone(), key }];
        keyring.search.state().places = Places { stamp: None, found };
        keyring
    }

    fn new(spec: &config::Upstream, origin: Origin, (clock, tasks): (Clock, Tasks)) -> Self {
        let now = clock.moment();
        let state = State {
            places: Places { stamp: None, found: Vec::new() },
            looked: now,
            known: Known::NotYet,
            since: now,
            life: None,
            had_login: false,
            renewed: None,
        };
        let (upstream, sites) = (spec.name.clone(), Site::all(spec));
        let search = Search { upstream, origin, sites, clock, state: Mutex::new(state) };
        Self { search: Arc::new(search), flights: SingleFlight::new(tasks) }
    }

    /// The login, looked up if it is not known or too old.
    pub(super) async fn login(&self) -> Option<Arc<Login>> {
        if self.search.is_due() {
            self.look_up(Effort::Remember).await;
        }
        self.search.known_login()
    }

    /// Another login than this one, which the upstream refused; looked up, unless that was done just now.
    pub(super) async fn instead_of(&self, refused: &Login) -> Option<Arc<Login>> {
        let other = |login: &Arc<Login>| **login != *refused;
        if let Some(login) = self.search.known_login().filter(other) {
            return Some(login);
        }
        if !self.search.may_renew() {
            return None;
        }
        self.look_up(Effort::Renew).await;
        self.search.known_login().filter(other)
    }

    async fn look_up(&self, effort: Effort) {
        let search = Arc::clone(&self.search);
        // Interrupted only when the process ends.
        let _ = self.flights.run(effort, move || async move { search.run(effort).await }).await;
    }

    /// Is it certain that the upstream was never asked with a login?
    pub(super) fn is_empty(&self) -> bool {
        let state = self.search.state();
        matches!(state.known, Known::Nobody) && !state.had_login
    }

    /// The user that is known at the moment.
    pub(super) fn username(&self) -> Option<String> {
        self.search.known_login().map(|login| login.username().to_owned())
    }

    /// Why there is no login, and where the one there is comes from.
    pub(super) fn explain(&self) -> String {
        let place = self.search.place();
        match &self.search.state().known {
            Known::Login(_) => format!("it comes from {place}"),
            Known::NotYet => format!("{place} was not looked at yet"),
            Known::Nobody => format!("{place} has none for {}", self.search.keys()),
            Known::Failed(reason) => format!("{place} could not be used: {reason}"),
        }
    }
}

impl Search {
    /// Takes what was read at start, as far as no helper must be asked for it.
    fn begin_with(&self, places: Places) {
        let first = places.found.first().cloned();
        self.state().places = places;
        match first {
            None => self.conclude(Ok(None), None),
            Some(Found::Login(login)) => self.conclude(Ok(Some(login)), None),
            Some(Found::Helper { .. }) => {}
        }
    }

    async fn run(self: Arc<Self>, effort: Effort) {
        let changed = self.look(effort).await;
        if !(changed || effort == Effort::Renew || self.is_too_old()) {
            return;
        }
        let found = self.state().places.found.clone();
        let (mut failure, mut asked) = (None, false);
        for place in found {
            let answer = match place {
                Found::Login(login) => Ok(Some(login)),
                Found::Helper { name, key } => {
                    asked = true;
                    self.ask(&name, &key).await
                }
            };
            match answer {
                Ok(Some(login)) => return self.conclude(Ok(Some(login)), asked.then(|| self.lifetime()).flatten()),
                Ok(None) => {}
                Err(reason) => failure = Some(reason),
            }
        }
        match failure {
            Some(reason) => self.conclude(Err(reason), Some(FAILURE_LIVES)),
            None => self.conclude(Ok(None), asked.then_some(ANSWER_LIVES)),
        }
    }

    /// Reads the file again if it changed; says whether it did. One that broke keeps saying what it said: somebody may just be
    /// writing it.
    async fn look(self: &Arc<Self>, effort: Effort) -> bool {
        let Origin::File(path) = &self.origin else { return false };
        let (search, path) = (Arc::clone(self), path.clone());
        let (stamp, read) = blocking(move || {
            let stamp = Stamp::of(&disk::expand_home(&path)).ok();
            let changed = effort == Effort::Renew || stamp != search.state().places.stamp;
            (stamp, changed.then(|| read(&path, &search.sites)))
        })
        .await;
        let mut state = self.state();
        state.looked = self.clock.moment();
        let new = state.places.stamp != stamp;
        match read {
            None => false,
            Some(Ok(places)) => {
                state.places = places;
                true
            }
            Some(Err(reason)) => {
                state.places.stamp = stamp;
                drop(state);
                if new {
                    let (upstream, place) = (&self.upstream, self.place());
                    tracing::warn!(%upstream, "{place} cannot be used ({reason}); what it said before is still good");
                }
                false
            }
        }
    }

    async fn ask(&self, name: &str, key: &str) -> Result<Option<Login>, String> {
        let program = match &self.origin {
            Origin::File(_) => format!("docker-credential-{name}"),
            Origin::Program(helper) => helper.command.clone(),
        };
        let finished = process::run(&program, "get", key, PATIENCE).await;
        let said = finished
            .map_err(|error| error.to_string())
            .and_then(|finished| docker_config::answer(finished.success, &finished.output));
        // What it said may be a secret, so one has to look for oneself.
        said.map_err(|reason| format!("the helper {program}: {reason} (try: echo {key} | {program} get)"))
    }

    /// Remembers what was found, and says so where it is not what one would hope for.
    fn conclude(&self, found: Result<Option<Login>, String>, life: Option<Duration>) {
        let mut state = self.state();
        let was_nobody = matches!(state.known, Known::Nobody);
        (state.since, state.life) = (self.clock.moment(), life);
        let upstream = &self.upstream;
        match found {
            Ok(Some(login)) => {
                state.known = Known::Login(Arc::new(login));
                state.had_login = true;
            }
            Ok(None) => {
                state.known = Known::Nobody;
                drop(state);
                if !was_nobody {
                    let (place, keys) = (self.place(), self.keys());
                    tracing::warn!(%upstream, "{place} has no login for {keys}: this upstream is asked as nobody");
                }
            }
            Err(reason) => {
                if !matches!(state.known, Known::Login(_)) {
                    state.known = Known::Failed(reason.clone());
                }
                drop(state);
                tracing::warn!(%upstream, "no login for this upstream: {reason}");
            }
        }
    }

    fn lifetime(&self) -> Option<Duration> {
        match &self.origin {
            Origin::File(_) => Some(ANSWER_LIVES),
            Origin::Program(helper) => helper.lifetime,
        }
    }

    fn is_due(&self) -> bool {
        let unseen = matches!(self.origin, Origin::File(_)) && self.clock.since(self.state().looked) >= LOOK_EVERY;
        unseen || self.is_too_old()
    }

    fn is_too_old(&self) -> bool {
        let state = self.state();
        matches!(state.known, Known::NotYet) || state.life.is_some_and(|life| self.clock.since(state.since) >= life)
    }

    /// May a refused login be looked up again? Says so to one caller only, now and then.
    fn may_renew(&self) -> bool {
        let mut state = self.state();
        let may = state.renewed.is_none_or(|moment| self.clock.since(moment) >= RENEW_EVERY);
        if may {
            state.renewed = Some(self.clock.moment());
        }
        may
    }

    fn known_login(&self) -> Option<Arc<Login>> {
        match &self.state().known {
            Known::Login(login) => Some(Arc::clone(login)),
            _ => None,
        }
    }

    /// The file or the program, with the key that names it.
    fn place(&self) -> String {
        match &self.origin {
            Origin::File(path) => format!("{} (mirror.upstreams.{}.credentials)", path.display(), self.upstream),
            Origin::Program(helper) => format!("{} (proxy.exec)", helper.command),
        }
    }

    fn keys(&self) -> String {
        let keys: Vec<&str> = self.sites.iter().map(|site| site.key.as_str()).collect();
        keys.join(", ")
    }

    /// What is in it is whole at any moment, so a panic elsewhere does not matter.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
