//! What was proved of a commitment, as values.
//!
//! Each has private fields and is made in one place, by the checks that prove it. The channel's keys
//! sign, and give out a secret, for such a value alone (`derive.rs`): what was not proved cannot be
//! signed, because it does not compile.

use bitcoin::Transaction;
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use tx::Commitment;
use tx::error::TxError;
use tx::ledger::{Delta, Ledger};
use tx::setup::{Funding, Setup};
use tx::signer::{NextLocal, NextRemote};
use wire::{CommitmentNumber, Side};

use super::limits::Next;
use super::{Funded, Local, Newest, Remote, Stage, Step};
use crate::derive::ChannelKeys;
use crate::refused::Refused;
use crate::tickets::View;

/// A commitment of the peer that it may have: its newest again, or the next one, which keeps to
/// C1-C4, C7, H1 and H2.
pub(crate) struct Admitted<'a> {
    funded: &'a Funded,
    point: PublicKey,
    commitment: Commitment,
    step: Step,
}

/// A commitment of ours that the peer's signatures are valid for, and which keeps to C1-C3, C7 and H2.
pub(super) struct Verified {
    n: CommitmentNumber,
    /// Our per-commitment point of it.
    pub(super) point: PublicKey,
    pub(super) step: Step,
}

/// A commitment of ours that a verified one has come after (C5).
#[derive(Clone, Copy)]
pub(crate) struct Revoked(CommitmentNumber);

/// Our newest commitment with the peer's signature: what we may publish (C6), unless the peer has
/// shown that it is old (B3).
pub(crate) struct Publishable<'a> {
    funded: &'a Funded,
    commitment: Commitment,
    theirs: &'a Signature,
}

impl<'a> Admitted<'a> {
    pub(super) fn prove(
        funded: &'a Funded,
        next: &NextRemote,
        view: View<'_>,
    ) -> Result<Admitted<'a>, Refused> {
        let (n, point, deltas) = (next.n, next.point, &next.deltas);
        let newest = funded.remote.as_ref().map(|remote| &remote.newest);
        let (ledger, step) = Newest::advance(newest, &funded.setup, n, deltas)?;
        match (step, &funded.remote) {
            (Step::Again, Some(remote)) if remote.point != point => {
                return Err(Refused::PointChanged(n));
            }
            (Step::Again, Some(_)) => {}
            (Step::Again, None) => return Err(Refused::NothingValidated),
            (Step::Next, remote) => {
                funded.check_next_remote(remote.as_ref(), n)?;
                funded.check_contents(Side::Remote, newest, deltas, &ledger, view)?;
                view.check_tickets(&ledger, deltas, &next.tickets)?;
            }
        }
        Ok(Admitted {
            funded,
            point,
            commitment: funded.build(Side::Remote, n, &point, &ledger)?,
            step,
        })
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    pub(crate) fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    pub(crate) fn point(&self) -> &PublicKey {
        &self.point
    }

    pub(crate) fn terms(&self) -> (&Setup, &Funding) {
        (&self.funded.setup, &self.funded.funding)
    }
}

impl Verified {
    pub(super) fn prove(
        funded: &Funded,
        next: &NextLocal,
        keys: &ChannelKeys,
        view: View<'_>,
    ) -> Result<Verified, Refused> {
        let (n, deltas) = (next.n, &next.deltas);
        let newest = funded.local.as_ref().map(|local| &local.newest);
        let (ledger, step) = Newest::advance(newest, &funded.setup, n, deltas)?;
        if step == Step::Next {
            funded.check_next(n)?;
            funded.check_contents(Side::Local, newest, deltas, &ledger, view)?;
            view.check_local_offers(deltas)?;
            if n > CommitmentNumber::ZERO && funded.remote.is_none() {
                return Err(Refused::OpeningIncomplete);
            }
        }
        // The peer may sign again after a reconnection, with other signatures as valid as those
        // that are stored: they are verified, and the stored ones are kept.
        let (setup, funding) = (&funded.setup, &funded.funding);
        let point = keys.point(n)?;
        funded
            .build(Side::Local, n, &point, &ledger)?
            .verify(setup, funding, &next.signature, &next.htlc_signatures)
            .map_err(Refused::Signature)?;
        Ok(Verified { n, point, step })
    }

