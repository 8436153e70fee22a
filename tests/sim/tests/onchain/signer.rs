//! What hsmd does for a spent channel, with the keys at hand.

use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, CompressedPublicKey, ScriptBuf, Transaction};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use tx::claim::{self, Claimed, FeeCoin, Funded, How, PointOf, Sweep};
use tx::keys::{derive_privkey, derive_revocation_privkey, per_commitment_secret};
use tx::ledger::HtlcKey;
use tx::limits;
use tx::onchain::{Claim, ParentTx, Reply, Request};
use tx::{Commitment, witness};
use wire::{Preimage, Satoshi, Side};

use crate::contract::Contract;

/// One address that everything goes to.
pub struct Wallet {
    secret: SecretKey,
}

impl Wallet {
    pub fn new() -> Wallet {
        let secret = SecretKey::from_slice(&[42; 32]).unwrap();
        Wallet { secret }
    }

    pub fn script(&self) -> ScriptBuf {
        let key = CompressedPublicKey(self.secret.public_key(SECP256K1));
        ScriptBuf::new_p2wpkh(&key.wpubkey_hash())
    }

    fn sign(&self, funded: &mut Funded, coins: &[FeeCoin]) {
        let script = self.script();
        for (index, coin) in (funded.first_coin..).zip(coins) {
            let value = Amount::from_sat(coin.value.0);
            let mut cache = SighashCache::new(&funded.tx);
            let hash = cache
                .p2wpkh_signature_hash(index, &script, value, EcdsaSighashType::All)
                .unwrap();
            let message = Message::from_digest(hash.to_byte_array());
            let signature = bitcoin::ecdsa::Signature {
                signature: SECP256K1.sign_ecdsa(&message, &self.secret),
                sighash_type: EcdsaSighashType::All,
            };
            let key = self.secret.public_key(SECP256K1);
            funded.tx.input[index].witness = bitcoin::Witness::p2wpkh(&signature, &key);
        }
    }
}

/// As hsmd. A fee above the operator's cap is refused, since nobody else is told of it; nothing is for its share
/// or for dust, or it would be asked again for ever.
pub fn answer(contract: &Contract, wallet: &Wallet, request: &Request) -> Reply {
    let signed = |tx: Transaction| Reply::Signed {
        tx: bitcoin::consensus::serialize(&tx),
    };
    match request {
        Request::LocalPoint { n } if n.0 > Contract::number(contract.local_newest).0 + 1 => {
            refused("C5")
        }
        Request::LocalPoint { n } => Reply::Point {
            point: contract.ours.point(*n),
        },
        Request::RevokedPoint { n } => {
            assert!(
                n.0 < Contract::number(contract.remote_lowest).0,
                "asked for no secret"
            );
            Reply::Point {
                point: contract.theirs.point(*n),
            }
        }
        Request::Sweep {
            parents,
            claims,
            fee,
        } => match *fee > contract.max_fee.get() {
            true => refused("X2"),
            false => signed(sweep(contract, wallet, parents, claims, *fee)),
        },
        Request::HtlcTxs { coins, fee, .. }
            if !coins.is_empty() && *fee > contract.max_fee.get() =>
        {
            refused("X2")
        }
        Request::HtlcTxs { htlcs, coins, fee } => {
            match htlc_txs(contract, wallet, htlcs, coins, *fee) {
                Some(tx) => signed(tx),
                None => refused("X1"),
            }
        }
        Request::Anchor { fee, .. } if *fee > contract.max_fee.get() => refused("X4"),
        Request::Anchor {
            commitment,
            coins,
            fee,
        } => {
            let setup = &contract.setup;
            let parent = bitcoin::consensus::deserialize(&commitment.0).unwrap();
            let script = wallet.script();
            // X4
            assert!(
                fee.0 <= contract.at_stake().0 / limits::ANCHOR_FEE_PART,
                "X4: {fee}"
            );
            let child = claim::spend_anchor(setup, &parent, coins, &script, *fee);
            let mut funded = child.expect("an anchor's child leaves change");
            let message = claim::anchor_sighash(setup, &funded.tx).unwrap();
            let signature = SECP256K1.sign_ecdsa(&message, &contract.ours.funding);
            let script = tx::script::anchor_script(&setup.local.funding_pubkey);
            funded.tx.input[0].witness = witness::anchor(&signature, &script);
            wallet.sign(&mut funded, coins);
            signed(funded.tx)
        }
    }
}

fn refused(rule: &str) -> Reply {
    Reply::Refused {
        rule: rule.to_owned(),
        reason: "refused".to_owned(),
    }
}

