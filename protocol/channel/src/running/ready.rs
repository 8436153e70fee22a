//! channel_ready both ways (BOLT 2, The `channel_ready` Message).

use tx::signer::Request;
use wire::{ChannelReady, CommitmentNumber, Message, ShortChannelId};

use super::{Asked, Link, Outcome, Running};
use crate::action::{Action, Notice};
use crate::state::Phase;

impl Running {
    pub(super) fn funding_depth(
        &mut self,
        depth: u32,
        scid: Option<ShortChannelId>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.deep |= depth >= self.live.minimum_depth;
        if scid.is_some() && scid != self.live.scid {
            self.live.scid = scid;
            actions.push(Action::Record(self.persist()));
        }
        actions.extend(self.ask_ready());
        actions
    }

    /// channel_ready, once the funding transaction is deep enough and the peer can hear it.
    pub(super) fn ask_ready(&mut self) -> Option<Action> {
        let due = matches!(
            self.live.phase,
            Phase::AwaitingLockin {
                sent_ready: false,
                ..
            }
        );
        // BOLT 2, channel_ready, sender: not before minimum_depth.
        (due && self.deep && self.link == Link::Up && self.asked.is_none()).then(|| {
            self.ask(
                Asked::ReadyPoint,
                Request::Point {
                    n: CommitmentNumber(1),
                },
            )
        })
    }

    pub(super) fn send_ready(&mut self, point: secp256k1::PublicKey) -> Outcome {
        let message = Message::ChannelReady(ChannelReady {
            channel_id: self.live.channel_id,
            second_per_commitment_point: point,
            short_channel_id: Some(self.live.local_alias),
        });
        let mut actions = Vec::new();
        if let Phase::AwaitingLockin {
            sent_ready: sent @ false,
            ..
        } = &mut self.live.phase
        {
            *sent = true;
            let ready = self.ready();
            actions.push(Action::Persist(self.persist()));
            actions.push(Action::Send(message));
            actions.extend(ready);
        } else {
            actions.push(Action::Send(message));
        }
        actions.extend(self.resend_next()?);
        Ok(actions)
    }

    pub(super) fn peer_ready(&mut self, message: &ChannelReady) -> Outcome {
        let first = match &mut self.live.phase {
            Phase::AwaitingLockin { received_ready, .. } => {
                !std::mem::replace(received_ready, true)
            }
            // It may cross our shutdown.
            Phase::ShuttingDown { .. } | Phase::Closing { .. } => {
                self.live.remote_next_point.is_none()
            }
            Phase::Opening | Phase::Normal | Phase::Closed { .. } | Phase::Onchain => false,
        };
        let alias = message.short_channel_id.or(self.live.remote_alias);
        // BOLT 2, Message Retransmission: a redundant channel_ready is ignored, but for its alias.
        if !first && alias == self.live.remote_alias {
            return Ok(vec![]);
        }
        self.live.remote_alias = alias;
        if first {
            self.live.remote_next_point = Some(message.second_per_commitment_point);
        }
        let ready = self.ready();
        let mut actions = vec![Action::Record(self.persist())];
        actions.extend(ready);
        Ok(actions)
    }

    /// Into normal operation, when channel_ready went both ways.
    fn ready(&mut self) -> Option<Action> {
        let both = Phase::AwaitingLockin {
            sent_ready: true,
            received_ready: true,
        };
        if self.live.phase == both {
            self.live.phase = Phase::Normal;
        }
        self.tell_ready()
    }

    pub(super) fn tell_ready(&self) -> Option<Action> {
        let peer_alias = self.live.remote_alias;
        (self.live.phase == Phase::Normal).then_some(Action::Tell(Notice::Ready { peer_alias }))
    }
}
