//! Runs each fuzz target on the inputs in `fuzz/seeds/TARGET`. `cargo test` does this without a fuzzer and without a nightly
//! toolchain, so that the targets always compile, and inputs that once failed are tried again.

use std::path::Path;

use arbitrary::{Arbitrary as _, Unstructured};

/// Declares each target with the type of its input, and a test for it.
macro_rules! targets {
    ($($name:ident: $path:literal, $input:ty;)*) => {
        $(
            #[path = $path]
            mod $name;
        )*

        mod corpus {
            $(
                #[test]
                fn $name() {
                    super::replay(stringify!($name), |bytes| super::$name(bytes));
                }
            )*
        }

        $(
            fn $name(bytes: &[u8]) {
                if let Ok(input) = <$input>::arbitrary_take_rest(Unstructured::new(bytes)) {
                    $name::run(input);
                }
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    challenge: "targets/challenge.rs", &str;
    configuration: "targets/configuration.rs", &str;
    digest: "targets/digest.rs", &str;
    htpasswd: "targets/htpasswd.rs", &[u8];
    journal: "targets/journal.rs", journal::Input<'_>;
    link: "targets/link.rs", &[u8];
    manifest: "targets/manifest.rs", (u8, &[u8]);
    name: "targets/name.rs", &str;
    range: "targets/range.rs", (u64, &str);
    route: "targets/route.rs", (u8, &str);
}

#[expect(clippy::disallowed_methods, reason = "a test reads the repository's own files")]
fn files(directory: &str) -> Vec<std::path::PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(directory);
    let entries = std::fs::read_dir(&directory).expect("the repository can be read");
    entries.map(|entry| entry.expect("an entry of a directory").path()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test reads the repository's own files")]
fn replay(target: &str, run: impl Fn(&[u8])) {
    let inputs = files(&format!("seeds/{target}"));
    assert!(!inputs.is_empty(), "fuzz/seeds/{target} is empty");
    for input in inputs {
        println!("{}", input.display());
        run(&std::fs::read(input).expect("the repository can be read"));
    }
}

#[test]
fn every_target_is_replayed() {
    let mut found: Vec<_> = files("targets").iter().filter_map(|path| Some(path.file_stem()?.to_owned())).collect();
    found.sort();
    assert_eq!(found, NAMES);
}
