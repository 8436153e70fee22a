//! WALLET: coins on chain. hsmd rebuilds the transaction from these facts and signs all inputs or none.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
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

impl Spend {
    /// What these facts say of a transaction.
    #[must_use]
    pub fn of(tx: &Transaction, coins: &[(Satoshi, WalletKey)]) -> Spend {
        let inputs = tx.input.iter().zip(coins);
        let inputs = inputs.map(|(input, (value, key))| SpendInput {
            outpoint: input.previous_output,
            value: *value,
            sequence: input.sequence.to_consensus_u32(),
            key: *key,
        });
        let outputs = tx.output.iter().map(|output| SpendOutput {
            value: Satoshi(output.value.to_sat()),
            script: output.script_pubkey.clone(),
        });
        Spend {
            locktime: tx.lock_time.to_consensus_u32(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }

    /// The transaction that these facts make, unsigned.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        let inputs = self.inputs.iter().map(|input| TxIn {
            previous_output: input.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence(input.sequence),
            witness: Witness::new(),
        });
        let outputs = self.outputs.iter().map(|output| TxOut {
            value: Amount::from_sat(output.value.0),
            script_pubkey: output.script.clone(),
        });
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(self.locktime),
            input: inputs.collect(),
            output: outputs.collect(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    #[test]
    fn the_facts_of_a_transaction_make_the_same_transaction() {
        let kind = AddressKind::P2tr;
        let coins = [1, 2].map(|n| (Satoshi(u64::from(n)), WalletKey { index: n, kind }));
        let input = |n: u8| TxIn {
            previous_output: OutPoint {
                txid: bitcoin::Txid::from_byte_array([n; 32]),
                vout: u32::from(n),
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence(0xffff_fff0 + u32::from(n)),
            witness: Witness::new(),
        };
        let output = |n: u8| TxOut {
            value: Amount::from_sat(u64::from(n)),
            script_pubkey: ScriptBuf::from_bytes(vec![n]),
        };
        let tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(77),
            input: vec![input(1), input(2)],
            output: vec![output(3), output(4), output(5)],
        };
        let spend = Spend::of(&tx, &coins);
        assert_eq!(spend.transaction(), tx);
        assert_eq!(spend.inputs[1].key.index, 2);
    }
}
