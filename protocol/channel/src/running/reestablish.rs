//! channel_reestablish and what has to be sent again (BOLT 2, Message Retransmission).

use tx::signer::{Proof, Reply, Request, RevocationSecret};
use wire::{ChannelReestablish, CommitmentNumber, Message, PerCommitmentSecret};

use super::{Asked, Link, Outcome, Running, point, unexpected, warning};
use crate::action::{Action, Notice, PeerFault};
use crate::state::{LastSent, Phase};

/// What is sent again, each after its question to the signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    Ready,
    Revocation,
    Commitment,
}

impl Running {
    /// After a restart. The newest secret of the peer is told to the signer again first: it may have been
    /// written there without being synced when the power went, and without it no HTLC that this secret
    /// has made irrevocable counts there.
    pub(super) fn resumed(&mut self) -> Vec<Action> {
        let revoked = self.next_remote_revocation().prev();
        match (&self.live.phase, revoked, self.live.last_remote_secret) {
            // It is onchaind's by now.
            (Phase::Closed { .. } | Phase::Onchain, _, _) => self.told_again(),
            (_, Some(n), Some(secret)) => {
                let request = Request::RemoteRevoked { n, secret };
                vec![self.ask(Asked::RepeatedRevocation, request)]
            }
            (_, Some(_) | None, _) => self.told_again(),
        }
    }

    /// Asks for our newest point, for channel_reestablish.
    pub(super) fn connected(&mut self) -> Vec<Action> {
        self.link = Link::Reestablishing;
        let n = self
            .live
            .local_next
            .prev()
            .unwrap_or(CommitmentNumber::ZERO);
        vec![self.ask(Asked::ReestablishPoint, Request::Point { n })]
    }

    pub(super) fn send_reestablish(&mut self, point: secp256k1::PublicKey) -> Vec<Action> {
        // BOLT 2, channel_reestablish, sender: zeroes until there was a revocation.
        let secret = self
            .live
            .last_remote_secret
            .map_or([0; 32], |secret| secret.0);
        vec![Action::Send(Message::ChannelReestablish(
            ChannelReestablish {
                channel_id: self.live.channel_id,
                next_commitment_number: self.live.local_next,
                next_revocation_number: self.next_remote_revocation(),
                your_last_per_commitment_secret: PerCommitmentSecret(secret),
                my_current_per_commitment_point: point,
                next_funding: None,
                my_current_funding_locked: None,
            },
        ))]
    }

    /// Number of the commitment that the peer revokes next.
    fn next_remote_revocation(&self) -> CommitmentNumber {
        let newest = self.live.remote_next.prev();
        let oldest = match self.live.awaiting_revocation {
            true => newest.and_then(|n| n.prev()),
            false => newest,
        };
        oldest.unwrap_or(CommitmentNumber::ZERO)
    }

    pub(super) fn reestablish(&mut self, message: ChannelReestablish) -> Outcome {
        if self.link != Link::Reestablishing {
            return Err(warning(
                "channel_reestablish, but not at the start of a connection",
            ));
        }
        // BOLT 2, channel_reestablish: commitment 0 comes with the opening, so 0 is impossible.
        if message.next_commitment_number.0 == 0 {
            return Err(PeerFault::Error("next_commitment_number is 0".to_owned()));
        }
        // Whatever the peer says about our revocations, it proves with a secret of ours.
        match message.next_revocation_number.prev() {
            None => self.compare(&message),
            Some(n) => {
                let secret = RevocationSecret(message.your_last_per_commitment_secret.0);
                let asked = Asked::Proof(Box::new(message));
                Ok(vec![
                    self.ask(asked, Request::ReestablishProof { n, secret }),
                ])
            }
        }
    }

    /// What the signer says of the secret that the peer has shown.
    pub(super) fn proof(&mut self, message: &ChannelReestablish, reply: Reply) -> Outcome {
        let Reply::Proof { proof } = reply else {
            return Err(unexpected(reply));
        };
        let ahead = message.next_revocation_number > self.live.next_revocation();
        match (ahead, proof) {
            // BOLT 2, channel_reestablish, receiver: a correct secret beyond ours proves that we
            // are behind: never broadcast, and ask the peer to.
            (true, Proof::Revoked | Proof::Stale) | (false, Proof::Stale) => {
                Ok(self.we_are_stale())
            }
            (false, Proof::Revoked) => self.compare(message),
            // BOLT 2, channel_reestablish, receiver: a wrong secret.
            (true | false, Proof::Wrong) => Err(PeerFault::Error(
                "your_last_per_commitment_secret is wrong".to_owned(),
            )),
        }
    }

    fn we_are_stale(&mut self) -> Vec<Action> {
        self.link = Link::Stale;
        vec![Action::Tell(Notice::WeAreStale), self.please_close()]
    }

