//! Reads the header fields `Retry-After`, `ratelimit-…`, `Content-Range`, `Content-Encoding`, `Link` and `Warning`.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, LINK};

use crate::oci::ContentCoding;
use crate::outbound::Url;

/// The longest wait that is taken from a header.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(in crate::upstream) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number with more digits than fit means a long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Returns the coding that `Content-Encoding` names (RFC 9110, section 8.4). The field may be wrong: many servers name the
/// encoding of a file there.
pub(in crate::upstream) fn content_coding(headers: &HeaderMap) -> Option<ContentCoding> {
    // A value that is not text is the name of no coding.
    ContentCoding::named(headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")))
}

/// The values of Docker Hub's `ratelimit-remaining: 76;w=21600`: a number of requests, and the window that it counts
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct RateLimit {
    pub(in crate::upstream) count: u64,
    pub(in crate::upstream) window: Option<Duration>,
}

/// Reads `ratelimit-limit` or `ratelimit-remaining`. Of several policies it reads the first.
pub(in crate::upstream) fn ratelimit(text: &str) -> Option<RateLimit> {
    let mut parts = text.split(',').next()?.split(';');
    let count = parts.next()?.trim().parse().ok()?;
    let seconds = parts.find_map(|part| part.trim().strip_prefix("w=")?.trim().parse().ok());
    Some(RateLimit { count, window: seconds.map(Duration::from_secs) })
}

/// The values of a `Content-Range` (RFC 9110 section 14.4): the first and the last byte, and the size of the whole if
/// it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct ContentRange {
    pub(in crate::upstream) first: u64,
    pub(in crate::upstream) last: u64,
    pub(in crate::upstream) total: Option<u64>,
}

impl ContentRange {
    pub(in crate::upstream) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number =
            |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        let total = if total == "*" { None } else { Some(number(total)?) };
        let (first, last) = (number(first)?, number(last)?);
        let sound = unit.eq_ignore_ascii_case("bytes")
            && first <= last
            && last < u64::MAX
            && total.is_none_or(|total| last < total);
        sound.then_some(Self { first, last, total })
    }
}

/// Reads the size in the `Content-Range` of a 416: `bytes */SIZE`.
pub(in crate::upstream) fn unsatisfied(text: &str) -> Option<u64> {
    let size = text.trim().strip_prefix("bytes")?.trim_start().strip_prefix("*/")?;
    size.bytes().all(|b| b.is_ascii_digit()).then(|| size.parse().ok()).flatten()
}

/// Reads the text of a `Warning` (RFC 7234 section 5.5): `299 - "TEXT"`.
pub(in crate::upstream) fn warning(field: &str) -> Option<String> {
    let quoted = field.split_once('"')?.1;
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(text).filter(|text| !text.is_empty()),
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    None
}

/// The decoded parameters of a query.
pub(in crate::upstream) type PageQuery = Vec<(Cow<'static, str>, String)>;

/// Returns the query of the next page that `Link` fields (RFC 8288) name. Their host and path are ignored: the next
/// request goes to the same address.
pub(in crate::upstream) fn next_page(headers: &HeaderMap) -> Option<PageQuery> {
    let mut fields = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let target = fields.find_map(next)?;
    let anywhere = Url::parse("http://next.invalid/").ok()?;
    let url = anywhere.join(target).ok()?;
    Some(url.query_pairs().map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned())).collect())
}

/// Returns the target in a `Link` field that has the relation `next`.
fn next(link: &str) -> Option<&str> {
    // A target holds no '>', so its parameters reach from there to the next '<'.
    let links = link.split('<').skip(1).filter_map(|link| link.split_once('>'));
    let mut next = links.filter(|(_, parameters)| parameters.split([';', ',']).any(is_next)).map(|(target, _)| target);
    next.next()
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, want) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(24 * 60 * 60)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), want.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn ratelimit_is_a_count_with_an_optional_window() {
        for (text, want) in [
            ("76;w=21600", Some((76, Some(21600)))),
            ("0", Some((0, None))),
            (" 5 ; w=1", Some((5, Some(1)))),
            ("100;burst=5;w=60", Some((100, Some(60)))),
            ("10;w=1, 50;w=60", Some((10, Some(1)))),
            ("7;w=soon", Some((7, None))),
            ("", None),
            ("many", None),
            ("-1", None),
            (";w=60", None),
        ] {
            let found = ratelimit(text).map(|limit| (limit.count, limit.window.map(|window| window.as_secs())));
            assert_eq!(found, want, "{text:?}");
        }
    }

    #[test]
    fn content_range_is_read_strictly() {
        for (text, want) in [
            ("bytes 0-9/10", Some((0, 9, Some(10)))),
            ("Bytes 5-9/*", Some((5, 9, None))),
            ("bytes 5-5/6", Some((5, 5, Some(6)))),
            ("bytes 5-6/6", None),
            ("bytes 6-5/10", None),
            ("bytes */10", None),
            ("bytes -1-5/10", None),
            ("bytes 1-/10", None),
            ("bytes 0-9", None),
            ("items 0-9/10", None),
            ("", None),
        ] {
            let found = ContentRange::parse(text).map(|range| (range.first, range.last, range.total));
            assert_eq!(found, want, "{text:?}");
        }
    }

    #[test]
    fn unsatisfied_range_tells_the_size() {
        for (text, want) in
            [("bytes */10", Some(10)), ("bytes */*", None), ("bytes 0-1/10", None), ("*/10", None), ("", None)]
        {
            assert_eq!(unsatisfied(text), want, "{text:?}");
        }
    }

    #[test]
    fn warning_is_a_quoted_text() {
        for (field, want) in [
            (r#"299 - "docker.io has not answered since 10:00""#, Some("docker.io has not answered since 10:00")),
            (r#"299 r.corp "a \"b\"" "Sun, 06 Nov 1994 08:49:37 GMT""#, Some(r#"a "b""#)),
            (r#"299 - """#, None),
            (r#"299 - "open"#, None),
            ("299 - text", None),
        ] {
            assert_eq!(warning(field).as_deref(), want, "{field}");
        }
    }

    #[test]
    fn link_with_relation_next_gives_the_next_query() {
        for (good, want) in [
            (r#"</v2/a/tags/list?last=b&n=2>; rel="next""#, "last=b n=2"),
            (r#"<https://r/v2/a/tags/list?next_page=g%2B%3D>;rel=next"#, "next_page=g+="),
            (r#"<?a=b>; REL="last Next""#, "a=b"),
            (r#"<x?a>; rel="prev", <y>; title="t"; rel="next""#, ""),
        ] {
            let headers = HeaderMap::from_iter([(LINK, good.parse().unwrap())]);
            let query = next_page(&headers).unwrap();
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(query.join(" "), want, "{good}");
        }
        for bad in ["", "next", r#"<x>; rel="prev""#, r#"<x;rel=next>; rel="prev""#, r#"<x>; rev="next""#, "<x>"] {
            assert_eq!(next(bad), None, "{bad}");
        }
    }
}
