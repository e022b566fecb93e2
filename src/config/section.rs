//! A section declares each of its keys once; reading, printing and the schema are derived from that declaration.
//!
//! To add a key, add a field to the section's type and one line to its `keys`, and describe the key in `config/reference.yml`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::cursor::{Cursor, ReadContext};
use super::keys::{Key, KeyShape, Notation, Support};
use super::scalar_type::{Choices, ScalarType};
use super::secret::{MASK, Secret};

/// A section of the configuration.
pub(super) trait Section {
    /// Declares each key with the field that holds its value.
    ///
    /// This runs in three passes: one collects the keys, one sets the fields from a configuration, and one prints the fields.
    /// Before the first two, the fields hold the defaults. Errors and warnings count only while a configuration is read.
    fn keys(&mut self, keys: &mut Keys<'_, '_>);
}

/// Returns the keys of a section. Its fields hold the defaults.
pub(super) fn declare(section: &mut impl Section) -> Arc<[Key]> {
    let mut keys = Keys { pass: Pass::Declare(Vec::new()) };
    section.keys(&mut keys);
    keys.declared()
}

/// Sets the fields of a section from the configuration at `cursor`.
pub(super) fn read(section: &mut impl Section, cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) {
    section.keys(&mut Keys { pass: Pass::Read(cursor.clone(), reading) });
}

/// Returns the fields of a section as they would be written, secrets masked.
pub(super) fn print(section: &mut impl Section) -> Map<String, Value> {
    let mut keys = Keys { pass: Pass::Print(Map::new()) };
    section.keys(&mut keys);
    keys.printed()
}

/// A field that holds a `T`, or may hold one.
pub(super) trait Slot<T> {
    fn value(&self) -> Option<&T>;
    fn set(&mut self, value: T);
}

impl<T> Slot<T> for T {
    fn value(&self) -> Option<&T> {
        Some(self)
    }

    fn set(&mut self, value: T) {
        *self = value;
    }
}

impl<T> Slot<T> for Option<T> {
    fn value(&self) -> Option<&T> {
        self.as_ref()
    }

    fn set(&mut self, value: T) {
        *self = Some(value);
    }
}

fn value<T>(slot: &impl Slot<T>) -> Option<&T> {
    slot.value()
}

fn set<T>(slot: &mut impl Slot<T>, value: T) {
    slot.set(value);
}

/// Receives the declarations of a section's keys.
pub(super) struct Keys<'p, 's> {
    pass: Pass<'p, 's>,
}

enum Pass<'p, 's> {
    Declare(Vec<Key>),
    Read(Cursor<'p>, &'p mut ReadContext<'s>),
    Print(Map<String, Value>),
}

/// Keys that hold values.
impl<'p, 's> Keys<'p, 's> {
    /// Declares a scalar.
    pub(super) fn scalar<T>(&mut self, name: &'static str, kind: &ScalarType<T>, slot: &mut impl Slot<T>) {
        let shown = value(slot).map(kind.show);
        if let Some((cursor, reading)) = self.key(name, KeyShape::Scalar(kind.notation), shown)
            && let Some(value) = cursor.parsed(reading, kind.parse, kind.write)
        {
            set(slot, value);
        }
    }

    /// Declares a scalar that is one of a few words. Of several words with one value, the first is printed.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        name: &'static str,
        choices: &'static Choices<T>,
        slot: &mut impl Slot<T>,
    ) {
        let word = |value: &T| choices.values.iter().position(|other| other == value).map(|n| json!(choices.words[n]));
        let shown = value(slot).and_then(word);
        if let Some((cursor, reading)) = self.key(name, KeyShape::Scalar(Notation::Words(choices.words)), shown) {
            let parse = |text: &str| {
                let position = choices.words.iter().position(|word| word.eq_ignore_ascii_case(text))?;
                choices.values.get(position).copied()
            };
            if let Some(value) = cursor.parsed(reading, parse, choices.write) {
                set(slot, value);
            }
        }
    }

    /// Declares a text. An empty one counts as not written.
    pub(super) fn text(&mut self, name: &'static str, slot: &mut impl Slot<String>) {
        let shown = value(slot).filter(|text: &&String| !text.is_empty()).map(|text| json!(text));
        if let Some((cursor, reading)) = self.key(name, KeyShape::Scalar(Notation::Text), shown)
            && let Some(text) = cursor.text(reading)
        {
            set(slot, text.to_owned());
        }
    }

    /// Declares a path.
    pub(super) fn path(&mut self, name: &'static str, slot: &mut impl Slot<PathBuf>) {
        let mut text = value(slot).map(|path: &PathBuf| path.to_string_lossy().into_owned());
        let before = text.clone();
        self.text(name, &mut text);
        if let Some(text) = text.filter(|text| before.as_ref() != Some(text)) {
            set(slot, PathBuf::from(text));
        }
    }

