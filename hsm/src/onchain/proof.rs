//! What was proved of a claim on chain, as values: the channel's keys sign for these alone
//! (`derive/claims.rs`), and each is made in one place here.
//!
//! X2 and X4 need no memory of what was signed before. Of all that is ever signed here only what gets
//! into blocks costs anything, and there each output is spent once. A claim's fee is bounded by the
//! contract outputs that it takes itself, so that all claims together cost at most that part of all
//! contract outputs, whatever is asked how often. An anchor's child spends our anchor of one commitment,
//! and one commitment gets into a block: its fee is paid once for the channel. Values cannot be lied
//! about: those of outputs are in the parents, whose hash is in the outpoint, those of HTLCs in our
//! own commitment, and those of coins are the first that were said (W3). A made-up parent, an
//! output that comes twice or a coin that is not there make a transaction that nobody takes, and each
//! signature commits to all of it (W5).

use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use tx::HtlcTx;
use tx::claim::{self, Claimed, FeeCoin, How, Sweep};
use tx::keys::per_commitment_point;
use tx::ledger::HtlcKey;
use tx::onchain::{Claim, ParentTx};
use tx::setup::Setup;
use tx::signer::RevocationSecret;
use wire::{CommitmentNumber, Preimage, Satoshi};

use crate::channel::{Channel, Funded, Stage};
use crate::derive::ChannelKeys;
use crate::refused::{Refused, Rule};

/// X2: one in so many satoshi of what a claim takes may go to its fee.
const CLAIM_PART: u64 = 2;
/// X4: one in so many of what is at stake may go to an anchor's child.
const ANCHOR_PART: u64 = 2;
/// A transaction of more inputs is not relayed.
const MAX_CLAIMS: usize = 1_000;

/// The channel that claims, and what bounds it.
pub(super) struct Claimant<'a> {
    pub(super) channel: &'a Channel,
    pub(super) keys: &'a ChannelKeys,
    /// The channel's own, of the wallet (X1).
    pub(super) address: ScriptBuf,
    /// The operator's cap (W2).
    pub(super) max_fee: Satoshi,
}

/// X3: a secret that the peer has revealed.
pub(crate) struct Revealed {
    secret: RevocationSecret,
    point: PublicKey,
}

/// Which key takes an output.
pub(crate) enum ClaimKey {
    Payment,
    /// With our own point.
    Delayed(PublicKey),
    /// With the point that the output's script was made with.
    Htlc(PublicKey),
    Revocation(Revealed),
}

/// X1, X2: outputs that are this channel's for us, to its own address.
pub(crate) struct Taking {
    sweep: Sweep,
    keys: Vec<ClaimKey>,
}

/// X1, X2: HTLC transactions of our newest commitment, joined by coins that pay to the channel's address.
pub(crate) struct OwnHtlcs {
    funded: claim::Funded,
    point: PublicKey,
    /// With the peer's signatures.
    htlcs: Vec<(HtlcTx, Signature, Option<Preimage>)>,
}

/// X4: a child of our anchor in a commitment of this channel.
pub(crate) struct AnchorChild {
    funded: claim::Funded,
    setup: Setup,
}

impl Revealed {
    pub(super) fn prove(channel: &Channel, n: CommitmentNumber) -> Result<Revealed, Refused> {
        let remote = channel.funded()?.remote.as_ref();
        let secret = remote.and_then(|remote| remote.secrets.get(n));
        let secret = secret.ok_or(Refused::NotPunishable(n))?;
        let point = per_commitment_point(&secret)?;
        Ok(Revealed { secret, point })
    }

    pub(super) fn point(&self) -> PublicKey {
        self.point
    }

    pub(crate) fn secret(&self) -> &RevocationSecret {
        &self.secret
    }
}

impl Taking {
    pub(crate) fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    pub(crate) fn keys(&self) -> &[ClaimKey] {
        &self.keys
    }
}

impl OwnHtlcs {
    pub(crate) fn tx(&self) -> &Transaction {
        &self.funded.tx
    }

    pub(crate) fn point(&self) -> &PublicKey {
        &self.point
    }

    pub(crate) fn htlcs(&self) -> &[(HtlcTx, Signature, Option<Preimage>)] {
        &self.htlcs
    }

    /// What the inputs before the coins spend.
    pub(super) fn outputs(&self) -> Vec<TxOut> {
        let output = |(htlc, ..): &(HtlcTx, Signature, Option<Preimage>)| htlc.output();
        self.htlcs.iter().map(output).collect()
    }
}

impl AnchorChild {
    pub(crate) fn tx(&self) -> &Transaction {
        &self.funded.tx
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }
}

