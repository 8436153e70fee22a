//! Feature bits (BOLT 9) and channel types, which are features too (BOLT 2, `channel_type`).

mod assigned;
mod vector;

pub use assigned::{Context, Feature};
pub use vector::Features;
