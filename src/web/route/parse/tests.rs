use super::*;
use crate::oci::{ReferrersQuery, RepositoryName};
use crate::registry::PageRequest;
use crate::web::route::{At, MetricsAt, is_registry_api};

fn site(prefix: &str) -> Site {
    Site::Main { prefix: prefix.to_owned(), metrics: MetricsAt::Path("/metrics".to_owned()) }
}

fn parse(site: &Site, request: &str) -> Result<Route, Refused> {
    let (method, uri) = request.split_once(' ').unwrap();
    Route::parse(site, &method.parse().unwrap(), &uri.parse().unwrap())
}

/// Describes a route in a few words: its kind, its repository and its other parts.
fn short(route: &Route) -> String {
    let of = |at: &At| at.ns.as_ref().map_or_else(|| at.name.to_string(), |ns| format!("{ns}|{}", at.name));
    let page = |page: &PageRequest| format!("{:?} {:?}", page.n, page.last);
    match route {
        Route::Catalog { page: asked } => format!("catalog {}", page(asked)),
        Route::Tags { at, page: asked } => format!("tags {} {}", of(at), page(asked)),
        Route::Manifest { at, reference, verb: ManifestVerb::Put { tags } } => {
            let tags: String = tags.iter().map(|tag| format!(" +{tag}")).collect();
            format!("Put manifest {} {reference}{tags}", of(at))
        }
        Route::Manifest { at, reference, verb } => format!("{verb:?} manifest {} {reference}", of(at)),
        Route::Blob { at, digest, verb } => format!("{verb:?} blob {} {}", of(at), digest.algorithm().as_str()),
        Route::Referrers { at, asked: ReferrersQuery { subject, artifact_type, n, last } } => {
            let last = last.map(|last| last.algorithm().as_str());
            format!("referrers {} {} {artifact_type:?} {n:?} {last:?}", of(at), subject.algorithm().as_str())
        }
        Route::StartUpload { at, start: Start::Empty(algorithm) } => format!("start {} {}", of(at), algorithm.as_str()),
        Route::StartUpload { at, start: Start::Whole(digest) } => {
            format!("whole {} {}", of(at), digest.algorithm().as_str())
        }
        Route::StartUpload { at, start: Start::Mount { digest, from } } => {
            let from = from.as_ref().map_or("anywhere", RepositoryName::as_str);
            format!("mount {} {} {from}", of(at), digest.algorithm().as_str())
        }
        Route::Upload { at, id, verb: UploadVerb::Finish(digest) } => {
            format!("finish {} {} {}", of(at), &id.as_str()[..4], digest.algorithm().as_str())
        }
        Route::Upload { at, id, verb } => format!("{verb:?} upload {} {}", of(at), &id.as_str()[..4]),
        other => other.handler().to_owned(),
    }
}

const UUID: &str = "1a2b3c4d-0000-4000-8000-000000000000";

