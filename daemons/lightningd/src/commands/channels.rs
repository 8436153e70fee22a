//! What channel commands share, and listclosedchannels.

use std::sync::Arc;

use lightningd_rpc::{Args, Context};
use serde_json::{Value, json};
use tx::setup::CommitmentFormat;
use wire::{NodeId, Side};

use super::{Outcome, failed};
use crate::channel::LastTx;
use crate::node::Node;
use crate::store::channels::{ChannelRecord, ClosedChannel};

pub fn channel_type(format: CommitmentFormat) -> Value {
    match format {
        CommitmentFormat::StaticRemotekey => {
            json!({"bits": [12], "names": ["static_remotekey/even"]})
        }
        CommitmentFormat::AnchorsZeroFeeHtlc => {
            json!({"bits": [12, 22], "names": ["static_remotekey/even", "anchors/even"]})
        }
    }
}

pub fn side(side: Side) -> &'static str {
    match side {
        Side::Local => "local",
        Side::Remote => "remote",
    }
}

pub async fn listclosedchannels(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let only: Option<NodeId> = args.optional("id")?;
    let all = node.db.scan::<ClosedChannel>().map_err(failed)?;
    let shown = all
        .into_iter()
        .map(|(_, closed)| closed.0)
        .filter(|record| only.is_none_or(|only| only == record.live.peer))
        .map(|record| closed(&record));
    Ok(json!({ "closedchannels": shown.collect::<Vec<_>>() }))
}

fn closed(record: &ChannelRecord) -> Value {
    let (live, facts) = (&record.live, &record.facts);
    let ours = live.our_balance().0;
    let mut entry = json!({
        "peer_id": live.peer.to_string(),
        "channel_id": live.channel_id.to_string(),
        "alias": {"local": live.local_alias.to_string()},
        "opener": side(live.setup.opener),
        "private": !live.announce,
        "channel_type": channel_type(live.setup.format),
        "total_local_commitments": live.local_next.0,
        "total_remote_commitments": live.remote_next.0,
        "total_htlcs_sent": live.next_htlc_id.0,
        "funding_txid": live.funding.outpoint.txid.to_string(),
        "funding_outnum": live.funding.outpoint.vout,
        "funding_withheld": false,
        "leased": false,
        "total_msat": live.funding.value.to_msat().unwrap_or_default().0,
        "final_to_us_msat": ours,
        "min_to_us_msat": facts.least_ours.unwrap_or(live.our_balance()).0,
        "max_to_us_msat": facts.most_ours.unwrap_or(live.our_balance()).0,
        "close_cause": facts.close_cause.as_deref().unwrap_or("unknown"),
    });
    let Some(object) = entry.as_object_mut() else {
        return entry;
    };
    if let Some(scid) = live.scid {
        object.insert("short_channel_id".to_owned(), json!(scid.to_string()));
    }
    if facts.last_stable > 0 {
        let at = json!(facts.last_stable);
        object.insert("last_stable_connection".to_owned(), at);
    }
    if let (Some(alias), Some(Value::Object(aliases))) =
        (live.remote_alias, object.get_mut("alias"))
    {
        aliases.insert("remote".to_owned(), json!(alias.to_string()));
    }
    if let Some(closer) = facts.closer {
        object.insert("closer".to_owned(), json!(side(closer)));
    }
    if let Some(LastTx { txid, fee }) = LastTx::closing(record) {
        let (txid, fee) = (json!(txid.to_string()), json!(super::wallet::msat(fee).0));
        object.insert("last_commitment_txid".to_owned(), txid);
        object.insert("last_commitment_fee_msat".to_owned(), fee);
    }
    if live.setup.push.0 > 0 {
        object.insert("funding_pushed_msat".to_owned(), json!(live.setup.push.0));
    }
    entry
}
