//! containerd: one `hosts.toml` for each registry. containerd names the registry in each request with `?ns=`.

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::{MirrorProfile, MirroredRegistry, Transport};
use crate::oci::HostName;

const CONFIG_PATH: &str = "    config_path = \"/etc/containerd/certs.d\"";

pub(super) fn make(mirror: &MirrorProfile) -> Result<ClientConfig, String> {
    let mut notes = vec![
        "containerd reads these files in the directory of its config_path. Set it once in /etc/containerd/config.toml and restart \
         containerd."
            .to_owned(),
        "containerd 2.x:".to_owned(),
        "  [plugins.\"io.containerd.cri.v1.images\".registry]".to_owned(),
        CONFIG_PATH.to_owned(),
        "containerd 1.x:".to_owned(),
        "  [plugins.\"io.containerd.grpc.v1.cri\".registry]".to_owned(),
        CONFIG_PATH.to_owned(),
        "ctr needs --hosts-dir /etc/containerd/certs.d. The files themselves are read again for each pull.".to_owned(),
    ];
    if mirror.wants_login {
        notes.push(
            "The mirror requires a login. Kubernetes: an imagePullSecret for the mirror's name. ctr: --user NAME:PASSWORD"
                .to_owned(),
        );
    }
    let of_upstream = |(name, upstream): (&HostName, &MirroredRegistry)| {
        let server = match name.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            _ => upstream.own_address(name).url(),
        };
        hosts_toml(mirror, name.as_str(), &server, &["pull", "resolve"])
    };
    let mut files: Vec<ConfigFile> = mirror.names().map(of_upstream).collect();
    files.push(hosts_toml(mirror, &mirror.host, &mirror.url(), &["pull", "resolve", "push"]));
    Ok(ClientConfig { directory: "/etc/containerd/certs.d", notes, files })
}

/// Returns the file for the registry `name`. containerd asks `server` if the mirror does not answer.
fn hosts_toml(mirror: &MirrorProfile, name: &str, server: &str, capabilities: &[&str]) -> ConfigFile {
    let mut host = Table::new();
    host.insert("capabilities", value(capabilities.iter().copied().collect::<Array>()));
    match &mirror.transport {
        Transport::Http | Transport::Https => {}
        Transport::Authority(ca) => drop(host.insert("ca", value(ca.display().to_string()))),
        Transport::Unchecked => drop(host.insert("skip_verify", value(true))),
    }
    let mut hosts = Table::new();
    hosts.set_implicit(true);
    hosts.insert(&mirror.url(), Item::Table(host));
    let mut document = DocumentMut::new();
    document.insert("server", value(server));
    document.insert("host", Item::Table(hosts));
    ConfigFile { path: format!("{name}/hosts.toml"), content: document.to_string(), comments: CommentStyle::Hash }
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::{mirror, mirror_of_plain_upstreams};
    use super::*;

    fn parsed(mirror: &MirrorProfile) -> Vec<(String, toml::Table)> {
        let files = make(mirror).unwrap().files;
        files.into_iter().map(|file| (file.path, file.content.parse().unwrap())).collect()
    }

    #[test]
    fn containerd_gets_a_file_for_each_name() {
        let files = parsed(&mirror("mirror.lan:5000", &[("docker.io", &[]), ("r.corp:443", &["r.corp"])]));
        let url = "http://mirror.lan:5000";
        for ((path, table), (want, server, push)) in files.iter().zip([
            ("docker.io/hosts.toml", "https://registry-1.docker.io", false),
            ("r.corp:443/hosts.toml", "https://r.corp:443", false),
            ("r.corp/hosts.toml", "https://r.corp", false),
            ("mirror.lan:5000/hosts.toml", url, true),
        ]) {
            assert_eq!((path.as_str(), table["server"].as_str()), (want, Some(server)));
            let capabilities = table["host"][url]["capabilities"].as_array().unwrap();
            let has = |word: &str| capabilities.iter().any(|capability| capability.as_str() == Some(word));
            assert!(has("pull") && has("resolve") && has("push") == push, "{path}: {capabilities:?}");
            assert!(table["host"][url].get("ca").is_none() && table["host"][url].get("skip_verify").is_none());
        }
        assert_eq!(files.len(), 4);
    }

    #[test]
    fn containerd_asks_a_plain_upstream_with_http() {
        let files = parsed(&mirror_of_plain_upstreams("mirror.lan:5000"));
        let servers: Vec<_> =
            files.iter().map(|(path, table)| (path.as_str(), table["server"].as_str().unwrap())).collect();
        let want = [
            ("docker.io/hosts.toml", "https://registry-1.docker.io"),
            ("r.lan:5000/hosts.toml", "http://r.lan:5000"),
            ("r.lan/hosts.toml", "http://r.lan:5000"),
            ("alias.lan/hosts.toml", "http://r.lan:5000"),
            ("mirror.lan:5000/hosts.toml", "http://mirror.lan:5000"),
        ];
        assert_eq!(servers, want);
    }

    #[test]
    fn notes_show_valid_toml_for_config_path() {
        let notes = make(&mirror("mirror.lan:5000", &[("docker.io", &[])])).unwrap().notes;
        let tables: Vec<&[String]> = notes.windows(2).filter(|lines| lines[0].contains("[plugins")).collect();
        for (lines, plugin) in tables.iter().zip(["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"]) {
            let table: toml::Table = lines.join("\n").parse().unwrap();
            let path = &table["plugins"][plugin]["registry"]["config_path"];
            assert_eq!(path.as_str(), Some("/etc/containerd/certs.d"));
        }
        assert_eq!(tables.len(), 2);
    }

    #[test]
    fn containerd_gets_the_certificate_settings() {
        let https = || mirror("https://mirror.lan", &[("docker.io", &[])]);
        let unchecked = parsed(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked[0].1["host"]["https://mirror.lan"]["skip_verify"].as_bool(), Some(true));
        let ca = parsed(&https().reached(None, false, Some("/etc/\"odd\".pem".into())).ok().unwrap());
        assert_eq!(ca[0].1["host"]["https://mirror.lan"]["ca"].as_str(), Some("/etc/\"odd\".pem"));
    }
}
