//! dockerd: `daemon.json`. dockerd mirrors Docker Hub only, and sends no login to a mirror.

use serde::Serialize;

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::{MirrorProfile, Transport};

/// The keys of `daemon.json` that concern a mirror.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DaemonJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registry_mirrors: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    insecure_registries: Vec<String>,
}

pub(super) fn make(mirror: &MirrorProfile) -> Result<ClientConfig, String> {
    let mut daemon = DaemonJson { registry_mirrors: Vec::new(), insecure_registries: Vec::new() };
    let mut notes = vec![
        "Add these keys to /etc/docker/daemon.json, beside the keys that are there already. Then run: systemctl restart docker"
            .to_owned(),
    ];
    let host = &mirror.host;
    let hub = mirror.upstreams.iter().find(|upstream| upstream.name.as_str() == "docker.io");
    match hub {
        Some(hub) if hub.is_default && mirror.wants_login => notes.push(format!(
            "The mirror requires a login, but dockerd sends no login to a mirror: registry-mirrors is left out. Run `docker login \
             {host}` and pull {host}/docker.io/library/alpine"
        )),
        Some(hub) if hub.is_default => {
            daemon.registry_mirrors.push(mirror.url());
            notes.push(format!(
                "dockerd mirrors Docker Hub only. Pull images of other registries as {host}/ghcr.io/org/app"
            ));
        }
        _ => notes.push(
            "dockerd mirrors Docker Hub only, and does not name it in its requests. This needs an upstream docker.io with `default: \
             true`, which the mirror lacks: registry-mirrors is left out"
                .to_owned(),
        ),
    }
    // dockerd accepts plain HTTP on a loopback address without a setting.
    if mirror.is_insecure() && !mirror.is_loopback() {
        daemon.insecure_registries.push(host.clone());
    }
    if let Transport::Authority(ca) = &mirror.transport {
        notes.push(format!("Copy {} to /etc/docker/certs.d/{host}/ca.crt", ca.display()));
    }
    if daemon.registry_mirrors.is_empty() && daemon.insecure_registries.is_empty() {
        return Err(format!("there is nothing to write into daemon.json\n{}", notes[1..].join("\n")));
    }
    let json = serde_json::to_string_pretty(&daemon).map_err(|error| error.to_string())?;
    let file =
        ConfigFile { path: "daemon.json".to_owned(), content: format!("{json}\n"), comments: CommentStyle::None };
    Ok(ClientConfig { directory: "/etc/docker", notes, files: vec![file] })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::mirror::tests::mirror;
    use super::*;

    fn daemon(mirror: &MirrorProfile) -> Value {
        serde_json::from_str(&make(mirror).unwrap().files[0].content).unwrap()
    }

    #[test]
    fn dockerd_gets_the_mirror_of_docker_hub() {
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
        let unchecked = mirror("https://mirror.lan", hub).reached(None, true, None).ok().unwrap();
        assert_eq!(daemon(&unchecked)["insecure-registries"][0], "mirror.lan");
    }

    #[test]
    fn notes_say_what_dockerd_cannot_do() {
        assert!(make(&mirror("127.0.0.1:5000", &[("ghcr.io", &[])])).is_err(), "an empty object would be useless");
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
        let ca = mirror("https://mirror.lan", &[("docker.io", &[])])
            .reached(None, false, Some("/ca.pem".into()))
            .ok()
            .unwrap();
        let notes = make(&ca).unwrap().notes;
        assert!(notes.iter().any(|note| note == "Copy /ca.pem to /etc/docker/certs.d/mirror.lan/ca.crt"), "{notes:?}");
    }
}
