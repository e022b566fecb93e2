//! dockerd: `daemon.json`. It mirrors Docker Hub alone, and sends no credentials to a mirror.

use serde_json::{Map, Value};

use super::mirror::{Mirror, Transport};
use super::{Comments, File, Made};

pub(super) fn make(mirror: &Mirror) -> Result<Made, String> {
    let mut keys = Map::new();
    let mut notes = vec![
        "This belongs into /etc/docker/daemon.json, beside what is there already; then: systemctl restart docker"
            .to_owned(),
    ];
    let host = &mirror.host;
    let hub = mirror.upstreams.iter().find(|upstream| upstream.name.as_str() == "docker.io");
    match hub {
        Some(hub) if hub.is_default && mirror.wants_login => notes.push(format!(
            "The mirror wants a login, and dockerd sends none to a mirror: registry-mirrors is left out. After `docker login {host}` \
             pull {host}/docker.io/library/alpine"
        )),
        Some(hub) if hub.is_default => {
            keys.insert("registry-mirrors".to_owned(), vec![mirror.url()].into());
            notes.push(format!(
                "dockerd mirrors Docker Hub only; images of other registries are pulled as {host}/ghcr.io/org/app"
            ));
        }
        _ => notes.push(
            "dockerd mirrors Docker Hub only, and asks for it without its name: for that docker.io must be mirrored, with `default: \
             true`. registry-mirrors is left out"
                .to_owned(),
        ),
    }
    // Loopback needs no word: dockerd takes it as it is.
    if mirror.is_insecure() && !mirror.is_loopback() {
        keys.insert("insecure-registries".to_owned(), vec![Value::from(host.as_str())].into());
    }
    if let Transport::Authority(ca) = &mirror.transport {
        notes.push(format!("Copy {} to /etc/docker/certs.d/{host}/ca.crt", ca.display()));
    }
    if keys.is_empty() {
        return Err(format!("there is nothing to write into daemon.json\n{}", notes[1..].join("\n")));
    }
    let json = serde_json::to_string_pretty(&Value::Object(keys)).map_err(|error| error.to_string())?;
    let file = File { path: "daemon.json".to_owned(), content: format!("{json}\n"), comments: Comments::None };
    Ok(Made { place: "/etc/docker", notes, files: vec![file] })
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::mirror;
    use super::*;

    fn daemon(mirror: &Mirror) -> Value {
        serde_json::from_str(&make(mirror).unwrap().files[0].content).unwrap()
    }

    #[test]
    fn what_dockerd_reads() {
        let hub = &[("docker.io", &[][..]), ("ghcr.io", &[])];
        for (address, want) in [
            (
                "mirror.lan:5000",
                r#"{"registry-mirrors": ["http://mirror.lan:5000"], "insecure-registries": ["mirror.lan:5000"]}"#,
            ),
            ("127.0.0.1:5000", r#"{"registry-mirrors": ["http://127.0.0.1:5000"]}"#),
            ("https://mirror.lan", r#"{"registry-mirrors": ["https://mirror.lan"]}"#),
        ] {
            assert_eq!(daemon(&mirror(address, hub)), serde_json::from_str::<Value>(want).unwrap(), "{address}");
        }
        let unchecked = mirror("mirror.lan", hub).reached(None, true, None).ok().unwrap();
        assert_eq!(daemon(&unchecked)["insecure-registries"][0], "mirror.lan");
    }

    #[test]
    fn what_dockerd_cannot_do() {
        assert!(make(&mirror("127.0.0.1:5000", &[("ghcr.io", &[])])).is_err(), "an empty object says nothing");
        let mut guarded = mirror("mirror.lan:5000", &[("docker.io", &[])]);
        guarded.wants_login = true;
        for without in [
            mirror("mirror.lan:5000", &[("ghcr.io", &[])]),
            mirror("mirror.lan:5000", &[("ghcr.io", &[]), ("docker.io", &[])]),
            guarded,
        ] {
            let made = make(&without).unwrap();
            assert!(daemon(&without).get("registry-mirrors").is_none());
            assert!(made.notes.iter().any(|note| note.contains("registry-mirrors is left out")), "{:?}", made.notes);
        }
        let ca = mirror("mirror.lan", &[("docker.io", &[])]).reached(None, false, Some("/ca.pem".into())).ok().unwrap();
        let notes = make(&ca).unwrap().notes;
        assert!(notes.iter().any(|note| note == "Copy /ca.pem to /etc/docker/certs.d/mirror.lan/ca.crt"), "{notes:?}");
    }
}
