//! Tests of the private registry.

mod bad_entries;
mod concurrent_changes;
mod conformance;
mod damaged_files;
mod file_systems;
mod foreign_layers;
mod full_disk;
mod lists;
mod ollama;
mod push;
mod records;
mod tags;
mod uploads;
