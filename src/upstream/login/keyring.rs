//! Looks up the login that docker's configuration file, or a credential helper, has for an upstream.
//!
//! The lookup happens when the upstream asks for credentials, so a pull of stored content never causes one. The result
//! is remembered.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::docker_config::{self, DockerConfig, LoginPlace, RegistryKeys};
use super::registry_login::RegistryLogin;
use crate::config;
use crate::oci::HostName;
use crate::state::SingleFlight;
use crate::sys::disk::{self, Stamp};
use crate::sys::process::{self, ProgramLimits};
use crate::sys::{Clock, Machine, Moment, blocking};

/// The shortest time between two checks of the file.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The time for which a helper's answer is valid.
const ANSWER_VALID: Duration = Duration::from_secs(600);
/// The time for which a helper that failed is not asked again.
const FAILURE_VALID: Duration = Duration::from_secs(30);
/// The shortest time between two lookups because the upstream refused a login.
const RENEW_EVERY: Duration = Duration::from_secs(30);
const LIMITS: ProgramLimits = ProgramLimits { time: Duration::from_secs(10), output: 64 << 10 };

/// Looks up the login of one upstream and remembers it.
#[derive(Debug)]
pub(in crate::upstream) struct Keyring {
    search: Arc<Search>,
    /// Runs one lookup of each kind at a time.
    flights: SingleFlight<Lookup, ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lookup {
    /// A remembered result counts until it is too old.
    IfStale,
    /// The upstream refused the remembered login, so it is looked up again.
    Renew,
}

/// The parts that a lookup uses. It is shared, since a lookup may outlive its callers.
#[derive(Debug)]
struct Search {
    upstream: HostName,
    origin: LoginOrigin,
    registries: Vec<RegistryKeys>,
    clock: Clock,
    /// A std `Mutex`, since it is only held for assignments and never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
enum LoginOrigin {
    File(PathBuf),
    Program(config::Helper),
}

/// The places that docker's configuration file names for the login, with the file's stamp.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct LoginPlaces {
    stamp: Option<Stamp>,
    found: Vec<LoginPlace>,
}

#[derive(Debug)]
struct State {
    places: LoginPlaces,
    /// The time of the last check of the file.
    checked: Moment,
    known: Known,
    since: Moment,
    /// The time for which `known` is valid; `None` means until the file changes.
    valid_for: Option<Duration>,
    /// The reason why the last lookup failed. A login that was known before stays in use.
    failure: Option<String>,
    /// A login was known at some time since the process started, so answers may depend on it.
    had_login: bool,
    renewed: Option<Moment>,
    /// A refused login is being looked up again.
    is_renewing: bool,
}

#[derive(Clone, Debug)]
enum Known {
    NotLookedUp,
    Login(Arc<RegistryLogin>),
    NoLogin,
    /// No lookup has succeeded.
    Failed,
}

/// Reads the file and finds the places of the login. The error says why the file cannot be used.
pub(in crate::upstream) fn read(path: &Path, registries: &[RegistryKeys]) -> Result<LoginPlaces, String> {
    let path = disk::expand_home(path);
    // The stamp is taken before the content is read, so that the next check notices a change in between.
    let explain = |error| disk::explain(&path, &error);
    let stamp = Stamp::of(&path).map_err(explain)?;
    let content = disk::read_named(&path, disk::NAMED_BYTES).map_err(explain)?;
    let found = DockerConfig::parse(&content)?.find(registries)?;
    Ok(LoginPlaces { stamp: Some(stamp), found })
}

impl Keyring {
    /// Makes a keyring over docker's configuration file, with the places that were read from it at startup.
    pub(in crate::upstream) fn of_file(
        spec: &config::Upstream,
        path: &Path,
        places: Option<LoginPlaces>,
        machine: &Machine,
    ) -> Self {
        let keyring = Self::new(spec, LoginOrigin::File(path.to_owned()), machine);
        if let Some(places) = places {
            keyring.search.begin_with(places);
        }
        keyring
    }

    /// Makes a keyring over a program with the protocol of a credential helper.
    pub(in crate::upstream) fn of_program(spec: &config::Upstream, helper: &config::Helper, machine: &Machine) -> Self {
        let keyring = Self::new(spec, LoginOrigin::Program(helper.clone()), machine);
        let key = keyring.search.registries.first().map(|registry| registry.key.clone()).unwrap_or_default();
        let found = vec![LoginPlace::Helper { name: helper.command.clone(), key }];
        keyring.search.state().places = LoginPlaces { stamp: None, found };
        keyring
    }

