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

use bitcoin::{ScriptBuf, Transaction};
use secp256k1::PublicKey;
use tx::claim::{self, FeeCoin, How, Sweep};
use tx::error::TxError;
use tx::keys::per_commitment_point;
use tx::ledger::HtlcKey;
use tx::limits::{ANCHOR_FEE_PART, CLAIM_FEE_PART};
use tx::onchain::{Claim, ParentTx};
use tx::setup::Setup;
use tx::signer::RevocationSecret;
use wire::{CommitmentNumber, Preimage, Satoshi};

use crate::channel::{Channel, Funded, Stage};
use crate::derive::ChannelKeys;
use crate::refused::Refused;
use crate::rules::Rule;

/// The channel that claims, and what bounds it.
pub(super) struct Claimant<'a> {
    pub(super) channel: &'a Channel,
    pub(super) keys: &'a ChannelKeys,
    /// The channel's own, of the wallet (X1).
    pub(super) address: ScriptBuf,
    /// The operator's cap (W2).
    pub(super) max_fee: Satoshi,
}

/// X3: a secret that the peer has revealed, and its point.
pub(crate) struct Revealed(RevocationSecret, PublicKey);

/// Which key takes an output.
pub(crate) enum ClaimKey {
    /// The same in all commitments; with our basepoint.
    Payment(PublicKey),
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

/// X1, X2: HTLC transactions of our newest commitment, joined by coins that pay to the channel's address;
/// and the commitment's point.
pub(crate) struct OwnHtlcs(claim::OwnHtlcs, PublicKey);

/// X4: a child of our anchor in a commitment of this channel.
pub(crate) struct AnchorChild<'a>(Transaction, &'a Setup);

impl Revealed {
    pub(super) fn prove(channel: &Channel, n: CommitmentNumber) -> Result<Revealed, Refused> {
        let remote = channel.funded()?.remote.as_ref();
        let secret = remote.and_then(|remote| remote.secrets.get(n));
        let secret = secret.ok_or(Refused::NotPunishable(n))?;
        Ok(Revealed(secret, per_commitment_point(&secret)?))
    }

    pub(super) fn point(&self) -> PublicKey {
        self.1
    }

    pub(crate) fn secret(&self) -> &RevocationSecret {
        &self.0
    }
}

impl ClaimKey {
    fn point(&self) -> &PublicKey {
        match self {
            ClaimKey::Payment(point) | ClaimKey::Delayed(point) | ClaimKey::Htlc(point) => point,
            ClaimKey::Revocation(revealed) => &revealed.1,
        }
    }
}

impl Taking {
    pub(crate) fn parts(&self) -> (&Sweep, &[ClaimKey]) {
        (&self.sweep, &self.keys)
    }
}

impl OwnHtlcs {
    pub(crate) fn parts(&self) -> (&claim::OwnHtlcs, &PublicKey) {
        (&self.0, &self.1)
    }
}

impl AnchorChild<'_> {
    pub(crate) fn parts(&self) -> (&Transaction, &Setup) {
        (&self.0, self.1)
    }
}

impl<'a> Claimant<'a> {
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

    fn key_of(&self, setup: &Setup, how: &How) -> Result<ClaimKey, Refused> {
        Ok(match how {
            How::ToRemote => ClaimKey::Payment(setup.local.basepoints.payment),
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
        let setup = self.channel.setup().ok_or(Refused::NoFunding)?;
        let keys = claims.iter().map(|claim| self.key_of(setup, &claim.how));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let points = keys.iter().map(ClaimKey::point);
        let claimed = claim::claimed(setup, parents, claims, points).map_err(Refused::Claim)?;
        let sweep = Sweep::build(setup, claimed, &self.address, fee).map_err(Refused::Claim)?;
        self.check_fee(Rule::X2, fee, sweep.value(), CLAIM_FEE_PART)?;
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
        let theirs = &local.htlc_signatures;
        let own = claim::OwnHtlcs::build(&commitment, theirs, wanted, coins, &self.address, fee);
        let own = own.map_err(Refused::Claim)?;
        // Without coins there is no fee but the one that both sides have signed.
        if !coins.is_empty() {
            self.check_fee(Rule::X2, fee, own.value(), CLAIM_FEE_PART)?;
        }
        Ok(OwnHtlcs(own, self.keys.point(commitment.n)?))
    }

    pub(super) fn anchor_child(
        &self,
        commitment: &ParentTx,
        coins: &[FeeCoin],
        fee: Satoshi,
    ) -> Result<AnchorChild<'a>, Refused> {
        let funded = self.channel.funded()?;
        let setup = &funded.setup;
        let parent = commitment.decode();
        let parent = parent.ok_or(Refused::Anchor(TxError::NotACommitment))?;
        claim::check_commitment(setup, &funded.funding, &parent).map_err(Refused::Anchor)?;
        let ours = funded.our_newest(self.keys).ok();
        let is_ours = ours.is_some_and(|(_, ours)| ours.tx.compute_txid() == parent.compute_txid());
        match funded.stage {
            Stage::Onchain | Stage::Stale => {}
            Stage::Signing | Stage::Closing { .. } | Stage::Recovering if is_ours => {
                return Err(Refused::NotBroadcast);
            }
            Stage::Signing | Stage::Closing { .. } | Stage::Recovering => {}
        }
        self.check_fee(Rule::X4, fee, at_stake(funded), ANCHOR_FEE_PART)?;
        let child = claim::spend_anchor(setup, &parent, coins, &self.address, fee);
        Ok(AnchorChild(child.map_err(Refused::Anchor)?.tx, setup))
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
