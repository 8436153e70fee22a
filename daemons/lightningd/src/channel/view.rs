//! A channel as RPC shows it and as others choose by it.

use std::collections::BTreeMap;

use channel::action::Removal;
use channel::state::{HtlcRecord, Live, Phase};
use ipc_messages::lightningd_channeld::Begin;
use onchain::action::Standing;
use tx::ledger::{HtlcKey, Ledger};
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, ChannelId, Message, MilliSatoshi, NodeId, Side};

use super::books::is_fulfilled;
use super::chain::is_unfunded;
use super::{Channel, LastTx, Stage};
use crate::channels::Summary;
use crate::node::Node;
use crate::store::channels::{ChannelRecord, Facts};

/// A copy of a channel's state.
#[derive(Clone, Debug)]
pub struct ChannelView {
    pub peer: NodeId,
    pub connected: bool,
    pub reestablished: bool,
    /// `None` while it is being opened.
    pub open: Option<Box<OpenView>>,
    /// Until there is a record: the temporary id, and whether we open.
    pub temporary_id: Option<ChannelId>,
    pub opening_by_us: bool,
    /// The process that runs for it.
    pub owner: Option<&'static str>,
}

/// A channel that has a record.
#[derive(Clone, Debug)]
pub struct OpenView {
    pub record: ChannelRecord,
    pub htlcs: Vec<(HtlcKey, HtlcRecord)>,
    pub spendable: MilliSatoshi,
    pub receivable: MilliSatoshi,
    pub last_tx: Option<LastTx>,
    /// Of a channel on chain: what becomes of what.
    pub standing: Option<Standing>,
    /// The tip, as the channel was told.
    pub tip: BlockHeight,
}

impl OpenView {
    /// As [`ours`].
    #[must_use]
    pub fn ours(&self) -> MilliSatoshi {
        ours(
            &self.record.live,
            self.htlcs.iter().map(|(key, htlc)| (key, htlc)),
        )
    }
}

impl Channel {
    pub(super) fn view(&self) -> ChannelView {
        let open = match &self.stage {
            Stage::Opening(_) => None,
            Stage::Open(record, htlcs) => Some(Box::new(OpenView {
                spendable: spendable(record, htlcs, Side::Local),
                receivable: spendable(record, htlcs, Side::Remote),
                last_tx: self.last_tx(),
                record: (**record).clone(),
                standing: self.onchain.standing.clone(),
                tip: self.tip,
                htlcs: htlcs
                    .iter()
                    .map(|(key, htlc)| (*key, htlc.clone()))
                    .collect(),
            })),
        };
        ChannelView {
            peer: self.peer,
            connected: self.node.peers.is_connected(self.peer),
            reestablished: self.active,
            open,
            temporary_id: self.claims.first().copied(),
            opening_by_us: self.job.is_some() || matches!(self.begin, Some(Begin::Open { .. })),
            owner: match &self.link {
                Some(_) => Some("channeld"),
                None => self.onchain.is_running().then_some("onchaind"),
            },
        }
    }
}

/// CLN's name of a channel's state (`listpeerchannels`, `state`).
#[must_use]
pub fn state_name(phase: &Phase, facts: &Facts) -> &'static str {
    if facts.spent_by.is_some() {
        return match facts.spender {
            Some(_) => "ONCHAIN",
            None => "FUNDING_SPEND_SEEN",
        };
    }
    if facts.unilateral || facts.stale {
        return "AWAITING_UNILATERAL";
    }
    match phase {
        Phase::Opening => "OPENINGD",
        Phase::AwaitingLockin { .. } => "CHANNELD_AWAITING_LOCKIN",
        Phase::Normal => "CHANNELD_NORMAL",
        Phase::ShuttingDown { .. } => "CHANNELD_SHUTTING_DOWN",
        Phase::Closing { .. } => "CLOSINGD_SIGEXCHANGE",
        Phase::Closed { .. } => "CLOSINGD_COMPLETE",
        // A reorganization took the transaction out that spent it.
        Phase::Onchain => match facts.closing_tx {
            Some(_) => "CLOSINGD_COMPLETE",
            None => "AWAITING_UNILATERAL",
        },
    }
}