    fn new(spec: &config::Upstream, origin: LoginOrigin, machine: &Machine) -> Self {
        let now = machine.clock.moment();
        let state = State {
            places: LoginPlaces { stamp: None, found: Vec::new() },
            checked: now,
            known: Known::NotLookedUp,
            since: now,
            valid_for: None,
            failure: None,
            had_login: false,
            renewed: None,
            is_renewing: false,
        };
        let (upstream, registries) = (spec.name.clone(), RegistryKeys::all(spec));
        let search = Search { upstream, origin, registries, clock: machine.clock.clone(), state: Mutex::new(state) };
        Self { search: Arc::new(search), flights: SingleFlight::new(machine.tasks.clone()) }
    }

    /// Returns the login. It is looked up if it is unknown or too old.
    pub(in crate::upstream) async fn login(&self) -> Option<Arc<RegistryLogin>> {
        if self.search.is_due() {
            self.look_up(Lookup::IfStale).await;
        }
        self.search.known_login()
    }

    /// Returns another login than the refused one, if there is one. Looks the login up again for this, or joins the lookup that
    /// is running, unless one ended a short time ago.
    pub(in crate::upstream) async fn instead_of(&self, refused: &RegistryLogin) -> Option<Arc<RegistryLogin>> {
        let other = |login: &Arc<RegistryLogin>| **login != *refused;
        if let Some(login) = self.search.known_login().filter(other) {
            return Some(login);
        }
        if !self.search.may_renew() {
            return None;
        }
        self.look_up(Lookup::Renew).await;
        self.search.known_login().filter(other)
    }

    async fn look_up(&self, lookup: Lookup) {
        let search = Arc::clone(&self.search);
        // The lookup is interrupted only when the process ends.
        let _ = self.flights.run(lookup, move || async move { search.run_and_note(lookup).await }).await;
    }

    /// Returns true if it is certain that the upstream was never asked with a login.
    pub(in crate::upstream) fn is_empty(&self) -> bool {
        let state = self.search.state();
        matches!(state.known, Known::NoLogin) && !state.had_login
    }

    /// Returns the user name of the remembered login.
    pub(in crate::upstream) fn username(&self) -> Option<String> {
        self.search.known_login().map(|login| login.username().to_owned())
    }

    /// Explains why there is no login, or which place the login comes from.
    pub(in crate::upstream) fn explain(&self) -> String {
        let place = self.search.place();
        let state = self.search.state();
        if let Some(reason) = &state.failure {
            return format!("{place} could not be used: {reason}");
        }
        match &state.known {
            Known::Login(_) => format!("it comes from {place}"),
            Known::NotLookedUp | Known::Failed => format!("{place} was not read yet"),
            Known::NoLogin => format!("{place} has none for {}", self.search.keys()),
        }
    }

    /// Returns true if the last lookup failed, so that the known login may be an old one.
    pub(in crate::upstream) fn has_failed(&self) -> bool {
        self.search.state().failure.is_some()
    }
}

impl Search {
    /// Starts with the places that were read at startup. It takes the login from them unless a helper must be asked.
    fn begin_with(&self, places: LoginPlaces) {
        let first = places.found.first().cloned();
        self.state().places = places;
        match first {
            None => self.conclude(Ok(None), None),
            Some(LoginPlace::Login(login)) => self.conclude(Ok(Some(login)), None),
            Some(LoginPlace::Helper { .. }) => {}
        }
    }

    async fn run_and_note(self: Arc<Self>, lookup: Lookup) {
        Arc::clone(&self).run(lookup).await;
        if lookup == Lookup::Renew {
            self.state().is_renewing = false;
        }
    }

    async fn run(self: Arc<Self>, lookup: Lookup) {
        let changed = self.check_file(lookup).await;
        if !(changed || lookup == Lookup::Renew || self.is_too_old()) {
            return;
        }
        let found = self.state().places.found.clone();
        let (mut failure, mut asked) = (None, false);
        let began = self.clock.moment();
        for place in found {
            // A helper that hangs is not asked for each name of the registry.
            if failure.is_some() && self.clock.since(began) >= LIMITS.time {
                break;
            }
            let answer = match place {
                LoginPlace::Login(login) => Ok(Some(login)),
                LoginPlace::Helper { name, key } => {
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
            Some(reason) => self.conclude(Err(reason), Some(FAILURE_VALID)),
            None => self.conclude(Ok(None), asked.then_some(ANSWER_VALID)),
        }
    }

    /// Reads the file again if it changed, and returns true if it now names other places. A file that cannot be read
    /// leaves the known places in force, since another program may just be writing it.
    async fn check_file(self: &Arc<Self>, lookup: Lookup) -> bool {
        let LoginOrigin::File(path) = &self.origin else { return false };
        let (search, path) = (Arc::clone(self), path.clone());
        let (stamp, read) = blocking(move || {
            let stamp = Stamp::of(&disk::expand_home(&path)).ok();
            let changed = lookup == Lookup::Renew || stamp != search.state().places.stamp;
            (stamp, changed.then(|| read(&path, &search.registries)))
        })
        .await;
        let mut state = self.state();
        state.checked = self.clock.moment();
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
                    tracing::warn!(%upstream, "{place} cannot be used ({reason}); its previous content stays in force");
                }
                false
            }
        }
    }

