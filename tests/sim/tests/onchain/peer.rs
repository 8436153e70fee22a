//! The peer: closes with what it likes, and takes what its keys can take, with a miner of its own.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use rand::Rng;
use rand::rngs::StdRng;
use secp256k1::{Message, SECP256K1, SecretKey};
use tx::keys::derive_privkey;
use tx::setup::CommitmentFormat;
use tx::{Commitment, CommitmentOutput, HtlcKind, witness};
use wire::Side;

use crate::chain::Chain;
use crate::contract::Contract;

/// Whose commitment was mined, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    pub owner: Side,
    pub at: usize,
}

impl Close {
    pub fn is_revoked(self, contract: &Contract) -> bool {
        self.owner == Side::Remote && self.at < contract.remote_lowest
    }
}

pub struct Peer {
    /// How likely it does in a block what it can do.
    pub eager: f64,
    /// The HTLCs that it has the preimages of, by place.
    pub knows: Vec<bool>,
}

impl Peer {
    pub fn random(contract: &Contract, rng: &mut StdRng) -> Peer {
        let count = contract.htlcs.len();
        Peer {
            eager: [0.0, 0.05, 0.3, 1.0][rng.gen_range(0..4)],
            knows: (0..count).map(|_| rng.gen_bool(0.5)).collect(),
        }
    }

    /// What it gives its miner for the next block.
    pub fn wants(
        &self,
        contract: &Contract,
        close: Close,
        chain: &Chain,
        rng: &mut StdRng,
    ) -> Vec<Transaction> {
        let commitment = contract.commitment(close.owner, close.at);
        let txid = commitment.tx.compute_txid();
        if !chain.confirmed().any(|(_, tx)| tx.compute_txid() == txid) {
            return Vec::new();
        }
        let mut wants = Vec::new();
        for (vout, output) in (0_u32..).zip(&commitment.outputs) {
            let outpoint = OutPoint { txid, vout };
            if rng.gen_bool(self.eager) {
                wants.extend(self.take(contract, &commitment, *output, outpoint, chain));
            }
        }
        wants
    }

    fn take(
        &self,
        contract: &Contract,
        commitment: &Commitment,
        output: CommitmentOutput,
        outpoint: OutPoint,
        chain: &Chain,
    ) -> Option<Transaction> {
        match (commitment.owner, output) {
            (Side::Remote, CommitmentOutput::ToLocal) => {
                Some(self.delayed(contract, commitment, outpoint))
            }
            (Side::Remote, CommitmentOutput::Htlc(_)) => match chain.spender(&outpoint) {
                None => self.own_htlc(contract, commitment, outpoint, chain),
                // Its own HTLC transaction has an output for it, after the delay.
                Some((_, tx)) => Some(self.delayed(
                    contract,
                    commitment,
                    OutPoint {
                        txid: tx.compute_txid(),
                        vout: 0,
                    },
                )),
            },
            (Side::Local, CommitmentOutput::Htlc(_)) => {
                self.our_htlc(contract, commitment, outpoint, chain)
            }
            (Side::Local, CommitmentOutput::ToLocal)
            | (_, CommitmentOutput::ToRemote)
            | (_, CommitmentOutput::LocalAnchor | CommitmentOutput::RemoteAnchor) => None,
        }
    }

    fn has_preimage(&self, contract: &Contract, key: tx::ledger::HtlcKey) -> bool {
        let place = contract.htlcs.keys().position(|known| *known == key);
        // What it offered it knows no preimage of.
        key.offerer == Side::Local && place.is_some_and(|place| self.knows[place])
    }

    /// A delayed output of its commitment, or of an HTLC transaction of it.
    fn delayed(
        &self,
        contract: &Contract,
        commitment: &Commitment,
        outpoint: OutPoint,
    ) -> Transaction {
        let delay = Sequence(u32::from(contract.setup.local.to_self_delay.0));
        let script = &commitment.to_local_script;
        let point = contract.theirs.point(commitment.n);
        let secret = derive_privkey(&contract.theirs.delayed, &point).unwrap();
        let value = value_of(outpoint, commitment);
        spend(outpoint, value, script, delay, 0, &secret, |signature| {
            witness::to_local(signature, script)
        })
    }

