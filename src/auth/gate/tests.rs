//! The gate with real password files.
#![expect(clippy::disallowed_methods, reason = "administrators edit the file with their own tools")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;

fn here() -> ClientAddress {
    ClientAddress::new([127, 0, 0, 1].into(), None)
}

/// The password is `secret`; the line comes from `htpasswd -nbB`.
const ALICE: &str = "alice:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92\n";
/// The password is `pass:word`; the line comes from `htpasswd -nbm`.
const BOB: &str = "bob:$apr1$IIKDtBt9$tH20I3jPBOelGcyuthuHZ/\n";

struct Setup {
    _directory: TempDir,
    path: PathBuf,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Setup {
    fn new(content: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("htpasswd");
        fs::write(&path, content).unwrap();
        Self { _directory: directory, path, clock: Clock::system(), metrics: Arc::default() }
    }

    fn gate(&self) -> Result<Gate, PasswordFileError> {
        let auth = config::Htpasswd { realm: "basic-realm".to_owned(), path: self.path.clone() };
        Gate::new(Some(&auth), self.clock.clone(), Arc::clone(&self.metrics))
    }

    /// Changes the file and advances the clock until the gate checks the file again.
    fn change(&self, content: &str) {
        fs::write(&self.path, content).unwrap();
        self.clock.advance(Duration::from_secs(1));
    }

    fn logins(&self, outcome: &str) -> u64 {
        self.metrics.logins.with_label_values(&[outcome]).get()
    }
}

/// Logs in. Returns the name of the caller, or `None` if the login fails.
async fn log_in(gate: &Gate, user: &str, password: &str) -> Option<String> {
    let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let credentials = Credentials::from_header(Some(&header)).unwrap();
    match gate.identify(&credentials, here()).await {
        Ok(caller) => caller.name().map(str::to_owned),
        Err(reason) => {
            assert!(
                matches!(&reason, Unproven::Mismatch { user: named } if named == user) || reason == Unproven::Crowded,
                "{reason}"
            );
            None
        }
    }
}

fn open_gate() -> Gate {
    Gate::new(None, Clock::system(), Arc::default()).unwrap()
}

fn target() -> Target {
    Target::Hosted("local/app".parse().unwrap())
}

#[tokio::test]
async fn open_gate_allows_everything() {
    let gate = open_gate();
    assert!(gate.is_open());
    let caller = gate.identify(&Credentials::None, here()).await.unwrap();
    assert_eq!(caller, Caller::Anonymous);
    for action in [Action::Enter, Action::Admin] {
        gate.allow(&caller, action).unwrap();
    }
    for action in [Action::Pull, Action::Push, Action::Delete] {
        assert_eq!(gate.admit(&caller, action, &target()).unwrap().into_inner(), target());
    }
    assert_eq!(log_in(&gate, "alice", "anything").await, None);
    assert_eq!(
        gate.identify(&Credentials::from_header(Some("Bearer abc")).unwrap(), here()).await,
        Ok(Caller::Anonymous)
    );
}

#[tokio::test]
async fn gate_admits_users_of_the_file_only() {
    let setup = Setup::new(&format!("{ALICE}{BOB}"));
    let gate = setup.gate().unwrap();
    assert!(!gate.is_open());
    for (user, password, right) in [
        ("alice", "secret", true),
        ("bob", "pass:word", true),
        ("alice", "Secret", false),
        ("alice", "pass:word", false),
        ("bob", "secret", false),
        ("bob", "", false),
        ("carol", "secret", false),
        ("", "secret", false),
        ("Alice", "secret", false),
    ] {
        assert_eq!(log_in(&gate, user, password).await.is_some(), right, "{user}");
    }
    assert_eq!((setup.logins("ok"), setup.logins("refused")), (2, 7));

    let anonymous = gate.identify(&Credentials::None, here()).await.unwrap();
    for action in [Action::Enter, Action::Admin] {
        let challenge = "Basic realm=\"basic-realm\"".to_owned();
        let expected = Refusal::Unauthorized { reason: Unproven::Missing, challenge };
        assert_eq!(gate.allow(&anonymous, action).unwrap_err(), expected);
    }
    for action in [Action::Pull, Action::Push, Action::Delete] {
        assert!(matches!(gate.admit(&anonymous, action, &target()), Err(Refusal::Unauthorized { .. })));
    }
    let header = format!("Basic {}", STANDARD.encode("alice:secret"));
    let alice = gate.identify(&Credentials::from_header(Some(&header)).unwrap(), here()).await.unwrap();
    gate.allow(&alice, Action::Admin).unwrap();
    let admitted = gate.admit(&alice, Action::Push, &target()).unwrap();
    assert_eq!((admitted.get(), admitted.caller().name()), (&target(), Some("alice")));
}

#[tokio::test]
async fn many_requests_with_one_login_hash_once() {
    let setup = Setup::new(ALICE);
    let gate = setup.gate().unwrap();
    let together = (0..20).map(|_| log_in(&gate, "alice", "secret"));
    let names = futures_util::future::join_all(together).await;
    assert!(names.iter().all(|name| name.as_deref() == Some("alice")));
    // One request for each core may start before a login is remembered.
    let hashed = setup.logins("ok");
    assert!(hashed <= std::thread::available_parallelism().unwrap().get() as u64, "{hashed} hashes");
    assert!(log_in(&gate, "alice", "secret").await.is_some());
    assert_eq!(setup.logins("ok"), hashed);
    // A wrong password is hashed once for all that ask at the same time, and a password that was verified for one user does not count for another.
    assert!(log_in(&gate, "alice", "wrong").await.is_none());
    assert!(log_in(&gate, "bob", "secret").await.is_none());
}

#[tokio::test]
async fn changed_file_is_read_again() {
    let setup = Setup::new(ALICE);
    let gate = setup.gate().unwrap();
    assert!(log_in(&gate, "alice", "secret").await.is_some());
    assert!(log_in(&gate, "bob", "pass:word").await.is_none());

    setup.change(BOB);
    assert!(log_in(&gate, "alice", "secret").await.is_none(), "a removed user is still accepted");
    assert!(log_in(&gate, "bob", "pass:word").await.is_some());

    setup.change("alice:plain\n");
    assert!(log_in(&gate, "bob", "pass:word").await.is_some(), "a broken file keeps its former users");

    fs::remove_file(&setup.path).unwrap();
    setup.clock.advance(Duration::from_secs(1));
    assert!(log_in(&gate, "bob", "pass:word").await.is_some(), "a missing file keeps its former users");
    assert!(!setup.path.exists());

    // The user has a new password, so the remembered login with the old one does not count.
    setup.change("bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
    assert!(log_in(&gate, "bob", "pass:word").await.is_none());
    assert!(log_in(&gate, "bob", "secret").await.is_some());
}

/// Another line may hold the identical hash: a copied line, or a shared password with a copied hash.
#[tokio::test]
async fn removed_user_is_refused_at_once_if_another_line_has_the_same_hash() {
    let copy = ALICE.replace("alice", "bob");
    let setup = Setup::new(&format!("{ALICE}{copy}"));
    let gate = setup.gate().unwrap();
    assert!(log_in(&gate, "alice", "secret").await.is_some());
    setup.change(&copy);
    assert!(log_in(&gate, "alice", "secret").await.is_none());
    assert!(log_in(&gate, "bob", "secret").await.is_some());
    setup.change(&format!("{ALICE}{copy}"));
    assert!(log_in(&gate, "alice", "secret").await.is_some(), "the refusal is not remembered for a user of the file");
}

#[tokio::test]
async fn repeated_wrong_login_is_hashed_once_and_a_flood_of_others_is_refused() {
    let setup = Setup::new(ALICE);
    let gate = setup.gate().unwrap();
    let same = (0..100).map(|_| log_in(&gate, "alice", "wrong"));
    assert!(futures_util::future::join_all(same).await.iter().all(Option::is_none));
    assert_eq!((setup.logins("refused"), setup.logins("crowded")), (100, 0), "all wait for one hash");
    let passwords: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let flood = passwords.iter().map(|password| log_in(&gate, "alice", password));
    let (flood, right) = futures_util::future::join(futures_util::future::join_all(flood), async {
        let from = ClientAddress::new([192, 0, 2, 1].into(), None);
        let header = format!("Basic {}", STANDARD.encode("alice:secret"));
        gate.identify(&Credentials::from_header(Some(&header)).unwrap(), from).await
    })
    .await;
    assert!(flood.iter().all(Option::is_none));
    assert!(right.is_ok(), "another client of the same user");
    assert!(setup.logins("crowded") > 250, "{}", setup.logins("crowded"));
}

#[tokio::test]
async fn empty_file_has_no_users() {
    let gate = Setup::new("").gate().unwrap();
    assert!(!gate.is_open());
    assert!(log_in(&gate, "", "").await.is_none());
}

#[tokio::test]
async fn unusable_line_costs_only_its_own_user_the_login() {
    let gate = Setup::new(&format!("\u{feff}{ALICE}\nmallory:plain\nno colon\n")).gate().unwrap();
    assert!(log_in(&gate, "alice", "secret").await.is_some());
    assert!(log_in(&gate, "mallory", "plain").await.is_none());
    assert!(log_in(&gate, "no colon", "").await.is_none());
}

#[test]
fn unusable_file_is_an_error() {
    let setup = Setup::new("# users\n\nmallory:plain\n");
    let error = setup.gate().unwrap_err().to_string();
    let path = setup.path.display();
    assert!(error.starts_with(&format!("{path}:3: ")), "{error}");
    assert!(error.contains(&format!("entrepot user add {path} mallory")), "{error}");

    fs::remove_file(&setup.path).unwrap();
    fs::create_dir(&setup.path).unwrap();
    assert!(matches!(setup.gate(), Err(PasswordFileError::Read { .. })));

    let below_a_file = Setup::new(ALICE);
    let path = below_a_file.path.join("htpasswd");
    let auth = config::Htpasswd { realm: String::new(), path };
    assert!(matches!(
        Gate::new(Some(&auth), Clock::system(), Arc::default()),
        Err(PasswordFileError::Provision { .. })
    ));
}

#[test]
fn missing_file_is_provisioned_as_by_registry_2() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("auth/htpasswd");
    let auth = config::Htpasswd { realm: String::new(), path: path.clone() };
    Gate::new(Some(&auth), Clock::system(), Arc::default()).unwrap();
    let made = fs::read_to_string(&path).unwrap();
    assert!(made.starts_with("docker:$2b$10$") && made.lines().count() == 1, "{made}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file is left");
}

#[tokio::test]
async fn bearer_tokens_are_not_accepted_yet() {
    let gate = Setup::new(ALICE).gate().unwrap();
    let credentials = Credentials::from_header(Some("Bearer abc")).unwrap();
    assert_eq!(gate.identify(&credentials, here()).await, Err(Unproven::Scheme));
}

#[test]
fn challenge_quotes_the_realm() {
    let setup = Setup::new(ALICE);
    let auth = config::Htpasswd { realm: r#"a "b" \c"#.to_owned(), path: setup.path.clone() };
    let gate = Gate::new(Some(&auth), Clock::system(), Arc::default()).unwrap();
    for (action, target) in [(Action::Pull, Some(target())), (Action::Admin, None)] {
        let refusal = gate.refuse(Unproven::Missing, action, target.as_ref());
        let Refusal::Unauthorized { challenge, .. } = refusal else { panic!("{refusal}") };
        assert_eq!(challenge, r#"Basic realm="a \"b\" \\c""#);
    }
}

#[test]
fn rules_refuse_by_action_and_repository() {
    let gate = open_gate().forbidding(|action, target| match target {
        Some(_) => action == Action::Push,
        None => action == Action::Admin,
    });
    let caller = Caller::Anonymous;
    gate.allow(&caller, Action::Enter).unwrap();
    gate.admit(&caller, Action::Pull, &target()).unwrap();
    let denied = gate.allow(&caller, Action::Admin).unwrap_err();
    assert_eq!(denied.to_string(), "an anonymous caller may not administer this registry");
    let denied = gate.admit(&caller, Action::Push, &target()).unwrap_err();
    assert_eq!(denied.to_string(), "an anonymous caller may not push local/app");
}
