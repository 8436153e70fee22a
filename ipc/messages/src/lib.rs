//! Every message between two processes of the node: one file per edge, one enum per direction.
//!
//! An edge is bound to its peer or channel by its file descriptor, so no message on a
//! per-channel edge names the channel. What goes up is hostile to who receives it.
//! `ipc/schema.lock` is the golden text of all this; its hash opens every edge ([`SCHEMA`]).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod channeld_connectd;
pub mod edges;
pub mod lightningd_chaind;
pub mod lightningd_channeld;
pub mod lightningd_connectd;
pub mod lightningd_onchaind;
pub mod lightningd_payd;

pub use hsm_messages as hsm;
pub use hsm_messages::{SCHEMA, SCHEMA_TEXT, hello};
