//! Channels as the first two versions wrote them.

use bitcoin::Transaction;
use channel::state::Live;
use lightningd_db::NotReadable;
use onchain::action::Spender;
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, MilliSatoshi, ShortChannelId, Side};

use super::{ChannelRecord, Facts, StateChange};

/// A channel with the facts of its version.
#[derive(Serialize, Deserialize)]
struct Old<F> {
    live: Live,
    facts: F,
}

#[derive(Default, Serialize, Deserialize)]
struct FactsV1 {
    opened_at: u64,
    opened_height: BlockHeight,
    funding_tx: Option<Transaction>,
    funding_height: Option<BlockHeight>,
    funding_scid: Option<ShortChannelId>,
    closing_tx: Option<Transaction>,
    spent_by: Option<(bitcoin::Txid, BlockHeight)>,
    closer: Option<Side>,
    unilateral: bool,
    close_cause: Option<String>,
    least_ours: Option<MilliSatoshi>,
    most_ours: Option<MilliSatoshi>,
    stale: bool,
    history: Vec<StateChange>,
    last_stable: u64,
    peer_update: Option<Vec<u8>>,
}

/// The encoding has no names: it is the first version's with one field more behind it.
#[derive(Default, Serialize, Deserialize)]
struct FactsV2 {
    first: FactsV1,
    spender: Option<Spender>,
}

pub(super) fn channel(version: u8, bytes: &[u8]) -> Result<ChannelRecord, NotReadable> {
    match version {
        1 => NotReadable::or_decode::<Old<FactsV1>>(bytes).map(ChannelRecord::from),
        2 => NotReadable::or_decode::<Old<FactsV2>>(bytes).map(ChannelRecord::from),
        other => Err(NotReadable(format!("there was never a version {other}"))),
    }
}

impl<F: Into<Facts>> From<Old<F>> for ChannelRecord {
    fn from(old: Old<F>) -> ChannelRecord {
        ChannelRecord {
            live: old.live,
            facts: old.facts.into(),
        }
    }
}

impl From<FactsV2> for Facts {
    fn from(old: FactsV2) -> Facts {
        Facts {
            spender: old.spender,
            ..Facts::from(old.first)
        }
    }
}

impl From<FactsV1> for Facts {
    fn from(old: FactsV1) -> Facts {
        Facts {
            opened_at: old.opened_at,
            opened_height: old.opened_height,
            funding_tx: old.funding_tx,
            funding_height: old.funding_height,
            funding_scid: old.funding_scid,
            closing_tx: old.closing_tx,
            spent_by: old.spent_by,
            closer: old.closer,
            unilateral: old.unilateral,
            close_cause: old.close_cause,
            least_ours: old.least_ours,
            most_ours: old.most_ours,
            stale: old.stale,
            history: old.history,
            last_stable: old.last_stable,
            peer_update: old.peer_update,
            spender: None,
            failed_out: MilliSatoshi::ZERO,
            failed_in: MilliSatoshi::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_the_first_version_keep_what_they_say() {
        let old = FactsV1 {
            opened_at: 7,
            unilateral: true,
            close_cause: Some("user".to_owned()),
            last_stable: 9,
            ..FactsV1::default()
        };
        let bytes = ipc_transport::codec::encode(&old).unwrap();
        let read = NotReadable::or_decode::<FactsV1>(&bytes).unwrap();
        let facts = Facts::from(read);
        assert_eq!((facts.opened_at, facts.last_stable), (7, 9));
        assert_eq!(facts.close_cause.as_deref(), Some("user"));
        assert!(facts.unilateral && facts.spender.is_none());
        assert!(channel(0, &bytes).is_err());
    }

    /// All fields of the second version in one struct, as it had them.
    #[derive(Serialize)]
    struct Flat {
        opened_at: u64,
        opened_height: BlockHeight,
        funding_tx: Option<Transaction>,
        funding_height: Option<BlockHeight>,
        funding_scid: Option<ShortChannelId>,
        closing_tx: Option<Transaction>,
        spent_by: Option<(bitcoin::Txid, BlockHeight)>,
        closer: Option<Side>,
        unilateral: bool,
        close_cause: Option<String>,
        least_ours: Option<MilliSatoshi>,
        most_ours: Option<MilliSatoshi>,
        stale: bool,
        history: Vec<StateChange>,
        last_stable: u64,
        peer_update: Option<Vec<u8>>,
        spender: Option<Spender>,
    }

    #[test]
    fn facts_of_the_second_version_keep_what_they_say() {
        let old = Flat {
            opened_at: 7,
            opened_height: BlockHeight(8),
            funding_tx: None,
            funding_height: Some(BlockHeight(9)),
            funding_scid: None,
            closing_tx: None,
            spent_by: None,
            closer: Some(Side::Remote),
            unilateral: false,
            close_cause: None,
            least_ours: Some(MilliSatoshi(10)),
            most_ours: None,
            stale: true,
            history: Vec::new(),
            last_stable: 11,
            peer_update: Some(vec![12]),
            spender: Some(Spender::Theirs),
        };
        let bytes = ipc_transport::codec::encode(&old).unwrap();
        let facts = Facts::from(NotReadable::or_decode::<FactsV2>(&bytes).unwrap());
        let wanted = Facts {
            opened_at: 7,
            opened_height: BlockHeight(8),
            funding_height: Some(BlockHeight(9)),
            closer: Some(Side::Remote),
            least_ours: Some(MilliSatoshi(10)),
            stale: true,
            last_stable: 11,
            peer_update: Some(vec![12]),
            spender: Some(Spender::Theirs),
            ..Facts::default()
        };
        assert_eq!(facts, wanted);
    }
}