#[test]
fn requests_without_digests_are_parsed() {
    let main = site("/");
    for (request, want) in [
        ("GET /", "root"),
        ("HEAD /", "root"),
        ("GET /livez", "livez"),
        ("GET /readyz", "readyz"),
        ("GET /debug/health", "health"),
        ("GET /metrics", "metrics"),
        ("GET /v1/_ping", "ping"),
        ("GET /v2", "base"),
        ("GET /v2/", "base"),
        ("HEAD /v2/", "base"),
        ("GET /v2/_catalog", "catalog None None"),
        ("GET /v2/_catalog?n=10&last=a%2Fb", "catalog Some(10) Some(\"a/b\")"),
        ("GET /v2/_catalog?n=0", "catalog Some(0) None"),
        ("GET /v2/a/tags/list", "tags a None None"),
        ("GET /v2/a/b/tags/list?n=1&ns=ghcr.io", "tags ghcr.io|a/b Some(1) None"),
        ("GET /v2/a/tags/list?ns=", "tags a None None"),
        ("GET /v2/a/manifests/latest", "Get manifest a latest"),
        ("HEAD /v2/a/b/c/manifests/1.0", "Head manifest a/b/c 1.0"),
        ("GET /v2/library%2Falpine/manifests/3", "Get manifest library/alpine 3"),
        ("GET /v2/a/manifests/manifests", "Get manifest a manifests"),
        ("GET /v2/a/manifests/manifests/manifests", "Get manifest a/manifests manifests"),
        ("GET /v2/blobs/uploads/manifests/x", "Get manifest blobs/uploads x"),
        ("GET /v2/a/manifests/uploads", "Get manifest a uploads"),
        ("GET /v2/tags/list/tags/list", "tags tags/list None None"),
        ("GET /v2/a/manifests/tags/list", "tags a/manifests None None"),
        ("GET /v2/v2/manifests/v2", "Get manifest v2 v2"),
        ("GET //v2//", "base"),
        ("GET /v2/_catalog/?n=1", "catalog Some(1) None"),
        ("GET /v2/a//b/tags//list/", "tags a/b None None"),
        ("GET //v2/a%2F%2fb/manifests//latest", "Get manifest a/b latest"),
    ] {
        assert_eq!(short(&parse(&main, request).unwrap()), want, "{request}");
    }
}

