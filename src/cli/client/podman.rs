//! podman, CRI-O, buildah and skopeo: a drop-in for `registries.conf` (containers-registries.conf(5)).
//!
//! These clients replace the prefix of an image's name with the location of the mirror, so the mirror learns the registry from
//! the first part of the path.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::{MirrorProfile, MirroredRegistry, RegistryAddress, Transport};

pub(super) fn make(mirror: &MirrorProfile) -> Result<ClientConfig, String> {
    let host = &mirror.host;
    let mut notes = vec![
        "podman, buildah and skopeo read this file for each pull. For CRI-O, run: systemctl reload crio".to_owned(),
        "skopeo pulls images through the mirror, but lists tags at the upstream. To avoid that, use skopeo inspect --no-tags"
            .to_owned(),
    ];
    if let Transport::Authority(ca) = &mirror.transport {
        notes.push(format!("Copy {} to /etc/containers/certs.d/{host}/ca.crt", ca.display()));
    }
    if mirror.wants_login {
        notes.push(format!("The mirror requires a login. Run: podman login {host}"));
    }
    let mut registries = ArrayOfTables::new();
    for (name, upstream) in mirror.names() {
        match path_name(upstream) {
            Some(part) => {
                let own = upstream.own_address(name);
                registries.push(registry(mirror, name.as_str(), &own, &format!("{host}/{part}")));
            }
            None => notes.push(format!(
                "{name} is left out, because a path cannot contain a port. Give it an alias without a port \
                 (mirror.upstreams.{}.aliases)",
                upstream.name
            )),
        }
    }
    if mirror.is_insecure() {
        // This entry is for images that are named after the mirror itself, such as pushed ones.
        registries.push(location(mirror, host));
    }
    let mut document = DocumentMut::new();
    document.insert("registry", Item::ArrayOfTables(registries));
    let file =
        ConfigFile { path: "entrepot.conf".to_owned(), content: document.to_string(), comments: CommentStyle::Hash };
    Ok(ClientConfig { directory: "/etc/containers/registries.conf.d", notes, files: vec![file] })
}

/// Returns the entry of a mirrored registry. podman asks its own address if the mirror does not answer.
fn registry(mirror: &MirrorProfile, name: &str, own: &RegistryAddress, mirror_location: &str) -> Table {
    let mut mirror_table = location(mirror, mirror_location);
    // No blank line: the table belongs to the lines above it.
    mirror_table.decor_mut().set_prefix("");
    let mut mirrors = ArrayOfTables::new();
    mirrors.push(mirror_table);
    let mut registry = Table::new();
    registry.insert("prefix", value(name));
    registry.insert("location", value(&own.host));
    if own.is_plain {
        // The man page: with this setting, unencrypted HTTP is allowed.
        registry.insert("insecure", value(true));
    }
    registry.insert("mirror", Item::ArrayOfTables(mirrors));
    registry
}

/// Returns a table with a location at the mirror.
fn location(mirror: &MirrorProfile, location: &str) -> Table {
    let mut table = Table::new();
    table.insert("location", value(location));
    if mirror.is_insecure() {
        table.insert("insecure", value(true));
    }
    table
}

/// Returns a name of the upstream that can be the first part of a repository's name: one without a port.
fn path_name(upstream: &MirroredRegistry) -> Option<&str> {
    let mut names = std::iter::once(&upstream.name).chain(&upstream.aliases);
    names.find(|name| !name.as_str().contains(':')).map(|name| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::{mirror, mirror_of_plain_upstreams};
    use super::*;

    fn registries(mirror: &MirrorProfile) -> Vec<toml::Value> {
        let table: toml::Table = make(mirror).unwrap().files[0].content.parse().unwrap();
        table["registry"].as_array().unwrap().clone()
    }

    #[test]
    fn podman_gets_a_location_for_each_name() {
        let found = registries(&mirror("mirror.lan:5000", &[("docker.io", &[]), ("r.corp:443", &["r.corp"])]));
        for (registry, (prefix, location)) in found.iter().zip([
            ("docker.io", "mirror.lan:5000/docker.io"),
            ("r.corp:443", "mirror.lan:5000/r.corp"),
            ("r.corp", "mirror.lan:5000/r.corp"),
        ]) {
            assert_eq!((registry["prefix"].as_str(), registry["location"].as_str()), (Some(prefix), Some(prefix)));
            assert!(registry.get("insecure").is_none(), "requests to the upstream itself do not change");
            let mirror = &registry["mirror"][0];
            assert_eq!((mirror["location"].as_str(), mirror["insecure"].as_bool()), (Some(location), Some(true)));
        }
        assert_eq!(found[3]["location"].as_str(), Some("mirror.lan:5000"));
        assert_eq!((found[3]["insecure"].as_bool(), found.len()), (Some(true), 4));
    }

    #[test]
    fn podman_asks_a_plain_upstream_with_http() {
        let found = registries(&mirror_of_plain_upstreams("https://mirror.lan"));
        for (registry, (prefix, location, insecure)) in found.iter().zip([
            ("docker.io", "docker.io", None),
            ("r.lan:5000", "r.lan:5000", Some(true)),
            ("r.lan", "r.lan:5000", Some(true)),
            ("alias.lan", "r.lan:5000", Some(true)),
        ]) {
            assert_eq!((registry["prefix"].as_str(), registry["location"].as_str()), (Some(prefix), Some(location)));
            assert_eq!(registry.get("insecure").and_then(toml::Value::as_bool), insecure, "{prefix}");
            assert!(registry["mirror"][0].get("insecure").is_none(), "the mirror itself uses TLS");
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn podman_gets_tls_settings_and_no_name_with_a_port() {
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
