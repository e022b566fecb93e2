//! Which module may import which: nothing to hold to yet.
