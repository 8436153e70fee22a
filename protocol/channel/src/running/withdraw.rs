//! A commitment of the peer's that hsmd does not sign for what is in it, though the database has it:
//! what was right when it was begun may be so no more when it is signed, after a crash above all.
//!
//! Nobody has a signature on it, so it is as if it had not been begun. Its updates have left before, and the
//! peer forgets them with the connection (BOLT 2, Message Retransmission), which therefore ends. What we
//! added counts as refused; everything else, removals above all, is in the next commitment.

use tx::ledger::{Delta, Ledger, LedgerError};

use super::{Link, Running};
use crate::action::{Action, AddRefusal, Notice, Removal};
use crate::progress::Step;
use crate::state::HtlcState;

impl Running {
    /// Back to before [`Step::SentCommit`]. Until the connection ends nothing more is said or heard.
    pub(super) fn withdraw(&mut self) -> Result<(), LedgerError> {
        self.remote = self.before_newest_remote()?;
        let added = |state| state == HtlcState::SentAddCommit;
        let keys: Vec<_> = self.htlcs.keys().copied().collect();
        for key in keys {
            let Some(record) = self.htlcs.get_mut(&key) else {
                continue;
            };
            let Some(before) = record.state.before(Step::SentCommit) else {
                continue;
            };
            self.dirty.insert(key);
            if added(record.state) {
                self.live.next_htlc_id = self.live.next_htlc_id.min(key.id);
                self.withdrawn.extend(record.origin);
                self.htlcs.remove(&key);
            } else {
                record.state = before;
            }
        }
        self.live.feerate.withdraw();
        self.remote.feerate = self.live.feerate.newest(HtlcState::in_remote);
        self.note_balances();
        self.target = None;
        self.live.awaiting_revocation = false;
        self.live.remote_next = self
            .live
            .remote_next
            .prev()
            .unwrap_or(self.live.remote_next);
        self.link = Link::Ending;
        Ok(())
    }

    /// The peer's commitment without what entered it last, but for its feerate.
    fn before_newest_remote(&self) -> Result<Ledger, LedgerError> {
        let mut ledger = self.remote.clone();
        let entered = || {
            let entered = |state: HtlcState| state.entered_by() == Step::SentCommit;
            self.htlcs.iter().filter(move |(_, r)| entered(r.state))
        };
        // The other way round than they were applied: additions were the last.
        for (key, _) in entered().filter(|(_, record)| !record.state.is_removal()) {
            ledger.apply(&Delta::Fail { key: *key })?;
        }
        for (key, record) in entered().filter(|(_, record)| record.state.is_removal()) {
            let from = match record.removal {
                Some(Removal::Fulfil { .. }) => key.offerer.other(),
                Some(Removal::Fail { .. } | Removal::Malformed { .. }) | None => key.offerer,
            };
            ledger.put_back(*key, record.htlc, from)?;
        }
        Ok(ledger)
    }

    /// What never left, once it is written that it did not: from then on its origin may try otherwise.
    pub(super) fn refuse_withdrawn(&mut self) -> Vec<Action> {
        let origins = std::mem::take(&mut self.withdrawn).into_iter();
        let reason = AddRefusal::NotSigned;
        let told = origins.map(|origin| Notice::AddRefused {
            origin,
            reason: reason.clone(),
        });
        told.map(Action::Tell).collect()
    }
}
