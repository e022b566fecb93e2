//! Reads the logins in docker's client configuration (`config.json`) and the answers of docker's credential helpers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::registry_login::RegistryLogin;
use crate::config;
use crate::outbound::{Url, authority};

/// The key of Docker Hub in docker's configuration.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The hosts that mean Docker Hub in that file, in the order of preference.
const HUB_HOSTS: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];
/// The output of a helper that has no login for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user that a helper names when its secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The names under which docker's configuration may list a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct RegistryKeys {
    /// The key that docker passes to a helper.
    pub(in crate::upstream) key: String,
    /// The hosts in the keys that mean this registry.
    hosts: Vec<String>,
}

impl RegistryKeys {
    /// Returns the names of an upstream's registries: its endpoints in their order, then the upstream's own name.
    pub(in crate::upstream) fn all(spec: &config::Upstream) -> Vec<Self> {
        let endpoints = spec.endpoints.iter().filter_map(|address| Some(authority(&Url::parse(address).ok()?)));
        let mut sites: Vec<Self> = Vec::new();
        for site in endpoints.chain([spec.name.to_string()]).map(|host| Self::of(&host)) {
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        sites
    }

    pub(in crate::upstream) fn of(host: &str) -> Self {
        let host = bare(host);
        if HUB_HOSTS.contains(&host.as_str()) {
            return Self { key: HUB_KEY.to_owned(), hosts: HUB_HOSTS.map(str::to_owned).to_vec() };
        }
        Self { key: host.clone(), hosts: vec![host] }
    }
}

/// The content of the file.
#[derive(Clone, Default)]
pub(in crate::upstream) struct DockerConfig {
    auths: Map<String, Value>,
    /// The section `credHelpers`.
    helpers: Map<String, Value>,
    /// The value of `credsStore`.
    store: Option<String>,
}

/// The place of a registry's login.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::upstream) enum LoginPlace {
    /// The helper of this name has it, under this key.
    Helper {
        name: String,
        key: String,
    },
    Login(RegistryLogin),
}

impl DockerConfig {
    /// Parses the file. The error says why it cannot be used, and repeats nothing of its content.
    pub(in crate::upstream) fn parse(content: &[u8]) -> Result<Self, String> {
        // serde's syntax errors repeat no content, but its type errors do, so types are checked by hand.
        let value = serde_json::from_slice(content)
            .map_err(|error| format!("it is not JSON ({error}); docker login writes it"))?;
        let Value::Object(mut top) = value else {
            return Err("it is JSON, but not an object; docker login writes one".to_owned());
        };
        let mut section = |key: &str| match top.remove(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(section)) => Ok(section),
            Some(_) => Err(format!("its {key:?} is not an object")),
        };
        let (auths, helpers) = (section("auths")?, section("credHelpers")?);
        let store = match top.remove("credsStore") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if name.is_empty() => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err("its \"credsStore\" is not a string".to_owned()),
        };
        Ok(Self { auths, helpers, store })
    }

    /// Returns the places where a login for these registries may be, in docker's order: the registry's own helper or
    /// the common store, then the file itself.
    pub(in crate::upstream) fn find(&self, sites: &[RegistryKeys]) -> Result<Vec<LoginPlace>, String> {
        let mut found = Vec::new();
        for site in sites {
            if let Some((key, value)) = lookup(&self.helpers, site) {
                let name = value.as_str().ok_or_else(|| format!("its \"credHelpers\" names no program for {key:?}"))?;
                found.push(LoginPlace::Helper { name: helper_name(name)?, key: site.key.clone() });
            } else if let Some(store) = &self.store {
                found.push(LoginPlace::Helper { name: helper_name(store)?, key: site.key.clone() });
            }
            if let Some((key, value)) = lookup(&self.auths, site) {
                let login = entry(value).map_err(|reason| format!("its entry for {key:?} {reason}"))?;
                found.extend(login.map(LoginPlace::Login));
            }
        }
        Ok(found)
    }
}

/// Reads the answer of a helper: a login, or `None` if it has none for this registry. The error repeats nothing of the
/// output, which may hold a secret.
pub(in crate::upstream) fn answer(success: bool, output: &[u8]) -> Result<Option<RegistryLogin>, String> {
    if !success {
        let nothing = String::from_utf8_lossy(output).trim() == NOT_FOUND;
        return if nothing { Ok(None) } else { Err("it failed".to_owned()) };
    }
    let answer: Value = serde_json::from_slice(output).map_err(|_| "its answer is not JSON".to_owned())?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("Username"), text("Secret")) {
        (Some(TOKEN_USER), Some(token)) => Ok(Some(RegistryLogin::identity(TOKEN_USER, token))),
        (Some(user), Some(secret)) => Ok(Some(RegistryLogin::password(user, secret))),
        _ => Err("its answer holds no Username and Secret".to_owned()),
    }
}

