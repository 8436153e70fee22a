//! The on-chain wallet without its keys: which coins are ours, which may be spent, and which
//! transaction spends them. hsmd has the keys and rebuilds whatever it signs from the facts that
//! [`UnsignedTx`] lists; lightningd keeps the coins ([`Change`] says what to write) and the index
//! of our scripts.
//!
//! Pure: no files, no clock, no randomness of its own. Invariants, each with a property test:
//! - the inputs of a built transaction equal its outputs and its fee, to the satoshi;
//! - the fee is never below the feerate asked for, and above it by at most the cost of a change
//!   output that would have been dust;
//! - no output is dust;
//! - no coin is spent that is reserved, spent, immature, locked or not in the set.

pub mod address;
pub mod amount;
pub mod build;
pub mod claim;
pub mod error;
pub mod feerate;
mod select;
pub mod set;
pub mod sign;
pub mod utxo;
pub mod weight;

pub use address::{AddressError, describe_script, parse_address};
pub use amount::{Amount, AmountError, parse_outpoint};
pub use build::{
    ChangeOutput, ChangeTo, Inputs, Policy, Recipient, UnsignedTx, build_funding, build_withdraw,
    placeholder_funding_script,
};
pub use claim::{ClaimCoins, ClaimNeed, coins_for_claim};
pub use error::BuildError;
pub use feerate::{FeerateError, FeerateEstimates, FeerateSpec, Purpose};
pub use set::{Change, Fund, FundStatus, Reservation, SPENT_KEPT, SetError, UtxoSet};
pub use sign::AttachError;
pub use utxo::{CloseKey, KeyKind, KeyRef, RESERVATION_BLOCKS, Status, Utxo};
