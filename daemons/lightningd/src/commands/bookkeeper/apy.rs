//! bkpr-channelsapy: what each channel has earned for what is in it, and all together.

use std::sync::Arc;

use lightningd_rpc::{Args, Context};
use serde_json::{Value, json};

use super::income::Times;
use super::{Outcome, add, ledger, name};
use crate::books::apy::{self, Apy, utilization};
use crate::node::Node;

pub async fn channelsapy(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let times = Times::read(&args)?;
    let ledger = ledger(&node).await?;
    let all = apy::channels(&ledger, node.chain.height(), |at| times.have(at));
    let named = all.iter().map(|(books, apy)| (name(&ledger, *books), apy));
    let mut named: Vec<(String, &Apy)> = named.collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut shown: Vec<Value> = named.iter().map(|(name, apy)| channel(name, apy)).collect();
    if let Some(net) = apy::net(all.values()) {
        shown.push(channel("net", &net));
    }
    Ok(json!({ "channels_apy": shown }))
}

fn channel(name: &str, apy: &Apy) -> Value {
    let (ours, theirs, total) = (apy.our_start, apy.their_start(), apy.total_start);
    let mut entry = json!({
        "account": name,
        "routed_out_msat": apy.routed_out.0,
        "routed_in_msat": apy.routed_in.0,
        // Nobody leases channels here.
        "lease_fee_paid_msat": 0,
        "lease_fee_earned_msat": 0,
        "pushed_out_msat": apy.pushed_out.0,
        "pushed_in_msat": apy.pushed_in.0,
        "our_start_balance_msat": ours.0,
        "channel_start_balance_msat": total.0,
        "fees_out_msat": apy.fees_out.0,
        "fees_in_msat": apy.fees_in.0,
    });
    let percentages = [
        ("utilization_out", utilization(apy.routed_out, total)),
        ("utilization_out_initial", utilization(apy.routed_out, ours)),
        ("utilization_in", utilization(apy.routed_in, total)),
        ("utilization_in_initial", utilization(apy.routed_in, theirs)),
        ("apy_out", apy.in_a_year(apy.fees_out, total)),
        ("apy_out_initial", apy.in_a_year(apy.fees_out, ours)),
        ("apy_in", apy.in_a_year(apy.fees_in, total)),
        ("apy_in_initial", apy.in_a_year(apy.fees_in, theirs)),
        ("apy_total", apy.in_a_year(apy.fees(), total)),
        ("apy_total_initial", apy.in_a_year(apy.fees(), ours)),
    ];
    add(&mut entry, percentages);
    entry
}