/// Finds the key and the value for a registry.
fn lookup<'m>(map: &'m Map<String, Value>, site: &RegistryKeys) -> Option<(&'m String, &'m Value)> {
    site.hosts.iter().find_map(|host| map.iter().find(|(key, _)| host_of_key(key).as_ref() == Some(host)))
}

/// Returns the host that a key means. A key with the path of a repository, as podman writes them, does not cover its
/// whole host, so it means none.
fn host_of_key(key: &str) -> Option<String> {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2").then(|| bare(host))
}

/// Returns the host in lower case, without the default port of https.
fn bare(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
}

/// Checks the name of a helper. It becomes a part of a program's name, so it must not contain a path.
fn helper_name(name: &str) -> Result<String, String> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain { Ok(name.to_owned()) } else { Err(format!("{name:?} is not the name of a credential helper")) }
}

/// Reads the login in an entry of `auths`. Docker leaves an empty entry if a credential helper holds the login.
fn entry(value: &Value) -> Result<Option<RegistryLogin>, &'static str> {
    let fields = value.as_object().ok_or("is not an object")?;
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let decoded = text("auth").map(decode).transpose()?;
    let (user, password) = match &decoded {
        Some((user, password)) => (Some(user.as_str()), Some(password.as_str())),
        None => (text("username"), text("password")),
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(RegistryLogin::identity(user.unwrap_or(TOKEN_USER), token)));
    }
    match (user, password.filter(|password| !password.is_empty())) {
        (Some(user), Some(password)) => Ok(Some(RegistryLogin::password(user, password))),
        (None, None) if text("registrytoken").is_none() => Ok(None),
        _ => Err("has no user and password, and no identity token"),
    }
}