#[test]
fn requests_with_digests_are_parsed() {
    let main = site("/");
    let digest = format!("sha256:{}", "a".repeat(64));
    for (method, path, want) in [
        ("GET", "/v2/a/manifests/@", format!("Get manifest a {digest}")),
        ("PUT", "/v2/a/manifests/@", format!("Put manifest a {digest}")),
        ("PUT", "/v2/a/manifests/@?tag=1.0&tag=latest&tag=1.0", format!("Put manifest a {digest} +1.0 +latest")),
        ("GET", "/v2/a/manifests/latest?tag=.", "Get manifest a latest".to_owned()),
        ("DELETE", "/v2/a/manifests/latest", "Delete manifest a latest".to_owned()),
        ("GET", "/v2/a/blobs/@", "Get blob a sha256".to_owned()),
        ("HEAD", "/v2/a/blobs/blobs/@?ns=docker.io", "Head blob docker.io|a/blobs sha256".to_owned()),
        ("DELETE", "/v2/a/blobs/@", "Delete blob a sha256".to_owned()),
        ("GET", "/v2/a/manifests/blobs/@", "Get blob a/manifests sha256".to_owned()),
        ("GET", "/v2/a/referrers/@", "referrers a sha256 None None None".to_owned()),
        ("HEAD", "/v2/a/referrers/@?artifactType=", "referrers a sha256 None None None".to_owned()),
        (
            "GET",
            "/v2/referrers/b/referrers/@?artifactType=a%2Fb&ns=ghcr.io",
            "referrers ghcr.io|referrers/b sha256 Some(\"a/b\") None None".to_owned(),
        ),
        ("GET", "/v2/a//referrers/@/", "referrers a sha256 None None None".to_owned()),
        ("GET", "/v2/a/referrers/@?n=7&last=@", "referrers a sha256 None Some(7) Some(\"sha256\")".to_owned()),
        ("GET", "/v2/a/referrers/@?n=0&last=", "referrers a sha256 None Some(0) None".to_owned()),
        ("POST", "/v2/a/blobs/uploads/", "start a sha256".to_owned()),
        ("POST", "/v2/a/blobs/uploads", "start a sha256".to_owned()),
        ("POST", "/v2/a/blobs/uploads/blobs/uploads/", "start a/blobs/uploads sha256".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?digest=@", "whole a sha256".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512&x=y", "start a sha512".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512&digest=@", "whole a sha256".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?mount=@&from=b/c", "mount a sha256 b/c".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?mount=@", "mount a sha256 anywhere".to_owned()),
        ("POST", "/v2/a/blobs/uploads/?mount=@&from=B&origin=x", "mount a sha256 anywhere".to_owned()),
        ("GET", "/v2/a/blobs/uploads/#", "Status upload a 1a2b".to_owned()),
        ("HEAD", "/v2/a/blobs/uploads/#", "Status upload a 1a2b".to_owned()),
        ("PATCH", "/v2/a/blobs/uploads/#?_state=x", "Append upload a 1a2b".to_owned()),
        ("PUT", "/v2/a/blobs/uploads/#?digest=@", "finish a 1a2b sha256".to_owned()),
        ("PUT", "/v2/a/blobs/uploads/#?_state=x&digest=@", "finish a 1a2b sha256".to_owned()),
        ("PUT", "/v2/a/blobs/uploads/#?ns=r.lan&digest=@&ns=r.lan", "finish r.lan|a 1a2b sha256".to_owned()),
        ("DELETE", "/v2/a/blobs/uploads/#?ns=r.lan", "Cancel upload r.lan|a 1a2b".to_owned()),
    ] {
        let escaped = digest.replace(':', "%3A");
        for digest in [&digest, &escaped] {
            let request = format!("{method} {}", path.replace('@', digest).replace('#', UUID));
            assert_eq!(short(&parse(&main, &request).unwrap()), want, "{request}");
        }
    }
}

fn assert_refused(table: &[(&str, &str, &str)]) {
    for (request, handler, want) in table {
        let refused = parse(&site("/"), request).unwrap_err();
        assert_eq!(refused.handler, *handler, "{request}");
        let why = format!("{:?}", refused.why);
        assert!(why.starts_with(want), "{request}: {why}, not {want}");
    }
}

#[test]
fn bad_paths_and_names_are_refused() {
    let hex = "a".repeat(64);
    let long = "a".repeat(256);
    assert_refused(&[
        ("GET /v3/", "unknown", "NoSuchPath"),
        ("GET /v2/a", "unknown", "NoSuchPath"),
        ("GET /v2/tags/list", "unknown", "NoSuchPath"),
        ("GET /v2//tags/list", "unknown", "NoSuchPath"),
        ("GET /v2/a/manifests/x/", "unknown", "NoSuchPath"),
        ("GET /v2/manifests/latest", "unknown", "NoSuchPath"),
        (&format!("GET /v2/referrers/sha256:{hex}"), "unknown", "NoSuchPath"),
        (&format!("GET /v2/A/referrers/sha256:{hex}"), "referrers", "Name("),
        (&format!("GET /v2/a/referrers/sha256:{hex}?last=latest"), "referrers", "LastReferrer("),
        (&format!("GET /v2/a/referrers/sha256:{hex}?n=-1"), "referrers", "PageNumber("),
        ("GET /favicon.ico", "unknown", "NoSuchPath"),
        ("GET /livez/", "unknown", "NoSuchPath"),
        ("GET /v2/%zz/manifests/x", "unknown", "Escape"),
        ("GET /v2/a/manifests/x%2", "unknown", "Escape"),
        ("GET /v2/%ff/manifests/x", "unknown", "Escape"),
        ("GET /v2/A/manifests/x", "manifest", "Name("),
        ("GET /v2/../manifests/x", "manifest", "Name("),
        ("GET /v2/a/../b/manifests/x", "manifest", "Name("),
        ("GET /v2/%2e%2e/manifests/x", "manifest", "Name("),
        ("GET /v2/a%252Fb/manifests/x", "manifest", "Name("),
        ("GET /v2/a%00/manifests/x", "manifest", "Name("),
        (&format!("GET /v2/{long}/manifests/x"), "manifest", "Name("),
        ("GET /v2/-/tags/list", "tags", "Name("),
        ("POST /v2/A/blobs/uploads/", "blob_upload", "Name("),
    ]);
}

#[test]
fn bad_references_and_queries_are_refused() {
    let hex = "a".repeat(64);
    assert_refused(&[
        ("GET /v2/a/manifests/.x", "manifest", "NoSuchTag("),
        ("DELETE /v2/a/manifests/-", "manifest", "NoSuchTag("),
        ("GET /v2/a/manifests/", "manifest", "NoSuchTag("),
        ("PUT /v2/a/manifests/.x", "manifest", "Tag("),
        ("GET /v2/a/manifests/sha256:abc", "manifest", "Digest("),
        ("PUT /v2/a/manifests/md5:abc", "manifest", "Digest("),
        ("GET /v2/a/blobs/latest", "blob", "Digest("),
        (&format!("GET /v2/a/blobs/sha256:{}", hex.to_uppercase()), "blob", "Digest("),
        ("GET /v2/a/blobs/", "blob", "Digest("),
        ("GET /v2/a/referrers/latest", "referrers", "Digest("),
        ("POST /v2/a/blobs/uploads/?digest=x", "blob_upload", "Digest("),
        ("POST /v2/a/blobs/uploads/?mount=x&from=b", "blob_upload", "Digest("),
        (&format!("PUT /v2/a/blobs/uploads/{UUID}"), "blob_upload_chunk", "DigestMissing"),
        (&format!("PUT /v2/a/blobs/uploads/{UUID}?digest="), "blob_upload_chunk", "Digest("),
        ("PATCH /v2/a/blobs/uploads/..", "blob_upload_chunk", "NoUpload("),
        ("PATCH /v2/a/blobs/uploads/latest", "blob_upload_chunk", "NoUpload("),
        ("GET /v2/a/tags/list?n=-1", "tags", "PageNumber("),
        ("GET /v2/a/tags/list?n=", "tags", "PageNumber("),
        ("GET /v2/_catalog?n=x", "catalog", "PageNumber("),
        ("GET /v2/_catalog?n=99999999999999999999999", "catalog", "PageNumber("),
        ("GET /v2/_catalog?n=%2B1", "catalog", "PageNumber("),
    ]);
}

#[test]
fn contradictory_tags_and_parameters_are_refused() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let tags = |count: usize| (0..count).map(|tag| format!("&tag=t{tag}")).collect::<String>();
    assert!(parse(&site("/"), &format!("PUT /v2/a/manifests/{digest}?x{}", tags(MAX_TAGS))).is_ok());
    assert_refused(&[
        (&format!("PUT /v2/a/manifests/{digest}?tag=ok&tag=.x"), "manifest", "Tag("),
        (&format!("PUT /v2/a/manifests/{digest}?tag="), "manifest", "Tag("),
        (&format!("PUT /v2/a/manifests/{digest}?x{}", tags(MAX_TAGS + 1)), "manifest", "TooManyTags(33)"),
        ("PUT /v2/a/manifests/latest?tag=1", "manifest", "TagsByTag("),
        (&format!("PUT /v2/a/blobs/uploads/{UUID}?digest={digest}&digest={digest}"), "blob_upload_chunk", "Repeated("),
        (&format!("POST /v2/a/blobs/uploads/?mount={digest}&mount={digest}"), "blob_upload", "Repeated("),
        (&format!("POST /v2/a/blobs/uploads/?mount={digest}&from=a&from=b"), "blob_upload", "Repeated("),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=md5", "blob_upload", "Digest(Algorithm"),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=sha512&digest-algorithm=sha256", "blob_upload", "Repeated("),
        ("GET /v2/a/tags/list?n=1&n=2", "tags", "Repeated("),
        ("GET /v2/_catalog?last=a&last=b", "catalog", "Repeated("),
        ("GET /v2/a/tags/list?ns=a.io&ns=b.io", "tags", "Repeated("),
    ]);
}

