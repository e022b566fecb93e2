//! k3s and RKE2: `registries.yaml`. k3s and RKE2 write containerd's configuration from this file. The file needs no rewrite
//! rules, since containerd names the registry in each request with `?ns=`. After the endpoints of the file, k3s tries
//! `https://NAME`, so a registry with plain HTTP is an endpoint too.

use saphyr::{Mapping, Scalar, Yaml, YamlEmitter};

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::{MirrorProfile, Transport};

pub(super) fn make(mirror: &MirrorProfile) -> Result<ClientConfig, String> {
    let mut notes = vec![
        "Write this file on each node. Then run: systemctl restart k3s (or k3s-agent). RKE2 reads \
         /etc/rancher/rke2/registries.yaml"
            .to_owned(),
    ];
    let host = mirror.host.as_str();
    if mirror.wants_login {
        notes.push(format!(
            "The mirror requires a login: under configs, add auth: {{username: NAME, password: …}} to {host}"
        ));
    }
    let url = mirror.url();
    let endpoints = |own: Option<String>| {
        let addresses = std::iter::once(url.clone()).chain(own);
        mapping([("endpoint", Yaml::Sequence(addresses.map(|address| text(&address)).collect()))])
    };
    let mirrored = mirror.names().map(|(name, upstream)| {
        let own = upstream.own_address(name);
        let is_default = !own.is_plain && own.host == name.as_str();
        (name.as_str(), endpoints((!is_default).then(|| own.url())))
    });
    let mut keys = vec![("mirrors", mapping(mirrored.chain([(host, endpoints(None))])))];
    let tls = match &mirror.transport {
        Transport::Http | Transport::Https => None,
        Transport::Authority(ca) => Some(("ca_file", text(&ca.display().to_string()))),
        Transport::Unchecked => Some(("insecure_skip_verify", Yaml::Value(Scalar::Boolean(true)))),
    };
    if let Some(tls) = tls {
        keys.push(("configs", mapping([(host, mapping([("tls", mapping([tls]))]))])));
    }
    let mut content = String::new();
    YamlEmitter::new(&mut content).dump(&mapping(keys)).map_err(|error| error.to_string())?;
    let content = format!("{}\n", content.trim_start_matches("---\n").trim_end());
    let file = ConfigFile { path: "registries.yaml".to_owned(), content, comments: CommentStyle::Hash };
    Ok(ClientConfig { directory: "/etc/rancher/k3s", notes, files: vec![file] })
}

fn text(text: &str) -> Yaml<'static> {
    Yaml::Value(Scalar::String(text.to_owned().into()))
}

fn mapping<'k>(pairs: impl IntoIterator<Item = (&'k str, Yaml<'static>)>) -> Yaml<'static> {
    Yaml::Mapping(pairs.into_iter().map(|(key, value)| (text(key), value)).collect::<Mapping<'static>>())
}

#[cfg(test)]
mod tests {
    use saphyr::{LoadableYamlNode, YamlOwned};

    use super::super::mirror::tests::{mirror, mirror_of_plain_upstreams};
    use super::*;

    fn parsed(mirror: &MirrorProfile) -> YamlOwned {
        YamlOwned::load_from_str(&make(mirror).unwrap().files[0].content).unwrap().remove(0)
    }

    #[test]
    fn k3s_gets_an_endpoint_for_each_name() {
        let upstreams: &[(&str, &[&str])] = &[("docker.io", &[]), ("r.corp:443", &["r.corp"])];
        let found = parsed(&mirror("mirror.lan:5000", upstreams));
        for name in ["docker.io", "r.corp:443", "r.corp", "mirror.lan:5000"] {
            assert_eq!(found["mirrors"][name]["endpoint"][0].as_str(), Some("http://mirror.lan:5000"), "{name}");
        }
        assert!(!found.contains_mapping_key("configs") && found["mirrors"].as_mapping().unwrap().len() == 4);
    }

    #[test]
    fn k3s_asks_a_plain_upstream_with_http() {
        let found = parsed(&mirror_of_plain_upstreams("mirror.lan:5000"));
        for (name, second) in [
            ("docker.io", None),
            ("r.lan:5000", Some("http://r.lan:5000")),
            ("r.lan", Some("http://r.lan:5000")),
            ("alias.lan", Some("http://r.lan:5000")),
            ("mirror.lan:5000", None),
        ] {
            let endpoints = found["mirrors"][name]["endpoint"].as_vec().unwrap();
            assert_eq!(endpoints[0].as_str(), Some("http://mirror.lan:5000"), "{name}");
            assert_eq!(endpoints.get(1).and_then(YamlOwned::as_str), second, "{name}");
        }
    }

    #[test]
    fn k3s_gets_the_certificate_settings() {
        let https = || mirror("https://mirror.lan", &[("docker.io", &[])]);
        let unchecked = parsed(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked["configs"]["mirror.lan"]["tls"]["insecure_skip_verify"].as_bool(), Some(true));
        for path in ["/ca: #.pem", "/a\"b\\c.pem", "/é\t.pem", "/- {x}, 'y'.pem", "/a\n#b.pem "] {
            let ca = parsed(&https().reached(None, false, Some(path.into())).ok().unwrap());
            assert_eq!(ca["configs"]["mirror.lan"]["tls"]["ca_file"].as_str(), Some(path));
            assert_eq!(ca["mirrors"]["docker.io"]["endpoint"][0].as_str(), Some("https://mirror.lan"));
        }
    }
}
