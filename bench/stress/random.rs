//! Numbers that look random and that a seed determines.

use std::ops::RangeInclusive;

/// A generator of such numbers (SplitMix64).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    /// Returns true in this many of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(1..=100) <= percent
    }

    /// Returns one of these values.
    pub fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.next() as usize % values.len()].clone()
    }

    /// Returns a generator of its own for one part of the work, so that the order in which parts run does not matter.
    pub fn child(&mut self) -> Self {
        Self(self.next())
    }
}
