//! containerd: a `hosts.toml` for each registry. It says by `?ns=` which one it means.

use super::mirror::{Mirror, Transport};
use super::{Comments, File, Made, quoted};

const CONFIG_PATH: &str = "    config_path = \"/etc/containerd/certs.d\"";

pub(super) fn make(mirror: &Mirror) -> Result<Made, String> {
    let mut notes = vec![
        "containerd reads these where its config_path is; in /etc/containerd/config.toml, once, and then restart it:"
            .to_owned(),
        "2.x:".to_owned(),
        "  [plugins.\"io.containerd.cri.v1.images\".registry]".to_owned(),
        CONFIG_PATH.to_owned(),
        "1.x:".to_owned(),
        "  [plugins.\"io.containerd.grpc.v1.cri\".registry]".to_owned(),
        CONFIG_PATH.to_owned(),
        "ctr wants --hosts-dir /etc/containerd/certs.d. The files themselves are read at every pull.".to_owned(),
    ];
    if mirror.wants_login {
        notes.push(
            "The mirror wants a login: give it as an imagePullSecret for its name, or to ctr with --user".to_owned(),
        );
    }
    let of_upstream = |name: &str| {
        let server = if name == "docker.io" { "registry-1.docker.io" } else { name };
        hosts(mirror, name, &format!("https://{server}"), &["pull", "resolve"])
    };
    let mut files: Vec<File> = mirror.names().map(|(name, _)| of_upstream(name.as_str())).collect();
    files.push(hosts(mirror, &mirror.host, &mirror.url(), &["pull", "resolve", "push"]));
    Ok(Made { place: "/etc/containerd/certs.d", notes, files })
}

/// `server` is asked when the mirror does not answer.
fn hosts(mirror: &Mirror, name: &str, server: &str, capabilities: &[&str]) -> File {
    let capabilities: Vec<String> = capabilities.iter().map(|capability| quoted(capability)).collect();
    let mut content = format!(
        "server = {}\n\n[host.{}]\n  capabilities = [{}]\n",
        quoted(server),
        quoted(&mirror.url()),
        capabilities.join(", ")
    );
    match &mirror.transport {
        Transport::Http | Transport::Https => {}
        Transport::Authority(ca) => content.push_str(&format!("  ca = {}\n", quoted(&ca.display().to_string()))),
        Transport::Unchecked => content.push_str("  skip_verify = true\n"),
    }
    File { path: format!("{name}/hosts.toml"), content, comments: Comments::Hash }
}

#[cfg(test)]
mod tests {
    use super::super::mirror::tests::mirror;
    use super::*;

    fn parsed(mirror: &Mirror) -> Vec<(String, toml::Table)> {
        let files = make(mirror).unwrap().files;
        files.into_iter().map(|file| (file.path, file.content.parse().unwrap())).collect()
    }

    #[test]
    fn what_containerd_reads() {
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
            let said = |word: &str| capabilities.iter().any(|capability| capability.as_str() == Some(word));
            assert!(said("pull") && said("resolve") && said("push") == push, "{path}: {capabilities:?}");
            assert!(table["host"][url].get("ca").is_none() && table["host"][url].get("skip_verify").is_none());
        }
        assert_eq!(files.len(), 4);
    }

    #[test]
    fn what_its_own_file_is_to_say() {
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
    fn certificates() {
        let https = || mirror("https://mirror.lan", &[("docker.io", &[])]);
        let unchecked = parsed(&https().reached(None, true, None).ok().unwrap());
        assert_eq!(unchecked[0].1["host"]["https://mirror.lan"]["skip_verify"].as_bool(), Some(true));
        let ca = parsed(&https().reached(None, false, Some("/etc/\"odd\".pem".into())).ok().unwrap());
        assert_eq!(ca[0].1["host"]["https://mirror.lan"]["ca"].as_str(), Some("/etc/\"odd\".pem"));
    }
}
