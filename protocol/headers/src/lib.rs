//! The chain of block headers, and proofs that a transaction is in one of its blocks.
//!
//! Pure: no key, socket or clock. Whoever gives the headers is not believed: each has its work, the
//! target that the network's rules demand, and follows from one that is known; the chain begins with one
//! that is trusted. Of two chains that with more work counts. What is older than [`WINDOW`] blocks is
//! dropped and stays.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod chain;
mod proof;
mod rules;
mod tree;

pub use chain::{Chain, RawHeader, WINDOW};
pub use proof::{BranchHash, MAX_BRANCH};
pub use rules::Rules;
pub use tree::Tree;

use bitcoin::{BlockHash, Txid};
use wire::BlockHeight;

/// Why a header or a proof is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("no rules for headers of this network are known")]
    UnknownNetwork,
    #[error(
        "no header was given yet: begin with the first block of a difficulty period, whose height \
         2016 divides"
    )]
    NoStart,
    #[error("the chain cannot begin at {0}: 2016 does not divide it")]
    NotAPeriod(BlockHeight),
    #[error(
        "the chain cannot begin with block {0}: it has less work than this network's have had for years"
    )]
    TooEasy(BlockHash),
    #[error("headers of {got} follow nothing that is known: {from} to {to} are")]
    Gap {
        got: BlockHeight,
        from: BlockHeight,
        to: BlockHeight,
    },
    #[error("header {0} does not follow the one before it")]
    NotLinked(BlockHeight),
    #[error("header {0} has another target than the network's rules give, or not the work for it")]
    NoWork(BlockHeight),
    #[error("header {0} has a time that the network's rules forbid; check this computer's clock")]
    Time(BlockHeight),
    #[error(
        "from {0} on these headers have no more work than those that are known: give the whole branch at once"
    )]
    LessWork(BlockHeight),
    #[error("{0} headers at once, where 2016 are the most")]
    TooMany(usize),
    #[error("the header of block {0} is not known")]
    UnknownBlock(BlockHeight),
    #[error("transaction {0} is not where the proof says in block {1}")]
    NotInBlock(Txid, BlockHeight),
}
