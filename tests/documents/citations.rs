//! Citations of papers that a reader of the repository cannot have.

/// Names of papers that are not in the repository.
const PAPERS: &[&str] = &["PRODUCT.md", "DESIGN.md", "FIELD.md", "HOUSE.md", "CRATES.md", "BRIEF.md"];

/// Words that cite a list of tasks: `issue 5`, `the issue`, `a later issue`.
const TASKS: &[&str] = &["the issue", "this issue", "later issue", "next issue", "an issue of"];

/// Describes each citation in a file.
pub(super) fn find(path: &str, text: &str) -> Vec<String> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let cited = numbered.filter_map(|(number, line)| Some((number, cited(line)?)));
    cited.map(|(number, name)| format!("{path}:{number}: cites {name}, which is not in the repository")).collect()
}

/// Returns the first citation in a line.
fn cited(line: &str) -> Option<String> {
    if let Some(paper) = PAPERS.iter().find(|paper| line.contains(*paper)) {
        return Some((*paper).to_owned());
    }
    let lower = line.to_lowercase();
    if let Some(task) = TASKS.iter().find(|task| contains_word(&lower, task)) {
        return Some((*task).to_owned());
    }
    let number = lower.match_indices("issue ").find_map(|(at, word)| {
        let rest = &lower[at + word.len()..];
        let digits: String = rest.trim_start_matches('#').chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty() && starts_word(&lower, at)).then_some(digits)
    });
    number.map(|digits| format!("issue {digits}"))
}

fn contains_word(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let after = text[at + words.len()..].chars().next();
        starts_word(text, at) && !after.is_some_and(char::is_alphanumeric)
    })
}

fn starts_word(text: &str, at: usize) -> bool {
    !text[..at].chars().next_back().is_some_and(char::is_alphanumeric)
}

#[test]
fn citations_good_and_bad() {
    for good in [
        "docs/reference/naming.md",
        "MY_PRODUCT.markdown",
        "https://github.com/containerd/containerd/issues/1234",
        "a certificate is issued for 90 days",
        "issues 7 warnings",
        "tissue 5",
        "OCI distribution-spec 1.1",
    ] {
        assert_eq!(cited(good), None, "{good}");
    }
    for bad in [
        "(PRODUCT.md, \"On disk\")",
        "see DESIGN.md, decision 5",
        "as issue 5 says",
        "Issue #12",
        "TLS comes with a later issue",
        "as the issue asks",
    ] {
        assert!(cited(bad).is_some(), "{bad}");
    }
}
