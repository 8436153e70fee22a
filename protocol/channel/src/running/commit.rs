//! commitment_signed and revoke_and_ack, both ways (BOLT 2, Normal Operation).
//!
//! One flush makes one Persist, and behind it what the peer is owed: first the revocation of
//! our previous commitment, then the signature on its next one.

use tx::fees;
use tx::ledger::Ledger;
use tx::signer::{NextLocal, NextRemote, Reply, Request, RevocationSecret};
use wire::{CommitmentSigned, Message, PerCommitmentSecret, RevokeAndAck, Side};

use super::{Asked, Link, Outcome, OwedRevocation, Running, unexpected, warning};
use crate::action::{Action, Notice, PeerFault, Removal};
use crate::progress::Step;
use crate::state::{HtlcState, LastSent, Phase};

/// The rules of hsmd about what a next commitment has in it. What was signed once is signed again
/// whatever has changed since, so that who breaks one of these was never signed.
const OF_CONTENTS: [&str; 5] = ["C3", "C7", "H1", "H2", "T1"];

impl Running {
    /// Sends what is owed, everything that queued up in one commitment.
    pub(super) fn flush(&mut self) -> Outcome {
        if self.link != Link::Up || self.asked.is_some() {
            return Ok(vec![]);
        }
        let revocation = self.owed.take();
        if revocation.is_some() {
            self.advance(Step::SentRevocation);
            self.live.last_sent = LastSent::Revocation;
        }
        let (commits, mut actions) = self.begin_commitment()?;
        if revocation.is_none() && !commits {
            return Ok(actions);
        }
        actions.push(Action::Persist(self.persist()));
        if let Some(OwedRevocation { secret, next_point }) = revocation {
            actions.push(Action::Send(self.revocation(secret, next_point)));
        }
        if commits {
            actions.extend(self.commit_again()?);
        }
        Ok(actions)
    }

    /// Puts everything that waits into the peer's next commitment, if it may have one now.
    fn begin_commitment(&mut self) -> Result<(bool, Vec<Action>), PeerFault> {
        self.consider_feerate();
        let refused = self.recheck_queued();
        let open = matches!(self.live.phase, Phase::Normal | Phase::ShuttingDown { .. });
        // BOLT 2, commitment_signed, sender: not without a change; and one at a time, since the
        // peer's next point comes with its revoke_and_ack.
        if !open
            || self.live.awaiting_revocation
            || self.live.remote_next_point.is_none()
            || !self.has_changes_for_peer()
        {
            return Ok((false, refused));
        }
        let next = self.live.remote_next.next();
        self.live.remote_next = next.ok_or_else(|| warning("commitment numbers are used up"))?;
        self.advance(Step::SentCommit);
        for delta in self.newest_remote_deltas() {
            self.remote
                .apply(&delta)
                .map_err(|e| warning(e.to_string()))?;
        }
        self.note_balances();
        self.live.awaiting_revocation = true;
        self.live.last_sent = LastSent::Commitment;
        self.live.next_htlc_id = self.next_out;
        Ok((true, refused))
    }

    /// The newest commitment of the peer, the first time or again: the same in every byte. Its
    /// updates go ahead of the signature, which takes longer: a preimage is useful at once.
    pub(super) fn commit_again(&mut self) -> Outcome {
        let n = self.live.remote_next.prev();
        let (Some(n), Some(point)) = (n, self.live.remote_next_point) else {
            return Err(warning("no commitment to sign"));
        };
        let updates = self.newest_updates().into_iter();
        let mut actions: Vec<Action> = updates.map(Action::Send).collect();
        let request = Request::SignRemote(NextRemote {
            n,
            point,
            deltas: self.newest_remote_deltas(),
            tickets: self.newest_remote_tickets(),
        });
        actions.push(self.ask(Asked::Signature, request));
        Ok(actions)
    }

    pub(super) fn signed(&mut self, reply: Reply) -> Outcome {
        let (signature, htlc_signatures) = match reply {
            Reply::SignedRemote {
                signature,
                htlc_signatures,
            } => (signature, htlc_signatures),
            Reply::Refused { rule, .. } if OF_CONTENTS.contains(&rule.as_str()) => {
                self.withdraw().map_err(|e| warning(e.to_string()))?;
                return Err(warning(format!("signer refused ({rule})")));
            }
            other => return Err(unexpected(other)),
        };
        let signed = Message::CommitmentSigned(CommitmentSigned {
            channel_id: self.live.channel_id,
            signature,
            htlc_signature: htlc_signatures,
            funding_txid: None,
        });
        let mut actions = vec![Action::Send(signed)];
        actions.extend(self.resend_next()?);
        Ok(actions)
    }

    pub(super) fn revocation(
        &self,
        secret: RevocationSecret,
        next_per_commitment_point: secp256k1::PublicKey,
    ) -> Message {
        Message::RevokeAndAck(RevokeAndAck {
            channel_id: self.live.channel_id,
            per_commitment_secret: PerCommitmentSecret(secret.0),
            next_per_commitment_point,
        })
    }

