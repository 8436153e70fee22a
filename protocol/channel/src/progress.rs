//! How an update travels through the two commitments (BOLT 2, Normal Operation).
//!
//! An HTLC goes through ten states, five to get in and five to get out; a feerate change goes
//! through the first five. Each step is made by one of four messages, or by the update itself.

use HtlcState::*;

use crate::state::HtlcState;

/// What moves updates on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The update message itself, or our decision to send it.
    Update,
    SentCommit,
    RcvdRevocation,
    RcvdCommit,
    SentRevocation,
}

impl HtlcState {
    /// The state after this one; `None` at the end.
    #[must_use]
    pub fn next(self) -> Option<HtlcState> {
        Some(match self {
            SentAddHtlc => SentAddCommit,
            SentAddCommit => RcvdAddRevocation,
            RcvdAddRevocation => RcvdAddAckCommit,
            RcvdAddAckCommit => SentAddAckRevocation,
            SentAddAckRevocation => RcvdRemoveHtlc,
            RcvdRemoveHtlc => RcvdRemoveCommit,
            RcvdRemoveCommit => SentRemoveRevocation,
            SentRemoveRevocation => SentRemoveAckCommit,
            SentRemoveAckCommit => RcvdRemoveAckRevocation,
            RcvdRemoveAckRevocation => return None,
            RcvdAddHtlc => RcvdAddCommit,
            RcvdAddCommit => SentAddRevocation,
            SentAddRevocation => SentAddAckCommit,
            SentAddAckCommit => RcvdAddAckRevocation,
            RcvdAddAckRevocation => SentRemoveHtlc,
            SentRemoveHtlc => SentRemoveCommit,
            SentRemoveCommit => RcvdRemoveRevocation,
            RcvdRemoveRevocation => RcvdRemoveAckCommit,
            RcvdRemoveAckCommit => SentRemoveAckRevocation,
            SentRemoveAckRevocation => return None,
        })
    }

    /// What led into this state.
    #[must_use]
    pub fn entered_by(self) -> Step {
        match self {
            SentAddHtlc | RcvdRemoveHtlc | RcvdAddHtlc | SentRemoveHtlc => Step::Update,
            SentAddCommit | SentRemoveAckCommit | SentAddAckCommit | SentRemoveCommit => {
                Step::SentCommit
            }
            RcvdAddRevocation
            | RcvdRemoveAckRevocation
            | RcvdAddAckRevocation
            | RcvdRemoveRevocation => Step::RcvdRevocation,
            RcvdAddAckCommit | RcvdRemoveCommit | RcvdAddCommit | RcvdRemoveAckCommit => {
                Step::RcvdCommit
            }
            SentAddAckRevocation
            | SentRemoveRevocation
            | SentAddRevocation
            | SentRemoveAckRevocation => Step::SentRevocation,
        }
    }

    /// The state that `step` leads to, if it moves this one.
    #[must_use]
    pub fn after(self, step: Step) -> Option<HtlcState> {
        self.next().filter(|next| next.entered_by() == step)
    }

    /// The state before `step`, if that led into this one.
    #[must_use]
    pub fn before(self, step: Step) -> Option<HtlcState> {
        let walk = |first| std::iter::successors(Some(first), |state: &HtlcState| state.next());
        let mut states = walk(SentAddHtlc).chain(walk(RcvdAddHtlc));
        states.find(|state| state.after(step) == Some(self))
    }

    /// Whether the HTLC is in our newest commitment.
    #[must_use]
    pub fn in_local(self) -> bool {
        (RcvdAddAckCommit..=RcvdRemoveHtlc).contains(&self)
            || (RcvdAddCommit..=RcvdRemoveRevocation).contains(&self)
    }

    /// Whether the HTLC is in the newest commitment that we signed for the peer.
    #[must_use]
    pub fn in_remote(self) -> bool {
        (SentAddCommit..=SentRemoveRevocation).contains(&self)
            || (SentAddAckCommit..=SentRemoveHtlc).contains(&self)
    }

    /// Whether the HTLC is in the commitment of the peer before that one, as long as it is not revoked.
    #[must_use]
    pub fn in_remote_before(self) -> bool {
        self.before(Step::SentCommit).unwrap_or(self).in_remote()
    }

    /// Whether the HTLC is on its way out: the removal was said, or more.
    #[must_use]
    pub fn is_removal(self) -> bool {
        (RcvdRemoveHtlc..=RcvdRemoveAckRevocation).contains(&self) || self >= SentRemoveHtlc
    }

