//! Tests of hosted content.

mod locks;
