//! backup: the whole node in another folder. Not one of Core Lightning's.

use std::path::PathBuf;
use std::sync::Arc;

use lightningd_rpc::{Args, Context};
use serde_json::json;

use super::{Outcome, failed};
use crate::live_backup::make;
use crate::node::Node;

pub async fn backup(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let destination: String = args.required("destination")?;
    let to = PathBuf::from(&destination);
    // It reads and writes all that there is: not on the thread that all actors share.
    let worker = node.clone();
    let made = tokio::task::spawn_blocking(move || make(&worker.options, &worker.db, &to));
    let made = made.await.map_err(failed)?;
    let made = made.map_err(|error| failed(format!("{error:#}")))?;
    tracing::info!("a backup was made in {destination}");
    Ok(json!({
        "destination": destination,
        "files": made.files,
        "bytes": made.bytes,
    }))
}
