//! Damaged and hostile files never cause a panic or unbounded growth.

use proptest::prelude::*;

use super::*;

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb = "version: 0.1\nx-0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("x-{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    assert!(load_text(&bomb, &[]).unwrap_err().to_string().contains("expand"));
    let deep = format!("version: 0.1\nx: {}", "[".repeat(100_000));
    assert!(load_text(&deep, &[]).is_err());
    let deep = format!("version: 0.1\nx: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(load_text(&deep, &[]).unwrap_err().to_string().contains("deep"));
    let chain: String = (1..200).map(|n| format!("x-{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(load_text(&format!("version: 0.1\nx-0: &a0 b\n{chain}"), &[]).unwrap_err().to_string().contains("expand"));
    let name = format!("REGISTRY_STORAGE_S3{}", "_A".repeat(50_000));
    assert_eq!(load_text("version: 0.1", &[(&name, "x")]).unwrap().warnings.len(), 1);
}

fn yaml_ish() -> impl Strategy<Value = String> {
    let words = [
        "version: 0.1\n",
        "http",
        "mirror",
        "upstreams",
        "storage",
        "auth",
        "docker.io",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<",
        "!!str ",
        "!x ",
        "|",
        ">",
        "|-\n",
        "'",
        "\"",
        "\\",
        "#",
        "%",
        "---\n",
        "...\n",
        "?",
        "? ",
        "\t",
        "é",
        "\u{feff}",
        "\r\n",
        "\0",
        "~",
        "5",
        "1h",
        "@",
        "`",
        "\\x",
        "\u{2028}",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..40).prop_map(|words| words.concat())
}

fn mutated() -> impl Strategy<Value = String> {
    let texts = prop::sample::select(vec![STOCK, DEFAULT, REFERENCE]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, yaml_ish()), 1..4);
    (texts, edits).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, gone, new) in edits {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + gone);
            text.splice(at..end, new.chars().take(6));
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_text_is_printed_and_read_again(text in "\\PC{0,8}[ \\t\\n\\\\:#\"'{\\[&*!|>%@`~.-]{0,3}\\PC{0,8}") {
        let mut config = good("version: 0.1").config;
        config.log.fields.insert("text".to_owned(), text.clone());
        let printed = root::print(&config);
        let fields = good(&printed).config.log.fields;
        prop_assert_eq!(fields.get("text"), Some(&text).filter(|text| !text.is_empty()), "{}", printed);
    }

    #[test]
    fn damaged_file_never_panics(text in mutated()) {
        let _ = load_text(&text, &[]);
    }

    #[test]
    fn yaml_fragments_never_panic(text in yaml_ish(), value in yaml_ish(), name in "REGISTRY_[A-Z0-9_]{0,20}") {
        let _ = load_text(&text, &[(&name, &value), ("REGISTRY_MIRROR", &value), ("REGISTRY_MIRROR_UPSTREAMS_A_PROXY", &text)]);
    }

    #[test]
    fn any_scalar_never_panics(key in prop::sample::select(keys::supported(root::schema())), value in "\\PC{0,12}") {
        let name = format!("REGISTRY_{}", key.replace('.', "_"));
        let _ = load_text("version: 0.1", &[(&name, &format!("'{}'", value.replace('\'', "''")))]);
    }
}
