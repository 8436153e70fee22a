//! bkpr-editdescriptionbypaymentid and bkpr-editdescriptionbyoutpoint: the owner's own words for what a
//! payment or an output was for.

use std::sync::Arc;

use bitcoin::OutPoint;
use lightningd_db::Batch;
use lightningd_rpc::{Args, Context, RpcError};
use serde_json::json;
use wire::PaymentHash;

use super::{Outcome, Show, failed, ledger};
use crate::node::Node;
use crate::store::descriptions::{self, Of};

pub async fn editdescriptionbypaymentid(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let id: PaymentHash = read(&args, "payment_id", "should be a 32 byte hex value")?;
    describe(&node, Of::Payment(id), &args).await
}

pub async fn editdescriptionbyoutpoint(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let outpoint: OutPoint = read(&args, "outpoint", "should be a txid:outnum")?;
    describe(&node, Of::Output(outpoint), &args).await
}

fn read<T: std::str::FromStr>(args: &Args, name: &str, should: &str) -> Result<T, RpcError> {
    let text: String = args.required(name)?;
    text.parse()
        .map_err(|_| RpcError::invalid_params(format!("{name}: {should}")))
}

/// Durable before it is shown. What is not there yet is described when it comes.
async fn describe(node: &Node, of: Of, args: &Args) -> Outcome {
    let text: String = args.required("description")?;
    let mut batch = Batch::new();
    descriptions::set(&node.db, &mut batch, of, &text).map_err(failed)?;
    node.db.commit(batch).await.map_err(failed)?;
    let ledger = ledger(node).await?;
    let show = Show::new(node, &ledger)?;
    let chain = ledger.chain.iter().filter(|(key, moved)| match of {
        Of::Payment(id) => moved.payment_hash == Some(id),
        Of::Output(outpoint) => key.outpoint == outpoint,
    });
    let channel = ledger.channel.iter().filter(|(_, moved)| match of {
        Of::Payment(id) => moved.payment_hash == Some(id),
        Of::Output(_) => false,
    });
    let updated = show.events(chain, channel, std::iter::empty())?;
    Ok(json!({ "updated": updated }))
}
