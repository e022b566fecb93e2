//! `entrepot du`: accounting for the space of each repository.

use serde_json::{Value, json};

use super::runner::{bad, good, objects, run_at, words};
use crate::support::client::noise;
use crate::support::mirror::{mirror, mirror_with};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

#[test]
fn du_accounts_for_everything_once() {
    let upstream = Upstream::start();
    let (base, own) = (noise(1, 100_000), noise(2, 10_000));
    upstream.image("library/one", "1", &[&base, &own]);
    upstream.image("library/two", "1", &[&base]);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 10MiB, reserve: 0}");
    good(&run_at(&mirror, &["warm", "one:1", "two:1"]));
    let client = mirror.client();
    client.push_image("local/a", "1", &base);
    client.push_image("local/b", "1", &base);
    let location = client.begin("local/a");
    assert_eq!(client.request("PATCH", &location).body(&noise(3, 777)).send().status, 202);

    let lines = objects(&good(&run_at(&mirror, &["du", "--json"])));
    let names: Vec<_> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["docker.io/library/one", "docker.io/library/two", "local/a", "local/b"]);
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let one = &lines[0];
    assert!(
        number(one, "bytes") > 110_000 && number(one, "own_bytes") < 12_000 && number(one, "own_bytes") > 10_000,
        "{one}"
    );
    let two = &lines[1];
    assert!(number(two, "bytes") > 100_000 && number(two, "own_bytes") < 2_000, "{two}");
    assert_eq!(
        (&lines[2]["kind"], &lines[2]["tags"], number(&lines[2], "own_bytes")),
        (&json!("hosted"), &json!(1), 0),
        "all is b's too"
    );
    let totals = lines.last().unwrap();
    let cache = number(&totals["cache"], "bytes");
    assert_eq!(cache, number(one, "own_bytes") + number(two, "bytes"), "shared content counts once");
    assert_eq!(number(&totals["hosted"], "bytes"), number(&lines[2], "bytes"));
    assert_eq!(totals["uploads"], json!({"count": 1, "bytes": 777}));
    assert_eq!((&totals["cache"]["limit"], &totals["cache"]["reserve"]), (&json!(10 << 20), &json!(0)));
    assert!(number(&totals["disk"], "free") > 0 && number(&totals["disk"], "total") > 0);
    assert_eq!(
        &objects(&good(&run_at(&mirror, &["du", "one", "--json"])))[0],
        one,
        "du of one repository prints the same row"
    );

    let text = good(&run_at(&mirror, &["du"]));
    for part in ["docker.io/library/one", "\nhosted   ", "uploads", "of 10.00 MiB", "unfinished", "free"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(words(&good(&run_at(&mirror, &["du", "local/a"]))).len(), 1);
    bad(&run_at(&mirror, &["du", "none"]), 1, &["nothing of docker.io/library/none is stored here"]);
}

#[test]
fn du_shows_unlinked_content() {
    let upstream = Upstream::start();
    for name in ["library/one", "library/two"] {
        upstream.image(name, "1", &[&noise(1, 100_000), name.as_bytes()]);
    }
    let mut mirror = mirror(&upstream);
    good(&run_at(&mirror, &["warm", "one:1", "two:1"]));
    let client = mirror.client();
    client.push_image("local/a", "1", b"one");
    client.push_image("local/b", "1", b"one and more");
    client.push_blob("local/b", b"");
    let du = |mirror: &Registry| {
        let lines = objects(&good(&run_at(mirror, &["du", "--json"])));
        let [rows @ .., unlinked, totals] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(rows.iter().all(|row| row["name"].is_string()), "{rows:?}");
        (rows.to_vec(), unlinked["unlinked"].clone(), totals.clone())
    };
    let (rows, unlinked, before) = du(&mirror);
    let nothing = json!({"blobs": 0, "bytes": 0});
    assert_eq!((rows.len(), unlinked), (4, json!({"hosted": nothing, "cache": nothing})));
    let own = |row: &Value| json!({"blobs": row["own_blobs"], "bytes": row["own_bytes"]});
    let two = own(&rows[1]);
    good(&run_at(&mirror, &["rm", "-y", "local/b"]));
    // The directory may be missing after a backup was restored without it.
    std::fs::remove_dir_all(mirror.data().join("cache/repositories/docker.io/library/two")).unwrap();
    mirror.restart();
    let (left, unlinked, totals) = du(&mirror);
    assert_eq!(left.len(), 2);
    assert_eq!(unlinked["cache"], two);
    let (bytes, blobs) = (own(&rows[3])["bytes"].as_u64(), own(&rows[3])["blobs"].as_u64());
    assert_eq!(unlinked["hosted"]["bytes"].as_u64(), bytes);
    // No row counts an empty blob, since its size alone would show it.
    assert_eq!(unlinked["hosted"]["blobs"].as_u64(), blobs.map(|blobs| blobs + 1));
    for (part, row) in [("cache", &left[0]), ("hosted", &left[1])] {
        assert_eq!(totals[part]["bytes"], before[part]["bytes"], "nothing is freed");
        let sum = row["bytes"].as_u64().unwrap() + unlinked[part]["bytes"].as_u64().unwrap();
        assert_eq!(totals[part]["bytes"], sum, "{part}: rows and rest are the whole");
    }
    // A layer without a manifest also belongs to a repository.
    client.push_blob("local/new", b"a layer that comes before its manifest");
    let (more, still, _) = du(&mirror);
    assert_eq!((more.len(), &more[2]["name"], &more[2]["bytes"]), (3, &json!("local/new"), &json!(38)));
    assert_eq!(still, unlinked);
    let text = good(&run_at(&mirror, &["du"]));
    let lines: Vec<_> = words(&text).into_iter().filter(|line| line.first() == Some(&"unlinked")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(text.contains(" blobs in no repository; Entrepot has no garbage collection yet\n"), "{text}");
    assert!(lines[1].ends_with(&["evicted", "when", "space", "is", "needed"]), "{text}");
}
