//! WALLET: coins on chain. hsmd rebuilds the transaction from these facts and signs all inputs or none.

use bitcoin::{OutPoint, ScriptBuf};
use serde::{Deserialize, Serialize};
use wire::Satoshi;

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: allocates the next index; both its scripts are ours from now on.
    GetAddress,
    /// Effect: signs every input of a transaction that spends only wallet coins.
    /// Refused if: an input's value contradicts what was said of it before, or outputs exceed inputs.
    Sign { spend: Spend },
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
    Refused(Refused),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    P2wpkh,
    P2tr,
}