impl Claimant<'_> {
    fn setup(&self) -> Result<&Setup, Refused> {
        self.channel.setup().ok_or(Refused::NoFunding)
    }

    /// X2, X4.
    fn check_fee(
        &self,
        rule: Rule,
        fee: Satoshi,
        value: Satoshi,
        part: u64,
    ) -> Result<(), Refused> {
        let most = Satoshi(value.0 / part).min(self.max_fee);
        match fee <= most {
            true => Ok(()),
            false => Err(Refused::ClaimFee { rule, fee, most }),
        }
    }

    fn key_of(&self, how: &How) -> Result<ClaimKey, Refused> {
        Ok(match how {
            How::ToRemote => ClaimKey::Payment,
            How::Delayed { n } => ClaimKey::Delayed(self.channel.local_point(*n, self.keys)?),
            How::Timeout { point, .. } | How::Preimage { point, .. } => ClaimKey::Htlc(*point),
            How::Revoked { n } | How::RevokedHtlc { n, .. } => {
                ClaimKey::Revocation(Revealed::prove(self.channel, *n)?)
            }
        })
    }

    pub(super) fn taking(
        &self,
        parents: &[ParentTx],
        claims: Vec<Claim>,
        fee: Satoshi,
    ) -> Result<Taking, Refused> {
        if claims.len() > MAX_CLAIMS {
            return Err(Refused::TooManyClaims(claims.len(), MAX_CLAIMS));
        }
        let setup = self.setup()?;
        let parents: Vec<Option<Transaction>> = parents.iter().map(ParentTx::decode).collect();
        let (mut claimed, mut keys, mut value) = (Vec::new(), Vec::new(), Satoshi::ZERO);
        for claim in claims {
            let parent = parents.get(usize::from(claim.parent));
            let parent = parent.and_then(Option::as_ref);
            let parent = parent.ok_or(Refused::NoParent(claim.parent))?;
            let key = self.key_of(&claim.how)?;
            let point = match &key {
                // The same key in all commitments: any point does.
                ClaimKey::Payment => &setup.local.basepoints.payment,
                ClaimKey::Delayed(point) | ClaimKey::Htlc(point) => point,
                ClaimKey::Revocation(revealed) => &revealed.point,
            };
            let taken = Claimed::of(setup, parent, claim.vout, claim.how, point);
            let taken = taken.map_err(Refused::Claim)?;
            value = value.saturating_add(taken.value());
            claimed.push(taken);
            keys.push(key);
        }
        self.check_fee(Rule::X2, fee, value, CLAIM_PART)?;
        let sweep = Sweep::build(setup, claimed, &self.address, fee).map_err(Refused::Claim)?;
        Ok(Taking { sweep, keys })
    }

    /// In phase Onchain: our commitment was signed. In phase Stale too, where it may have been before:
    /// if not, nobody can broadcast it, and what is signed here spends nothing.
    pub(super) fn own_htlcs(
        &self,
        wanted: &[(HtlcKey, Option<Preimage>)],
        coins: &[FeeCoin],
        fee: Satoshi,
    ) -> Result<OwnHtlcs, Refused> {
        let (local, commitment) = self.channel.funded()?.our_newest(self.keys)?;
        let all = commitment.htlc_transactions().map_err(Refused::Claim)?;
        let (mut htlcs, mut txs, mut value) = (Vec::new(), Vec::new(), Satoshi::ZERO);
        for (key, preimage) in wanted {
            let mut signed = all.iter().zip(&local.htlc_signatures);
            let found = signed.find(|(htlc, _)| htlc.key == *key);
            let (htlc, signature) = found.ok_or(Refused::NoHtlcOutput(*key))?;
            value = value.saturating_add(htlc.amount);
            txs.push(htlc.clone());
            htlcs.push((htlc.clone(), *signature, *preimage));
        }
        // Without coins there is no fee but the one that both sides have signed.
        if !coins.is_empty() {
            self.check_fee(Rule::X2, fee, value, CLAIM_PART)?;
        }
        let format = self.setup()?.format;
        let funded = claim::join_htlcs(format, &txs, coins, &self.address, fee);
        Ok(OwnHtlcs {
            funded: funded.map_err(Refused::Claim)?,
            point: self.keys.point(commitment.n)?,
            htlcs,
        })
    }

    pub(super) fn anchor_child(
        &self,
        commitment: &ParentTx,
        coins: &[FeeCoin],
        fee: Satoshi,
    ) -> Result<AnchorChild, Refused> {
        let funded = self.channel.funded()?;
        let setup = &funded.setup;
        let parent = commitment.decode().ok_or(Refused::NoParent(0))?;
        let inputs: Vec<OutPoint> = parent.input.iter().map(|i| i.previous_output).collect();
        let numbered = tx::commitment::number_of(setup, &parent).is_some();
        if inputs != [funded.funding.outpoint] || !numbered {
            return Err(Refused::NotACommitment);
        }
        let is_ours = match funded.our_newest(self.keys) {
            Ok((_, ours)) => ours.tx.compute_txid() == parent.compute_txid(),
            Err(_) => false,
        };
        match funded.stage {
            Stage::Onchain | Stage::Stale => {}
            Stage::Signing | Stage::Closing { .. } if is_ours => return Err(Refused::NotBroadcast),
            Stage::Signing | Stage::Closing { .. } => {}
        }
        self.check_fee(Rule::X4, fee, at_stake(funded), ANCHOR_PART)?;
        let child = claim::spend_anchor(setup, &parent, coins, &self.address, fee);
        Ok(AnchorChild {
            funded: child.map_err(Refused::Claim)?,
            setup: setup.clone(),
        })
    }
}

/// Our balance and all HTLCs, in that of the commitments that can be broadcast where they are most.
fn at_stake(funded: &Funded) -> Satoshi {
    let stakes = funded.unrevoked().map(|ledger| {
        let theirs = ledger.to_remote;
        ledger.total().saturating_sub(theirs).to_sat_floor()
    });
    stakes.max().unwrap_or_default()
}
