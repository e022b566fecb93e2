//! Docker's client configuration (`config.json`), as far as it says who we are; and what its credential helpers answer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::login::Login;
use crate::config;
use crate::outbound::{Url, authority};

/// How docker calls Docker Hub in its configuration.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The hosts that mean Docker Hub there, by preference.
const HUB_HOSTS: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];
/// A helper says so when it holds nothing for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user that a helper names when its secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A registry as that file may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// What docker asks a helper for.
    pub(super) key: String,
    /// The hosts of the keys that mean it.
    hosts: Vec<String>,
}

impl Site {
    /// Those of an upstream: its endpoints in their order, then its name.
    pub(super) fn all(spec: &config::Upstream) -> Vec<Self> {
        let endpoints = spec.endpoints.iter().filter_map(|address| Some(authority(&Url::parse(address).ok()?)));
        let mut sites: Vec<Self> = Vec::new();
        for site in endpoints.chain([spec.name.to_string()]).map(|host| Self::of(&host)) {
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        sites
    }

    pub(super) fn of(host: &str) -> Self {
        let host = bare(host);
        if HUB_HOSTS.contains(&host.as_str()) {
            return Self { key: HUB_KEY.to_owned(), hosts: HUB_HOSTS.map(str::to_owned).to_vec() };
        }
        Self { key: host.clone(), hosts: vec![host] }
    }
}

/// The file's content.
#[derive(Clone, Default)]
pub(super) struct DockerConfig {
    auths: Map<String, Value>,
    /// `credHelpers`, `credsStore`.
    helpers: Map<String, Value>,
    store: Option<String>,
}

/// Where the login for a registry is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// A helper of this name must be asked for this key.
    Helper {
        name: String,
        key: String,
    },
    Login(Login),
}

impl DockerConfig {
    /// An error is the reason why it cannot be used, and repeats nothing of the content.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        // Errors in the syntax repeat no content; those that serde has for a type would.
        let value = serde_json::from_slice(content)
            .map_err(|error| format!("it is not JSON ({error}); docker login writes it"))?;
        let Value::Object(mut top) = value else {
            return Err("it is JSON, but no object; docker login writes one".to_owned());
        };
        let mut section = |key: &str| match top.remove(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(section)) => Ok(section),
            Some(_) => Err(format!("its {key:?} is no object")),
        };
        let (auths, helpers) = (section("auths")?, section("credHelpers")?);
        let store = match top.remove("credsStore") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if name.is_empty() => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err("its \"credsStore\" is no text".to_owned()),
        };
        Ok(Self { auths, helpers, store })
    }

    /// Where the logins for these registries may be, the likeliest first: the helper of a registry, the store of all, the file.
    pub(super) fn find(&self, sites: &[Site]) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for site in sites {
            if let Some((key, value)) = lookup(&self.helpers, site) {
                let name = value.as_str().ok_or_else(|| format!("its \"credHelpers\" names no program for {key:?}"))?;
                found.push(Found::Helper { name: helper_name(name)?, key: site.key.clone() });
            } else if let Some(store) = &self.store {
                found.push(Found::Helper { name: helper_name(store)?, key: site.key.clone() });
            }
            if let Some((key, value)) = lookup(&self.auths, site) {
                let login = entry(value).map_err(|reason| format!("its entry for {key:?} {reason}"))?;
                found.extend(login.map(Found::Login));
            }
        }
        Ok(found)
    }
}

/// What a helper says: a login, nothing for this registry, or the reason why it cannot be understood, which repeats no output.
pub(super) fn answer(success: bool, output: &[u8]) -> Result<Option<Login>, String> {
    if !success {
        let nothing = String::from_utf8_lossy(output).trim() == NOT_FOUND;
        return if nothing { Ok(None) } else { Err("it failed".to_owned()) };
    }
    let answer: Value = serde_json::from_slice(output).map_err(|_| "its answer is not JSON".to_owned())?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("Username"), text("Secret")) {
        (Some(TOKEN_USER), Some(token)) => Ok(Some(Login::identity(TOKEN_USER, token))),
        (Some(user), Some(secret)) => Ok(Some(Login::password(user, secret))),
        _ => Err("its answer holds no Username and Secret".to_owned()),
    }
}

