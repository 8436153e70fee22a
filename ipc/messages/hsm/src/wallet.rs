//! WALLET: coins on chain. hsmd rebuilds the transaction from these facts and signs all inputs or none.

use bitcoin::{OutPoint, ScriptBuf};
use serde::{Deserialize, Serialize};
pub use tx::claim::CoinKind as AddressKind;
use wire::Satoshi;

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: allocates the next index; both its scripts are ours from now on.
    GetAddress,
    /// Effect: the coins count as held, with these values for ever.
    /// Refused if: a value contradicts what was said of the coin before.
    Seen { coins: Vec<SeenCoin> },
    /// Effect: signs every input of a transaction that spends only wallet coins. What leaves with it
    /// is charged to what may leave in a day, once for the same coins, unless the operator approved it.
    /// Refused if: an input's value contradicts what was said of it before; outputs exceed inputs; the
    /// fee is above a cap; a channel's funding output is not ready; more would leave than may.
    Sign { spend: Spend },
    /// Effect: none; whether a channel may be closed to this script.
    /// Refused if: it is neither the wallet's nor on the operator's allowlist.
    CheckShutdown { script: ScriptBuf },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Address {
        index: u32,
        p2wpkh: ScriptBuf,
        p2tr: ScriptBuf,
    },
    /// One witness stack an input, in their order.
    Signed {
        witnesses: Vec<Vec<Vec<u8>>>,
    },
    Seen,
    ShutdownAllowed,
    Refused(Refused),
}

/// A coin of the wallet that lightningd has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenCoin {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub key: WalletKey,
}

/// A version 2 transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    pub locktime: u32,
    pub inputs: Vec<SpendInput>,
    pub outputs: Vec<SpendOutput>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpendInput {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub sequence: u32,
    pub key: WalletKey,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpendOutput {
    pub value: Satoshi,
    pub script: ScriptBuf,
}

/// Which address of the wallet a coin was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WalletKey {
    pub index: u32,
    pub kind: AddressKind,
}