#[test]
fn api_requests_are_parsed_or_refused() {
    let main = site("/");
    let hex = "a".repeat(64);
    for (request, want) in [
        ("GET /api/v1/repositories?n=2&last=a%2Fb", "Repositories(PageRequest { n: Some(2), last: Some(\"a/b\") })"),
        ("GET /api/v1/repositories/a/tags/tags", "a/tags"),
        ("GET /api/v1/repositories/r.lan:443/a/usage", "UsageOf"),
        ("GET /api/v1/usage", "Usage"),
        ("GET //api//v1/usage/repositories/", "UsageByRepository"),
        ("GET /api/v1/repositories/a/tags/", "a"),
        ("GET /api/v1/usage/repositories", "UsageByRepository"),
        ("DELETE /api/v1/images/a/usage", "reference: None"),
        ("DELETE /api/v1/images/a/b:c", "Tag(Tag(\"c\"))"),
        (&format!("DELETE /api/v1/images/r.lan:443/a@sha256:{hex}"), "Digest("),
    ] {
        let Route::Api(route) = parse(&main, request).unwrap() else { panic!("{request}") };
        assert!(format!("{route:?}").contains(want), "{request}: {route:?}");
    }
    assert_refused(&[
        ("POST /api/v1/repositories", "api", "Method"),
        ("DELETE /api/v1/repositories/a/tags", "api", "Method"),
        ("GET /api/v1/images/a", "api", "Method"),
        ("GET /api/v1/repositories/a", "api", "NoSuchPath"),
        ("GET /api/v1/repositories/tags", "api", "NoSuchPath"),
        ("GET /api/v1/repositories/A/tags", "api", "Image"),
        ("DELETE /api/v1/images/A", "api", "Image"),
        ("DELETE /api/v1/images/", "api", "Image"),
        ("DELETE /api/v1/images/a/", "api", "Image"),
    ]);
}