/// Whether the funding output of a channel in this state is spent in a block.
#[must_use]
pub fn is_spent(state: &str) -> bool {
    matches!(state, "FUNDING_SPEND_SEEN" | "ONCHAIN")
}

pub(super) fn summary(
    node: &Node,
    record: &ChannelRecord,
    htlcs: &BTreeMap<HtlcKey, HtlcRecord>,
    active: bool,
) -> Summary {
    let (live, facts) = (&record.live, &record.facts);
    let peer_update = facts
        .peer_update
        .as_deref()
        .and_then(|m| match Message::decode(m) {
            Ok(Message::ChannelUpdate(update)) => Some(update),
            Ok(_) | Err(_) => None,
        });
    let state = state_name(&live.phase, facts);
    Summary {
        dbid: live.dbid,
        peer: live.peer,
        channel_id: Some(live.channel_id),
        scid: live.scid,
        remote_alias: live.remote_alias,
        local_alias: live.local_alias,
        state,
        usable: active && live.phase == Phase::Normal && !node.is_stopping(),
        pending: matches!(live.phase, Phase::AwaitingLockin { .. }) || is_unfunded(record),
        anchors: live.setup.format == CommitmentFormat::AnchorsZeroFeeHtlc,
        capacity: live.funding.value.to_msat().unwrap_or_default(),
        spendable: spendable(record, htlcs, Side::Local),
        receivable: spendable(record, htlcs, Side::Remote),
        prospect: match state {
            "CHANNELD_NORMAL" => prospect(record, htlcs),
            _ => MilliSatoshi::ZERO,
        },
        htlc_minimum: live.setup.remote.htlc_minimum,
        peer_update,
    }
}

/// What the channel has of ours as Core Lightning counts: an HTLC that we offered is ours until its preimage says
/// that it is not, one that the peer offered never before that.
pub fn ours<'a>(
    live: &Live,
    htlcs: impl IntoIterator<Item = (&'a HtlcKey, &'a HtlcRecord)>,
) -> MilliSatoshi {
    let out = htlcs.into_iter().filter(|(key, htlc)| {
        key.offerer == Side::Local && htlc.state.in_local() && !is_fulfilled(htlc)
    });
    out.fold(live.our_balance(), |sum, (_, htlc)| {
        sum.saturating_add(htlc.htlc.amount)
    })
}

fn prospect(record: &ChannelRecord, htlcs: &BTreeMap<HtlcKey, HtlcRecord>) -> MilliSatoshi {
    let ended = |balances: channel::state::Balances| {
        let (mut to_local, mut to_remote) = (balances.to_local, balances.to_remote);
        for (key, htlc) in htlcs {
            let paid = match &htlc.removal {
                Some(Removal::Fail { .. } | Removal::Malformed { .. }) => false,
                Some(Removal::Fulfil { .. }) | None => true,
            };
            let gains = match (key.offerer, paid) {
                (Side::Remote, true) | (Side::Local, false) => &mut to_local,
                (Side::Local, true) | (Side::Remote, false) => &mut to_remote,
            };
            *gains = gains.saturating_add(htlc.htlc.amount);
        }
        Ledger {
            to_local,
            to_remote,
            feerate: record.live.feerate.current,
            htlcs: BTreeMap::new(),
        }
    };
    let live = &record.live;
    let (ours, theirs) = (ended(live.local_view), ended(live.remote_view));
    tx::fees::spendable(&live.setup, &ours, &theirs, Side::Local)
}

/// What `side` could offer in one more HTLC, as far as this process can tell: channeld decides.
fn spendable(
    record: &ChannelRecord,
    htlcs: &BTreeMap<HtlcKey, HtlcRecord>,
    side: Side,
) -> MilliSatoshi {
    let live = &record.live;
    let ledger = |balances: channel::state::Balances| Ledger {
        to_local: balances.to_local,
        to_remote: balances.to_remote,
        feerate: live.feerate.current,
        htlcs: htlcs
            .iter()
            .map(|(key, record)| (*key, record.htlc))
            .collect(),
    };
    tx::fees::spendable(
        &live.setup,
        &ledger(live.local_view),
        &ledger(live.remote_view),
        side,
    )
}
