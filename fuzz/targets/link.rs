//! `Link` of an upstream's list: the query of the next page, written out again, parses to the same query.
#![cfg_attr(fuzzing, no_main)]

use entrepot::upstream::fuzzing::next_page;
use http::{HeaderMap, HeaderValue};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for field in data.split(|b| *b == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(field) {
            headers.append(http::header::LINK, value);
        }
    }
    let Some(query) = next_page(&headers) else { return };
    let escaped = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    let pairs = query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    let again = format!("</v2/a/tags/list?{}>; rel=\"next\"", pairs.collect::<Vec<_>>().join("&"));
    let again = HeaderMap::from_iter([(http::header::LINK, HeaderValue::try_from(again).expect("visible text"))]);
    assert_eq!(next_page(&again), Some(query));
}