#[test]
fn wrong_methods_are_refused() {
    let hex = "a".repeat(64);
    assert_refused(&[
        ("POST /v2/", "base", "Method"),
        ("DELETE /", "root", "Method"),
        ("PUT /v2/_catalog", "catalog", "Method"),
        ("POST /v2/a/tags/list", "tags", "Method"),
        ("POST /v2/a/manifests/x", "manifest", "Method"),
        (&format!("PUT /v2/a/blobs/sha256:{hex}"), "blob", "Method"),
        ("GET /v2/a/blobs/uploads/", "blob_upload", "Method"),
        (&format!("PUT /v2/a/referrers/sha256:{hex}"), "referrers", "Method"),
        (&format!("POST /v2/a/blobs/uploads/{UUID}"), "blob_upload_chunk", "Method"),
        ("OPTIONS /v2/a/manifests/x", "manifest", "Method"),
        ("BREW /v2/", "base", "Method"),
    ]);
}

#[test]
fn prefix_is_required_except_for_probes() {
    let behind = site("/x/y/");
    for (request, want) in [
        ("GET /x/y/v2/", Some("base")),
        ("GET /x/y/v2", Some("base")),
        ("GET /x/y/v2/a/manifests/b", Some("Get manifest a b")),
        ("GET /livez", Some("livez")),
        ("GET /x/y/livez", Some("livez")),
        ("GET /", Some("root")),
        ("GET /x/y/", Some("root")),
        ("GET /v2/", None),
        ("GET /x/v2/", None),
    ] {
        assert_eq!(parse(&behind, request).ok().as_ref().map(short).as_deref(), want, "{request}");
    }
    assert!(is_registry_api(&behind, &"/x/y/v2/nothing".parse().unwrap()));
    assert!(!is_registry_api(&behind, &"/v2/".parse().unwrap()));
    assert!(!is_registry_api(&site("/"), &"/v2x".parse().unwrap()));
    for path in ["//v2/a", "/%76%32/a", "/v2%2Fa", "//v2//%zz"] {
        assert!(is_registry_api(&site("/"), &Uri::builder().path_and_query(path).build().unwrap()), "{path}");
    }
}

#[test]
fn debug_port_serves_metrics_and_health_only() {
    let debug = Site::Debug { metrics: MetricsAt::Path("/numbers".to_owned()) };
    for (request, want) in [
        ("GET /numbers", Some("metrics")),
        ("GET /debug/health", Some("health")),
        ("GET /metrics", None),
        ("GET /v2/", None),
        ("GET /", None),
    ] {
        assert_eq!(parse(&debug, request).ok().as_ref().map(short).as_deref(), want, "{request}");
    }
    let elsewhere = Site::Main { prefix: "/".to_owned(), metrics: MetricsAt::Nowhere };
    assert!(parse(&elsewhere, "GET /metrics").is_err());
}
