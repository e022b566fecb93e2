//! `REGISTRY_*` variables over a file and over the built-in configuration.

use super::*;

#[test]
fn variables_override_the_file() {
    let config = with(
        "version: 0.1",
        &[
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_STORAGE", "filesystem"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "yes"),
            ("REGISTRY_HTTP_ADDR", "0.0.0.0:5000"),
            ("REGISTRY_HTTP_HEADERS", "{A: [b]}"),
            ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-TextOrigin", "['*']"),
            ("REGISTRY_LOG_LEVEL", "warning"),
            ("REGISTRY_LOG_FIELDS_ROOM", "12"),
            ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "x"),
            ("REGISTRY_MIRROR_UPSTREAMS", "{docker.io: {default: true}, ghcr.io: }"),
            ("REGISTRY_MIRROR_UPSTREAMS_DOCKER.IO_TAGTTL", "1h"),
            ("REGISTRY_MIRROR_LOCAL_0", "a/**"),
            ("REGISTRY_MIRROR_LOCAL_1", "b/**"),
            ("registry_mirror_cache_maxsize", "1GiB"),
            ("REGISTRYX", "1"),
            ("PATH", "/bin"),
        ],
    );
    let auth = config.auth.unwrap();
    assert_eq!((auth.realm.as_str(), auth.path.as_path()), ("Registry Realm", Path::new("/auth/htpasswd")));
    assert_eq!(config.storage.root, Path::new("/data"));
    assert_eq!(config.storage.delete, Delete::Allowed);
    assert_eq!(config.http.headers.len(), 2);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.log.fields["room"], "12");
    assert_eq!(config.mirror.origin, MirrorOrigin::Written);
    assert_eq!(config.mirror.upstreams[&host("docker.io")].tag_ttl, Duration::from_secs(3600));
    assert_eq!(config.mirror.cache.max_size, Some(1 << 30));
    let local: Vec<&str> = config.mirror.local.iter().map(|pattern| pattern.as_str()).collect();
    assert_eq!(local, ["a/**", "b/**"]);

    // A variable also overrides a bare word in the file.
    let config = with(
        "version: 0.1\nauth: htpasswd\nlog: {level: debug}\nmirror: {local: x/**, upstreams: {a.io: }}\n",
        &[
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
            ("REGISTRY_LOG", "{level: error}"),
            ("REGISTRY_MIRROR_LOCAL_1", "y/**"),
        ],
    );
    assert_eq!(config.auth.unwrap().path, Path::new("/p"));
    assert_eq!(config.log.level, LogLevel::Error);
    assert_eq!(config.mirror.local.len(), 2);
    // An empty variable unsets a key.
    assert!(with(STOCK, &[("REGISTRY_AUTH", "")]).auth.is_none());
}

#[test]
fn unknown_variables_are_warned_of_and_invalid_ones_refused() {
    for (name, value, words) in [
        ("REGISTRY_PORT", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_SERVICE_HOST", "10.0.0.1", "Kubernetes"),
        ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_ACCESS_PORT", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_PROXY_PORT_5000_TCP_ADDR", "10.0.0.1", "Kubernetes"),
        ("REGISTRY_CONFIGURATION_PATH", "/x", "ENTREPOT_CONFIG"),
        ("REGISTRY_HTP_ADDR", ":1", "did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIR", "/x", "did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY?"),
        ("REGISTRY_HTTP__ADDR", ":1", "REGISTRY_HTTP_ADDR"),
        ("REGISTRY_HTTP_ADDR_X", "{", "no key has this name"),
        ("REGISTRY_MIRROR_LOCAL_X", "x", "no key has this name"),
    ] {
        let loaded = load_text("version: 0.1", &[(name, value)]).unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{name}");
        assert_eq!(loaded.warnings[0].file(), name);
        let message = loaded.warnings[0].message();
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(loaded.config.mirror.origin, MirrorOrigin::Absent);
    }
    let twice = load_text("version: 0.1", &[("REGISTRY_HTTP_ADDR", ":1"), ("registry_http_addr", ":2")]).unwrap();
    assert_eq!(twice.config.http.addr, ":2");
    let said = twice.warnings[0].to_string();
    assert!(said.starts_with("registry_http_addr: ") && said.contains("the same key as REGISTRY_HTTP_ADDR"), "{said}");
    for (name, value, words) in [
        ("REGISTRY_HTTP_ADDR", "5000", "http.addr is \"5000\""),
        ("REGISTRY_HTTP_HEADERS", "{a: ", "this is not YAML"),
        ("REGISTRY_HTTP_HEADERS", "{a: [b], c: &x *x}", "YAML"),
        ("REGISTRY_HTTP", "foo", "http is \"foo\""),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c.pem", "http.tls is not supported"),
        ("REGISTRY_AUTH", "token", "auth.token is not supported"),
        ("REGISTRY_AUTH_TOKEN_REALM", "x", "auth.token is not supported"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b", "storage.s3 is not supported"),
        ("REGISTRY_MIRROR_LOCAL_7", "a/**", "the next one is number 0"),
        ("REGISTRY_VERSION", "0.2", "write `version: 0.1`"),
    ] {
        let problems = load_text("version: 0.1", &[(name, value)]).expect_err(name);
        assert!(
            problems.problems().iter().any(|p| p.file() == name && p.message().contains(words)),
            "{name}\n{problems}"
        );
        assert_eq!(problems.problems()[0].line(), None);
    }
}

#[test]
fn built_in_configuration_gives_way_to_variables() {
    let loaded = load_default(&[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.mirror.origin, MirrorOrigin::BuiltIn);
    assert_eq!(config.mirror.default, Some(host("docker.io")));
    assert_eq!(config.mirror.local[0].as_str(), "local/**");
    assert_eq!(config.storage.origin, RootOrigin::Default);
    assert_eq!(config.storage.delete, Delete::Allowed);
    assert_eq!(config.http.addr, ":5000");

    for (variables, origin) in [
        (&[("REGISTRY_PROXY_REMOTEURL", "https://ghcr.io")][..], MirrorOrigin::Proxy),
        (&[("REGISTRY_PROXY_REMOTEURL", "")], MirrorOrigin::Absent),
        (&[("REGISTRY_MIRROR", "")], MirrorOrigin::Absent),
        (&[("REGISTRY_MIRROR_LOCAL", "[mine/**]")], MirrorOrigin::Written),
        (&[("REGISTRY_MIRROR_CACHE_MAXSIZE", "10GB")], MirrorOrigin::BuiltIn),
        (&[("REGISTRY_PROXY_NONSENSE", "x")], MirrorOrigin::BuiltIn),
    ] {
        assert_eq!(load_default(variables).unwrap().config.mirror.origin, origin, "{variables:?}");
    }
}
