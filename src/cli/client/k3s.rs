//! k3s and RKE2: `registries.yaml`. k3s and RKE2 write containerd's configuration from this file. The file needs no rewrite
//! rules, since containerd names the registry in each request with `?ns=`.

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
    let endpoint = || mapping([("endpoint", Yaml::Sequence(vec![text(&url)]))]);
    let names = mirror.names().map(|(name, _)| name.as_str()).chain([host]);
    let mut keys = vec![("mirrors", mapping(names.map(|name| (name, endpoint()))))];
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

    use super::super::mirror::tests::mirror;
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
