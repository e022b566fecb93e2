//! Hosted manifests, tags, referrers and repositories over every driver.

use std::sync::Arc;

use bytes::Bytes;

use super::fixture::{Fixture, name, over_both_drivers, sha256, tag};
use crate::oci::{Algorithm, Digest, MediaType};
use crate::store::{Share, layout};

over_both_drivers! {
    manifest_keeps_its_media_type
    tags_are_paged_moved_and_removed
    deleted_manifest_loses_its_tags_and_digests
    link_that_another_registry_removed_hides_the_manifest
    referrers_follow_pushes_and_deletions
    missing_digests_are_named_in_order
    repositories_are_listed_and_removed
    concurrent_pushes_keep_every_tag
}

async fn manifest_keeps_its_media_type(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"manifests":[]}"#);
    let digest = fixture.put(&app, body).await;
    let stored = fixture.store.manifest(&app, &digest).await.unwrap().unwrap();
    assert_eq!((&stored.body[..], stored.media_type), (body.as_bytes(), None));
    let media_type = MediaType::known(MediaType::OCI_INDEX);
    let put = |media_type| fixture.store.put_manifest(&app, &digest, Bytes::from(body), media_type);
    put(Some(&media_type)).await.unwrap();
    let stored = fixture.store.manifest(&app, &digest).await.unwrap().unwrap();
    assert_eq!(stored.media_type.as_ref(), Some(&media_type));
    put(None).await.unwrap();
    assert_eq!(fixture.store.manifest(&app, &digest).await.unwrap().unwrap().media_type, None);
}

async fn tags_are_paged_moved_and_removed(fixture: Fixture) {
    let app = name("team/app");
    let (one, two) = (fixture.put(&app, r#"{"n":1}"#).await, fixture.put(&app, r#"{"n":2}"#).await);
    for (text, digest) in [("v2", &one), ("latest", &one), ("v1", &one), ("latest", &two)] {
        fixture.store.set_tag(&app, &tag(text), digest).await.unwrap();
    }
    assert_eq!(fixture.store.tag(&app, &tag("latest")).await.unwrap(), Some(two));
    let tagged = fixture.store.tagged(&app, &tag("latest")).await.unwrap().unwrap();
    assert!(tagged.digest == two && tagged.pushed_at.is_some());
    let page = fixture.store.tags(&app, None, 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["latest".to_owned(), "v1".to_owned()], true));
    let page = fixture.store.tags(&app, Some("v1"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["v2".to_owned()], false));
    assert!(fixture.store.untag(fixture.alone(&app).await, &app, &tag("v1")).await.unwrap());
    assert!(!fixture.store.untag(fixture.alone(&app).await, &app, &tag("v1")).await.unwrap());
    assert_eq!(fixture.tags(&app).await, ["latest", "v2"]);
    assert_eq!(fixture.store.count_tags(&app).await.unwrap(), 2);
}

async fn deleted_manifest_loses_its_tags_and_digests(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"n":1}"#);
    let other = Digest::of(Algorithm::Sha512, body.as_bytes());
    fixture.store.put_manifest(&app, &other, Bytes::from(body), None).await.unwrap();
    let kept = fixture.put(&app, r#"{"n":2}"#).await;
    fixture.store.set_tag(&app, &tag("gone"), &other).await.unwrap();
    fixture.store.set_tag(&app, &tag("kept"), &kept).await.unwrap();
    assert_eq!(fixture.store.tag(&app, &tag("gone")).await.unwrap(), Some(other), "a tag keeps the pushed digest");
    assert_eq!(fixture.store.revision(&app, &other).await.unwrap(), Some(sha256(body.as_bytes())));
    assert!(
        fixture
            .store
            .delete_manifest(fixture.alone(&app).await, &app, &sha256(body.as_bytes()))
            .await
            .unwrap()
            .is_some()
    );
    assert!(fixture.store.delete_manifest(fixture.alone(&app).await, &app, &other).await.unwrap().is_none());
    for digest in [other, sha256(body.as_bytes())] {
        assert!(fixture.store.manifest(&app, &digest).await.unwrap().is_none());
    }
    assert_eq!(fixture.tags(&app).await, ["kept"]);
}

async fn link_that_another_registry_removed_hides_the_manifest(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"n":1}"#);
    let other = Digest::of(Algorithm::Sha512, body.as_bytes());
    fixture.store.put_manifest(&app, &other, Bytes::from(body), None).await.unwrap();
    fixture.driver.remove(&layout::revision_link(&app, &sha256(body.as_bytes()))).unwrap();
    assert!(fixture.store.manifest(&app, &other).await.unwrap().is_none());
    assert_eq!(fixture.store.revision(&app, &other).await.unwrap(), None);
}