/// The key and the value for a registry.
fn lookup<'m>(map: &'m Map<String, Value>, site: &Site) -> Option<(&'m String, &'m Value)> {
    site.hosts.iter().find_map(|host| map.iter().find(|(key, _)| host_of_key(key).as_ref() == Some(host)))
}

/// The host that a key means. A key with a path of a repository, as podman writes them, is not for all of its host.
fn host_of_key(key: &str) -> Option<String> {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2").then(|| bare(host))
}

/// In lower case, without the port that https has anyway.
fn bare(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
}

/// It becomes a part of a program's name, so it may not lead elsewhere.
fn helper_name(name: &str) -> Result<String, String> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain { Ok(name.to_owned()) } else { Err(format!("{name:?} is not the name of a credential helper")) }
}

/// The login in an entry of `auths`; an empty entry says that there was one, and that it is elsewhere.
fn entry(value: &Value) -> Result<Option<Login>, &'static str> {
    let fields = value.as_object().ok_or("is no object")?;
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let decoded = text("auth").map(decode).transpose()?;
    let (user, password) = match &decoded {
        Some((user, password)) => (Some(user.as_str()), Some(password.as_str())),
        None => (text("username"), text("password")),
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Login::identity(user.unwrap_or(TOKEN_USER), token)));
    }
    match (user, password.filter(|password| !password.is_empty())) {
        (Some(user), Some(password)) => Ok(Some(Login::password(user, password))),
        (None, None) if text("registrytoken").is_none() => Ok(None),
        _ => Err("has no user and password, and no identity token"),
    }
}

/// `auth`: base64 of `USER:PASSWORD`.
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

    fn sites(hosts: &[&str]) -> Vec<Site> {
        hosts.iter().map(|host| Site::of(host)).collect()
    }

    fn helper(name: &str, key: &str) -> Found {
        Found::Helper { name: name.to_owned(), key: key.to_owned() }
    }

    fn password(user: &str, password: &str) -> Found {
        Found::Login(Login::password(user, password))
    }

    #[test]
    fn where_a_login_is() {
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
                vec![Found::Login(Login::identity("me", "t"))],
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
            // What is wrong with another registry's entry is none of this one's business.
            (r#"{"auths": {"b.io": {"auth": "?"}}}"#, "a.io", vec![]),
        ] {
            let config = DockerConfig::parse(content.as_bytes()).unwrap();
            assert_eq!(config.find(&sites(&[host])), Ok(want), "{content} for {host}");
        }
    }

    #[test]
    fn several_sites() {
        let spec = |name: &str, endpoints: &[&str]| {
            let text = format!("version: 0.1\nmirror: {{upstreams: {{{name}: {{endpoints: {endpoints:?}}}}}}}");
            let source = config::SourceText { name: String::new(), text: &text, built_in: false };
            let loaded = config::load(source, &[], &|_| Ok(String::new())).unwrap();
            loaded.config.mirror.upstreams.into_values().next().unwrap()
        };
        let keys = |spec: &config::Upstream| Site::all(spec).into_iter().map(|site| site.key).collect::<Vec<_>>();
        assert_eq!(keys(&spec("docker.io", &["https://registry-1.docker.io"])), [HUB_KEY]);
        assert_eq!(
            keys(&spec("docker.io", &["https://a.corp:5000/hub", "https://registry-1.docker.io"])),
            ["a.corp:5000", HUB_KEY]
        );
        assert_eq!(keys(&spec("ghcr.io", &["https://ghcr.io"])), ["ghcr.io"]);
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_secrets() {
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
    fn what_a_helper_says() {
        let good = br#"{"ServerURL": "a.io", "Username": "me", "Secret": "p"}"#;
        assert_eq!(answer(true, good), Ok(Some(Login::password("me", "p"))));
        let token = br#"{"ServerURL": "a.io", "Username": "<token>", "Secret": "t"}"#;
        assert_eq!(answer(true, token), Ok(Some(Login::identity("<token>", "t"))));
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
