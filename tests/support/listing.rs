//! Lists of the test upstream: tags and referrers.

use serde_json::{Value, json};

use super::upstream::{Answer, Logged, Repository, Upstream, parameter};

/// The form of lists.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lists {
    /// At most this many entries in one answer, the last first, with a `Link` that only this upstream understands.
    pub(crate) page: Option<usize>,
    pub(crate) referrers: Api,
}

/// The answer to a request for referrers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Api {
    #[default]
    Known,
    /// 404, as registries answer that are older than distribution-spec 1.1.
    Unknown,
    /// 200 and a page for people.
    Html,
}

impl Upstream {
    pub(crate) fn set_lists(&self, lists: Lists) {
        self.change(|inner| inner.lists = lists);
    }

    /// Adds an artifact that refers to `subject` to a repository and its list, and returns its descriptor.
    pub(crate) fn refer(&self, repository: &str, subject: impl ToString, artifact_type: &str) -> Value {
        let subject = subject.to_string();
        let body =
            json!({"schemaVersion": 2, "artifactType": artifact_type, "subject": {"digest": subject}}).to_string();
        let digest = self.manifest(repository, "", entrepot::oci::MediaType::OCI_MANIFEST, body.as_bytes());
        let descriptor = json!({
            "mediaType": entrepot::oci::MediaType::OCI_MANIFEST,
            "digest": digest.to_string(),
            "size": body.len(),
            "artifactType": artifact_type,
            "annotations": {"of": artifact_type},
        });
        self.repository(repository, |held| held.referrers.entry(subject).or_default().push(descriptor.clone()));
        descriptor
    }
}

pub(super) fn tags(name: &str, repository: &Repository, lists: Lists, request: &Logged) -> Answer {
    let all: Vec<&String> = repository.tags.keys().collect();
    if lists.page.is_some() && parameter(&request.query, "n").is_none() {
        let (page, next) = opaque(all, lists.page, request);
        return linked(Answer::new(200).body(json!({"name": name, "tags": page}).to_string()), next);
    }
    let last = parameter(&request.query, "last").unwrap_or_default();
    let n = parameter(&request.query, "n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let after: Vec<&String> = all.into_iter().filter(|tag| **tag > last).collect();
    let page = &after[..n.min(after.len())];
    let next = page.last().filter(|_| page.len() < after.len());
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={n}&last={last}"));
    linked(Answer::new(200).body(json!({"name": name, "tags": page}).to_string()), next)
}

pub(super) fn referrers(repository: &Repository, subject: &str, lists: Lists, request: &Logged) -> Answer {
    match lists.referrers {
        Api::Unknown => return Answer::new(404),
        Api::Html => return Answer::new(200).with("content-type", "text/html").body("<html>"),
        Api::Known => {}
    }
    let all = repository.referrers.get(subject).map(Vec::as_slice).unwrap_or_default();
    let (page, next) = opaque(all.iter().collect(), lists.page, request);
    let index = entrepot::oci::MediaType::OCI_INDEX;
    let body = json!({"schemaVersion": 2, "mediaType": index, "manifests": page}).to_string();
    linked(Answer::new(200).with("content-type", index).body(body), next)
}

/// Returns a page in reverse order, and the address of the next page.
fn opaque<T>(mut all: Vec<T>, page: Option<usize>, request: &Logged) -> (Vec<T>, Option<String>) {
    let Some(size) = page else { return (all, None) };
    all.reverse();
    let begin: usize =
        parameter(&request.query, "token").map_or(0, |token| token.trim_start_matches('+').parse().unwrap());
    let end = (begin + size).min(all.len());
    let next = (end < all.len()).then(|| format!("http://elsewhere.invalid/other/path?token=%2B+{end}"));
    (all.drain(begin..end).collect(), next)
}

fn linked(answer: Answer, next: Option<String>) -> Answer {
    match next {
        Some(next) => answer.with("link", format!("<{next}>; rel=\"next\"")),
        None => answer,
    }
}
