//! BuildKit: `buildkitd.toml`.
//!
//! The transport to the mirror (plain HTTP, a private authority) is set in a section for the mirror itself. In the section of an
//! upstream it applies to requests to that upstream, which BuildKit sends while the mirror is down.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::{MirrorProfile, Transport};

pub(super) fn make(mirror: &MirrorProfile) -> Result<ClientConfig, String> {
    let mut notes = vec![
        "Restart buildkitd afterwards, or create a builder: docker buildx create --use --buildkitd-config FILE. Rootless \
         buildkitd reads ~/.config/buildkit/buildkitd.toml"
            .to_owned(),
    ];
    if mirror.is_loopback() {
        notes.push(format!(
            "A builder in a container does not reach {} on this machine; create it with --driver-opt network=host",
            mirror.host
        ));
    }
    if mirror.wants_login {
        notes.push(format!("The mirror requires a login. Run: docker login {}", mirror.host));
    }
    let mut registries = Table::new();
    registries.set_implicit(true);
    for (name, upstream) in mirror.names() {
        let own = upstream.own_address(name);
        // A section cannot name another address of its registry, but a further mirror can.
        let further = (own.host != name.as_str()).then_some(own.host.as_str());
        let mirrors = std::iter::once(mirror.host.as_str()).chain(further);
        section_of(&mut registries, name.as_str()).insert("mirrors", value(Array::from_iter(mirrors)));
        if own.is_plain {
            section_of(&mut registries, &own.host).insert("http", value(true));
        }
    }
    let transport = match &mirror.transport {
        Transport::Https => None,
        Transport::Http => Some(("http", value(true))),
        Transport::Unchecked => Some(("insecure", value(true))),
        Transport::Authority(ca) => Some(("ca", value(Array::from_iter([ca.display().to_string()])))),
    };
    if let Some((key, setting)) = transport {
        section_of(&mut registries, &mirror.host).insert(key, setting);
    }
    let mut document = DocumentMut::new();
    document.insert("registry", Item::Table(registries));
    let file =
        ConfigFile { path: "buildkitd.toml".to_owned(), content: document.to_string(), comments: CommentStyle::Hash };
    Ok(ClientConfig { directory: "/etc/buildkit", notes, files: vec![file] })
}

/// Returns the section of a registry, which is empty at first.
fn section_of<'t>(registries: &'t mut Table, host: &str) -> &'t mut dyn TableLike {
    let section = registries.entry(host).or_insert(Item::Table(Table::new()));
    section.as_table_like_mut().expect("each entry is a table")
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::{mirror, mirror_of_plain_upstreams};
    use super::*;

    fn registries(mirror: &MirrorProfile) -> toml::Table {
        let table: toml::Table = make(mirror).unwrap().files[0].content.parse().unwrap();
        table["registry"].as_table().unwrap().clone()
    }

    #[test]
    fn buildkitd_gets_a_mirror_for_each_name() {
        let upstreams: &[(&str, &[&str])] = &[("docker.io", &[]), ("r.corp:443", &["r.corp"])];
        let found = registries(&mirror("mirror.lan:5000", upstreams));
        for name in ["docker.io", "r.corp:443", "r.corp"] {
            assert_eq!(found[name]["mirrors"][0].as_str(), Some("mirror.lan:5000"));
            assert_eq!(found[name].as_table().unwrap().len(), 1, "`http` there would be for {name} itself");
        }
        assert_eq!(found["mirror.lan:5000"]["http"].as_bool(), Some(true));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn buildkitd_asks_a_plain_upstream_with_http() {
        let found = registries(&mirror_of_plain_upstreams("https://mirror.lan"));
        let mirrors = |name: &str| -> Vec<String> { found[name]["mirrors"].clone().try_into().unwrap() };
        assert_eq!(mirrors("docker.io"), ["mirror.lan"]);
        assert_eq!(mirrors("r.lan:5000"), ["mirror.lan"]);
        assert_eq!(mirrors("r.lan"), ["mirror.lan", "r.lan:5000"]);
        assert_eq!(mirrors("alias.lan"), ["mirror.lan", "r.lan:5000"]);
        assert_eq!(found["r.lan:5000"]["http"].as_bool(), Some(true));
        for name in ["docker.io", "r.lan", "alias.lan"] {
            assert!(found[name].get("http").is_none(), "{name}");
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn buildkitd_gets_the_transport_of_the_mirror() {
        let https = || mirror("https://mirror.lan", &[("docker.io", &[])]);
        assert!(registries(&https()).get("mirror.lan").is_none());
        let unchecked = registries(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked["mirror.lan"]["insecure"].as_bool(), Some(true));
        let ca = registries(&https().reached(None, false, Some("/ca \"1\"\\.pem".into())).ok().unwrap());
        assert_eq!(ca["mirror.lan"]["ca"][0].as_str(), Some("/ca \"1\"\\.pem"));
        let own_name = registries(&mirror("docker.io", &[("docker.io", &[])]));
        assert_eq!(own_name["docker.io"].as_table().unwrap().len(), 2, "one section, even for the same name");
    }
}