    fn please_close(&self) -> Action {
        let text = "we have lost data: please close the channel with your newest commitment";
        Action::Send(Message::Error(wire::Error {
            channel_id: self.live.channel_id,
            data: text.as_bytes().to_vec(),
        }))
    }

    /// Of a channel that is left of a backup.
    pub(super) fn ask_to_close(&mut self, reply: Reply) -> Outcome {
        // BOLT 2, Message Retransmission, receiver: a next_commitment_number of 0, which is what we have
        // here, makes the peer broadcast its newest commitment. Some do so for an error alone.
        let mut actions = self.send_reestablish(point(reply)?);
        actions.push(self.please_close());
        Ok(actions)
    }

    /// Both numbers against ours: what is to be sent again.
    fn compare(&mut self, message: &ChannelReestablish) -> Outcome {
        let sent = self.live.remote_next;
        let needs_commitment = match message.next_commitment_number {
            n if n == sent => false,
            // BOLT 2, channel_reestablish: the peer did not get our last commitment_signed.
            n if Some(n) == sent.prev() && self.live.awaiting_revocation => true,
            n => {
                // BOLT 2, channel_reestablish: neither our last commitment nor our next.
                let text = format!("next_commitment_number is {n}, ours {sent}");
                return Err(PeerFault::Error(text));
            }
        };
        let revoked = self.live.next_revocation();
        let needs_revocation = match message.next_revocation_number {
            n if n == revoked => false,
            // BOLT 2, channel_reestablish: the peer did not get our last revoke_and_ack.
            n if Some(n) == revoked.prev() => true,
            n => {
                let text = format!("next_revocation_number is {n}, ours {revoked}");
                return Err(PeerFault::Error(text));
            }
        };
        let first = CommitmentNumber(1);
        // BOLT 2, channel_reestablish: channel_ready goes again while both expect commitment 1.
        if message.next_commitment_number == first
            && self.live.local_next == first
            && self.was_ready()
        {
            self.resend.push_back(Resend::Ready);
        }
        let revocation = needs_revocation.then_some(Resend::Revocation);
        let commitment = needs_commitment.then_some(Resend::Commitment);
        // BOLT 2, channel_reestablish: both in the order in which they went first.
        match self.live.last_sent {
            LastSent::Commitment => self.resend.extend(revocation.into_iter().chain(commitment)),
            LastSent::Revocation => self.resend.extend(commitment.into_iter().chain(revocation)),
        }
        self.resend_next()
    }

    /// Whether channel_ready has left, or may leave now.
    fn was_ready(&self) -> bool {
        match self.live.phase {
            Phase::AwaitingLockin { sent_ready, .. } => sent_ready,
            Phase::Normal => true,
            Phase::ShuttingDown { .. } | Phase::Closing { .. } => self.deep,
            Phase::Opening | Phase::Closed { .. } | Phase::Onchain => false,
        }
    }

    /// The next of what is to be sent again; in the end the channel is up.
    pub(super) fn resend_next(&mut self) -> Outcome {
        if self.link != Link::Reestablishing {
            return Ok(vec![]);
        }
        Ok(match self.resend.pop_front() {
            Some(Resend::Ready) => {
                vec![self.ask(
                    Asked::ReadyPoint,
                    Request::Point {
                        n: CommitmentNumber(1),
                    },
                )]
            }
            Some(Resend::Revocation) => {
                let revoked = self.live.next_revocation().prev();
                let n = revoked.ok_or_else(|| warning("nothing was revoked yet"))?;
                vec![self.ask(Asked::ResendSecret, Request::RevokedSecret { n })]
            }
            Some(Resend::Commitment) => self.commit_again()?,
            None => self.reestablished(),
        })
    }

    pub(super) fn resend_secret(&mut self, reply: Reply) -> Outcome {
        let Reply::RevokedSecret { secret } = reply else {
            return Err(unexpected(reply));
        };
        let n = self.live.local_next;
        Ok(vec![
            self.ask(Asked::ResendPoint(secret), Request::Point { n }),
        ])
    }

    pub(super) fn resend_revocation(
        &mut self,
        secret: RevocationSecret,
        next_point: secp256k1::PublicKey,
    ) -> Outcome {
        let mut actions = vec![Action::Send(self.revocation(secret, next_point))];
        actions.extend(self.resend_next()?);
        Ok(actions)
    }

    fn reestablished(&mut self) -> Vec<Action> {
        self.link = Link::Up;
        let mut actions = Vec::new();
        // BOLT 2, Message Retransmission: shutdown goes again.
        actions.extend(self.our_shutdown().map(Action::Send));
        actions.push(Action::Tell(Notice::Active { active: true }));
        actions.extend(self.tell_ready());
        actions.extend(self.ask_ready());
        actions
    }
}

impl crate::state::Live {
    /// Number of our commitment that we revoke next.
    fn next_revocation(&self) -> CommitmentNumber {
        self.local_next.prev().unwrap_or(CommitmentNumber::ZERO)
    }
}