    /// Declares a secret, which is printed as [`MASK`].
    pub(super) fn secret(&mut self, name: &'static str, slot: &mut Option<Secret>) {
        let shown = slot.is_some().then(|| json!(MASK));
        if let Some((cursor, reading)) = self.key(name, KeyShape::Scalar(Notation::Text), shown)
            && let Some(secret) = cursor.secret(reading)
        {
            *slot = Some(secret);
        }
    }

    /// Declares a list of scalars.
    pub(super) fn list<T>(&mut self, name: &'static str, slot: &mut Vec<T>)
    where
        T: FromStr<Err: std::fmt::Display> + ToString,
    {
        let shown = slot.iter().map(|item| json!(item.to_string())).collect();
        if let Some((cursor, reading)) = self.key(name, KeyShape::List, Some(shown))
            && cursor.is_written()
        {
            *slot = cursor.list(reading);
        }
    }

    /// Declares a map from any names to texts.
    pub(super) fn texts(&mut self, name: &'static str, slot: &mut BTreeMap<String, String>) {
        let shown = slot.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
        if let Some((cursor, reading)) = self.key(name, KeyShape::Texts, Some(Value::Object(shown))) {
            for (name, cursor) in cursor.children() {
                if let Some(text) = cursor.text(reading) {
                    slot.insert(name.to_owned(), text.to_owned());
                }
            }
        }
    }

    /// Declares a key whose printed value is `shown`. Returns its cursor while a configuration is read.
    pub(super) fn key(
        &mut self,
        name: &'static str,
        shape: KeyShape,
        shown: Option<Value>,
    ) -> Option<(Cursor<'p>, &mut ReadContext<'s>)> {
        match &mut self.pass {
            Pass::Declare(keys) => {
                let default = shown.filter(|_| matches!(shape, KeyShape::Scalar(_) | KeyShape::List));
                keys.push(Key { name, shape, support: Support::Supported, is_driver: false, default });
                None
            }
            Pass::Print(map) => {
                if let Some(shown) = shown {
                    map.insert(name.to_owned(), shown);
                }
                None
            }
            Pass::Read(cursor, reading) => Some((cursor.get(name), reading)),
        }
    }
}

/// Keys that hold sections.
impl Keys<'_, '_> {
    /// Declares a section.
    pub(super) fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.group(name, |keys| section.keys(keys));
    }

    /// Declares a section whose keys `declare` declares.
    pub(super) fn group(&mut self, name: &'static str, declare: impl FnOnce(&mut Keys<'_, '_>)) {
        self.nested(name, KeyShape::Section, declare);
    }

    /// Declares a section in which one key chooses a driver.
    pub(super) fn driver_section(&mut self, name: &'static str, section: &mut impl Section) {
        self.nested(name, KeyShape::DriverSection, |keys| section.keys(keys));
    }

    /// Declares a section that exists only if it is written.
    pub(super) fn optional<S: Section + Default>(&mut self, name: &'static str, section: &mut Option<S>) {
        let present = match &self.pass {
            Pass::Declare(_) => return self.section(name, &mut S::default()),
            Pass::Read(cursor, _) => cursor.get(name).is_written(),
            Pass::Print(_) => section.is_some(),
        };
        if present {
            self.section(name, section.get_or_insert_default());
        }
    }

    /// Declares a driver. Its presence chooses it, even without a value.
    pub(super) fn driver<S: Section + Default>(&mut self, name: &'static str, section: &mut Option<S>) {
        if let Pass::Read(cursor, _) = &self.pass
            && cursor.has(name)
        {
            self.section(name, section.get_or_insert_default());
        } else {
            self.optional(name, section);
        }
        self.mark_driver(name);
    }

    /// Declares a driver whose keys `declare` declares.
    pub(super) fn driver_group(&mut self, name: &'static str, declare: impl FnOnce(&mut Keys<'_, '_>)) {
        self.group(name, declare);
        self.mark_driver(name);
    }

    fn mark_driver(&mut self, name: &str) {
        if let Pass::Declare(keys) = &mut self.pass {
            keys.iter_mut().filter(|key| key.name == name).for_each(|key| key.is_driver = true);
        }
    }