    /// The one before it: with this one durable, which it is before a reply leaves, that is never
    /// signed again.
    pub(super) fn revokes(&self) -> Option<Revoked> {
        self.n.prev().map(Revoked)
    }
}

impl Revoked {
    /// C5: below our newest, which was verified.
    pub(super) fn prove(funded: &Funded, n: CommitmentNumber) -> Result<Revoked, Refused> {
        match &funded.local {
            Some(local) if n < local.newest.n => Ok(Revoked(n)),
            Some(_) | None => Err(Refused::NotRevoked(n)),
        }
    }

    pub(crate) fn n(self) -> CommitmentNumber {
        self.0
    }
}

impl<'a> Publishable<'a> {
    pub(super) fn prove(funded: &'a Funded, keys: &ChannelKeys) -> Result<Self, Refused> {
        match funded.stage {
            Stage::Signing | Stage::Closing { .. } | Stage::Onchain => {}
            Stage::Stale => return Err(Refused::Stale),
            Stage::Recovering => return Err(Refused::NotShown),
        }
        let (local, commitment) = funded.our_newest(keys)?;
        Ok(Publishable {
            funded,
            commitment,
            theirs: &local.signature,
        })
    }

    pub(crate) fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    pub(crate) fn terms(&self) -> (&Setup, &Funding) {
        (&self.funded.setup, &self.funded.funding)
    }

    /// With our signature beside the peer's.
    pub(super) fn signed(&self, ours: &Signature) -> Transaction {
        let setup = &self.funded.setup;
        self.commitment.signed(setup, ours, self.theirs)
    }
}

impl Funded {
    /// Our newest commitment, as it was verified.
    pub(crate) fn our_newest(&self, keys: &ChannelKeys) -> Result<(&Local, Commitment), Refused> {
        let local = self.local.as_ref().ok_or(Refused::NothingValidated)?;
        let newest = &local.newest;
        let point = keys.point(newest.n)?;
        let commitment = self.build(Side::Local, newest.n, &point, &newest.ledger)?;
        Ok((local, commitment))
    }

    /// C1: a commitment is built here.
    pub(super) fn build(
        &self,
        owner: Side,
        n: CommitmentNumber,
        point: &PublicKey,
        ledger: &Ledger,
    ) -> Result<Commitment, TxError> {
        Commitment::build(&self.setup, &self.funding, owner, n, point, ledger)
    }

    /// What a new commitment of either side must keep to.
    fn check_next(&self, n: CommitmentNumber) -> Result<(), Refused> {
        match self.stage {
            Stage::Signing => {}
            Stage::Stale => return Err(Refused::Stale),
            Stage::Recovering => return Err(Refused::NotShown),
            // C6: what was agreed at the close would no longer be the newest.
            Stage::Closing { .. } | Stage::Onchain => return Err(Refused::ClosingStays),
        }
        // Our numbers go to n + 1, where our next point is.
        if n.next().is_none() {
            return Err(Refused::WrongNumber {
                got: n,
                newest: None,
            });
        }
        Ok(())
    }

    /// C3, C7 and H2, for the commitment of `owner` that comes after `newest`.
    fn check_contents(
        &self,
        owner: Side,
        newest: Option<&Newest>,
        deltas: &[Delta],
        ledger: &Ledger,
        view: View<'_>,
    ) -> Result<(), Refused> {
        // Commitment 0 has no deltas.
        let before = newest.map_or(ledger, |newest| &newest.ledger);
        let next = Next {
            setup: &self.setup,
            owner,
            before,
            ledger,
        };
        next.check(deltas)?;
        view.check_failures(before, deltas)
    }

    fn check_next_remote(
        &self,
        remote: Option<&Remote>,
        n: CommitmentNumber,
    ) -> Result<(), Refused> {
        self.check_next(n)?;
        let Some(remote) = remote else {
            return Ok(());
        };
        if self.local.is_none() {
            return Err(Refused::OpeningIncomplete);
        }
        // C4: with this one the peer has at most two that are not revoked, n - 1 and n.
        match remote.newest.n.prev() {
            Some(before) if remote.secrets.next() <= before => {
                Err(Refused::NotRevokedByPeer(before))
            }
            Some(_) | None => Ok(()),
        }
    }
}
