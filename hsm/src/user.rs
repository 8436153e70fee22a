//! What the node's user may have of its keys by name: secrets of its own, and signed texts.

use crate::hsm::Hsm;
use crate::node_key::{NodeMessage, compact};
use crate::record::Record;
use crate::refused::Refused;
use crate::seed::{Origin, StoredSeed, Words};

/// Longest label of a secret and longest text, in bytes: as Core Lightning has it.
const MAX: usize = 65_535;

impl Hsm {
    /// The words of the seed, once: that they were shown is recorded. The file is read for them, since
    /// nothing else needs them.
    ///
    /// # Errors
    /// R2.
    pub fn show_mnemonic(&mut self) -> Result<Words, Refused> {
        if self.state.mnemonic_shown {
            return Err(Refused::MnemonicShown);
        }
        let stored = StoredSeed::read(&self.folder).ok().flatten();
        let origin = stored.and_then(|stored| stored.open().ok());
        let words = match origin {
            Some(Origin::Words(words)) => words,
            Some(Origin::Plain(_) | Origin::WordsWithPassphrase { .. }) | None => {
                return Err(Refused::NoMnemonic);
            }
        };
        self.record(Record::MnemonicShown);
        Ok(words)
    }

    /// The secret that belongs to `info` (`makesecret`).
    ///
    /// # Errors
    /// R2: the label is too long.
    pub fn make_secret(&self, info: &[u8]) -> Result<[u8; 32], Refused> {
        match info.len() <= MAX {
            true => Ok(*self.node.user_secret(info)?),
            false => Err(Refused::LabelTooLong(info.len())),
        }
    }

    /// Signs a text: compact signature and recovery id (0 to 3).
    ///
    /// # Errors
    /// D2: it is too long.
    pub fn sign_message(&self, text: &str) -> Result<([u8; 64], u8), Refused> {
        if text.len() > MAX {
            return Err(Refused::TextTooLong(text.len()));
        }
        Ok(compact(&self.node.key.sign(NodeMessage::Text(text))?))
    }
}
