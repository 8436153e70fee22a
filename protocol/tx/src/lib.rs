//! BOLT 3: what is in a channel and which transactions say so.
//!
//! Pure: no keys of ours, no socket, no clock. `hsm` signs what is built here and the
//! channel core reasons about the same ledger, so both mean the same transaction.
//!
//! A commitment has an *owner* (the side that can broadcast it) and an *other*. BOLT 3's
//! "local" and "remote" of one transaction are owner and other here; [`wire::Side`]
//! always means our node and the peer.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod claim;
pub mod closing;
pub mod commitment;
pub mod error;
pub mod fees;
pub mod htlc;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod onchain;
pub mod script;
pub mod setup;
pub mod shachain;
pub mod signer;
pub mod spends;
pub mod witness;

pub use closing::Closing;
pub use commitment::{Commitment, CommitmentHtlc, CommitmentOutput};
pub use error::{KeyError, TxError};
pub use htlc::{HtlcKind, HtlcTx};
pub use keys::CommitmentKeys;
pub use shachain::{Shachain, ShachainError};
