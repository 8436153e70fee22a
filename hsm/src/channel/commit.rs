//! Commitments: the peer's that we sign, ours that we verify, and the secrets that revoke them.

use bitcoin::Transaction;
use secp256k1::PublicKey;
use tx::keys::per_commitment_point;
use tx::signer::{NextLocal, NextRemote, Proof, Reply, RevocationSecret};
use wire::CommitmentNumber;

use super::proof::{Admitted, Publishable, Revoked, Verified};
use super::{Channel, Decision, Funded, Means, Stage, Step};
use crate::derive::ChannelKeys;
use crate::record::Change;
use crate::refused::Refused;

impl Channel {
    pub(super) fn sign_remote(
        &self,
        next: NextRemote,
        means: &Means<'_>,
    ) -> Result<Decision, Refused> {
        let admitted = Admitted::prove(self.funded()?, &next, means.view)?;
        let (signature, htlc_signatures) = means.keys.sign_theirs(&admitted)?;
        let change = match admitted.step() {
            Step::Next => Some(Change::Remote(next)),
            Step::Again => None,
        };
        Ok(Decision {
            reply: Reply::SignedRemote {
                signature,
                htlc_signatures,
            },
            change,
        })
    }

    pub(super) fn validate_local(
        &self,
        next: NextLocal,
        means: &Means<'_>,
    ) -> Result<Decision, Refused> {
        let (n, keys) = (next.n, means.keys);
        let verified = Verified::prove(self.funded()?, &next, keys, means.view)?;
        let revoked = verified.revokes();
        let revoked_secret = revoked.map(|n| keys.revoked_secret(n)).transpose()?;
        let after = n.next().ok_or(Refused::WrongNumber {
            got: n,
            newest: None,
        })?;
        let change = match verified.step {
            Step::Next => Some(Change::Local(next)),
            Step::Again => None,
        };
        Ok(Decision {
            reply: Reply::ValidatedLocal {
                revoked_secret,
                point: verified.point,
                next_point: keys.point(after)?,
            },
            change,
        })
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
        let point = self.local_point(n, keys)?;
        Ok(Decision::unchanged(Reply::Point { point }))
    }

    pub(crate) fn local_point(
        &self,
        n: CommitmentNumber,
        keys: &ChannelKeys,
    ) -> Result<PublicKey, Refused> {
        let newest = self.newest_local();
        // Before our commitment 0 is there, the peer needs the points 0 and 1.
        let last = newest.map_or(Some(CommitmentNumber(1)), CommitmentNumber::next);
        let last = last.unwrap_or(CommitmentNumber::ZERO);
        if n > last {
            return Err(Refused::PointTooFar { got: n, last });
        }
        Ok(keys.point(n)?)
    }

    /// B3: whoever has the secret of a commitment that we have not revoked has seen a later one. B2: who
    /// has that of the last one that we revoked, or of the one before if it lacks the last, has seen none.
    pub(super) fn reestablish_proof(
        &self,
        n: CommitmentNumber,
        secret: RevocationSecret,
        keys: &ChannelKeys,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let revoked = self.newest_local().is_some_and(|newest| n < newest);
        let last = self.newest_local().and_then(CommitmentNumber::prev);
        let shows = last == Some(n) || last.and_then(CommitmentNumber::prev) == Some(n);
        let (proof, change) = match (keys.is_secret(n, &secret)?, revoked, funded.stage) {
            (false, _, _) => (Proof::Wrong, None),
            (true, true, Stage::Recovering) if shows => (Proof::Revoked, Some(Change::Shown)),
            (true, true, _) => (Proof::Revoked, None),
            (true, false, Stage::Stale) => (Proof::Stale, None),
            (true, false, _) => (Proof::Stale, Some(Change::Stale)),
        };
        let reply = Reply::Proof { proof };
        Ok(Decision { reply, change })
    }

    pub(super) fn revoked_secret(
        &self,
        n: CommitmentNumber,
        keys: &ChannelKeys,
    ) -> Result<Decision, Refused> {
        let revoked = Revoked::prove(self.funded()?, n)?;
        Ok(Decision::unchanged(Reply::RevokedSecret {
            secret: keys.revoked_secret(revoked)?,
        }))
    }

    pub(crate) fn newest_local(&self) -> Option<CommitmentNumber> {
        let funded = self.funded().ok()?;
        funded.local.as_ref().map(|local| local.newest.n)
    }
}

impl Funded {
    /// Our newest commitment with both signatures (C6).
    pub(crate) fn force_close(&self, keys: &ChannelKeys) -> Result<Transaction, Refused> {
        let newest = Publishable::prove(self, keys)?;
        let ours = keys.sign_ours(&newest)?;
        Ok(newest.signed(&ours))
    }
}
