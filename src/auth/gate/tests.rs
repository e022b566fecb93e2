//! The gate with real password files.
#![expect(clippy::disallowed_methods, reason = "an administrator edits the file with tools of their own")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;

/// `secret`, by `htpasswd -nbB`.
const ALICE: &str = "alice:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92\n";
/// `pass:word`, by `htpasswd -nbm`.
const BOB: &str = "bob:$apr1$IIKDtBt9$tH20I3jPBOelGcyuthuHZ/\n";

struct House {
    _directory: TempDir,
    path: PathBuf,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl House {
    fn new(content: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("htpasswd");
        fs::write(&path, content).unwrap();
        Self { _directory: directory, path, clock: Clock::system(), metrics: Arc::default() }
    }

    fn gate(&self) -> Result<Gate, AuthError> {
        let auth = config::Htpasswd { realm: "basic-realm".to_owned(), path: self.path.clone() };
        Gate::new(Some(&auth), self.clock.clone(), Arc::clone(&self.metrics))
    }

    /// Changes the file and lets the time pass until it is looked at again.
    fn change(&self, content: &str) {
        fs::write(&self.path, content).unwrap();
        self.clock.advance(Duration::from_secs(1));
    }

    fn logins(&self, outcome: &str) -> u64 {
        self.metrics.logins.with_label_values(&[outcome]).get()
    }
}

async fn who(gate: &Gate, user: &str, password: &str) -> Option<String> {
    let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let credentials = Credentials::from_header(Some(&header)).unwrap();
    match gate.identify(credentials.as_ref()).await {
        Ok(caller) => caller.name().map(str::to_owned),
        Err(refusal) => {
            let expected = Unproven::Mismatch { user: user.to_owned() };
            assert_eq!(refusal, Refusal::from(expected));
            None
        }
    }
}

fn target() -> Target {
    Target::Hosted("local/app".parse().unwrap())
}

#[tokio::test]
async fn an_open_gate_lets_everybody_through() {
    let gate = Gate::new(None, Clock::system(), Arc::default()).unwrap();
    assert!(gate.is_open() && gate.realm().is_empty());
    let caller = gate.identify(None).await.unwrap();
    assert_eq!(caller, Caller::Anonymous);
    gate.enter(&caller).unwrap();
    for action in [Action::Pull, Action::Push, Action::Delete] {
        assert_eq!(gate.admit(&caller, action, &target()).unwrap().into_inner(), target());
    }
    assert_eq!(who(&gate, "anybody", "anything").await, None);
}

#[tokio::test]
async fn users_and_nobody_else() {
    let house = House::new(&format!("{ALICE}{BOB}"));
    let gate = house.gate().unwrap();
    assert!(!gate.is_open());
    assert_eq!(gate.realm(), "basic-realm");
    for (user, password, right) in [
        ("alice", "secret", true),
        ("bob", "pass:word", true),
        ("alice", "Secret", false),
        ("alice", "pass:word", false),
        ("bob", "secret", false),
        ("bob", "", false),
        ("carol", "secret", false),
        ("", "", false),
        ("Alice", "secret", false),
    ] {
        assert_eq!(who(&gate, user, password).await.is_some(), right, "{user}");
    }
    assert_eq!((house.logins("ok"), house.logins("refused")), (2, 7));

    let anonymous = gate.identify(None).await.unwrap();
    assert_eq!(gate.enter(&anonymous).unwrap_err(), Unproven::Missing.into());
    for action in [Action::Pull, Action::Push, Action::Delete] {
        assert!(matches!(gate.admit(&anonymous, action, &target()), Err(Refusal::Unauthorized { .. })));
    }
    let header = format!("Basic {}", STANDARD.encode("alice:secret"));
    let alice = gate.identify(Credentials::from_header(Some(&header)).unwrap().as_ref()).await.unwrap();
    let admitted = gate.admit(&alice, Action::Push, &target()).unwrap();
    assert_eq!((admitted.get(), admitted.caller().name()), (&target(), Some("alice")));
}

#[tokio::test]
async fn one_hash_for_many_requests() {
    let house = House::new(ALICE);
    let gate = house.gate().unwrap();
    let together = (0..20).map(|_| who(&gate, "alice", "secret"));
    let names = futures_util::future::join_all(together).await;
    assert!(names.iter().all(|name| name.as_deref() == Some("alice")));
    // At first as many as there are turns may find nothing remembered.
    let hashed = house.logins("ok");
    assert!(hashed <= std::thread::available_parallelism().unwrap().get() as u64, "{hashed} hashes");
    assert!(who(&gate, "alice", "secret").await.is_some());
    assert_eq!(house.logins("ok"), hashed);
    // What is wrong is not remembered, and what is right for one is not right for another.
    assert!(who(&gate, "alice", "wrong").await.is_none());
    assert!(who(&gate, "bob", "secret").await.is_none());
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let house = House::new(ALICE);
    let gate = house.gate().unwrap();
    assert!(who(&gate, "alice", "secret").await.is_some());
    assert!(who(&gate, "bob", "pass:word").await.is_none());

    house.change(BOB);
    assert!(who(&gate, "alice", "secret").await.is_none(), "removed, but remembered");
    assert!(who(&gate, "bob", "pass:word").await.is_some());

    house.change("alice:plain\n");
    assert!(who(&gate, "bob", "pass:word").await.is_some(), "a broken file keeps its former users");

    fs::remove_file(&house.path).unwrap();
    house.clock.advance(Duration::from_secs(1));
    assert!(who(&gate, "bob", "pass:word").await.is_some(), "so does one that is gone");
    assert!(!house.path.exists());

    // The same name with another password: what was remembered for the former line is worth nothing.
    house.change("bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
    assert!(who(&gate, "bob", "pass:word").await.is_none());
    assert!(who(&gate, "bob", "secret").await.is_some());
}

#[tokio::test]
async fn an_empty_file_knows_nobody() {
    let gate = House::new("").gate().unwrap();
    assert!(!gate.is_open());
    assert!(who(&gate, "", "").await.is_none());
}

#[test]
fn a_file_that_cannot_be_used_is_an_error() {
    let house = House::new(&format!("{ALICE}\nmallory:plain\n"));
    let error = house.gate().unwrap_err().to_string();
    let path = house.path.display();
    assert!(error.starts_with(&format!("{path}:3: ")), "{error}");
    assert!(error.contains(&format!("entrepot user add {path} mallory")), "{error}");

    fs::remove_file(&house.path).unwrap();
    fs::create_dir(&house.path).unwrap();
    assert!(matches!(house.gate(), Err(AuthError::Read { .. })));

    let below_a_file = House::new(ALICE);
    let path = below_a_file.path.join("htpasswd");
    let auth = config::Htpasswd { realm: String::new(), path };
    assert!(matches!(Gate::new(Some(&auth), Clock::system(), Arc::default()), Err(AuthError::Provision { .. })));
}

#[test]
fn a_missing_file_is_made_as_registry_2_makes_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("auth/htpasswd");
    let auth = config::Htpasswd { realm: String::new(), path: path.clone() };
    Gate::new(Some(&auth), Clock::system(), Arc::default()).unwrap();
    let made = fs::read_to_string(&path).unwrap();
    assert!(made.starts_with("docker:$2b$10$") && made.lines().count() == 1, "{made}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something was left beside it");
}