    async fn ask(&self, name: &str, key: &str) -> Result<Option<RegistryLogin>, String> {
        let program = match &self.origin {
            LoginOrigin::File(_) => format!("docker-credential-{name}"),
            LoginOrigin::Program(helper) => helper.command.clone(),
        };
        let finished = process::run(&program, "get", key, LIMITS).await;
        let answer = finished
            .map_err(|error| error.to_string())
            .and_then(|finished| docker_config::answer(finished.success, &finished.output));
        // The output may hold a secret, so the error tells how to see it instead of repeating it.
        answer.map_err(|reason| format!("the helper {program}: {reason} (try: echo {key} | {program} get)"))
    }

    /// Remembers the result of a lookup, and logs it if there is no login.
    fn conclude(&self, found: Result<Option<RegistryLogin>, String>, valid_for: Option<Duration>) {
        let mut state = self.state();
        let had_none = matches!(state.known, Known::NoLogin);
        (state.since, state.valid_for) = (self.clock.moment(), valid_for);
        state.failure = found.as_ref().err().cloned();
        let upstream = &self.upstream;
        match found {
            Ok(Some(login)) => {
                state.known = Known::Login(Arc::new(login));
                state.had_login = true;
            }
            Ok(None) => {
                state.known = Known::NoLogin;
                drop(state);
                if !had_none {
                    let (place, keys) = (self.place(), self.keys());
                    tracing::warn!(%upstream, "{place} has no login for {keys}: this upstream is asked anonymously");
                }
            }
            Err(reason) => {
                if !matches!(state.known, Known::Login(_)) {
                    state.known = Known::Failed;
                }
                drop(state);
                tracing::warn!(%upstream, "no login for this upstream: {reason}");
            }
        }
    }

    fn lifetime(&self) -> Option<Duration> {
        match &self.origin {
            LoginOrigin::File(_) => Some(ANSWER_VALID),
            // A login may expire unnoticed, so a program without a lifetime is asked again too.
            LoginOrigin::Program(helper) => Some(helper.lifetime.unwrap_or(ANSWER_VALID)),
        }
    }

    fn is_due(&self) -> bool {
        let unchecked =
            matches!(self.origin, LoginOrigin::File(_)) && self.clock.since(self.state().checked) >= CHECK_EVERY;
        unchecked || self.is_too_old()
    }

    fn is_too_old(&self) -> bool {
        let state = self.state();
        let expired = state.valid_for.is_some_and(|valid_for| self.clock.since(state.since) >= valid_for);
        matches!(state.known, Known::NotLookedUp) || expired
    }

    /// Returns true if a refused login may be looked up again: once in each period of [`RENEW_EVERY`], for all callers that wait
    /// for the same lookup.
    fn may_renew(&self) -> bool {
        let mut state = self.state();
        if state.is_renewing {
            return true;
        }
        let may = state.renewed.is_none_or(|moment| self.clock.since(moment) >= RENEW_EVERY);
        if may {
            (state.renewed, state.is_renewing) = (Some(self.clock.moment()), true);
        }
        may
    }

    fn known_login(&self) -> Option<Arc<RegistryLogin>> {
        match &self.state().known {
            Known::Login(login) => Some(Arc::clone(login)),
            _ => None,
        }
    }

    /// Names the file or the program, with the configuration key that names it.
    fn place(&self) -> String {
        match &self.origin {
            LoginOrigin::File(path) => format!("{} (mirror.upstreams.{}.credentials)", path.display(), self.upstream),
            LoginOrigin::Program(helper) => format!("{} (proxy.exec)", helper.command),
        }
    }

    fn keys(&self) -> String {
        let keys: Vec<&str> = self.registries.iter().map(|registry| registry.key.as_str()).collect();
        keys.join(", ")
    }

    /// Locks the state. The state is consistent at any moment, so a panic of another holder does no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
