//! Which of our channels an invoice shows to its payer, and what to warn of.
//!
//! Our channels are announced by nobody (yet), so there is no way to us but through hints: as in
//! CLN, a node without public channels hints at those that can take the amount, and at more until
//! they can take it together.

use invoice::HintHop;
use lightningd_rpc::{RpcError, code};
use serde_json::Value;
use wire::{MilliSatoshi, ShortChannelId};

use super::error;
use crate::channels::Summary;
use crate::node::Node;

/// Hints in one invoice, at most: each makes it longer.
const MAX_HINTS: usize = 4;

/// `exposeprivatechannels`.
pub enum Expose {
    /// Absent or true.
    All,
    None,
    Only(Vec<ShortChannelId>),
}

impl Expose {
    /// # Errors
    /// Neither a bool, a short_channel_id nor an array of them.
    pub fn read(given: Option<Value>) -> Result<Expose, RpcError> {
        let wrong =
            || RpcError::invalid_params("exposeprivatechannels: should be a short channel id");
        let one = |value: &Value| {
            let scid = value.as_str().and_then(|text| text.parse().ok());
            scid.ok_or_else(wrong)
        };
        Ok(match given {
            None | Some(Value::Bool(true)) => Expose::All,
            Some(Value::Bool(false)) => Expose::None,
            Some(Value::Array(all)) => Expose::Only(all.iter().map(one).collect::<Result<_, _>>()?),
            Some(single) => Expose::Only(vec![one(&single)?]),
        })
    }

    fn allows(&self, channel: &Summary) -> bool {
        match self {
            Expose::All => true,
            Expose::None => false,
            Expose::Only(scids) => [
                channel.scid,
                channel.remote_alias,
                Some(channel.local_alias),
            ]
            .into_iter()
            .flatten()
            .any(|scid| scids.contains(&scid)),
        }
    }
}

/// Route hints, and warnings where they are not enough for the amount.
pub struct Hints {
    pub hops: Vec<Vec<HintHop>>,
    pub warnings: Vec<(&'static str, &'static str)>,
}

/// # Errors
/// Channels were named, and none of them can be used.
pub fn choose(
    node: &Node,
    expose: Expose,
    amount: Option<MilliSatoshi>,
) -> Result<Hints, RpcError> {
    let mut normal: Vec<Summary> = node.channels.summaries();
    normal.retain(|s| s.state == "CHANNELD_NORMAL");
    normal.sort_by_key(|s| (std::cmp::Reverse(s.receivable), s.dbid));
    let (private, mut usable): (Vec<_>, Vec<_>) =
        normal.into_iter().partition(|s| !expose.allows(s));
    let offline = sum(usable.extract_if(.., |s| !s.usable));
    usable.retain(|s| hint(s).is_some());
    if let (Expose::Only(named), true) = (&expose, usable.is_empty())
        && !named.is_empty()
    {
        return Err(error(
            code::INVOICE_HINTS_GAVE_NO_ROUTES,
            "None of those hints were suitable local channels",
        ));
    }
    let needed = amount.unwrap_or(MilliSatoshi(1));
    let capacity = Capacity {
        usable: sum(usable.iter().cloned()),
        offline,
        private: sum(private.into_iter()),
    };
    let hops = gather(&usable, needed);
    let mut warnings = capacity.warnings(needed);
    if hops.len() > 1 {
        let text = "The invoice is only payable by MPP-capable payers.";
        warnings.insert(0, ("warning_mpp", text));
    }
    Ok(Hints { hops, warnings })
}

fn sum(channels: impl Iterator<Item = Summary>) -> MilliSatoshi {
    channels.fold(MilliSatoshi(0), |sum, s| sum.saturating_add(s.receivable))
}

/// The largest first, until they take the amount together.
fn gather(usable: &[Summary], needed: MilliSatoshi) -> Vec<Vec<HintHop>> {
    let mut hops = Vec::new();
    let mut gathered = MilliSatoshi(0);
    for channel in usable.iter().take(MAX_HINTS) {
        if gathered >= needed {
            break;
        }
        gathered = gathered.saturating_add(channel.receivable);
        hops.extend(hint(channel).map(|hop| vec![hop]));
    }
    hops
}

/// What could come in by which channels.
struct Capacity {
    usable: MilliSatoshi,
    offline: MilliSatoshi,
    private: MilliSatoshi,
}

impl Capacity {
    fn warnings(&self, needed: MilliSatoshi) -> Vec<(&'static str, &'static str)> {
        let with_offline = self.usable.saturating_add(self.offline);
        let all = with_offline.saturating_add(self.private);
        if self.usable >= needed {
            return Vec::new();
        }
        let warning = match () {
            () if with_offline >= needed => (
                "warning_offline",
                "Insufficient incoming capacity, once offline peers were excluded",
            ),
            () if all >= needed => (
                "warning_private_unused",
                "Insufficient incoming capacity, once private channels were excluded (try \
                 exposeprivatechannels=true?)",
            ),
            () => (
                "warning_capacity",
                "Insufficient incoming channel capacity to pay invoice",
            ),
        };
        vec![warning]
    }
}

/// The peer's terms for reaching us (BOLT 11, `r`).
fn hint(summary: &Summary) -> Option<HintHop> {
    let update = summary.peer_update.as_ref()?;
    Some(HintHop {
        node: summary.peer,
        scid: summary.remote_alias.or(summary.scid)?,
        fee_base: MilliSatoshi(update.fee_base_msat.into()),
        fee_ppm: update.fee_proportional_millionths,
        cltv_delta: update.cltv_expiry_delta,
    })
}
