//! listforwards.

use std::collections::HashMap;
use std::sync::Arc;

use channel::action::{Origin, Removal};
use lightningd_db::DbError;
use lightningd_rpc::{Args, Context, RpcError};
use onion::Failure;
use serde_json::{Value, json};
use wire::{ChannelDbid, HtlcId, ShortChannelId};

use super::paging::Paging;
use super::{Outcome, failed};
use crate::node::Node;
use crate::store::channels as records;
use crate::store::forwards::{End, Forward};

/// What is wanted of the list.
struct Wanted {
    status: Option<String>,
    in_channel: Option<ShortChannelId>,
    out_channel: Option<ShortChannelId>,
}

/// A forward as it is shown.
struct Shown {
    incoming: (ShortChannelId, HtlcId),
    outgoing: (ShortChannelId, Option<HtlcId>),
    forward: Forward,
}

pub async fn listforwards(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let wanted = Wanted {
        status: args.optional("status")?,
        in_channel: args.optional("in_channel")?,
        out_channel: args.optional("out_channel")?,
    };
    let paging = Paging::read(&args)?;
    let of_channel = wanted.in_channel.is_some() || wanted.out_channel.is_some();
    if of_channel && paging.has_start() {
        return Err(RpcError::invalid_params(
            "Cannot use start with in_channel or out_channel",
        ));
    }
    let found = find(&node, &wanted).map_err(failed)?;
    let page = paging.page(found, |Shown { forward, .. }| {
        paging.key(forward.created_index, forward.updated_index)
    });
    let shown: Vec<Value> = page.iter().map(shown).collect();
    Ok(json!({ "forwards": shown }))
}

fn find(node: &Node, wanted: &Wanted) -> Result<Vec<Shown>, DbError> {
    let mut names = HashMap::new();
    let mut name = |dbid| match names.get(&dbid) {
        Some(known) => Ok(*known),
        None => {
            let found = records::name(&node.db, dbid)?;
            names.insert(dbid, found);
            Ok::<_, DbError>(found)
        }
    };
    let fits = |wanted: Option<ShortChannelId>, is| wanted.is_none_or(|wanted| wanted == is);
    let mut found = Vec::new();
    for row in node.db.iter::<Forward>()? {
        let ((channel, id), forward) = row?;
        let incoming = (ChannelDbid(channel), HtlcId(id));
        let Some((forward, out)) = current(node, incoming, forward)? else {
            continue;
        };
        let is_wanted = |wanted: &String| wanted == status(&forward);
        let (Some(from), to) = (name(incoming.0)?, name(forward.channel_out)?) else {
            continue;
        };
        let to = to.unwrap_or(forward.scid_out);
        let fits = fits(wanted.in_channel, from) && fits(wanted.out_channel, to);
        if fits && wanted.status.as_ref().is_none_or(is_wanted) {
            found.push(Shown {
                incoming: (from, incoming.1),
                outgoing: (to, out),
                forward,
            });
        }
    }
    Ok(found)
}

/// A forward as it stands, and the outgoing HTLC as far as it has an id that is known. `None`: nothing left,
/// whatever was planned.
fn current(
    node: &Node,
    (channel, id): (ChannelDbid, HtlcId),
    forward: Forward,
) -> Result<Option<(Forward, Option<HtlcId>)>, DbError> {
    if let Forward {
        end: Some(_),
        htlc_out,
        ..
    } = forward
    {
        return Ok(Some((forward, htlc_out)));
    }
    let in_hand = node.forwards.is_offered(channel, id);
    let origin = Origin::Forward { channel, id };
    let out = records::offered_for(&node.db, forward.channel_out, origin)?;
    if out.is_some() || in_hand {
        return Ok(Some((forward, out)));
    }
    // It may have ended just now.
    let ended = node.db.get::<Forward>(&(channel.0, id.0))?;
    let ended = ended.filter(|forward| forward.end.is_some());
    Ok(ended.map(|forward| {
        let out = forward.htlc_out;
        (forward, out)
    }))
}

fn status(forward: &Forward) -> &'static str {
    match &forward.end {
        None => "offered",
        Some(End::Removed(Removal::Fulfil { .. })) => "settled",
        Some(End::Removed(Removal::Fail { .. } | Removal::Malformed { .. })) => "failed",
        Some(End::TimedOut) => "local_failed",
    }
}

/// The failure that the incoming side got, where it is not for the payer's eyes alone.
fn failure(end: &End) -> Option<Failure> {
    match end {
        End::Removed(Removal::Fulfil { .. } | Removal::Fail { .. }) => None,
        End::Removed(Removal::Malformed {
            sha256_of_onion,
            failure_code,
        }) => Failure::from_malformed(*failure_code, *sha256_of_onion).ok(),
        End::TimedOut => Some(Failure::PermanentChannelFailure),
    }
}

fn shown(shown: &Shown) -> Value {
    let forward = &shown.forward;
    let status = status(forward);
    let mut entry = json!({
        "created_index": forward.created_index,
        "in_channel": shown.incoming.0.to_string(),
        "in_htlc_id": shown.incoming.1.0,
        "out_channel": shown.outgoing.0.to_string(),
        "in_msat": forward.amount_in.0,
        "out_msat": forward.amount_out.0,
        "fee_msat": forward.amount_in.saturating_sub(forward.amount_out).0,
        "status": status,
        "style": "tlv",
        "received_time": forward.received_at,
    });
    let Some(object) = entry.as_object_mut() else {
        return entry;
    };
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    if let Some(id) = shown.outgoing.1 {
        put("out_htlc_id", json!(id.0));
    }
    if let Some(index) = forward.updated_index {
        put("updated_index", json!(index));
    }
    // As in CLN, what failed here has no time of its end.
    if let (Some(at), "settled" | "failed") = (forward.resolved_at, status) {
        put("resolved_time", json!(at));
    }
    if let Some(failure) = forward.end.as_ref().and_then(failure) {
        let name = format!("WIRE_{}", failure.name().to_uppercase());
        put("failcode", json!(failure.code()));
        put("failreason", json!(name));
    }
    entry
}
