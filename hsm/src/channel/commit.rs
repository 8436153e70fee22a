//! Commitments: the peer's that we sign, ours that we verify, and the secrets that revoke them.

use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use tx::Commitment;
use tx::error::TxError;
use tx::keys::{derive_privkey, per_commitment_point};
use tx::ledger::{Delta, Ledger};
use tx::signer::{Proof, Reply, RevocationSecret, Ticket};
use wire::{CommitmentNumber, Side};

use super::limits::Next;
use super::{Channel, Decision, Funded, Newest, Remote, Stage, Step};
use crate::derive::ChannelKeys;
use crate::record::Change;
use crate::refused::Refused;
use crate::secret::Key;
use crate::tickets::View;

impl Channel {
    pub(super) fn sign_remote(
        &self,
        n: CommitmentNumber,
        point: PublicKey,
        deltas: Vec<Delta>,
        tickets: Vec<Ticket>,
        keys: &ChannelKeys,
        view: View<'_>,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let newest = funded.remote.as_ref().map(|remote| &remote.newest);
        let (ledger, step) = Newest::advance(newest, &funded.setup, n, &deltas)?;
        match (step, &funded.remote) {
            (Step::Again, Some(remote)) if remote.point != point => {
                return Err(Refused::PointChanged(n));
            }
            (Step::Again, Some(_)) => {}
            (Step::Again, None) => return Err(Refused::NothingValidated),
            (Step::Next, remote) => {
                funded.check_next_remote(remote.as_ref(), n)?;
                funded.check_contents(Side::Remote, newest, &deltas, &ledger, view)?;
                view.check_tickets(&ledger, &deltas, &tickets)?;
            }
        }
        let reply = funded.signatures(n, &point, &ledger, keys)?;
        let change = match step {
            Step::Next => Some(Change::Remote {
                n,
                point,
                deltas,
                tickets,
            }),
            Step::Again => None,
        };
        Ok(Decision { reply, change })
    }

    pub(super) fn validate_local(
        &self,
        n: CommitmentNumber,
        deltas: Vec<Delta>,
        signature: Signature,
        htlc_signatures: Vec<Signature>,
        keys: &ChannelKeys,
        view: View<'_>,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let newest = funded.local.as_ref().map(|local| &local.newest);
        let (ledger, step) = Newest::advance(newest, &funded.setup, n, &deltas)?;
        if step == Step::Next {
            funded.check_next(n)?;
            funded.check_contents(Side::Local, newest, &deltas, &ledger, view)?;
            view.check_local_offers(&deltas)?;
            if n > CommitmentNumber::ZERO && funded.remote.is_none() {
                return Err(Refused::OpeningIncomplete);
            }
        }
        // The peer may sign again after a reconnection, with other signatures as valid as those
        // that are stored: they are verified, and the stored ones are kept.
        let (setup, funding) = (&funded.setup, &funded.funding);
        let point = keys.point(n)?;
        let commitment = Commitment::build(setup, funding, Side::Local, n, &point, &ledger)
            .map_err(Refused::Build)?;
        commitment
            .verify(setup, funding, &signature, &htlc_signatures)
            .map_err(Refused::Signature)?;
        // C5: with this change durable, which it is before the reply leaves, our commitment n - 1
        // is never signed again.
        let revoked_secret = n.prev().map(|prev| keys.secret(prev)).transpose()?;
        let next = n.next().ok_or(Refused::WrongNumber {
            got: n,
            newest: newest.map(|newest| newest.n),
        })?;
        let reply = Reply::ValidatedLocal {
            revoked_secret,
            next_point: keys.point(next)?,
        };
        let change = match step {
            Step::Next => Some(Change::Local {
                n,
                deltas,
                signature,
                htlc_signatures,
            }),
            Step::Again => None,
        };
        Ok(Decision { reply, change })
    }

    pub(super) fn remote_revoked(
        &self,
        n: CommitmentNumber,
        secret: RevocationSecret,
    ) -> Result<Decision, Refused> {
        let remote = self.funded()?.remote.as_ref();
        let remote = remote.ok_or(Refused::NotReplaced(n))?;
        if let Some(stored) = remote.secrets.get(n) {
            return match stored == secret {
                true => Ok(Decision::unchanged(Reply::Done)),
                false => Err(Refused::WrongSecret(n)),
            };
        }
        // Only the newest but one can be neither revoked nor the newest (C4).
        let (Some(before), Some(point)) = (remote.newest.n.prev(), remote.point_before) else {
            return Err(Refused::NotReplaced(n));
        };
        if n != before {
            return Err(Refused::NotReplaced(n));
        }
        if per_commitment_point(&secret) != Ok(point) {
            return Err(Refused::WrongSecret(n));
        }
        // BOLT 2, revoke_and_ack, receiver: it must fit the secrets before it.
        let mut secrets = remote.secrets.clone();
        let inserted = secrets.insert(n, secret);
        inserted.map_err(|_| Refused::WrongSecret(n))?;
        Ok(Decision {
            reply: Reply::Done,
            change: Some(Change::Revoked { n, secret }),
        })
    }