async fn referrers_follow_pushes_and_deletions(fixture: Fixture) {
    let (app, subject) = (name("team/app"), sha256(b"subject"));
    let body = |n: usize| {
        format!(r#"{{"manifests":[],"subject":{{"digest":"{subject}","size":1}},"annotations":{{"n":"{n}"}}}}"#)
    };
    assert_eq!(fixture.referrers(&app, &subject).await, 0);
    for n in 1..=3 {
        fixture.put(&app, &body(n)).await;
        assert_eq!(fixture.referrers(&app, &subject).await, n);
    }
    fixture.store.delete_manifest(fixture.alone(&app).await, &app, &sha256(body(2).as_bytes())).await.unwrap();
    assert_eq!(fixture.referrers(&app, &subject).await, 2);
    let longer = Digest::of(Algorithm::Sha512, body(4).as_bytes());
    fixture.store.put_manifest(&app, &longer, Bytes::from(body(4)), None).await.unwrap();
    assert_eq!(fixture.referrers(&app, &subject).await, 3, "a manifest with two digests is listed once");
    assert_eq!(fixture.referrers(&app, &sha256(b"another subject")).await, 0);
}

async fn missing_digests_are_named_in_order(fixture: Fixture) {
    let app = name("team/app");
    let (layer, manifest) = (fixture.push(&app, b"layer").await, fixture.put(&app, r#"{"n":1}"#).await);
    let gone = fixture.push(&app, b"gone").await;
    fixture.store.remove_blob(&gone).await.unwrap();
    let never = sha256(b"never pushed");
    let asked = vec![never, layer, gone, manifest];
    assert_eq!(fixture.store.missing(&app, asked.clone(), 9).await.unwrap(), [never, gone]);
    assert_eq!(fixture.store.missing(&app, asked, 1).await.unwrap(), [never]);
}

async fn repositories_are_listed_and_removed(fixture: Fixture) {
    for text in ["b", "a/b", "a", "a-b"] {
        let digest = fixture.put(&name(text), r#"{"n":1}"#).await;
        fixture.store.set_tag(&name(text), &tag("v1"), &digest).await.unwrap();
    }
    fixture.push(&name("layers/only"), b"layer").await;
    let page = fixture.store.repositories(Some("a"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["a-b".to_owned(), "a/b".to_owned()], true));
    let all = fixture.store.inhabited_after(None, 9).await.unwrap();
    assert_eq!(all.entries, ["a", "a-b", "a/b", "b", "layers/only"]);
    assert!(fixture.store.exists(&name("a/b")).await.unwrap() && !fixture.store.exists(&name("c")).await.unwrap());
    assert!(fixture.store.remove_repository(fixture.alone(&name("a")).await, &name("a")).await.unwrap());
    assert!(!fixture.store.remove_repository(fixture.alone(&name("a")).await, &name("a")).await.unwrap());
    let left = fixture.store.repositories(None, 9).await.unwrap();
    assert_eq!(left.entries, ["a-b", "a/b", "b"], "a repository below the removed one stays");
}

async fn concurrent_pushes_keep_every_tag(fixture: Fixture) {
    let (fixture, app) = (Arc::new(fixture), name("team/app"));
    let push = |n: usize| {
        let (fixture, app) = (Arc::clone(&fixture), app.clone());
        async move {
            let _lock = fixture.store.lock(&app, Share::Shared).await.unwrap();
            let layer = fixture.push(&app, format!("layer {}", n % 4).as_bytes()).await;
            let digest = fixture.put(&app, &format!(r#"{{"layer":"{layer}","n":{n}}}"#)).await;
            fixture.store.set_tag(&app, &tag(&format!("v{n}")), &digest).await.unwrap();
        }
    };
    let mut running = tokio::task::JoinSet::new();
    (0..12).for_each(|n| drop(running.spawn(push(n))));
    running.join_all().await;
    assert_eq!(fixture.tags(&app).await.len(), 12);
    for n in 0..12 {
        let digest = fixture.store.tag(&app, &tag(&format!("v{n}"))).await.unwrap().unwrap();
        assert!(fixture.store.manifest(&app, &digest).await.unwrap().is_some());
    }
    assert_eq!(fixture.store.amount().await.unwrap().count, 12 + 4);
}