/// Decodes `auth`, the base64 of `USER:PASSWORD`.
fn decode(auth: &str) -> Result<(String, String), &'static str> {
    let unpadded = auth.trim_end_matches('=');
    let decoded = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(unpadded)).ok();
    let decoded =
        decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("has an \"auth\" that is not base64")?;
    let (user, password) = decoded.split_once(':').ok_or("has an \"auth\" that is not USER:PASSWORD")?;
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(hosts: &[&str]) -> Vec<RegistryKeys> {
        hosts.iter().map(|host| RegistryKeys::of(host)).collect()
    }

    fn helper(name: &str, key: &str) -> LoginPlace {
        LoginPlace::Helper { name: name.to_owned(), key: key.to_owned() }
    }

    fn password(user: &str, password: &str) -> LoginPlace {
        LoginPlace::Login(RegistryLogin::password(user, password))
    }

    #[test]
    fn places_of_a_login_are_found_in_dockers_order() {
        // me:pa:ss
        let mine = r#"{"auth": "bWU6cGE6c3M="}"#;
        for (content, host, want) in [
            ("{}", "ghcr.io", vec![]),
            (r#"{"auths": null, "credsStore": "", "HttpHeaders": {"a": "b"}}"#, "ghcr.io", vec![]),
            (&format!(r#"{{"auths": {{"ghcr.io": {mine}}}}}"#), "ghcr.io", vec![password("me", "pa:ss")]),
            (&format!(r#"{{"auths": {{"https://GHCR.io/v2/": {mine}}}}}"#), "ghcr.io", vec![password("me", "pa:ss")]),
            (&format!(r#"{{"auths": {{"r.corp:443": {mine}}}}}"#), "r.corp", vec![password("me", "pa:ss")]),
            (&format!(r#"{{"auths": {{"r.corp": {mine}}}}}"#), "r.corp:5000", vec![]),
            (&format!(r#"{{"auths": {{"r.corp:5000": {mine}}}}}"#), "r.corp:5000", vec![password("me", "pa:ss")]),
            (&format!(r#"{{"auths": {{"quay.io/org": {mine}, "evil.io/quay.io": {mine}}}}}"#), "quay.io", vec![]),
            (
                &format!(r#"{{"auths": {{"https://index.docker.io/v1/": {mine}}}}}"#),
                "registry-1.docker.io",
                vec![password("me", "pa:ss")],
            ),
            (&format!(r#"{{"auths": {{"docker.io": {mine}}}}}"#), "docker.io", vec![password("me", "pa:ss")]),
            (&format!(r#"{{"auths": {{"docker.io": {mine}}}}}"#), "quay.io", vec![]),
            (r#"{"auths": {"a.io": {}}}"#, "a.io", vec![]),
            (r#"{"auths": {"a.io": {"auth": "", "email": "me@a.io"}}}"#, "a.io", vec![]),
            (r#"{"auths": {"a.io": {"username": "me", "password": "p"}}}"#, "a.io", vec![password("me", "p")]),
            (r#"{"auths": {"a.io": {"auth": "bWU6cAA="}}}"#, "a.io", vec![password("me", "p")]),
            (r#"{"auths": {"a.io": {"auth": "bWU6cA"}}}"#, "a.io", vec![password("me", "p")]),
            (
                r#"{"auths": {"a.io": {"auth": "bWU6", "identitytoken": "t"}}}"#,
                "a.io",
                vec![LoginPlace::Login(RegistryLogin::identity("me", "t"))],
            ),
            (r#"{"credHelpers": {"a.io": "gcloud"}}"#, "a.io", vec![helper("gcloud", "a.io")]),
            (r#"{"credHelpers": {"a.io": "gcloud"}, "credsStore": "pass"}"#, "b.io", vec![helper("pass", "b.io")]),
            (r#"{"credHelpers": {"a.io": "gcloud"}, "credsStore": "pass"}"#, "a.io", vec![helper("gcloud", "a.io")]),
            (r#"{"credsStore": "pass"}"#, "docker.io", vec![helper("pass", "https://index.docker.io/v1/")]),
            (
                &format!(r#"{{"credsStore": "pass", "auths": {{"a.io": {mine}}}}}"#),
                "a.io",
                vec![helper("pass", "a.io"), password("me", "pa:ss")],
            ),
            // A faulty entry for another registry does not matter.
            (r#"{"auths": {"b.io": {"auth": "?"}}}"#, "a.io", vec![]),
        ] {
            let config = DockerConfig::parse(content.as_bytes()).unwrap();
            assert_eq!(config.find(&sites(&[host])), Ok(want), "{content} for {host}");
        }
    }

    #[test]
    fn registry_keys_of_an_upstream_are_its_endpoints_and_its_name() {
        let spec = |name: &str, endpoints: &[&str]| {
            let text = format!("version: 0.1\nmirror: {{upstreams: {{{name}: {{endpoints: {endpoints:?}}}}}}}");
            let source = config::SourceText { name: String::new(), text: &text, built_in: false };
            let loaded = config::load(source, &[], &|_| Ok(String::new())).unwrap();
            loaded.config.mirror.upstreams.into_values().next().unwrap()
        };
        let keys =
            |spec: &config::Upstream| RegistryKeys::all(spec).into_iter().map(|site| site.key).collect::<Vec<_>>();
        assert_eq!(keys(&spec("docker.io", &["https://registry-1.docker.io"])), [HUB_KEY]);
        assert_eq!(
            keys(&spec("docker.io", &["https://a.corp:5000/hub", "https://registry-1.docker.io"])),
            ["a.corp:5000", HUB_KEY]
        );
        assert_eq!(keys(&spec("ghcr.io", &["https://ghcr.io"])), ["ghcr.io"]);
    }

    #[test]
    fn errors_do_not_contain_secrets() {
        for content in [
            "",
            "s3cret",
            "[\"s3cret\"]",
            "{\"auths\": {\"a.io\": {\"auth\": \"s3cret",
            r#"{"auths": "s3cret"}"#,
            r#"{"credsStore": {"s3cret": 1}}"#,
            r#"{"credHelpers": ["s3cret"]}"#,
            r#"{"credHelpers": {"a.io": 7}}"#,
            r#"{"credHelpers": {"a.io": "../evil"}}"#,
            r#"{"credHelpers": {"a.io": ""}}"#,
            r#"{"credsStore": "a b"}"#,
            r#"{"auths": {"a.io": "s3cret"}}"#,
            r#"{"auths": {"a.io": {"auth": "s3cret!"}}}"#,
            r#"{"auths": {"a.io": {"auth": "czNjcmV0"}}}"#,
            r#"{"auths": {"a.io": {"auth": "/////w=="}}}"#,
            r#"{"auths": {"a.io": {"password": "s3cret"}}}"#,
            r#"{"auths": {"a.io": {"registrytoken": "s3cret"}}}"#,
        ] {
            let result = DockerConfig::parse(content.as_bytes()).and_then(|config| config.find(&sites(&["a.io"])));
            let reason = result.expect_err(content);
            assert!(!reason.contains("s3cret") && !reason.contains("czNj"), "{content}: {reason}");
        }
    }

    #[test]
    fn answers_of_helpers_are_read() {
        let good = br#"{"ServerURL": "a.io", "Username": "me", "Secret": "p"}"#;
        assert_eq!(answer(true, good), Ok(Some(RegistryLogin::password("me", "p"))));
        let token = br#"{"ServerURL": "a.io", "Username": "<token>", "Secret": "t"}"#;
        assert_eq!(answer(true, token), Ok(Some(RegistryLogin::identity("<token>", "t"))));
        assert_eq!(answer(false, b"credentials not found in native keychain\n"), Ok(None));
        for (success, output) in [
            (false, &b"s3cret"[..]),
            (false, good),
            (true, b""),
            (true, b"s3cret"),
            (true, br#"["s3cret"]"#),
            (true, br#"{"Username": "me"}"#),
            (true, br#"{"Username": "", "Secret": "s3cret"}"#),
        ] {
            let reason = answer(success, output).unwrap_err();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
