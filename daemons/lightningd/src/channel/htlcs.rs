//! HTLCs between this channel and the rest of the node.

use channel::action::{AddRefusal, Command, Origin, Removal};
use ipc_messages::lightningd_channeld::{Hop, RemoveHow, ToChanneld};
use lightningd_db::Batch;
use tx::ledger::Htlc;
use wire::{HtlcId, Message};

use super::{Channel, Mail};
use crate::forwards;
use crate::invoices::Arrived;
use crate::payments::PartEnd;
use crate::store::forwards::End;

/// HTLCs that channeld has not answered for, at most: BOLT 2's limit for one commitment. Their onions
/// fit into what the edge buffers, so that neither end can block the other by not reading.
const MAX_OFFERED: usize = 483;

impl Channel {
    /// Hands an HTLC to channeld; without one it is refused at once.
    pub(super) async fn offer(&mut self, origin: Origin, htlc: Htlc, onion: wire::OnionPacket) {
        if self.is_on_chain() {
            return self.add_refused(origin, AddRefusal::ShuttingDown);
        }
        if self.link.is_none() || !self.active {
            return self.add_refused(origin, AddRefusal::NotConnected);
        }
        if self.offered.len() >= MAX_OFFERED {
            let most = u16::try_from(MAX_OFFERED).unwrap_or(u16::MAX);
            return self.add_refused(origin, AddRefusal::TooManyHtlcs(most));
        }
        self.offered.insert(origin);
        self.command(Command::Add {
            origin,
            htlc,
            onion,
        })
        .await;
    }

    /// How an HTLC that came in ends. On chain only a preimage counts; channeld hears it too while it
    /// lives, because it may still be heard by the peer.
    pub(super) async fn remove(&mut self, id: HtlcId, how: RemoveHow) {
        if self.onchain.is_begun() {
            self.remove_on_chain(how.clone()).await;
        }
        self.send(ToChanneld::Remove { id, how }).await;
    }

    /// Nothing left: whoever wanted the HTLC is told.
    pub(super) fn add_refused(&mut self, origin: Origin, reason: AddRefusal) {
        self.offered.remove(&origin);
        tracing::debug!("HTLC refused: {reason}");
        match origin {
            Origin::Payment {
                payment_hash,
                groupid,
                partid,
            } => {
                let end = PartEnd::Refused(reason);
                self.node
                    .payments
                    .ended(&self.node, payment_hash, groupid, partid, end);
            }
            Origin::Forward { channel, id } => forwards::refused(&self.node, channel, id, &reason),
        }
    }

    /// An HTLC that came in is irrevocable: it is for us or for somebody further on.
    pub(super) fn incoming(&mut self, id: HtlcId, htlc: Htlc, hop: Hop) {
        match hop {
            Hop::Forward {
                scid,
                amt_to_forward,
                outgoing_cltv_value,
                onion,
            } => {
                let ask = forwards::Forwarding {
                    channel: self.dbid,
                    id,
                    htlc,
                    scid,
                    amount: amt_to_forward,
                    cltv_expiry: outgoing_cltv_value,
                    onion,
                };
                if let Err(failure) = forwards::begin(&self.node, ask) {
                    let how = RemoveHow::FailHere { failure };
                    self.node.channels.tell(self.dbid, Mail::Remove { id, how });
                }
            }
            Hop::Final {
                amt_to_forward,
                outgoing_cltv_value,
                payment_secret,
                total,
                metadata: _,
                keysend_preimage: _,
            } => self.node.invoices.arrived(Arrived {
                channel: self.dbid,
                id,
                htlc,
                amount: amt_to_forward,
                cltv_expiry: outgoing_cltv_value,
                payment_secret,
                total,
            }),
        }
    }

    /// An HTLC of ours ended. What follows from it is written before this channel can forget it:
    /// its own Persist comes later in the same ordered writer.
    pub(super) fn resolved(&self, id: HtlcId, origin: Origin, removal: Removal) {
        tracing::debug!("HTLC {id} ended");
        self.tell_origin(id, origin, End::Removed(removal));
    }

    /// Who wanted the HTLC hears how it ended.
    pub(super) fn tell_origin(&self, out: HtlcId, origin: Origin, end: End) {
        let node = &self.node;
        match origin {
            Origin::Payment {
                payment_hash,
                groupid,
                partid,
            } => (node.payments).ended(node, payment_hash, groupid, partid, end.into()),
            Origin::Forward { channel, id } => forwards::ended(node, channel, id, out, end),
        }
    }

    /// The peer's forwarding terms, for the route hints of our invoices.
    pub(super) fn peer_update(&mut self, message: Message) {
        let Message::ChannelUpdate(update) = &message else {
            return;
        };
        let Some(record) = self.record() else { return };
        let ours = u8::from(self.node.id > self.peer);
        let names = [
            record.live.scid,
            record.live.remote_alias,
            Some(record.live.local_alias),
        ];
        let valid = update.chain_hash == self.node.chain_hash
            && update.direction() != ours
            && names.contains(&Some(update.short_channel_id))
            && crate::verify::channel_update(update, self.peer);
        if !valid {
            return tracing::debug!("a channel_update of the peer is not valid; ignored");
        }
        let encoded = message.encode();
        self.change_facts("", |facts| facts.peer_update = Some(encoded));
    }

    /// Writes a batch that a later commit of anybody makes durable.
    pub(super) fn write(&self, batch: Batch) {
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }
}
