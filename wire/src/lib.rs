//! What peers say, byte for byte: units, codec, messages, features and the BOLT 8 transport.
//!
//! Nothing here knows a socket, a clock or a file; time and randomness come in as arguments.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod codec;
pub mod features;
pub mod hkdf;
pub mod messages;
pub mod noise;
pub mod units;

pub use codec::DecodeError;
pub use features::{Feature, Features};
pub use messages::*;
pub use units::*;
