//! R2: what is to be recovered from is sealed here and opened here; where it was in between, on the disk or
//! with peers, does not matter. And the channels that are left of a lost journal.

use hsm_messages::ctl::NewChannel;
use tx::setup::BackedUp;
use wire::{ChannelDbid, NodeId};

use crate::hsm::Hsm;
use crate::record::Record;
use crate::refused::Refused;
use crate::secretstream;

impl Hsm {
    /// # Errors
    /// R2: the system has no random bytes.
    pub fn seal_backup(&self, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        secretstream::seal(&self.node.backup, plain).map_err(|_| Refused::NoRandom)
    }

    /// # Errors
    /// R2: it was not sealed under this seed, or was changed since.
    pub fn open_backup(&self, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let opened = secretstream::open(&self.node.backup, sealed);
        Ok(opened.ok_or(Refused::NotOurBackup)?.to_vec())
    }

    /// A channel of a journal that is lost, with the number that its keys follow from. No new channel gets that
    /// number. It is Stale from the beginning: it signs for what the peer's commitment pays us, and no more.
    ///
    /// # Errors
    /// S1: a channel of this number is known; B3 keeps the rest.
    pub fn recover_channel(
        &mut self,
        dbid: ChannelDbid,
        peer: NodeId,
        backup: &BackedUp,
    ) -> Result<NewChannel, Refused> {
        if self.state.channels.contains_key(&dbid) {
            return Err(Refused::ChannelKnown(dbid));
        }
        let next = dbid.checked_add(ChannelDbid(1));
        next.ok_or(Refused::OutOfRange("channel number"))?;
        let new = self.derive_new(peer, dbid)?;
        self.record(Record::Recovered {
            dbid,
            peer,
            shutdown_index: new.shutdown_index,
            setup: Box::new(backup.setup(new.funding_pubkey, new.basepoints)),
            funding: backup.funding,
        });
        Ok(new)
    }
}
