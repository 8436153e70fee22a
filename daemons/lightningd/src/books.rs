//! What the node's books say: which moves follow from a coin or from a channel's state. Pure: the wallet
//! and the channels write them together with what they follow from (docs/books.md).

pub mod apy;
pub mod channel;
pub mod csv;
pub mod income;
pub mod ledger;
pub mod report;
pub mod wallet;
