//! What stands in the commitments that can still be broadcast: our newest, the peer's newest, and
//! the peer's one before it for as long as it is not revoked.

use tx::Commitment;
use tx::ledger::{Htlc, HtlcKey, Ledger};
use wire::Side;

use super::{Funded, Remote, Stage};
use crate::derive::ChannelKeys;
use crate::refused::Refused;

impl Remote {
    /// The commitment before the newest, if the peer has not revoked it.
    fn unrevoked_before(&self) -> Option<&Ledger> {
        let before = self.newest.n.prev()?;
        let revoked = self.secrets.next() > before;
        self.newest.before.as_ref().filter(|_| !revoked)
    }
}

impl Funded {
    pub(crate) fn newest_remote(&self) -> Option<&Ledger> {
        self.remote.as_ref().map(|remote| &remote.newest.ledger)
    }

    pub(crate) fn newest_local(&self) -> Option<&Ledger> {
        self.local.as_ref().map(|local| &local.newest.ledger)
    }

    pub(crate) fn unrevoked(&self) -> impl Iterator<Item = &Ledger> {
        let before = self.remote.as_ref().and_then(Remote::unrevoked_before);
        let newest = self.newest_local().into_iter().chain(self.newest_remote());
        newest.chain(before)
    }

    /// Those commitments themselves.
    pub(crate) fn live(&self, keys: &ChannelKeys) -> Result<Vec<Commitment>, Refused> {
        let ours = self.our_newest(keys).map(|(_, commitment)| commitment);
        let mut live: Vec<Commitment> = ours.into_iter().collect();
        if let Some(remote) = &self.remote {
            let n = remote.newest.n;
            let before = n.prev().zip(remote.point_before);
            let before = before.zip(remote.unrevoked_before());
            let newest = ((n, remote.point), &remote.newest.ledger);
            for ((n, point), ledger) in before.into_iter().chain([newest]) {
                live.push(self.build(Side::Remote, n, &point, ledger)?);
            }
        }
        Ok(live)
    }

    /// Whether the HTLC is in any of them.
    pub(crate) fn holds(&self, key: &HtlcKey) -> bool {
        self.unrevoked()
            .any(|ledger| ledger.htlcs.contains_key(key))
    }

    /// The HTLC, if it is the same in all of them. Of a stale channel, or one
    /// whose peer has shown nothing since a recovery, nothing is known for certain.
    pub(crate) fn committed(&self, key: &HtlcKey) -> Option<&Htlc> {
        match self.stage {
            Stage::Signing | Stage::Closing { .. } | Stage::Onchain => {}
            Stage::Stale | Stage::Recovering => return None,
        }
        self.locked_in(key)
    }

    /// The same, whatever the stage: an HTLC that is irrevocable (BOLT 2, Forwarding HTLCs).
    pub(crate) fn locked_in(&self, key: &HtlcKey) -> Option<&Htlc> {
        self.newest_remote()?;
        let htlc = self.newest_local()?.htlcs.get(key)?;
        let same = |ledger: &Ledger| ledger.htlcs.get(key) == Some(htlc);
        self.unrevoked().all(same).then_some(htlc)
    }

    /// Those of `ledger` that are in none of them.
    pub(super) fn gone(&self, ledger: Option<&Ledger>) -> Vec<(HtlcKey, Htlc)> {
        let htlcs = ledger.into_iter().flat_map(|ledger| &ledger.htlcs);
        htlcs
            .filter(|(key, _)| !self.holds(key))
            .map(|(key, htlc)| (*key, *htlc))
            .collect()
    }
}