    pub(super) fn point(
        &self,
        n: CommitmentNumber,
        keys: &ChannelKeys,
    ) -> Result<Decision, Refused> {
        let newest = self.newest_local();
        // Before our commitment 0 is there, the peer needs the points 0 and 1.
        let last = newest.map_or(Some(CommitmentNumber(1)), CommitmentNumber::next);
        let last = last.unwrap_or(CommitmentNumber::ZERO);
        if n > last {
            return Err(Refused::PointTooFar { got: n, last });
        }
        Ok(Decision::unchanged(Reply::Point {
            point: keys.point(n)?,
        }))
    }

    /// B3: whoever has the secret of a commitment that we have not revoked has seen a later one.
    pub(super) fn reestablish_proof(
        &self,
        n: CommitmentNumber,
        secret: RevocationSecret,
        keys: &ChannelKeys,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let revoked = self.newest_local().is_some_and(|newest| n < newest);
        let (proof, change) = match (keys.secret(n)? == secret, revoked, funded.stage) {
            (false, _, _) => (Proof::Wrong, None),
            (true, true, _) => (Proof::Revoked, None),
            (true, false, Stage::Stale) => (Proof::Stale, None),
            (true, false, Stage::Signing | Stage::Closing { .. } | Stage::Onchain) => {
                (Proof::Stale, Some(Change::Stale))
            }
        };
        let reply = Reply::Proof { proof };
        Ok(Decision { reply, change })
    }

    pub(super) fn revoked_secret(
        &self,
        n: CommitmentNumber,
        keys: &ChannelKeys,
    ) -> Result<Decision, Refused> {
        // C5
        match self.newest_local() {
            Some(newest) if n < newest => Ok(Decision::unchanged(Reply::RevokedSecret {
                secret: keys.secret(n)?,
            })),
            Some(_) | None => Err(Refused::NotRevoked(n)),
        }
    }

    fn newest_local(&self) -> Option<CommitmentNumber> {
        let funded = self.funded().ok()?;
        funded.local.as_ref().map(|local| local.newest.n)
    }
}

impl Funded {
    /// What a new commitment of either side must keep to.
    fn check_next(&self, n: CommitmentNumber) -> Result<(), Refused> {
        match self.stage {
            Stage::Signing => {}
            Stage::Stale => return Err(Refused::Stale),
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
            deltas,
            ledger,
        };
        next.check()?;
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

    /// Our signatures on the peer's commitment.
    fn signatures(
        &self,
        n: CommitmentNumber,
        point: &PublicKey,
        ledger: &Ledger,
        keys: &ChannelKeys,
    ) -> Result<Reply, Refused> {
        let (setup, funding) = (&self.setup, &self.funding);
        let commitment = Commitment::build(setup, funding, Side::Remote, n, point, ledger)
            .map_err(Refused::Build)?;
        let sign = || -> Result<Reply, TxError> {
            let signature = commitment.sign(setup, funding, keys.funding.secret())?;
            let htlc_signatures = if commitment.htlcs.is_empty() {
                Vec::new()
            } else {
                let key = Key::new(derive_privkey(keys.htlc.secret(), point)?);
                commitment.sign_htlcs(Side::Local, key.secret())?
            };
            Ok(Reply::SignedRemote {
                signature,
                htlc_signatures,
            })
        };
        sign().map_err(Refused::Build)
    }

    /// Our newest commitment with both signatures (C6).
    pub(crate) fn force_close(&self, keys: &ChannelKeys) -> Result<bitcoin::Transaction, Refused> {
        match self.stage {
            Stage::Signing | Stage::Closing { .. } | Stage::Onchain => {}
            Stage::Stale => return Err(Refused::Stale),
        }
        let local = self.local.as_ref().ok_or(Refused::NothingValidated)?;
        let (setup, funding, n) = (&self.setup, &self.funding, local.newest.n);
        let point = keys.point(n)?;
        let ledger = &local.newest.ledger;
        let sign = || -> Result<bitcoin::Transaction, TxError> {
            let commitment = Commitment::build(setup, funding, Side::Local, n, &point, ledger)?;
            let ours = commitment.sign(setup, funding, keys.funding.secret())?;
            Ok(commitment.signed(setup, &ours, &local.signature))
        };
        sign().map_err(Refused::Build)
    }
}
