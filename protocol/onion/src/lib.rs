//! Onion routing (BOLT 4): the packet that carries a payment's instructions, what each hop finds
//! in it, and the way errors come back.
//!
//! Pure: no clock, no randomness, no node key. The sender's session key comes in as an argument;
//! a receiver's shared secret is computed where the node key lives, from the [`packet::ephemeral_key`].
//!
//! Not here: reading `encrypted_recipient_data` (route blinding), onion messages and attribution data.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod blinding;
mod error_packet;
pub mod failure;
mod keys;
pub mod packet;
pub mod payload;
mod secret;

pub use blinding::{next_path_key, tweak_ephemeral_key};
pub use error_packet::{create_error, decode_error, wrap_error};
pub use failure::{BadOnion, Failure, MalformedOnion, NotBadOnion};
pub use packet::{BuildError, Peeled, UnwrapError, build, ephemeral_key, unwrap};
pub use payload::{
    BlindedFinal, BlindedForward, CustomRecord, Final, Forward, InvalidPayload, Payload,
    PayloadProblem, PaymentData, Position,
};
pub use secret::SharedSecret;
