//! BuildKit: `buildkitd.toml`. How a mirror is spoken to stands in a section of the mirror's own; in the upstream's it would be
//! meant for the upstream.

use super::mirror::{Mirror, Transport};
use super::{Comments, File, Made, quoted};

pub(super) fn make(mirror: &Mirror) -> Result<Made, String> {
    let mut notes = vec![
        "Restart buildkitd; or: docker buildx create --use --buildkitd-config FILE. Rootless it is ~/.config/buildkit/"
            .to_owned(),
    ];
    if mirror.is_loopback() {
        notes.push(format!(
            "A builder in a container does not reach {} here; give it --driver-opt network=host",
            mirror.host
        ));
    }
    if mirror.wants_login {
        notes.push(format!("The mirror wants a login: docker login {}", mirror.host));
    }
    let host = quoted(&mirror.host);
    let upstream = |name: &str| format!("[registry.{}]\n  mirrors = [{host}]\n\n", quoted(name));
    let mut content: String = mirror.names().map(|(name, _)| upstream(name.as_str())).collect();
    let how = match &mirror.transport {
        Transport::Https => None,
        Transport::Http => Some("http = true".to_owned()),
        Transport::Unchecked => Some("insecure = true".to_owned()),
        Transport::Authority(ca) => Some(format!("ca = [{}]", quoted(&ca.display().to_string()))),
    };
    if let Some(how) = how {
        content.push_str(&format!("[registry.{host}]\n  {how}\n"));
    }
    let content = format!("{}\n", content.trim_end());
    let file = File { path: "buildkitd.toml".to_owned(), content, comments: Comments::Hash };
    Ok(Made { place: "/etc/buildkit", notes, files: vec![file] })
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::mirror;
    use super::*;

    fn registries(mirror: &Mirror) -> toml::Table {
        let table: toml::Table = make(mirror).unwrap().files[0].content.parse().unwrap();
        table["registry"].as_table().unwrap().clone()
    }

    #[test]
    fn what_buildkitd_reads() {
        let upstreams: &[(&str, &[&str])] = &[("docker.io", &[]), ("r.corp:443", &["r.corp"])];
        let found = registries(&mirror("mirror.lan:5000", upstreams));
        for name in ["docker.io", "r.corp:443", "r.corp"] {
            assert_eq!(found[name]["mirrors"][0].as_str(), Some("mirror.lan:5000"));
            assert_eq!(found[name].as_table().unwrap().len(), 1, "`http` there would be for {name} itself");
        }
        assert_eq!(found["mirror.lan:5000"]["http"].as_bool(), Some(true));
        assert_eq!(found.len(), 4);

        let https = || mirror("https://mirror.lan", upstreams);
        assert!(registries(&https()).get("mirror.lan").is_none());
        let unchecked = registries(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked["mirror.lan"]["insecure"].as_bool(), Some(true));
        let ca = registries(&https().reached(None, false, Some("/ca.pem".into())).ok().unwrap());
        assert_eq!(ca["mirror.lan"]["ca"][0].as_str(), Some("/ca.pem"));
    }
}
