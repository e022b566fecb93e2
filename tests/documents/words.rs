//! Words that mark unclear sentences, counted in comments and documents.

/// Words for code as if it were a person, and words that hide the subject of a sentence.
const MARKS: &[&str] = &[
    "whoever",
    "somebody",
    "nobody",
    "anybody",
    "thereby",
    "beforehand",
    "so many",
    "so much",
    "so long",
    "so often",
    "what has",
    "what was",
    "who has",
    "who is",
];

/// The most marks in a thousand words.
const LIMIT: f64 = 0.6;

/// Marks and words of some texts.
#[derive(Default)]
pub(super) struct Count {
    words: usize,
    marks: Vec<String>,
}

impl Count {
    /// Adds the sentences of a file.
    pub(super) fn add(&mut self, path: &str, text: &str) {
        for (number, sentence) in sentences(path, text) {
            self.words += words(sentence).count();
            let lower = format!(" {} ", words(sentence).collect::<Vec<_>>().join(" ").to_lowercase());
            let marks = MARKS.iter().filter(|mark| lower.contains(&format!(" {mark} ")));
            self.marks.extend(marks.map(|mark| format!("{path}:{number}: {mark}: {}", sentence.trim())));
        }
    }

    /// Returns the marks if there are too many.
    pub(super) fn excess(self) -> Vec<String> {
        let rate = 1000.0 * self.marks.len() as f64 / self.words.max(1) as f64;
        if rate > LIMIT { self.marks } else { Vec::new() }
    }
}

/// Returns the lines of a file that people read: all lines of a document, the comments of other files.
fn sentences<'t>(path: &str, text: &'t str) -> Vec<(usize, &'t str)> {
    let mark = match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "md" => "",
        "rs" => "//",
        _ => "#",
    };
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter_map(|(number, line)| Some((number, comment(line, mark)?))).collect()
}

/// Returns the part of a line behind a comment's mark, which stands at the beginning or after a space.
fn comment<'t>(line: &'t str, mark: &str) -> Option<&'t str> {
    let at = line.match_indices(mark).map(|(at, _)| at).find(|at| line[..*at].is_empty() || line[..*at].ends_with(' '));
    Some(line[at? + mark.len()..].trim_start_matches(['/', '!']))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic() && !"'’-".contains(c)).filter(|word| !word.is_empty())
}

#[test]
fn marks_in_files() {
    let marks = |path: &str, text: &str| {
        let mut count = Count::default();
        count.add(path, text);
        count.marks.len()
    };
    for (path, text, want) in [
        ("a.md", "Nobody knows so many words.", 2),
        ("a.md", "The client knows it.", 0),
        ("a.md", "nobody's and so-many are other words", 0),
        ("a.rs", "let somebody = 1; // whoever reads\n/// What was\n//! so long", 3),
        ("a.rs", "let url = \"http://nobody\";", 0),
        ("a.sh", "echo nobody # somebody\n#anybody", 2),
        ("Dockerfile", "# Before the build, thereby", 1),
    ] {
        assert_eq!(marks(path, text), want, "{path}: {text}");
    }
}

#[test]
fn limits_of_counts() {
    let excess = |words: usize| {
        let mut count = Count::default();
        count.add("a.md", &format!("nobody {}", "word ".repeat(words)));
        count.excess().len()
    };
    assert_eq!([excess(10), excess(1000), excess(2000)], [1, 1, 0]);
}