fn sweep(
    contract: &Contract,
    wallet: &Wallet,
    parents: &[ParentTx],
    claims: &[Claim],
    fee: Satoshi,
) -> Transaction {
    let setup = &contract.setup;
    let mut claimed = Vec::new();
    let mut secrets = Vec::new();
    for claim in claims {
        let parent = &parents[usize::from(claim.parent)].0;
        let parent: Transaction = bitcoin::consensus::deserialize(parent).unwrap();
        let point = match claim.how.point() {
            PointOf::Known(point) => point,
            PointOf::Local(n) => contract.ours.point(n),
            PointOf::Revoked(n) => contract.theirs.point(n),
            PointOf::None => setup.local.funding_pubkey,
        };
        secrets.push(secret(contract, &claim.how, &point));
        claimed.push(Claimed::of(setup, &parent, claim.vout, claim.how.clone(), &point).unwrap());
    }
    let sweep = Sweep::build(setup, claimed, &wallet.script(), fee).unwrap();
    // X2
    assert!(
        fee.0 <= sweep.value().0 / limits::CLAIM_FEE_PART,
        "X2: {fee}"
    );
    let signatures: Vec<_> = secrets
        .iter()
        .enumerate()
        .map(|(index, secret)| SECP256K1.sign_ecdsa(&sweep.sighash(index).unwrap(), secret))
        .collect();
    let most = sweep.weight();
    let tx = sweep.signed(&signatures).unwrap();
    let weight = tx.weight().to_wu();
    let slack = 3 * u64::try_from(signatures.len()).unwrap();
    assert!(
        weight <= most && weight + slack >= most,
        "weighs {weight}, not {most}"
    );
    tx
}

fn secret(contract: &Contract, how: &How, point: &PublicKey) -> SecretKey {
    let ours = &contract.ours;
    match how {
        How::Delayed { .. } => derive_privkey(&ours.delayed, point).unwrap(),
        How::ToRemote => ours.payment,
        How::Timeout { .. } | How::Preimage { .. } => contract.htlc_secret(Side::Local, point),
        How::Revoked { n } | How::RevokedHtlc { n, .. } => {
            let revealed = per_commitment_secret(&contract.theirs.seed, *n).unwrap();
            derive_revocation_privkey(&ours.revocation, &revealed).unwrap()
        }
    }
}

/// Our HTLC transactions with the peer's signatures; `None` where the commitment has no such HTLC.
fn htlc_txs(
    contract: &Contract,
    wallet: &Wallet,
    htlcs: &[(HtlcKey, Option<Preimage>)],
    coins: &[FeeCoin],
    fee: Satoshi,
) -> Option<Transaction> {
    let commitment: Commitment = contract.commitment(Side::Local, contract.local_newest);
    let point = contract.ours.point(commitment.n);
    let all = commitment.htlc_transactions().unwrap();
    let mut wanted = Vec::new();
    for (key, preimage) in htlcs {
        let htlc = all.iter().find(|htlc| htlc.key == *key)?.clone();
        wanted.push((htlc, *preimage));
    }
    let value: u64 = wanted.iter().map(|(htlc, _)| htlc.amount.0).sum();
    // X2
    assert!(
        coins.is_empty() || fee.0 <= value / limits::CLAIM_FEE_PART,
        "X2: {fee}"
    );
    let unsigned: Vec<_> = wanted.iter().map(|(htlc, _)| htlc.clone()).collect();
    let format = contract.setup.format;
    let mut funded = claim::join_htlcs(format, &unsigned, coins, &wallet.script(), fee).unwrap();
    let ours = contract.htlc_secret(Side::Local, &point);
    let theirs = contract.htlc_secret(Side::Remote, &point);
    for (index, (htlc, preimage)) in wanted.iter().enumerate() {
        let other = htlc.sign(Side::Remote, &theirs).unwrap();
        let value = Amount::from_sat(htlc.amount.0);
        let hash = SighashCache::new(&funded.tx)
            .p2wsh_signature_hash(index, &htlc.redeem_script, value, EcdsaSighashType::All)
            .unwrap();
        let message = Message::from_digest(hash.to_byte_array());
        let own = SECP256K1.sign_ecdsa(&message, &ours);
        let alone = htlc.signed(&own, &other, preimage.as_ref()).unwrap();
        funded.tx.input[index].witness = alone.input[0].witness.clone();
    }
    wallet.sign(&mut funded, coins);
    Some(funded.tx)
}
