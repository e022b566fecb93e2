//! Tests of hosted content. The tests that `over_both_drivers` lists run over the disk driver and over a driver in memory.

mod memory;
mod faulty;
mod fixture;
mod blobs;
mod uploads;
mod manifests;
mod locks;
mod records;
mod removal;
