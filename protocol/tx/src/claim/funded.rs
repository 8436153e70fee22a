//! Claims that wallet coins pay for: HTLC transactions of our own commitment, and children of our anchor.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, Transaction, TxOut};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, SECP256K1, SecretKey};
use serde::{Deserialize, Serialize};
use wire::{Preimage, Satoshi};

use super::{REPLACEABLE, paying};
use crate::commitment::{Commitment, input, number_of};
use crate::error::TxError;
use crate::fees::ANCHOR_VALUE;
use crate::htlc::HtlcTx;
use crate::ledger::HtlcKey;
use crate::script;
use crate::setup::{CommitmentFormat, Funding, Setup};
use crate::witness;

/// A wallet coin that pays a claim's fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeCoin {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    /// Index of its address in the wallet.
    pub index: u32,
    pub kind: CoinKind,
}

/// Which of an address's two scripts a coin was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CoinKind {
    P2wpkh,
    P2tr,
}

/// A transaction of which wallet coins are the last inputs, and change is the last output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funded {
    pub tx: Transaction,
    /// How many inputs stand before the coins.
    pub first_coin: usize,
}

/// HTLC transactions of one commitment of ours in one: their outputs stand where their inputs do, as
/// the peer's signatures demand (BOLT 3, HTLC-Timeout and HTLC-Success Transactions: with anchors they
/// are SINGLE and ANYONECANPAY). Without coins it is the one HTLC transaction as it is.
///
/// # Errors
/// `Empty`; `Joined` if there are several, or coins, where the format has no anchors, or their lock
/// times differ; `Dust` if the coins are less than `fee`.
pub fn join_htlcs(
    format: CommitmentFormat,
    htlcs: &[HtlcTx],
    coins: &[FeeCoin],
    change: &Script,
    fee: Satoshi,
) -> Result<Funded, TxError> {
    let first = htlcs.first().ok_or(TxError::Empty)?;
    if coins.is_empty() && htlcs.len() == 1 {
        let tx = first.tx.clone();
        return Ok(Funded { tx, first_coin: 1 });
    }
    let lock_time = first.tx.lock_time;
    if format == CommitmentFormat::StaticRemotekey
        || htlcs.iter().any(|htlc| htlc.tx.lock_time != lock_time)
    {
        return Err(TxError::Joined);
    }
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time,
        input: htlcs
            .iter()
            .flat_map(|htlc| htlc.tx.input.clone())
            .collect(),
        output: htlcs
            .iter()
            .flat_map(|htlc| htlc.tx.output.clone())
            .collect(),
    };
    let first_coin = tx.input.len();
    add_coins(&mut tx, coins, Satoshi::ZERO, change, fee)?;
    Ok(Funded { tx, first_coin })
}

/// HTLC transactions of our own commitment, as [`join_htlcs`] has them, with the peer's signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHtlcs {
    pub funded: Funded,
    htlcs: Vec<(HtlcTx, Signature, Option<Preimage>)>,
}

impl OwnHtlcs {
    /// Those that are wanted; `signatures` are the peer's on all of the commitment's, in output order.
    ///
    /// # Errors
    /// `NoHtlcOutput`, and those of [`join_htlcs`].
    pub fn build(
        commitment: &Commitment,
        signatures: &[Signature],
        wanted: &[(HtlcKey, Option<Preimage>)],
        coins: &[FeeCoin],
        change: &Script,
        fee: Satoshi,
    ) -> Result<OwnHtlcs, TxError> {
        let all = commitment.htlc_transactions()?;
        let (mut htlcs, mut txs) = (Vec::new(), Vec::new());
        for (key, preimage) in wanted {
            let mut signed = all.iter().zip(signatures);
            let found = signed.find(|(htlc, _)| htlc.key == *key);
            let (htlc, signature) = found.ok_or(TxError::NoHtlcOutput(*key))?;
            txs.push(htlc.clone());
            htlcs.push((htlc.clone(), *signature, *preimage));
        }
        let funded = join_htlcs(commitment.format, &txs, coins, change, fee)?;
        Ok(OwnHtlcs { funded, htlcs })
    }

    /// What the inputs before the coins spend.
    #[must_use]
    pub fn spent(&self) -> Vec<TxOut> {
        self.htlcs.iter().map(|(htlc, ..)| htlc.output()).collect()
    }

    /// Of all of them.
    #[must_use]
    pub fn value(&self) -> Satoshi {
        let values = self.htlcs.iter().map(|(htlc, ..)| htlc.amount);
        values.fold(Satoshi::ZERO, Satoshi::saturating_add)
    }

