//! podman, CRI-O, buildah and skopeo (containers-registries.conf(5)). They say which registry they mean by the first part of the
//! path: a mirror's location is put in the place of the prefix.

use super::mirror::{Mirror, Transport, Upstream};
use super::{Comments, File, Made, quoted};

pub(super) fn make(mirror: &Mirror) -> Result<Made, String> {
    let host = &mirror.host;
    let mut notes = vec![
        "podman, buildah and skopeo read this at every pull; for CRI-O: systemctl reload crio".to_owned(),
        "skopeo takes images through the mirror, and lists of tags from upstream: inspect wants --no-tags for that"
            .to_owned(),
    ];
    if let Transport::Authority(ca) = &mirror.transport {
        notes.push(format!("Copy {} to /etc/containers/certs.d/{host}/ca.crt", ca.display()));
    }
    if mirror.wants_login {
        notes.push(format!("The mirror wants a login: podman login {host}"));
    }
    let mut content = String::new();
    for (name, upstream) in mirror.names() {
        let Some(part) = part_of_path(upstream) else {
            notes.push(format!(
                "{name} is left out: a port cannot stand in a path. Give it a name without one (mirror.upstreams.{}.aliases)",
                upstream.name
            ));
            continue;
        };
        let name = quoted(name.as_str());
        content.push_str(&format!(
            "[[registry]]\nprefix = {name}\nlocation = {name}\n[[registry.mirror]]\nlocation = {}\n{}\n",
            quoted(&format!("{host}/{part}")),
            insecure(mirror)
        ));
    }
    if mirror.is_insecure() {
        // What lives there, and what is pulled with the mirror's own name.
        content.push_str(&format!("[[registry]]\nlocation = {}\n{}", quoted(host), insecure(mirror)));
    }
    let file = File {
        path: "entrepot.conf".to_owned(),
        content: format!("{}\n", content.trim_end()),
        comments: Comments::Hash,
    };
    Ok(Made { place: "/etc/containers/registries.conf.d", notes, files: vec![file] })
}

fn insecure(mirror: &Mirror) -> &'static str {
    if mirror.is_insecure() { "insecure = true\n" } else { "" }
}

/// A name of the upstream that can be the first part of a repository's name.
fn part_of_path(upstream: &Upstream) -> Option<&str> {
    let mut names = std::iter::once(&upstream.name).chain(&upstream.aliases);
    names.find(|name| !name.as_str().contains(':')).map(|name| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::mirror;
    use super::*;

    fn registries(mirror: &Mirror) -> Vec<toml::Value> {
        let table: toml::Table = make(mirror).unwrap().files[0].content.parse().unwrap();
        table["registry"].as_array().unwrap().clone()
    }

    #[test]
    fn what_podman_reads() {
        let found = registries(&mirror("mirror.lan:5000", &[("docker.io", &[]), ("r.corp:443", &["r.corp"])]));
        for (registry, (prefix, location)) in found.iter().zip([
            ("docker.io", "mirror.lan:5000/docker.io"),
            ("r.corp:443", "mirror.lan:5000/r.corp"),
            ("r.corp", "mirror.lan:5000/r.corp"),
        ]) {
            assert_eq!((registry["prefix"].as_str(), registry["location"].as_str()), (Some(prefix), Some(prefix)));
            assert!(registry.get("insecure").is_none(), "the upstream itself is asked as ever");
            let mirror = &registry["mirror"][0];
            assert_eq!((mirror["location"].as_str(), mirror["insecure"].as_bool()), (Some(location), Some(true)));
        }
        assert_eq!(found[3]["location"].as_str(), Some("mirror.lan:5000"));
        assert_eq!((found[3]["insecure"].as_bool(), found.len()), (Some(true), 4));
    }

    #[test]
    fn tls_and_ports() {
        let secure = mirror("https://mirror.lan", &[("docker.io", &[]), ("r.corp:443", &[])]);
        let made = make(&secure).unwrap();
        assert!(made.notes.iter().any(|note| note.starts_with("r.corp:443 is left out")), "{:?}", made.notes);
        let found = registries(&secure);
        assert_eq!(found.len(), 1);
        assert!(found[0]["mirror"][0].get("insecure").is_none());
        let unchecked = registries(&secure.reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked[0]["mirror"][0]["insecure"].as_bool(), Some(true));
    }
}
