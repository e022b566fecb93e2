//! Routes: any request line is refused or parsed into types, and the address that an answer gives for a resource leads back to it.
#![cfg_attr(fuzzing, no_main)]

use entrepot::oci::Reference;
use entrepot::registry::{Page, PageRequest};
use entrepot::upstream::fuzzing::next_page;
use entrepot::web::fuzzing::Addresses;
use entrepot::web::{At, MetricsAt, Route, Site};
use http::{HeaderMap, HeaderValue, Method, Uri};

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
const PREFIXES: [&str; 2] = ["/", "/behind/it/"];

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: (u8, &str)| run(input));

pub fn run(input: (u8, &str)) {
    let (choice, target) = input;
    let method = &METHODS[usize::from(choice >> 1) % METHODS.len()];
    let prefix = PREFIXES[usize::from(choice & 1)];
    let site = Site::Main { prefix: prefix.to_owned(), metrics: MetricsAt::Path("/metrics".to_owned()) };
    let Ok(uri) = target.parse::<Uri>() else { return };
    let parsed = Route::parse(&site, method, &uri);
    match (&parsed, Route::parse(&site, method, &uri)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        _ => panic!("{method} {target} means two things"),
    }
    let addresses = Addresses::below(prefix).expect("a prefix");
    match parsed {
        Ok(route) => leads_back(&site, &addresses, &route),
        Err(refused) => assert!(!refused.why.to_string().is_empty()),
    }
    let debug = Site::Debug { metrics: MetricsAt::Nowhere };
    if let Ok(route) = Route::parse(&debug, method, &uri) {
        assert_eq!(route.handler(), "health");
    }
}

fn leads_back(site: &Site, addresses: &Addresses, route: &Route) {
    match route {
        Route::Blob { at, digest, .. } => {
            a_name(at);
            let Route::Blob { at: found, digest: same, .. } = visit(site, &addresses.blob(at, digest)) else {
                panic!("no blob behind {route:?}")
            };
            assert_eq!((same, place(&found)), (*digest, place(at)));
        }
        Route::Upload { at, id, .. } => {
            a_name(at);
            assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{id:?} is a path");
            let Route::Upload { at: found, id: same, .. } = visit(site, &addresses.upload(at, id)) else {
                panic!("no upload behind {route:?}")
            };
            assert_eq!((same.as_str(), place(&found)), (id.as_str(), place(at)));
        }
        Route::Tags { at, page } => {
            a_name(at);
            pages(site, addresses, at, page);
        }
        Route::Manifest { at, reference, .. } => {
            a_name(at);
            assert_eq!(reference.to_string().parse().as_ref(), Ok(reference));
            let Reference::Digest(digest) = reference else { return };
            let Route::Manifest { at: found, reference: same, .. } = visit(site, &addresses.manifest(at, digest))
            else {
                panic!("no manifest behind {route:?}")
            };
            assert_eq!((&same, place(&found)), (reference, place(at)));
        }
        Route::StartUpload { at, .. } => a_name(at),
        _ => {}
    }
}

/// Checks that the next page begins after the last entry of a page, and that another registry's client parses the link the same way.
fn pages(site: &Site, addresses: &Addresses, at: &At, asked: &PageRequest) {
    let last = asked.last.clone().unwrap_or_default();
    let page = Page { entries: vec![last.clone()], more: true };
    let link = addresses.more_tags(at, asked, &page).expect("there is more");
    let text = link.to_str().expect("text");
    let target = text.strip_prefix('<').and_then(|rest| rest.split_once('>')).expect("a target").0.to_owned();
    let uri: Uri = target.parse().expect("an address");
    let Ok(Route::Tags { at: found, page: next }) = Route::parse(site, &Method::GET, &uri) else {
        panic!("{target} leads nowhere")
    };
    assert_eq!((next.n, next.last.as_ref(), place(&found)), (asked.n, Some(&last), place(at)), "{target}");
    let read = next_page(&HeaderMap::from_iter([(http::header::LINK, link)])).expect("a next page");
    let value = |name: &str| read.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!((value("last"), value("ns")), (Some(last.as_str()), at.ns.as_deref()), "{target}");
}

fn visit(site: &Site, address: &HeaderValue) -> Route {
    let uri: Uri = address.to_str().expect("text").parse().expect("an address");
    Route::parse(site, &Method::GET, &uri).expect("an address of ours is one that we answer")
}

fn place(at: &At) -> (&str, Option<&str>) {
    (at.name.as_str(), at.ns.as_deref())
}

fn a_name(at: &At) {
    assert!(at.name.parts().all(|part| !matches!(part, "" | "." | "..")), "{} leads elsewhere", at.name);
    assert!(at.name.as_str().bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'%'), "{}", at.name);
}
