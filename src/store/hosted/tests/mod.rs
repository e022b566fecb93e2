//! Tests of hosted content. Each test in `behaviour` and in `records` runs over the disk driver and over a driver in memory.

mod behaviour;
mod faulty;
mod locks;
mod memory;
mod records;
mod removal;