    /// With all witnesses but the coins'. `secret`: our HTLC key of the commitment.
    ///
    /// # Errors
    /// `WrongHtlcKind`, `WrongPreimage`.
    pub fn sign(&self, secret: &SecretKey) -> Result<Transaction, TxError> {
        let mut tx = self.funded.tx.clone();
        for (index, (htlc, theirs, preimage)) in self.htlcs.iter().enumerate() {
            let value = Amount::from_sat(htlc.amount.0);
            let script = &htlc.redeem_script;
            let hash = SighashCache::new(&self.funded.tx)
                .p2wsh_signature_hash(index, script, value, EcdsaSighashType::All)
                .map_err(|_| TxError::Sighash)?;
            let message = Message::from_digest(hash.to_byte_array());
            let ours = SECP256K1.sign_ecdsa(&message, secret);
            let input = tx.input.get_mut(index).ok_or(TxError::Sighash)?;
            input.witness = htlc.witness(&ours, theirs, preimage.as_ref())?;
        }
        Ok(tx)
    }
}

/// Whether this is a commitment of the channel, by its form.
///
/// # Errors
/// `NotACommitment`.
pub fn check_commitment(
    setup: &Setup,
    funding: &Funding,
    commitment: &Transaction,
) -> Result<(), TxError> {
    let spent: Vec<OutPoint> = commitment.input.iter().map(|i| i.previous_output).collect();
    match spent == [funding.outpoint] && number_of(setup, commitment).is_some() {
        true => Ok(()),
        false => Err(TxError::NotACommitment),
    }
}

/// A child of `commitment` by our anchor, paid for by coins.
///
/// # Errors
/// `NoAnchor`; `Dust` if the coins are less than `fee`.
pub fn spend_anchor(
    setup: &Setup,
    commitment: &Transaction,
    coins: &[FeeCoin],
    change: &Script,
    fee: Satoshi,
) -> Result<Funded, TxError> {
    let outpoint = anchor_of(setup, commitment).ok_or(TxError::NoAnchor)?;
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input(outpoint, REPLACEABLE)],
        output: Vec::with_capacity(1),
    };
    add_coins(&mut tx, coins, ANCHOR_VALUE, change, fee)?;
    Ok(Funded { tx, first_coin: 1 })
}

/// Our anchor in a commitment of either side, if it has one.
#[must_use]
pub fn anchor_of(setup: &Setup, commitment: &Transaction) -> Option<OutPoint> {
    if setup.format == CommitmentFormat::StaticRemotekey {
        return None;
    }
    let script = script::anchor_script(&setup.local.funding_pubkey).to_p2wsh();
    let mut outputs = (0_u32..).zip(&commitment.output);
    let (vout, _) = outputs.find(|(_, output)| output.script_pubkey == script)?;
    Some(OutPoint {
        txid: commitment.compute_txid(),
        vout,
    })
}

/// What our signature on our anchor, input 0, signs.
///
/// # Errors
/// `Sighash` if there is no input.
pub fn anchor_sighash(setup: &Setup, tx: &Transaction) -> Result<Message, TxError> {
    let script = script::anchor_script(&setup.local.funding_pubkey);
    let value = Amount::from_sat(ANCHOR_VALUE.0);
    SighashCache::new(tx)
        .p2wsh_signature_hash(0, &script, value, EcdsaSighashType::All)
        .map(|hash| Message::from_digest(hash.to_byte_array()))
        .map_err(|_| TxError::Sighash)
}

/// The child of [`spend_anchor`] with all witnesses but the coins'. `secret`: our funding key.
///
/// # Errors
/// As [`anchor_sighash`].
pub fn sign_anchor(
    setup: &Setup,
    mut tx: Transaction,
    secret: &SecretKey,
) -> Result<Transaction, TxError> {
    let signature = SECP256K1.sign_ecdsa(&anchor_sighash(setup, &tx)?, secret);
    let script = script::anchor_script(&setup.local.funding_pubkey);
    let input = tx.input.first_mut().ok_or(TxError::Sighash)?;
    input.witness = witness::anchor(&signature, &script);
    Ok(tx)
}

/// The output that input 0 of an anchor's child spends; for the sighashes of its coins.
#[must_use]
pub fn anchor_output(setup: &Setup) -> TxOut {
    TxOut {
        value: Amount::from_sat(ANCHOR_VALUE.0),
        script_pubkey: script::anchor_script(&setup.local.funding_pubkey).to_p2wsh(),
    }
}

fn add_coins(
    tx: &mut Transaction,
    coins: &[FeeCoin],
    more: Satoshi,
    change: &Script,
    fee: Satoshi,
) -> Result<(), TxError> {
    let total = coins.iter().try_fold(more, |sum, coin| {
        sum.checked_add(coin.value).ok_or(TxError::Overflow)
    })?;
    let rest = total.checked_sub(fee).ok_or(TxError::Dust)?;
    let inputs = coins.iter().map(|coin| input(coin.outpoint, REPLACEABLE));
    tx.input.extend(inputs);
    tx.output.push(paying(change, rest)?);
    Ok(())
}
