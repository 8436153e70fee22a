//! HTLCs that the peer offered, as both sides' commitments have them.

use tx::ledger::{Htlc, HtlcKey, Ledger};
use wire::{HtlcId, Side};

use super::Funded;

impl Funded {
    /// An HTLC that is irrevocable (BOLT 2, Forwarding HTLCs): in our newest commitment, all before
    /// which are revoked, and in every one of the peer's that is not.
    pub(crate) fn locked_in(&self, id: HtlcId) -> Option<&Htlc> {
        let key = incoming(id);
        let htlc = self.local.as_ref()?.newest.ledger.htlcs.get(&key)?;
        let mut theirs = self.live_remote()?;
        theirs
            .all(|ledger| ledger.htlcs.get(&key) == Some(htlc))
            .then_some(htlc)
    }

    /// Whether an HTLC is in a commitment that may still get on chain.
    pub(crate) fn has_incoming(&self, id: HtlcId) -> bool {
        let key = incoming(id);
        let ours = self.local.as_ref().map(|local| &local.newest.ledger);
        let theirs = self.live_remote().into_iter().flatten();
        ours.into_iter()
            .chain(theirs)
            .any(|ledger| ledger.htlcs.contains_key(&key))
    }

    /// The peer's newest commitment, and the one before it as long as it is not revoked.
    fn live_remote(&self) -> Option<impl Iterator<Item = &Ledger>> {
        let remote = self.remote.as_ref()?;
        let newest = &remote.newest;
        let revoked = remote.secrets.next() == newest.n;
        let before = newest.before.as_ref().filter(|_| !revoked);
        Some(std::iter::once(&newest.ledger).chain(before))
    }
}

fn incoming(id: HtlcId) -> HtlcKey {
    HtlcKey {
        offerer: Side::Remote,
        id,
    }
}
