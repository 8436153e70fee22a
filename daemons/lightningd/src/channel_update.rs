//! What we ask for forwarding, as a channel_update (BOLT 7) for the peer of an unannounced channel.

use channel::state::Live;
use ipc_messages::hsm::gossip::ChannelUpdateFacts;
use wire::messages::ChannelUpdate;
use wire::{Message, MilliSatoshi};

use crate::hsm::HsmError;
use crate::node::Node;
use crate::store::now;

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
        timestamp: u32::try_from(now()).unwrap_or(u32::MAX),
        message_flags: MESSAGE_FLAGS,
        channel_flags: direction,
        cltv_expiry_delta: options.cltv_delta,
        htlc_minimum: live.setup.remote.htlc_minimum.max(options.htlc_minimum),
        fee_base: options.fee_base,
        fee_proportional_millionths: options.fee_proportional_millionths,
        htlc_maximum: capacity
            .min(live.setup.remote.max_htlc_value_in_flight)
            .min(options.htlc_maximum),
    }
}

/// Signed by hsmd.
///
/// # Errors
/// hsmd refuses.
pub async fn ours(node: &Node, live: &Live) -> Result<Message, HsmError> {
    let facts = facts(node, live);
    let signature = node.hsm.sign_channel_update(facts.clone()).await?;
    Ok(Message::ChannelUpdate(ChannelUpdate {
        signature,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp: facts.timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: u32::try_from(facts.fee_base.0).unwrap_or(u32::MAX),
        fee_proportional_millionths: facts.fee_proportional_millionths,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: Vec::new(),
    }))
}
