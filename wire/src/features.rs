//! Feature bits (BOLT 9) and channel types, which are features too (BOLT 2, `channel_type`).

mod vector;

pub use vector::Features;
