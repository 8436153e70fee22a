//! BOLT 11 invoices: reading what others ask us to pay, and encoding what we ask for.
//!
//! A thin layer over the crate `lightning-invoice`, which knows the coding of each field. What it
//! leaves open is decided here: the hash is taken from the string as it was given (that crate
//! encodes the fields again, which changes the hash of an unusual but valid string), the first of
//! several fields counts, and numbers out of range are errors, never "no amount".
//!
//! Signing is done elsewhere: [`Bolt11Fields::signing_hash`] says over what.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod build;
mod currency;
mod fields;
mod parse;
mod words;

pub use build::{Bolt11Fields, BuildError};
pub use fields::{DescriptionOrHash, HintHop};
pub use parse::{Invoice, ParseError, parse};