    /// By its HTLC transaction.
    fn own_htlc(
        &self,
        contract: &Contract,
        commitment: &Commitment,
        outpoint: OutPoint,
        chain: &Chain,
    ) -> Option<Transaction> {
        let all = commitment.htlc_transactions().unwrap();
        let is = |htlc: &&tx::HtlcTx| htlc.tx.input[0].previous_output == outpoint;
        let htlc = all.iter().find(is)?;
        let preimage = match htlc.kind {
            HtlcKind::Timeout if htlc.tx.lock_time.to_consensus_u32() > chain.height() => {
                return None;
            }
            HtlcKind::Timeout => None,
            HtlcKind::Success if self.has_preimage(contract, htlc.key) => {
                Some(contract.preimages[&htlc.key])
            }
            HtlcKind::Success => return None,
        };
        let point = contract.theirs.point(commitment.n);
        let sign = |side| {
            htlc.sign(side, &contract.htlc_secret(side, &point))
                .unwrap()
        };
        let signed = htlc.signed(&sign(Side::Remote), &sign(Side::Local), preimage.as_ref());
        Some(signed.unwrap())
    }

    /// From our commitment: with the preimage, or back after the expiry.
    fn our_htlc(
        &self,
        contract: &Contract,
        commitment: &Commitment,
        outpoint: OutPoint,
        chain: &Chain,
    ) -> Option<Transaction> {
        let mut htlcs = commitment.htlcs.iter();
        let htlc = htlcs.find(|htlc| htlc.output_index == outpoint.vout)?;
        let point = contract.ours.point(commitment.n);
        let secret = contract.htlc_secret(Side::Remote, &point);
        let sequence = match contract.setup.format {
            CommitmentFormat::StaticRemotekey => Sequence(0xffff_fffd),
            CommitmentFormat::AnchorsZeroFeeHtlc => Sequence(1),
        };
        let (script, value) = (&htlc.redeem_script, htlc.htlc.amount.to_sat_floor().0);
        match htlc.key.offerer {
            Side::Local if self.has_preimage(contract, htlc.key) => {
                let preimage = contract.preimages[&htlc.key];
                Some(spend(
                    outpoint,
                    value,
                    script,
                    sequence,
                    0,
                    &secret,
                    |signature| witness::htlc_preimage(signature, &preimage, script),
                ))
            }
            Side::Local => None,
            Side::Remote if htlc.htlc.cltv_expiry.0 > chain.height() => None,
            Side::Remote => {
                let expiry = htlc.htlc.cltv_expiry.0;
                Some(spend(
                    outpoint,
                    value,
                    script,
                    sequence,
                    expiry,
                    &secret,
                    |signature| witness::htlc_timeout(signature, script),
                ))
            }
        }
    }
}

/// Of a commitment's output, or of the only output of one of its HTLC transactions.
fn value_of(outpoint: OutPoint, commitment: &Commitment) -> u64 {
    if outpoint.txid == commitment.tx.compute_txid() {
        return commitment.tx.output[usize::try_from(outpoint.vout).unwrap()]
            .value
            .to_sat();
    }
    let all = commitment.htlc_transactions().unwrap();
    let is = |htlc: &&tx::HtlcTx| htlc.tx.compute_txid() == outpoint.txid;
    all.iter()
        .find(is)
        .map_or(1000, |htlc| htlc.tx.output[0].value.to_sat())
}

fn spend(
    outpoint: OutPoint,
    value: u64,
    script: &Script,
    sequence: Sequence,
    lock_time: u32,
    secret: &SecretKey,
    witness: impl Fn(&secp256k1::ecdsa::Signature) -> Witness,
) -> Transaction {
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(lock_time),
        input: vec![TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence,
            witness: Witness::new(),
        }],
        // To its own wallet, whatever that is.
        output: vec![TxOut {
            value: Amount::from_sat(value.saturating_sub(1)),
            script_pubkey: ScriptBuf::from(vec![0x51]),
        }],
    };
    let hash = SighashCache::new(&tx)
        .p2wsh_signature_hash(0, script, Amount::from_sat(value), EcdsaSighashType::All)
        .unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    tx.input[0].witness = witness(&SECP256K1.sign_ecdsa(&message, secret));
    tx
}
