//! Configurations: every mistake has a place, a printed configuration can be read again with the same result, and no secret is printed.
#![cfg_attr(fuzzing, no_main)]

use std::path::Path;

use entrepot::config::{Draft, SourceText};

/// The content of every file that a `file:` secret names.
const SECRET: &str = "zq9-Kx7vWm";

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| run(text));

pub fn run(text: &str) {
    // Lines `REGISTRY_…=…` before a line `---` are the environment.
    let (variables, text) = text.split_once("\n---\n").unwrap_or(("", text));
    let environment: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("REGISTRY_{name}"), value.to_owned()))
        .collect();
    // An input that contains the secret elsewhere has shown it already.
    let shown_already = text.contains(SECRET) || variables.contains(SECRET);
    let read = |_: &Path| Ok(SECRET.to_owned());
    let source = |text| SourceText { name: "config.yml".to_owned(), text, built_in: false };
    let hidden = |shown: &str| assert!(shown_already || !shown.contains(SECRET), "a secret is shown: {shown}");
    let printed = Draft::read(source(text), &environment, &read).print();
    match Draft::read(source(text), &environment, &read).conclude() {
        Err(problems) => {
            // A file with mistakes is printed as far as it can be read.
            printed.iter().for_each(|printed| hidden(printed));
            hidden(&problems.to_string());
            assert!(!problems.problems().is_empty());
            for problem in problems.problems().iter().chain(problems.warnings()) {
                assert!(!problem.message().is_empty() && !problem.file().is_empty());
                assert!(problem.line() != Some(0) && problem.column() != Some(0), "{problem}");
            }
        }
        Ok(loaded) => {
            let printed = printed.expect("a configuration that loads can be shown");
            hidden(&printed);
            hidden(&format!("{:?}", loaded.config));
            loaded.warnings.iter().for_each(|warning| hidden(&warning.to_string()));
            let again = Draft::read(source(&printed), &[], &read);
            assert_eq!(again.print().as_deref(), Some(printed.as_str()));
            if let Err(problems) = again.conclude() {
                panic!("what was shown is refused: {problems}\n{printed}");
            }
        }
    }
}
