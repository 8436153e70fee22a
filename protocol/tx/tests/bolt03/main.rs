//! BOLT 3's vectors, byte for byte, and what must hold for every channel.

mod closing;
mod commitments;
mod derivation;
mod edges;
mod fees;
mod fixture;
mod properties;