    /// A feerate change in this state is in force in both commitments, for good.
    #[must_use]
    pub fn is_added(self) -> bool {
        matches!(self, SentAddAckRevocation | RcvdAddAckRevocation)
    }

    /// The state as it is stored. A commitment that our signer has validated counts as revoked
    /// there: hsmd treats it so, and a revoke_and_ack that did not leave is sent at reestablish.
    /// What is not in any commitment is forgotten at a disconnect, so it is not stored; only our
    /// own removals are, since they are decided. `None`: there is nothing to be kept.
    #[must_use]
    pub fn stored(self) -> Option<HtlcState> {
        match self {
            SentAddHtlc | RcvdAddHtlc | RcvdRemoveAckRevocation | SentRemoveAckRevocation => None,
            RcvdRemoveAckCommit => None,
            RcvdRemoveHtlc => Some(SentAddAckRevocation),
            RcvdAddAckCommit => Some(SentAddAckRevocation),
            RcvdRemoveCommit => Some(SentRemoveRevocation),
            RcvdAddCommit => Some(SentAddRevocation),
            SentAddCommit | RcvdAddRevocation | SentAddAckRevocation | SentRemoveRevocation
            | SentRemoveAckCommit | SentAddRevocation | SentAddAckCommit | RcvdAddAckRevocation
            | SentRemoveHtlc | SentRemoveCommit | RcvdRemoveRevocation => Some(self),
        }
    }

    /// Whether nothing of it is stored any more.
    #[must_use]
    pub fn is_stored_as_over(self) -> bool {
        self.is_removal() && self.stored().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(from: HtlcState) -> Vec<HtlcState> {
        std::iter::successors(Some(from), |s| s.next()).collect()
    }

    #[test]
    fn both_walks_have_ten_states_and_mirror_each_other() {
        let (ours, theirs) = (walk(SentAddHtlc), walk(RcvdAddHtlc));
        assert_eq!((ours.len(), theirs.len()), (10, 10));
        for (a, b) in ours.iter().zip(&theirs) {
            let mirrored = match a.entered_by() {
                Step::Update => Step::Update,
                Step::SentCommit => Step::RcvdCommit,
                Step::RcvdCommit => Step::SentCommit,
                Step::SentRevocation => Step::RcvdRevocation,
                Step::RcvdRevocation => Step::SentRevocation,
            };
            assert_eq!(b.entered_by(), mirrored, "{a:?} {b:?}");
            assert_eq!(
                (a.in_local(), a.in_remote()),
                (b.in_remote(), b.in_local()),
                "{a:?}"
            );
            assert_eq!(a.is_removal(), b.is_removal(), "{a:?}");
        }
    }

    #[test]
    fn an_update_reaches_its_receivers_commitment_first() {
        assert!(SentAddCommit.in_remote() && !SentAddCommit.in_local());
        assert!(RcvdAddCommit.in_local() && !RcvdAddCommit.in_remote());
        assert!(!SentRemoveCommit.in_remote() && SentRemoveCommit.in_local());
        for s in [
            SentAddAckRevocation,
            RcvdAddAckRevocation,
            RcvdRemoveHtlc,
            SentRemoveHtlc,
        ] {
            assert!(s.in_local() && s.in_remote(), "{s:?}");
        }
    }

    #[test]
    fn until_the_peer_revokes_it_its_older_commitment_has_what_the_newer_lacks() {
        for state in walk(SentAddHtlc).into_iter().chain(walk(RcvdAddHtlc)) {
            let changes = match state {
                SentAddCommit | SentAddAckCommit => Some(false),
                SentRemoveCommit | SentRemoveAckCommit => Some(true),
                _ => None,
            };
            let before = changes.unwrap_or(state.in_remote());
            assert_eq!(state.in_remote_before(), before, "{state:?}");
            assert!(
                changes.is_none() || before != state.in_remote(),
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_step_can_be_taken_back() {
        for state in walk(SentAddHtlc).into_iter().chain(walk(RcvdAddHtlc)) {
            let Some(next) = state.next() else { continue };
            assert_eq!(next.before(next.entered_by()), Some(state));
            assert_eq!(SentAddHtlc.before(next.entered_by()), None);
        }
        assert_eq!(SentAddCommit.before(Step::RcvdCommit), None);
    }

    #[test]
    fn a_stored_state_never_owes_a_revocation() {
        for state in walk(SentAddHtlc).into_iter().chain(walk(RcvdAddHtlc)) {
            if let Some(stored) = state.stored() {
                assert_eq!(stored.after(Step::SentRevocation), None, "{state:?}");
                assert_eq!(stored.stored(), Some(stored));
            }
        }
    }
}
