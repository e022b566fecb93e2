//! The records of pushes and pulls, which retention will decide by.

use crate::support::registry::{Registry, eventually};

#[test]
fn push_and_pull_are_recorded() {
    let registry = Registry::configured(|place| {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let path = place.write("htpasswd", &format!("alice:{hash}\n"));
        let auth = format!("auth:\n  htpasswd: {{realm: r, path: {}}}\n", path.display());
        format!("{}{}storage:{}\n{auth}", place.version(), place.http(), place.root())
    });
    let client = registry.client().login("alice", "secret");
    let image = client.push_image("team/app", "v1", b"layer");
    let records = registry.data().join("entrepot/repositories/team/app");
    let read = |path: &str| {
        let text = std::fs::read(records.join(path)).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()
    };
    let push = read(&format!("_pushes/sha256/{}", image.digest.hex())).unwrap();
    assert_eq!(push["by"], "alice");
    assert!(push["at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{push}");
    assert_eq!(read("_pulls/v1"), None, "a push is not a pull");
    assert_eq!(client.head("/v2/team/app/manifests/v1").status, 200);
    let pull = eventually("the record of a pull", || read("_pulls/v1"));
    assert!(pull["at"].as_u64() >= push["at"].as_u64(), "{pull}");
}
