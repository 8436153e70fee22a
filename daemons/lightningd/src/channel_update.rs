//! What we ask for forwarding, as a channel_update (BOLT 7) for the peer of an unannounced channel.

use channel::state::Live;
use ipc_messages::hsm::gossip::{ChannelUpdateFacts, MAX_CLTV_DELTA, MAX_PROPORTIONAL_MILLIONTHS};
use wire::{ChannelDbid, Message, MilliSatoshi};

use crate::hsm::HsmError;
use crate::node::Node;

/// `must_be_one` of BOLT 7, message_flags; and bit 1, dont_forward: for the peer alone.
const MESSAGE_FLAGS: u8 = 0b11;

/// Its fields, as our options set them.
#[must_use]
pub fn facts(node: &Node, live: &Live) -> ChannelUpdateFacts {
    let direction = u8::from(node.id > live.peer);
    // The peer may use either name; before it has a real one it only knows the alias it gave us.
    let scid = live.scid.or(live.remote_alias).unwrap_or(live.local_alias);
    let capacity = live
        .funding
        .value
        .to_msat()
        .unwrap_or(MilliSatoshi(u64::MAX));
    let options = &node.options.channels;
    ChannelUpdateFacts {
        chain_hash: node.chain_hash,
        scid,
        message_flags: MESSAGE_FLAGS,
        channel_flags: direction,
        cltv_expiry_delta: options.cltv_delta.min(MAX_CLTV_DELTA),
        htlc_minimum: live.setup.remote.htlc_minimum.max(options.htlc_minimum),
        // Whoever asks more than the channel holds wants nothing to be forwarded.
        fee_base: options.fee_base.min(capacity),
        fee_proportional_millionths: options
            .fee_proportional_millionths
            .min(MAX_PROPORTIONAL_MILLIONTHS),
        htlc_maximum: capacity
            .min(live.setup.remote.max_htlc_value_in_flight)
            .min(options.htlc_maximum),
    }
}

/// Signed by hsmd, which sets the timestamp.
///
/// # Errors
/// hsmd refuses.
pub async fn sign(
    node: &Node,
    channel: ChannelDbid,
    facts: ChannelUpdateFacts,
) -> Result<Message, HsmError> {
    let signed = node.hsm.sign_channel_update(channel, facts.clone());
    let (timestamp, signature) = signed.await?;
    let update = facts.with(timestamp, signature);
    Ok(Message::ChannelUpdate(update.ok_or(HsmError::Confused)?))
}
