//! `WWW-Authenticate`: header fields are independent of each other, and a parsed challenge that is written out parses to the same value.
#![cfg_attr(fuzzing, no_main)]

use entrepot::upstream::{Challenge, challenges};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| run(text));

pub fn run(text: &str) {
    let fields: Vec<&str> = text.split('\n').collect();
    let found = challenges(fields.iter().copied());
    let one_by_one: Vec<Challenge> = fields.iter().flat_map(|field| challenges([*field])).collect();
    assert_eq!(found, one_by_one);
    assert!(found.len() <= text.len());
    for challenge in &found {
        if let Challenge::Bearer { realm, .. } = challenge {
            assert!(!realm.is_empty());
        }
        assert_eq!(challenges([written(challenge).as_str()]), std::slice::from_ref(challenge));
    }
    // Several challenges in one field, as registries send them.
    let together = found.iter().map(written).collect::<Vec<_>>().join(", ");
    assert_eq!(challenges([together.as_str()]), found, "{together}");
}

fn written(challenge: &Challenge) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match challenge {
        Challenge::Basic => "Basic realm=\"here\"".to_owned(),
        Challenge::Bearer { realm, service, scope } => {
            let parameters = [("service", service), ("scope", scope)];
            let given = parameters.iter().filter_map(|(name, value)| Some(format!(",{name}={}", quoted(value.as_ref()?))));
            format!("Bearer realm={}{}", quoted(realm), given.collect::<String>())
        }
    }
}
