//! Backups and what comes back from them: staticbackup, emergencyrecover, recoverchannel,
//! getemergencyrecoverdata, restorefrompeer.

use std::sync::Arc;

use channel::backup::ChannelBackup;
use lightningd_rpc::{Args, Context, RpcError};
use serde_json::json;

use super::{Outcome, failed};
use crate::backup::{Brought, Source};
use crate::node::Node;

pub async fn staticbackup(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let channels = node.backup.channels().await.map_err(failed)?;
    let scb = channels.iter().map(|channel| hex::encode(channel.encode()));
    Ok(json!({ "scb": scb.collect::<Vec<_>>() }))
}

pub async fn emergencyrecover(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    recover(&node, Source::File).await
}

pub async fn recoverchannel(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let scb: Vec<String> = args.required("scb")?;
    let mut channels = Vec::with_capacity(scb.len());
    for entry in &scb {
        let bytes = hex::decode(entry);
        let bytes =
            bytes.map_err(|_| RpcError::invalid_params("scb: should be an array of hex"))?;
        match ChannelBackup::decode(&bytes) {
            Ok(channel) => channels.push(channel),
            Err(error) => tracing::error!("SCB is invalid: {error}"),
        }
    }
    recover(&node, Source::Given(channels)).await
}

pub async fn getemergencyrecoverdata(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let (sealed, backup) = node.backup.file().await.map_err(failed)?;
    let channels = backup.channels.iter();
    let ids: Vec<String> = channels
        .map(|channel| channel.channel_id.to_string())
        .collect();
    Ok(json!({
        "filedata": hex::encode(sealed),
        // The peer's secrets are hsmd's alone, and in no backup of this node.
        "can_create_penalty": false,
        "backed_up_channel_ids": ids,
    }))
}

pub async fn restorefrompeer(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    recover(&node, Source::Peers).await
}

async fn recover(node: &Node, source: Source) -> Outcome {
    let Some(Brought { stubs, failed }) =
        node.backup.recover(source).await.map_err(super::failed)?
    else {
        return Ok(json!({ "result": "No backup received from peers" }));
    };
    let why = failed.join("; ");
    if stubs.is_empty() && !failed.is_empty() {
        return Err(super::failed(why));
    }
    let ids: Vec<String> = stubs.iter().map(ToString::to_string).collect();
    let mut reply = json!({ "stubs": ids });
    if !failed.is_empty() {
        reply["warning_not_recovered"] = json!(why);
    }
    Ok(reply)
}
