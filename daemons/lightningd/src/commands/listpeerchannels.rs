//! listpeerchannels.

use std::sync::Arc;

use channel::state::{HtlcRecord, HtlcState};
use lightningd_rpc::{Args, Context, RpcError};
use serde_json::{Map, Value, json};
use tx::ledger::HtlcKey;
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, ChannelId, Message, MilliSatoshi, NodeId, Satoshi, ShortChannelId, Side};

use super::channels::{channel_type, side};
use super::standing;
use super::{Outcome, channel_views};
use crate::channel::{ChannelView, LastTx, OpenView, state_name};
use crate::node::Node;
use crate::store::channels::StateChange;

pub async fn listpeerchannels(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let peer: Option<NodeId> = args.optional("id")?;
    let scid: Option<ShortChannelId> = args.optional("short_channel_id")?;
    let channel: Option<ChannelId> = args.optional("channel_id")?;
    let given = [peer.is_some(), scid.is_some(), channel.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(RpcError::invalid_params(
            "Must not specify more than one of short_channel_id, channel_id or id",
        ));
    }
    let wanted = |view: &ChannelView| {
        let live = view.open.as_ref().map(|open| &open.record.live);
        peer.is_none_or(|peer| peer == view.peer)
            && scid.is_none_or(|scid| {
                live.is_some_and(|l| l.scid == Some(scid) || l.local_alias == scid)
            })
            && channel.is_none_or(|id| live.map(|l| l.channel_id).or(view.temporary_id) == Some(id))
    };
    let views = channel_views(&node).await;
    let shown: Vec<Value> = views
        .iter()
        .filter(|view| wanted(view))
        .map(|v| shown(&node, v))
        .collect();
    Ok(json!({ "channels": shown }))
}

fn shown(node: &Node, view: &ChannelView) -> Value {
    let mut entry = Map::new();
    entry.insert("peer_id".to_owned(), json!(view.peer.to_string()));
    entry.insert("peer_connected".to_owned(), json!(view.connected));
    if view.connected {
        entry.insert("reestablished".to_owned(), json!(view.reestablished));
    }
    match &view.open {
        Some(open) => open_channel(&mut entry, node, view, open),
        None => opening(&mut entry, view),
    }
    if let Some(owner) = view.owner {
        entry.insert("owner".to_owned(), json!(owner));
    }
    Value::Object(entry)
}

fn opening(entry: &mut Map<String, Value>, view: &ChannelView) {
    entry.insert("state".to_owned(), json!("OPENINGD"));
    let opener = if view.opening_by_us {
        Side::Local
    } else {
        Side::Remote
    };
    entry.insert("opener".to_owned(), json!(side(opener)));
    entry.insert("features".to_owned(), json!(["option_static_remotekey"]));
    if let Some(id) = view.temporary_id {
        entry.insert("channel_id".to_owned(), json!(id.to_string()));
    }
}

