//! Reads a struct from a JSON object and refuses an array. The code that serde derives for a struct also accepts an
//! array with the fields in the order of our source, which no client would accept as a manifest.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Wraps a `T` that was read from a JSON object.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Two {
        a: Option<u8>,
        b: Option<Object<Box<Two>>>,
    }

    #[test]
    fn objects_are_read_and_arrays_refused() {
        for (json, good) in [
            ("{}", true),
            (r#"{"a":1,"b":{"a":null},"c":[]}"#, true),
            (r#"{"b":null}"#, true),
            ("[1,null]", false),
            (r#"{"b":[1,null]}"#, false),
            ("[]", false),
            ("null", false),
            ("1", false),
            (r#"{"a":1,"a":1}"#, false),
        ] {
            let read = serde_json::from_str::<Object<Two>>(json);
            assert_eq!(read.as_ref().is_ok_and(|two| two.0.a != Some(2)), good, "{json}: {:?}", read.err());
        }
        let wrong = serde_json::from_str::<Object<Two>>(r#"{"b":[1]}"#).err().expect("it is an array").to_string();
        assert_eq!(wrong, "invalid type: sequence, expected a JSON object at line 1 column 5");
        let two = serde_json::from_str::<Object<Two>>(r#"{"b":{}}"#).unwrap().0;
        assert!(two.b.is_some());
    }
}
