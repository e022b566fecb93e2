//! Tests of the configuration files in `config/`, and of the output of `check --print`.

use super::*;
use crate::config::document::{Node, NodeContent, Report, TextOrigin};

/// Returns `reference.yml` with every key behind a bare `#` uncommented.
pub(super) fn uncommented() -> String {
    let open = |line: &str| match line.strip_prefix('#') {
        Some(key) if first_word(key).is_some_and(|word| word.ends_with(':')) => key.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(|line| open(line) + "\n").collect()
}

/// Returns the first word of a line, after the dash of a list's item.
fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| *word != "-")
}

fn holds(node: &Node, path: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let found = |node: &Node| rest.is_empty() || holds(node, rest);
    match first {
        "NAME" => node.members().iter().any(|member| found(&member.value)),
        "0" => matches!(&node.content, NodeContent::List(items) if items.iter().any(found)),
        _ => node.get(first).is_some_and(|member| found(&member.value)),
    }
}

#[test]
fn reference_shows_every_key() {
    let loaded = good(REFERENCE);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let mut report = Report::default();
    let text = uncommented();
    let root_node = document::parse(&text, &TextOrigin::File("reference.yml".into()), &mut report);
    if let Some(tree) = &root_node {
        keys::check(tree, root::schema(), &mut report);
        for path in keys::supported(root::schema()) {
            assert!(holds(tree, &path), "config/reference.yml does not show {path}");
        }
    }
    report.conclude(root_node).unwrap_or_else(|problems| panic!("{problems}"));
    // With every key, only the contradictions that the file explains are left.
    let problems = load_text(&text, &[]).unwrap_err();
    let said = |problem: &Problem| ["both written", "excludes"].iter().any(|words| problem.message().contains(words));
    assert!(problems.problems().len() == 3 && problems.problems().iter().all(said), "{problems}");
}

/// Checks the configurations that a newcomer copies. The files that they name are not read here.
#[test]
fn configurations_of_the_guides_are_valid_without_warnings() {
    let guides = [
        include_str!("../../../docs/guide/mirror.md"),
        include_str!("../../../docs/guide/private-registry.md"),
        include_str!("../../../docs/guide/slow-links.md"),
        include_str!("../../../docs/guide/upstream-accounts.md"),
        include_str!("../../../docs/guide/logins.md"),
        include_str!("../../../docs/guide/warm.md"),
    ];
    let blocks = |guide: &'static str| guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<&str> = guides.into_iter().flat_map(blocks).collect();
    assert!(blocks.len() >= 12, "{blocks:?}");
    for block in blocks {
        let version = if block.contains("version:") { "" } else { "version: 0.1\n" };
        let upstreams = "  upstreams: {docker.io: {default: true}, ghcr.io: {}}\n";
        let upstreams = if block.contains("mirror:") && !block.contains("upstreams:") { upstreams } else { "" };
        let loaded = good(&format!("{version}{block}{upstreams}"));
        assert!(loaded.warnings.is_empty(), "{block}\n{:?}", loaded.warnings);
    }
}

#[test]
fn reference_shows_the_defaults() {
    let bare = good(
        "version: 0.1\nlog: {fields: {service: registry}}\nhttp: {headers: {X-Content-Type-Options: nosniff}}\nmirror: {upstreams: {docker.io: {default: true}, ghcr.io: }}",
    );
    assert_eq!(root::print(&good(REFERENCE).config), root::print(&bare.config));
}

#[test]
fn printed_configuration_reads_the_same() {
    let secret = "mirror: {upstreams: {a.io: {username: me, password: s3cret, proxy: \"http://me:s3cret@p:1\", insecure: true}}, cache: {maxsize: 3GiB, reserve: 5}}";
    for text in [
        STOCK.to_owned(),
        DEFAULT.to_owned(),
        REFERENCE.to_owned(),
        format!("version: 0.1\n{secret}"),
        "version: 0.1\nmirror: {upstreams: {a.io: {}}, prefetch: [{image: \"a.io/app:1.*\", platforms: all, every: 6h, at: \"2:00\"}, {image: a.io/b}]}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {staleif: never}, b.io: {stalemax: 7d, negativettl: 0}}}".to_owned(),
        "version: 0.1\nproxy: {remoteurl: https://a, username: me, password: s3cret}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: }, fill: {connections: 5, perhost: 3, segment: 1MiB, stall: 2s, unattended: pause, grace: 33s, keep: 48h}}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {link: {limit: 1.5MiB/s}}}, link: {limit: 20Mbit/s, schedule: [{days: [mon-fri, sun], hours: 22-6, limit: 5MB/s}, {limit: unlimited}]}, follow: {pulled_within: 3d}}".to_owned(),
        "version: 0.1\nproxy: {remoteurl: https://a, exec: {command: /usr/bin/h, lifetime: 90s}}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {credentials: ~/c.json, clientcert: c.pem, clientkey: k.pem}}}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {proxy: \"socks5h://me:s3cret@p\"}}}".to_owned(),
        "version: 0.1\nlog: {fields: {a: 'yes', b: '', c: '1.0'}, accesslog: {disabled: true}}\nhttp: {host: https://a:1, debug: {addr: :1}}".to_owned(),
    ] {
        let first = good(&text);
        let printed = root::print(&first.config);
        assert!(!printed.contains("s3cret"), "{printed}");
        let again = good(&printed);
        // A value that is not printed would be lost here. A default may count as written afterwards.
        let values = |loaded: &Loaded| {
            let shown = format!("{:?}", loaded.config);
            shown.replace("origin: Default", "origin: Written").replace("origin: BuiltIn", "origin: Written")
        };
        assert_eq!(values(&again), values(&first), "{printed}");
        let said = |warning: &Problem| first.warnings.iter().any(|other| other.message() == warning.message());
        let known = |warning: &Problem| warning.message().contains("`check --print`") || said(warning);
        assert!(again.warnings.iter().all(known), "{printed}\n{:?}", again.warnings);
        assert_eq!(root::print(&again.config), printed);
    }
}
