//! k3s and RKE2: `registries.yaml`, out of which they make containerd's. No rewrite is needed: containerd says by `?ns=` which
//! registry it means.

use super::mirror::{Mirror, Transport};
use super::{Comments, File, Made, quoted};

pub(super) fn make(mirror: &Mirror) -> Result<Made, String> {
    let mut notes = vec![
        "On every node; then: systemctl restart k3s, or k3s-agent. RKE2: /etc/rancher/rke2/registries.yaml".to_owned(),
    ];
    if mirror.wants_login {
        let host = &mirror.host;
        notes.push(format!(
            "The mirror wants a login: add auth: {{username: NAME, password: …}} to {host} under configs"
        ));
    }
    let (host, url) = (quoted(&mirror.host), quoted(&mirror.url()));
    let entry = |name: &str| format!("  {name}:\n    endpoint:\n      - {url}\n");
    let mut content = "mirrors:\n".to_owned();
    content.extend(mirror.names().map(|(name, _)| entry(&quoted(name.as_str()))));
    content.push_str(&entry(&host));
    let tls = match &mirror.transport {
        Transport::Http | Transport::Https => None,
        Transport::Authority(ca) => Some(format!("ca_file: {}", quoted(&ca.display().to_string()))),
        Transport::Unchecked => Some("insecure_skip_verify: true".to_owned()),
    };
    if let Some(tls) = tls {
        content.push_str(&format!("configs:\n  {host}:\n    tls:\n      {tls}\n"));
    }
    let file = File { path: "registries.yaml".to_owned(), content, comments: Comments::Hash };
    Ok(Made { place: "/etc/rancher/k3s", notes, files: vec![file] })
}

#[cfg(test)]
mod tests {
    use saphyr::{LoadableYamlNode, YamlOwned};

    use super::super::mirror::tests::mirror;
    use super::*;

    fn parsed(mirror: &Mirror) -> YamlOwned {
        YamlOwned::load_from_str(&make(mirror).unwrap().files[0].content).unwrap().remove(0)
    }

    #[test]
    fn what_k3s_reads() {
        let upstreams: &[(&str, &[&str])] = &[("docker.io", &[]), ("r.corp:443", &["r.corp"])];
        let found = parsed(&mirror("mirror.lan:5000", upstreams));
        for name in ["docker.io", "r.corp:443", "r.corp", "mirror.lan:5000"] {
            assert_eq!(found["mirrors"][name]["endpoint"][0].as_str(), Some("http://mirror.lan:5000"), "{name}");
        }
        assert!(!found.contains_mapping_key("configs") && found["mirrors"].as_mapping().unwrap().len() == 4);

        let https = || mirror("https://mirror.lan", upstreams);
        let unchecked = parsed(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked["configs"]["mirror.lan"]["tls"]["insecure_skip_verify"].as_bool(), Some(true));
        let ca = parsed(&https().reached(None, false, Some("/ca: #.pem".into())).ok().unwrap());
        assert_eq!(ca["configs"]["mirror.lan"]["tls"]["ca_file"].as_str(), Some("/ca: #.pem"));
        assert_eq!(ca["mirrors"]["docker.io"]["endpoint"][0].as_str(), Some("https://mirror.lan"));
    }
}
