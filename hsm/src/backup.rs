//! R2: what is to be recovered from is sealed here and opened here; where it was in between, on the disk or
//! with peers, does not matter. And the channels that are left of a lost journal.

use hsm_messages::backup::{Plain, Sealed};
use hsm_messages::ctl::{LostChannel, NewChannel};

use crate::channel::{Channel, Progress, Stage};
use crate::hsm::Hsm;
use crate::record::Record;
use crate::refused::Refused;
use crate::secretstream;

impl Hsm {
    /// # Errors
    /// R2: the system has no random bytes.
    pub fn seal_backup(&self, plain: &Plain) -> Result<Sealed, Refused> {
        let sealed = secretstream::seal(&self.node.backup, &plain.0);
        Ok(Sealed(sealed.map_err(|_| Refused::NoRandom)?))
    }

    /// # Errors
    /// R2: it was not sealed under this seed, or was changed since.
    pub fn open_backup(&self, sealed: &Sealed) -> Result<Plain, Refused> {
        let opened = secretstream::open(&self.node.backup, &sealed.0);
        Ok(Plain(opened.ok_or(Refused::NotOurBackup)?.to_vec()))
    }

    /// A channel of a journal that is lost, with the number that its keys follow from. No new channel gets that
    /// number. It is Stale from the beginning: it signs for what the peer's commitment pays us, and no more.
    ///
    /// # Errors
    /// S1: a channel of this number is known; B3 keeps the rest.
    pub fn recover_channel(&mut self, lost: &LostChannel) -> Result<NewChannel, Refused> {
        let (dbid, peer) = (lost.channel, lost.peer);
        // The last number of all has none after it.
        if self.state.channels.contains_key(&dbid) || dbid.0 == u64::MAX {
            return Err(Refused::ChannelKnown(dbid));
        }
        let new = self.new_keys(peer, dbid)?;
        let setup = lost.backup.setup(new.funding_pubkey, new.basepoints);
        let mut channel = Channel::new(peer, new.shutdown_index);
        // B3: whatever it was, the peer has a newer state.
        channel.progress = Progress::funded(setup, lost.backup.funding, Stage::Stale);
        self.record(Record::Recovered(dbid, Box::new(channel)));
        Ok(new)
    }
}
