//! The peer's revealed secrets in at most 49 entries (BOLT 3, Efficient Per-commitment Secret Storage).
//!
//! Invariant: entry `b` holds the newest index with exactly `b` trailing zeros, and the
//! numbers received so far have no gap.

use serde::{Deserialize, Serialize};
use wire::CommitmentNumber;

use crate::keys::{FIRST_INDEX, derive_secret, index};
use crate::signer::RevocationSecret;

/// Index 0 would be the seed itself, with 48 trailing zeros.
const MAX_ENTRIES: usize = 49;

/// Why a secret is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShachainError {
    /// It was not generated from the same seed as the others, or differs from the stored one.
    #[error("the secret of commitment {0} does not fit those before it")]
    Inconsistent(CommitmentNumber),
    /// Secrets come one after the other.
    #[error("the secret of commitment {got} came, that of {expected} is next")]
    OutOfOrder {
        got: CommitmentNumber,
        expected: CommitmentNumber,
    },
    /// Stored data breaks the invariant.
    #[error("stored secrets are damaged")]
    Damaged,
}

/// Secrets of the peer's commitments 0 to some number, compactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Shachain {
    known: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    index: u64,
    secret: RevocationSecret,
}

impl Shachain {
    #[must_use]
    pub fn new() -> Shachain {
        Shachain::default()
    }

    /// The number whose secret has to come next.
    #[must_use]
    pub fn next(&self) -> CommitmentNumber {
        let lowest = self.known.iter().map(|entry| entry.index).min();
        CommitmentNumber(lowest.map_or(0, |lowest| FIRST_INDEX - lowest + 1))
    }

    /// Stores the secret of commitment `n`, which is the next one; one that is stored may be repeated.
    ///
    /// # Errors
    /// The secret does not fit, or is not the next: nothing is changed.
    pub fn insert(
        &mut self,
        n: CommitmentNumber,
        secret: RevocationSecret,
    ) -> Result<(), ShachainError> {
        let expected = self.next();
        let out_of_order = ShachainError::OutOfOrder { got: n, expected };
        let index = index(n).map_err(|_| out_of_order)?;
        if n < expected {
            let same = self.get(n) == Some(secret);
            return if same {
                Ok(())
            } else {
                Err(ShachainError::Inconsistent(n))
            };
        }
        if n > expected {
            return Err(out_of_order);
        }
        let place = place(index);
        // BOLT 3, insert_secret: all that is below must derive from the new one.
        let fits = |entry: &Entry| derive_secret(secret.0, place, entry.index) == entry.secret.0;
        if !self.known.iter().take(place as usize).all(fits) {
            return Err(ShachainError::Inconsistent(n));
        }
        let entry = Entry { index, secret };
        match self.known.get_mut(place as usize) {
            Some(old) => *old = entry,
            None => self.known.push(entry),
        }
        Ok(())
    }

    /// The secret of commitment `n`; `None` if it was not received yet.
    #[must_use]
    pub fn get(&self, n: CommitmentNumber) -> Option<RevocationSecret> {
        let index = index(n).ok()?;
        (0..).zip(&self.known).find_map(|(place, entry)| {
            let prefix = !((1u64 << place) - 1);
            (index & prefix == entry.index)
                .then(|| RevocationSecret(derive_secret(entry.secret.0, place, index)))
        })
    }
}

/// BOLT 3's where_to_put_secret.
fn place(index: u64) -> u32 {
    index.trailing_zeros().min(48)
}

impl TryFrom<Vec<Entry>> for Shachain {
    type Error = ShachainError;

    fn try_from(known: Vec<Entry>) -> Result<Shachain, ShachainError> {
        let in_place = (0..)
            .zip(&known)
            .all(|(at, e)| place(e.index) == at && e.index <= FIRST_INDEX);
        if known.len() > MAX_ENTRIES || !in_place {
            return Err(ShachainError::Damaged);
        }
        Ok(Shachain { known })
    }
}

impl From<Shachain> for Vec<Entry> {
    fn from(shachain: Shachain) -> Vec<Entry> {
        shachain.known
    }
}