    fn nested(
        &mut self,
        name: &'static str,
        shape: fn(Arc<[Key]>) -> KeyShape,
        declare: impl FnOnce(&mut Keys<'_, '_>),
    ) {
        match &mut self.pass {
            Pass::Declare(_) => {
                let mut inner = Keys { pass: Pass::Declare(Vec::new()) };
                declare(&mut inner);
                let shape = shape(inner.declared());
                self.key(name, shape, None);
            }
            Pass::Read(cursor, reading) => declare(&mut Keys { pass: Pass::Read(cursor.get(name), reading) }),
            Pass::Print(map) => {
                let mut inner = Keys { pass: Pass::Print(Map::new()) };
                declare(&mut inner);
                let printed = inner.printed();
                if !printed.is_empty() {
                    map.insert(name.to_owned(), Value::Object(printed));
                }
            }
        }
    }

    fn declared(self) -> Arc<[Key]> {
        match self.pass {
            Pass::Declare(keys) => keys.into(),
            Pass::Read(..) | Pass::Print(_) => Arc::from([]),
        }
    }

    fn printed(self) -> Map<String, Value> {
        match self.pass {
            Pass::Print(map) => map,
            Pass::Read(..) | Pass::Declare(_) => Map::new(),
        }
    }
}

/// Keys of `registry:2` that this version does not support.
impl Keys<'_, '_> {
    /// Declares a key that has no effect, about which there is no warning.
    pub(super) fn silent(&mut self, name: &'static str) {
        self.unsupported(name, Support::Silent);
    }

    /// Declares keys that have no effect, each with the reason.
    pub(super) fn ignored(&mut self, keys: &[(&'static str, &'static str)]) {
        for (name, why) in keys {
            self.ignored_unless(name, "", why);
        }
    }

    /// Declares a key that has no effect. Its value `unless` needs no warning.
    pub(super) fn ignored_unless(&mut self, name: &'static str, unless: &'static str, why: &'static str) {
        self.unsupported(name, Support::Ignored { unless, why });
    }

    /// Declares a key that is an error.
    pub(super) fn refused(&mut self, name: &'static str, instead: &'static str) {
        self.refused_unless(name, "", instead);
    }

    /// Declares a key that is an error, unless its value is `unless`.
    pub(super) fn refused_unless(&mut self, name: &'static str, unless: &'static str, instead: &'static str) {
        self.unsupported(name, Support::Refused { unless, instead });
    }

    /// Declares drivers that are errors.
    pub(super) fn refused_drivers(&mut self, names: &[&'static str], instead: &'static str) {
        for name in names {
            let support = Support::Refused { unless: "", instead };
            self.declare(Key { name, shape: KeyShape::Anything, support, is_driver: true, default: None });
        }
    }

    /// Declares a driver that has no effect, with the reason.
    pub(super) fn ignored_driver(&mut self, name: &'static str, why: &'static str) {
        let support = Support::Ignored { unless: "", why };
        self.declare(Key { name, shape: KeyShape::Anything, support, is_driver: true, default: None });
    }

    /// Declares a key by its data alone.
    pub(super) fn declare(&mut self, key: Key) {
        if let Pass::Declare(keys) = &mut self.pass {
            keys.push(key);
        }
    }

    /// Declares a key with this support.
    pub(super) fn unsupported(&mut self, name: &'static str, support: Support) {
        self.declare(Key { name, shape: KeyShape::Anything, support, is_driver: false, default: None });
    }
}

/// Errors and warnings. A key is named by its path in the section, such as `debug.addr`. The message continues that name.
impl<'p, 's> Keys<'p, 's> {
    /// Reports a mistake at a key.
    pub(super) fn error(&mut self, key: &str, message: &str) {
        if let Pass::Read(cursor, reading) = &mut self.pass {
            cursor.at(&key.split('.').collect::<Vec<_>>()).error(reading, message);
        }
    }

    /// Reports a warning at a key.
    pub(super) fn warn(&mut self, key: &str, message: &str) {
        if let Pass::Read(cursor, reading) = &mut self.pass {
            cursor.at(&key.split('.').collect::<Vec<_>>()).warn(reading, message);
        }
    }

    /// Returns the section's cursor while a configuration is read, for checks of several keys.
    pub(super) fn cursor(&mut self) -> Option<(&Cursor<'p>, &mut ReadContext<'s>)> {
        match &mut self.pass {
            Pass::Read(cursor, reading) => Some((cursor, reading)),
            Pass::Declare(_) | Pass::Print(_) => None,
        }
    }

    /// Returns the text of a scalar as it is written.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        match &self.pass {
            Pass::Read(cursor, _) => cursor.get(key).raw(),
            Pass::Declare(_) | Pass::Print(_) => None,
        }
    }

    /// Returns true if a configuration is read and the key is written in it.
    pub(super) fn is_written(&self, key: &str) -> bool {
        matches!(&self.pass, Pass::Read(cursor, _) if cursor.get(key).is_written())
    }

    /// Returns true while a configuration is read.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.pass, Pass::Read(..))
    }
}