    pub(super) fn commitment_signed(&mut self, message: CommitmentSigned) -> Outcome {
        self.updates_are_open("commitment_signed")?;
        // BOLT 2, commitment_signed, receiver, no splice pending: one for another funding
        // transaction is ignored.
        if message
            .funding_txid
            .is_some_and(|txid| txid != self.live.funding.outpoint.txid)
        {
            return Ok(vec![]);
        }
        // BOLT 2, revoke_and_ack: it answers each commitment_signed, so there is one at a time.
        if self.owed.is_some() {
            return Err(warning("commitment_signed before our revoke_and_ack"));
        }
        // BOLT 2, commitment_signed, sender: not without updates. Some peers do it after a
        // reconnection; it costs nothing to answer.
        let deltas = self.next_local_deltas();
        let next = self.next_local().map_err(|e| warning(e.to_string()))?;
        // BOLT 2, commitment_signed, receiver: one signature for each HTLC with an output.
        let expected = fees::untrimmed(&self.live.setup, &next, Side::Local, next.feerate);
        if message.htlc_signature.len() != expected {
            let got = message.htlc_signature.len();
            return Err(warning(format!(
                "{got} HTLC signatures for {expected} HTLC outputs"
            )));
        }
        let request = Request::ValidateLocal(NextLocal {
            n: self.live.local_next,
            deltas,
            signature: message.signature,
            htlc_signatures: message.htlc_signature,
        });
        // Once the signer has it, our newest commitment lacks the HTLCs that the peer fulfilled: if the peer
        // never comes back, nothing on chain shows their preimages any more, or that we have paid.
        let persist = self.learns().then(|| self.persist());
        let mut actions: Vec<Action> = persist.map(Action::Persist).into_iter().collect();
        actions.push(self.ask(Asked::Validation(Box::new(next)), request));
        Ok(actions)
    }

    /// Whether our next commitment lacks an HTLC for a preimage: whoever is owed it, or the payer that we are, has
    /// heard of it, and the next Persist covers what came of that.
    fn learns(&self) -> bool {
        self.htlcs.values().any(|record| {
            let fulfilled = matches!(record.removal, Some(Removal::Fulfil { .. }));
            record.state == HtlcState::RcvdRemoveHtlc && fulfilled
        })
    }

    /// Our next commitment is valid, the one before it revoked at hsmd. The peer hears of it at the next flush.
    pub(super) fn validated(&mut self, ledger: Ledger, reply: Reply) -> Outcome {
        let Reply::ValidatedLocal {
            revoked_secret: Some(secret),
            point,
            next_point,
        } = reply
        else {
            // BOLT 2, commitment_signed, receiver: an invalid signature is the peer's fault.
            return Err(unexpected(reply));
        };
        let next = self.live.local_next.next();
        self.live.local_next = next.ok_or_else(|| warning("commitment numbers are used up"))?;
        self.local = ledger;
        self.local_point = Some(point);
        self.advance(Step::RcvdCommit);
        self.note_balances();
        self.live.remote_next_htlc_id = self.next_in;
        self.live.last_sent = LastSent::Revocation;
        self.owed = Some(OwedRevocation { secret, next_point });
        Ok(vec![])
    }

    pub(super) fn revoke_and_ack(&mut self, message: &RevokeAndAck) -> Outcome {
        let number = self.live.remote_next.prev().and_then(|n| n.prev());
        let (Some(n), true) = (number, self.live.awaiting_revocation) else {
            return Err(warning("revoke_and_ack, but no commitment awaits it"));
        };
        let secret = RevocationSecret(message.per_commitment_secret.0);
        // BOLT 2, revoke_and_ack, receiver: the secret must be that of the previous point.
        if tx::keys::per_commitment_point(&secret) != Ok(self.live.remote_current_point) {
            let text = format!("per_commitment_secret is not that of commitment {n}");
            return Err(PeerFault::Error(text));
        }
        let next_point = message.next_per_commitment_point;
        let asked = Asked::Revocation { secret, next_point };
        Ok(vec![self.ask(asked, Request::RemoteRevoked { n, secret })])
    }

    pub(super) fn revoked(
        &mut self,
        secret: RevocationSecret,
        next_point: secp256k1::PublicKey,
        reply: Reply,
    ) -> Outcome {
        match reply {
            Reply::Done => {}
            // BOLT 2, revoke_and_ack, receiver: a secret that does not fit those before it.
            Reply::Refused { reason, .. } => return Err(PeerFault::Error(reason)),
            other => return Err(unexpected(other)),
        }
        let current = self.live.remote_next_point.replace(next_point);
        self.live.remote_current_point =
            current.ok_or_else(|| warning("no commitment to revoke"))?;
        self.live.last_remote_secret = Some(secret);
        self.live.awaiting_revocation = false;
        let moved = self.advance(Step::RcvdRevocation);
        // BOLT 2, Forwarding HTLCs: a failure counts once the removal is irrevocable. The node
        // hears of it before the HTLC's record goes, so that it cannot get lost in between.
        let mut actions: Vec<Action> = moved
            .settled
            .into_iter()
            .filter_map(|(key, record)| match record.removal? {
                Removal::Fulfil { .. } => None,
                removal @ (Removal::Fail { .. } | Removal::Malformed { .. }) => {
                    let (id, origin) = (key.id, record.origin?);
                    Some(Action::Tell(Notice::Resolved {
                        id,
                        origin,
                        removal,
                    }))
                }
            })
            .collect();
        actions.push(Action::Record(self.persist()));
        // BOLT 2, Forwarding HTLCs: an incoming HTLC may be acted on once it is irrevocable.
        let locked = moved.keys.iter().filter_map(|key| {
            let record = self.htlcs.get(key)?;
            let locked = record.state == HtlcState::RcvdAddAckRevocation;
            locked.then(|| Action::Tell(self.locked(key, record)))
        });
        actions.extend(locked);
        Ok(actions)
    }
}
