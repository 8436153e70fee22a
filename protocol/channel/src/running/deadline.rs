//! When only the chain can keep an HTLC's promise (BOLT 2, cltv_expiry_delta Selection).

use wire::{BlockHeight, Side};

use super::{Outcome, Running};
use crate::action::{PeerFault, Removal};
use crate::state::HtlcRecord;

/// Blocks after its expiry until an HTLC of ours has to be timed out on chain (G of BOLT 2).
const OFFERED_GRACE: u32 = 1;

impl Running {
    pub(super) fn block(&mut self, height: BlockHeight) -> Outcome {
        self.height = Some(height);
        let margin = u32::from(self.policy.fulfil_deadline.0);
        for (key, record) in &self.htlcs {
            if !(record.state.in_local() || record.state.in_remote()) {
                continue;
            }
            let past = match key.offerer {
                // BOLT 2, cltv_expiry_delta Selection, offering node: past the deadline after its
                // expiry the channel fails, unless its preimage is known already.
                Side::Local => {
                    !fulfilled(record)
                        && height.0 >= record.htlc.cltv_expiry.0.saturating_add(OFFERED_GRACE)
                }
                // BOLT 2, cltv_expiry_delta Selection, fulfilling node: so near to its expiry that
                // the chain is needed (2R+G+S before it).
                Side::Remote => {
                    fulfilled(record)
                        && height.0.saturating_add(margin) >= record.htlc.cltv_expiry.0
                }
            };
            if past {
                let (id, expiry) = (key.id, record.htlc.cltv_expiry);
                let text = format!("HTLC {id} with cltv_expiry {expiry} hit its deadline");
                return Err(PeerFault::Error(text));
            }
        }
        // What waits for its first commitment has no deadline, but it expires.
        self.recheck = true;
        Ok(self.recheck_queued())
    }
}

fn fulfilled(record: &HtlcRecord) -> bool {
    matches!(record.removal, Some(Removal::Fulfil { .. }))
}