fn open_channel(entry: &mut Map<String, Value>, node: &Node, view: &ChannelView, open: &OpenView) {
    let (live, facts) = (&open.record.live, &open.record.facts);
    let setup = &live.setup;
    let total = msat(live.funding.value);
    let (we_put, they_put) = match setup.opener {
        Side::Local => (total, MilliSatoshi(0)),
        Side::Remote => (MilliSatoshi(0), total),
    };
    let fields = json!({
        "state": state_name(&live.phase, facts),
        "channel_type": channel_type(setup.format),
        "updates": updates(node, open),
        "ignore_fee_limits": node.options.channels.ignore_fee_limits,
        "lost_state": facts.stale,
        "feerate": {"perkw": live.feerate.current.0, "perkb": u64::from(live.feerate.current.0) * 4},
        "channel_id": live.channel_id.to_string(),
        "funding_txid": live.funding.outpoint.txid.to_string(),
        "funding_outnum": live.funding.outpoint.vout,
        "close_to": hex::encode(live.shutdown_script.as_bytes()),
        "close_to_addr": super::wallet::address(node, &live.shutdown_script),
        "private": !live.announce,
        "opener": side(setup.opener),
        "features": features(setup.format),
        "funding": {
            "local_funds_msat": we_put.0,
            "remote_funds_msat": they_put.0,
            "pushed_msat": setup.push.0,
            "withheld": false,
        },
    });
    if let Value::Object(fields) = fields {
        entry.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    if let Value::Object(amounts) = amounts(node, view, open) {
        entry.extend(amounts);
    }
    if let Some(scid) = live.scid {
        entry.insert("short_channel_id".to_owned(), json!(scid.to_string()));
        entry.insert("direction".to_owned(), json!(u8::from(node.id > live.peer)));
    }
    if let Some(closer) = facts.closer {
        entry.insert("closer".to_owned(), json!(side(closer)));
    }
    if facts.last_stable > 0 {
        let at = json!(facts.last_stable);
        entry.insert("last_stable_connection".to_owned(), at);
    }
    if let Some(LastTx { txid, fee }) = open.last_tx {
        entry.insert("scratch_txid".to_owned(), json!(txid.to_string()));
        entry.insert("last_tx_fee_msat".to_owned(), json!(msat(fee).0));
    }
}

/// Balances, limits and what has gone through.
fn amounts(node: &Node, view: &ChannelView, open: &OpenView) -> Value {
    let (live, facts) = (&open.record.live, &open.record.facts);
    let setup = &live.setup;
    let total = msat(live.funding.value);
    let ours = open.ours();
    let offered = |offerer| {
        let standing = open.htlcs.iter().map(|(key, record)| (key, record));
        open.record.offered(offerer, standing)
    };
    json!({
        "to_us_msat": ours.0,
        "min_to_us_msat": facts.least_ours.unwrap_or(ours).min(ours).0,
        "max_to_us_msat": facts.most_ours.unwrap_or(ours).max(ours).0,
        "total_msat": total.0,
        "fee_base_msat": node.options.channels.fee_base.0,
        "fee_proportional_millionths": node.options.channels.fee_proportional_millionths,
        "dust_limit_msat": msat(setup.local.dust_limit).0,
        "their_max_htlc_value_in_flight_msat": setup.remote.max_htlc_value_in_flight.0,
        "our_max_htlc_value_in_flight_msat": setup.local.max_htlc_value_in_flight.0,
        // What each side must keep: each party's record says what it demands of the other.
        "their_reserve_msat": msat(setup.local.channel_reserve).0,
        "our_reserve_msat": msat(setup.remote.channel_reserve).0,
        "spendable_msat": open.spendable.0,
        "receivable_msat": open.receivable.0,
        "minimum_htlc_in_msat": setup.local.htlc_minimum.0,
        "minimum_htlc_out_msat": setup.remote.htlc_minimum.0,
        "maximum_htlc_out_msat": setup.remote.max_htlc_value_in_flight.min(total).0,
        "their_to_self_delay": setup.remote.to_self_delay.0,
        "our_to_self_delay": setup.local.to_self_delay.0,
        "max_accepted_htlcs": setup.local.max_accepted_htlcs,
        "alias": aliases(open),
        "state_changes": facts.history.iter().map(change).collect::<Vec<_>>(),
        "status": status(node, view, open),
        "in_payments_offered": live.remote_next_htlc_id.0,
        "in_offered_msat": offered(Side::Remote).0,
        "in_payments_fulfilled": live.fulfilled_in.count,
        "in_fulfilled_msat": live.fulfilled_in.amount.0,
        "out_payments_offered": live.next_htlc_id.0,
        "out_offered_msat": offered(Side::Local).0,
        "out_payments_fulfilled": live.fulfilled_out.count,
        "out_fulfilled_msat": live.fulfilled_out.amount.0,
        "htlcs": open.htlcs.iter().map(|(key, record)| htlc(open, *key, record)).collect::<Vec<_>>(),
    })
}

fn msat(value: Satoshi) -> MilliSatoshi {
    super::wallet::msat(value)
}

fn features(format: CommitmentFormat) -> Value {
    match format {
        CommitmentFormat::StaticRemotekey => json!(["option_static_remotekey"]),
        CommitmentFormat::AnchorsZeroFeeHtlc => {
            json!(["option_static_remotekey", "option_anchors"])
        }
    }
}

fn aliases(open: &OpenView) -> Value {
    let live = &open.record.live;
    match live.remote_alias {
        Some(remote) => {
            json!({"local": live.local_alias.to_string(), "remote": remote.to_string()})
        }
        None => json!({"local": live.local_alias.to_string()}),
    }
}

fn updates(node: &Node, open: &OpenView) -> Value {
    let ours = crate::channel_update::facts(node, &open.record.live);
    let mut updates = json!({"local": {
        "htlc_minimum_msat": ours.htlc_minimum.0,
        "htlc_maximum_msat": ours.htlc_maximum.0,
        "cltv_expiry_delta": ours.cltv_expiry_delta.0,
        "fee_base_msat": ours.fee_base.0,
        "fee_proportional_millionths": ours.fee_proportional_millionths,
    }});
    let theirs = open
        .record
        .facts
        .peer_update
        .as_deref()
        .map(Message::decode);
    if let (Some(Ok(Message::ChannelUpdate(update))), Some(object)) =
        (theirs, updates.as_object_mut())
    {
        object.insert(
            "remote".to_owned(),
            json!({
                "htlc_minimum_msat": update.htlc_minimum_msat.0,
                "htlc_maximum_msat": update.htlc_maximum_msat.0,
                "cltv_expiry_delta": update.cltv_expiry_delta.0,
                "fee_base_msat": update.fee_base_msat,
                "fee_proportional_millionths": update.fee_proportional_millionths,
            }),
        );
    }
    updates
}

/// For a person: what the channel waits for, and on chain what becomes of each output.
fn status(node: &Node, view: &ChannelView, open: &OpenView) -> Vec<String> {
    let state = state_name(&open.record.live.phase, &open.record.facts);
    let what = waits_for(node, view, open, state);
    let mut lines = vec![format!("{state}:{what}")];
    if let Some(standing) = &open.standing {
        let more = standing::lines(standing, open.tip, node.network);
        lines.extend(more.into_iter().map(|line| format!("{state}:{line}")));
    }
    lines
}

fn waits_for(node: &Node, view: &ChannelView, open: &OpenView, state: &str) -> String {
    let fixed = match state {
        "CHANNELD_AWAITING_LOCKIN" => return locks_in(node, open),
        "CHANNELD_SHUTTING_DOWN" => return runs_out(node, open),
        "CLOSINGD_COMPLETE" => return mines(open, "closed: waiting for a block with"),
        "AWAITING_UNILATERAL" => return closes_alone(open),
        "ONCHAIN" => match &open.standing {
            Some(standing) => return standing::summary(standing, open.tip, node.network),
            None => "closed on chain",
        },
        "CHANNELD_NORMAL" if view.reestablished => "channel ready for use",
        "CHANNELD_NORMAL" if view.connected => "reconnected, waiting for reestablishment",
        "CHANNELD_NORMAL" => "waiting for the peer to connect",
        "CLOSINGD_SIGEXCHANGE" if view.connected => "closing: negotiating the fee",
        "CLOSINGD_SIGEXCHANGE" => "closing: waiting for the peer to connect",
        "FUNDING_SPEND_SEEN" => "closed on chain: looking at the transaction that did it",
        _ => "closed on chain",
    };
    fixed.to_owned()
}

/// How many blocks the funding transaction still needs.
fn locks_in(node: &Node, open: &OpenView) -> String {
    let (live, facts) = (&open.record.live, &open.record.facts);
    let depth = facts.funding_height.map_or(0, |at| open.tip.depth(at));
    let left = live.minimum_depth.saturating_sub(depth);
    match (facts.funding_height, left) {
        (None, _) => format!(
            "waiting for a block with the funding transaction {}",
            live.funding.outpoint.txid
        ),
        (Some(_), 0) => "waiting for the peer's channel_ready".to_owned(),
        (Some(_), left) => format!(
            "waiting for the funding transaction to be {} deeper",
            standing::span(left, node.network)
        ),
    }
}

/// A shutdown waits for the HTLCs, the last of which is over one way or the other at its expiry.
fn runs_out(node: &Node, open: &OpenView) -> String {
    let expiries = open
        .htlcs
        .iter()
        .map(|(_, record)| record.htlc.cltv_expiry.0);
    match (open.htlcs.len(), expiries.max()) {
        (0, _) | (_, None) => "closing: waiting for the peer".to_owned(),
        (n, Some(last)) => {
            let last = standing::block(BlockHeight(last), open.tip, node.network);
            format!("closing: waiting for HTLCs to end, {n} left, the last one by {last}")
        }
    }
}

fn closes_alone(open: &OpenView) -> String {
    let what = "closing alone: waiting for a block with";
    match open.standing.as_ref().and_then(|standing| standing.rival) {
        Some(rival) => format!("{what} {rival}, the peer's, which is in the mempool"),
        None => mines(open, what),
    }
}

fn mines(open: &OpenView, what: &str) -> String {
    match &open.record.facts.closing_tx {
        Some(tx) => format!("{what} {}", tx.compute_txid()),
        None => format!("{what} a commitment of the peer's"),
    }
}

fn change(change: &StateChange) -> Value {
    let at = time::OffsetDateTime::from_unix_timestamp(change.at.try_into().unwrap_or(0));
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    let timestamp = at
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default();
    json!({
        "timestamp": timestamp,
        "old_state": change.old,
        "new_state": change.new,
        "cause": change.cause,
        "message": change.message,
    })
}

fn htlc(open: &OpenView, key: HtlcKey, record: &HtlcRecord) -> Value {
    let setup = &open.record.live.setup;
    let feerate = open.record.live.feerate.current;
    let direction = match key.offerer {
        Side::Local => "out",
        Side::Remote => "in",
    };
    let mut entry = json!({
        "direction": direction,
        "id": key.id.0,
        "amount_msat": record.htlc.amount.0,
        "expiry": record.htlc.cltv_expiry.0,
        "payment_hash": record.htlc.payment_hash.to_string(),
        "state": htlc_state(record.state),
    });
    let trimmed =
        tx::fees::is_trimmed(setup, Side::Local, feerate, key.offerer, record.htlc.amount);
    if let (true, Some(object)) = (trimmed, entry.as_object_mut()) {
        object.insert("local_trimmed".to_owned(), json!(true));
    }
    entry
}

fn htlc_state(state: HtlcState) -> &'static str {
    match state {
        HtlcState::SentAddHtlc => "SENT_ADD_HTLC",
        HtlcState::SentAddCommit => "SENT_ADD_COMMIT",
        HtlcState::RcvdAddRevocation => "RCVD_ADD_REVOCATION",
        HtlcState::RcvdAddAckCommit => "RCVD_ADD_ACK_COMMIT",
        HtlcState::SentAddAckRevocation => "SENT_ADD_ACK_REVOCATION",
        HtlcState::RcvdRemoveHtlc => "RCVD_REMOVE_HTLC",
        HtlcState::RcvdRemoveCommit => "RCVD_REMOVE_COMMIT",
        HtlcState::SentRemoveRevocation => "SENT_REMOVE_REVOCATION",
        HtlcState::SentRemoveAckCommit => "SENT_REMOVE_ACK_COMMIT",
        HtlcState::RcvdRemoveAckRevocation => "RCVD_REMOVE_ACK_REVOCATION",
        HtlcState::RcvdAddHtlc => "RCVD_ADD_HTLC",
        HtlcState::RcvdAddCommit => "RCVD_ADD_COMMIT",
        HtlcState::SentAddRevocation => "SENT_ADD_REVOCATION",
        HtlcState::SentAddAckCommit => "SENT_ADD_ACK_COMMIT",
        HtlcState::RcvdAddAckRevocation => "RCVD_ADD_ACK_REVOCATION",
        HtlcState::SentRemoveHtlc => "SENT_REMOVE_HTLC",
        HtlcState::SentRemoveCommit => "SENT_REMOVE_COMMIT",
        HtlcState::RcvdRemoveRevocation => "RCVD_REMOVE_REVOCATION",
        HtlcState::RcvdRemoveAckCommit => "RCVD_REMOVE_ACK_COMMIT",
        HtlcState::SentRemoveAckRevocation => "SENT_REMOVE_ACK_REVOCATION",
    }
}
