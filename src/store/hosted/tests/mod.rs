//! Tests of hosted content. Each test in `behaviour` runs over the disk driver and over a driver in memory.

mod behaviour;
mod locks;
mod memory;
