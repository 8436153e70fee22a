//! The whole signer: keys, state and journal.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bitcoin::Transaction;
use hsm_messages::ctl::{self, Database, Known, NewChannel};
use hsm_messages::mark::Mark;
use hsm_messages::operator::SeedFile;
use tx::error::KeyError;
use tx::signer::{Reply, Request};
use wire::noise::{KeyStep, KeyStepReply, NoiseError, key_step};
use wire::{ChainHash, ChannelDbid, CommitmentNumber, NodeId};

use crate::channel::{Channel, Decision, Means, Stage};
use crate::derive::{ChannelKeys, NodeKeys};
use crate::journal;
use crate::journal::{Journal, JournalError};
use crate::msgs::{Asks, Msg};
use crate::record::{Change, Record};
use crate::refused::{Phase, Refused};
use crate::secret::{Secret, scrub_stack};
use crate::seed::{self, Passphrase, Seed, SeedError, StoredSeed};
use crate::spend::Refusals;
use crate::state::State;
use crate::tickets::View;
use crate::wallet::{Address, Wallet};
use hsm_files::UnixTime;
use hsm_files::bucket::{Bucket, Rate};
use hsm_files::folder::Folder;

/// Most points in one batch (K2).
const MAX_BATCH: usize = 64;
/// Points of one channel. Each of its HTLCs has one, and after a restart those that are undecided,
/// at most 483, have it again: some thousands a second are the most that a channel has seen.
pub(crate) const POINTS: Rate = Rate {
    capacity: 50_000,
    refill: 20_000,
    every: 1,
};

/// The signer does not start (rule B2).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error(
        "there is no {} for what is there: restore the seed that belongs to it from a backup; nothing \
         was created",
        seed::FILE
    )]
    NoSeed,
    #[error(
        "there is no {}: if there is a database, restore the journal that belongs to it; if it is lost, \
         recover the channels from a static backup; nothing was created",
        journal::FILE
    )]
    NoJournal,
}

/// All of it. What a method returns may leave the process only after [`Hsm::sync`].
pub struct Hsm {
    pub(crate) folder: Folder,
    chain_hash: ChainHash,
    /// As [`Hsm::set_now`] last said; 0 until then.
    pub(crate) now: UnixTime,
    pub(crate) refusals: Refusals,
    pub(crate) node: NodeKeys,
    pub(crate) wallet: Wallet,
    pub(crate) state: State,
    journal: Journal,
    /// Channels' keys, derived when first needed.
    pub(crate) channel_keys: HashMap<ChannelDbid, Rc<ChannelKeys>>,
    /// How many shared secrets each channel may ask for (K2), and how many were given.
    pub(crate) ecdh: HashMap<ChannelDbid, Bucket>,
    shared_secrets: u64,
    /// How many channel_updates each channel may have (G3).
    pub(crate) updates: HashMap<ChannelDbid, Bucket>,
    /// Headers were given since the start.
    pub(crate) tip_is_told: bool,
    /// With so many invoices registered, old ones are looked for.
    pub(crate) sweep_invoices_at: usize,
}

/// What opening gives.
pub enum Opened {
    Unlocked(Box<Hsm>),
    /// The seed needs its passphrase.
    Locked(Locked),
    /// The database was put back: the operator has to confirm that.
    Unconfirmed(Unconfirmed),
    /// The files were only to be looked at.
    Inspected(ctl::Inspected),
}

/// What a signer opens with.
struct Site {
    folder: Folder,
    chain_hash: ChainHash,
    database: Database,
    /// The seed was made just now.
    new_seed: bool,
}

impl Site {
    fn try_clone(&self) -> Result<Site, OpenError> {
        let folder = self.folder.try_clone().map_err(SeedError::no_folder)?;
        Ok(Site { folder, ..*self })
    }
}

/// A signer beside a database that was put back from an older copy. Nothing was created or changed.
pub struct Unconfirmed {
    pub node_id: NodeId,
    seed: Seed,
    site: Site,
}

impl Unconfirmed {
    /// B2: as [`Hsm::open`], however old the database is. Channels that have revoked anything wait for
    /// their peers from now on.
    ///
    /// # Errors
    /// Those of [`Hsm::open`]; the journal is the older one.
    pub fn confirm(&self) -> Result<Hsm, OpenError> {
        let mut hsm = Hsm::with_seed(self.site.try_clone()?, &self.seed)?;
        if matches!(self.site.database, Database::Restored { .. }) {
            hsm.record(Record::Recovery);
            hsm.sync()?;
        }
        Ok(hsm)
    }
}

/// A signer whose seed needs a passphrase. Nothing was created and nothing but the seed file read.
pub struct Locked {
    stored: StoredSeed,
    site: Site,
}

impl Locked {
    /// As [`Hsm::open`], with the passphrase.
    ///
    /// # Errors
    /// [`SeedError::WrongPassphrase`], and those of [`Hsm::open`].
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<Opened, OpenError> {
        let origin = self.stored.unlock(passphrase)?;
        Hsm::opened(self.site.try_clone()?, origin.seed())
    }
}

/// The seed file's format and permission bits; `None` if there is none.
///
/// # Errors
/// It cannot be read.
pub fn seed_file(folder: OwnedFd) -> Result<Option<SeedFile>, SeedError> {
    let stored = StoredSeed::read(&Folder::new(folder))?;
    Ok(stored.map(|stored| SeedFile {
        format: stored.format(),
        mode: stored.mode(),
    }))
}

impl Hsm {
    /// Opens seed and journal in `folder`. Without a database whichever of the two is missing is
    /// created; beside one, nothing ever is.
    ///
    /// # Errors
    /// Seed, journal and database do not belong together, or one is damaged: each says what to do.
    pub fn open(
        folder: OwnedFd,
        chain_hash: ChainHash,
        database: Database,
    ) -> Result<Opened, OpenError> {
        let folder = Folder::new(folder);
        let stored = StoredSeed::read(&folder)?;
        let site = Site {
            folder,
            chain_hash,
            database,
            new_seed: stored.is_none(),
        };
        let seed = match (stored, database == Database::Absent) {
            (Some(stored), _) => match stored.open() {
                Err(SeedError::Locked) => {
                    return Ok(Opened::Locked(Locked { stored, site }));
                }
                origin => origin?.seed(),
            },
            (None, true) if !Journal::exists(&site.folder)? => Seed::create(&site.folder)?,
            (None, _) => return Err(OpenError::NoSeed),
        };
        Hsm::opened(site, seed)
    }

    fn opened(site: Site, seed: Seed) -> Result<Opened, OpenError> {
        Ok(match site.database {
            Database::Restored { .. } | Database::Copied { .. } => {
                Opened::Unconfirmed(Unconfirmed {
                    node_id: NodeKeys::derive(&seed)?.node_id,
                    seed,
                    site,
                })
            }
            Database::Inspected { .. } => Opened::Inspected(Hsm::inspect(&site, &seed)?),
            Database::Absent | Database::Present { .. } => {
                Opened::Unlocked(Box::new(Hsm::with_seed(site, &seed)?))
            }
        })
    }

    fn inspect(site: &Site, seed: &Seed) -> Result<ctl::Inspected, KeyError> {
        let NodeKeys {
            node_id, journal, ..
        } = NodeKeys::derive(seed)?;
        let found = Journal::inspect(&site.folder, site.chain_hash, journal, site.database);
        let found = found.map_err(|error| error.to_string());
        let moment = found.as_ref().ok().and_then(|(_, misfit)| misfit.clone());
        Ok(ctl::Inspected {
            node_id,
            moment,
            journal: found.map(|(state, _)| known(&state)),
        })
    }

    fn with_seed(site: Site, seed: &Seed) -> Result<Hsm, OpenError> {
        let node = NodeKeys::derive(seed)?;
        match (
            Journal::exists(&site.folder)?,
            site.database == Database::Absent,
        ) {
            (true, _) => {}
            (false, true) => Journal::create(&site.folder, site.chain_hash, &node.journal)?,
            (false, false) => return Err(OpenError::NoJournal),
        }
        let key = Secret::new(*node.journal);
        let (journal, state) = Journal::open(&site.folder, site.chain_hash, key, site.database)?;
        let mut hsm = Hsm {
            folder: site.folder,
            chain_hash: site.chain_hash,
            now: UnixTime::default(),
            refusals: Refusals::default(),
            wallet: Wallet::derive(seed)?,
            node,
            state,
            journal,
            channel_keys: HashMap::new(),
            ecdh: HashMap::new(),
            shared_secrets: 0,
            updates: HashMap::new(),
            tip_is_told: false,
            sweep_invoices_at: 0,
        };
        // B2: of a backup; or the seed may have had another journal, of which nothing is left.
        let is_copy = matches!(site.database, Database::Copied { .. });
        if is_copy || !site.new_seed && hsm.mark().epoch == 0 {
            let copied = hsm.state.copied();
            hsm.record(copied.map_err(journal::doing("draw random bytes for"))?);
        }
        hsm.record(hsm.journal.start());
        hsm.sync()?;
        scrub_stack();
        Ok(hsm)
    }

    /// How far all that was recorded is durable: what the database is to remember with each batch.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.journal.mark()
    }

    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node.node_id
    }

    #[must_use]
    pub fn chain_hash(&self) -> ChainHash {
        self.chain_hash
    }

    /// What time it is for all that is asked from now on. The clock may jump: rules that count time
    /// must bear that.
    pub fn set_now(&mut self, now: UnixTime) {
        self.now = now;
    }

    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.now
    }

    /// Who we are.
    #[must_use]
    pub fn init(&self) -> ctl::Init {
        ctl::Init {
            node_id: self.node_id(),
            channels: self.channels(),
            next_address: self.state.next_address,
        }
    }

    /// Our newest commitment of a channel that was verified. `None` before the first.
    ///
    /// # Errors
    /// D3: there is no such channel.
    pub fn newest_point(&mut self, dbid: ChannelDbid) -> Result<Option<ctl::LocalPoint>, Refused> {
        let Some(n) = self.channel(dbid)?.newest_local() else {
            return Ok(None);
        };
        let point = self.keys(dbid)?.point(n)?;
        Ok(Some(ctl::LocalPoint { n, point }))
    }

    /// All channels with a funding output.
    #[must_use]
    pub fn channels(&self) -> Vec<Known> {
        known(&self.state)
    }

    /// # Errors
    /// D3: there is no such channel.
    pub fn phase(&self, dbid: ChannelDbid) -> Result<Phase, Refused> {
        self.channel(dbid).map(Channel::phase)
    }

    /// Writes what was done since the last time and makes it durable, but for what may wait for
    /// [`Hsm::settle`]. Replies may leave after it has returned.
    ///
    /// # Errors
    /// The disk refused, or a bug: nothing may leave, and nothing more may be asked.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.journal.sync()?;
        if self.journal.is_long() {
            self.compact()?;
        }
        Ok(())
    }

    /// Whether all that was written is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.journal.is_settled()
    }

    /// Makes durable what could wait: to be called soon, when there is nothing else to do.
    ///
    /// # Errors
    /// As [`Hsm::sync`].
    pub fn settle(&mut self) -> Result<(), JournalError> {
        self.journal.sync()?;
        self.journal.settle()
    }

    /// How often the disk was waited for.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.journal.syncs()
    }

    /// Begins a new journal with the state as it is. [`Hsm::sync`] does it when it is worth it.
    ///
    /// # Errors
    /// As [`Hsm::sync`].
    pub fn compact(&mut self) -> Result<(), JournalError> {
        self.journal
            .compact(&self.folder, self.chain_hash, &self.state)
    }

    pub(crate) fn channel(&self, dbid: ChannelDbid) -> Result<&Channel, Refused> {
        self.state
            .channels
            .get(&dbid)
            .ok_or(Refused::NoChannel(dbid))
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.journal.append(&record);
        if let Err(misfit) = self.state.apply(record) {
            // What was decided on this state does not fit it: nothing more may be signed.
            self.journal.fail(misfit.to_string());
        }
    }

    fn next_free_address(&self) -> Result<Address, Refused> {
        let index = self.state.next_address;
        self.wallet
            .address(index)
            .map_err(|_| Refused::NoMoreAddresses)
    }

    /// Allocates a channel with `peer` and the wallet address that its mutual close pays to.
    ///
    /// # Errors
    /// All numbers are used up.
    pub fn new_channel(&mut self, peer: NodeId) -> Result<NewChannel, Refused> {
        let new = self.new_keys(peer, self.state.next_dbid)?;
        let (dbid, shutdown_index) = (new.channel, new.shutdown_index);
        self.record(Record::NewChannel {
            dbid,
            peer,
            shutdown_index,
        });
        Ok(new)
    }

    pub(crate) fn new_keys(
        &mut self,
        peer: NodeId,
        dbid: ChannelDbid,
    ) -> Result<NewChannel, Refused> {
        let shutdown = self.next_free_address()?;
        let keys = self.node.channel(&peer, dbid)?;
        let first_points = [
            keys.point(CommitmentNumber(0))?,
            keys.point(CommitmentNumber(1))?,
        ];
        let new = NewChannel {
            channel: dbid,
            funding_pubkey: keys.funding_pubkey(),
            basepoints: keys.basepoints(),
            first_points,
            shutdown_p2wpkh: shutdown.p2wpkh,
            shutdown_p2tr: shutdown.p2tr,
            shutdown_index: shutdown.index,
        };
        self.channel_keys.insert(dbid, Rc::new(keys));
        Ok(new)
    }

    /// Drops a channel whose opening ended before anything of ours was in it, or whose end is buried.
    ///
    /// # Errors
    /// D3; D4: its funding output may be on chain, with something of ours in it; H2: an HTLC that went
    /// out there can still be claimed, and the one that came in for it would be free to fail.
    pub fn forget(&mut self, dbid: ChannelDbid) -> Result<(), Refused> {
        if self.channel(dbid)?.has_stake() && !self.state.tip.is_over(dbid) {
            return Err(Refused::HasFunding(dbid));
        }
        self.state.check_paid_for(dbid)?;
        self.channel_keys.remove(&dbid);
        self.ecdh.remove(&dbid);
        self.updates.remove(&dbid);
        self.record(Record::Forget(dbid));
        Ok(())
    }

    /// Our newest commitment with both signatures. From then on the channel signs no other state.
    ///
    /// # Errors
    /// C6: none was validated. B3: the peer has shown that it is not the newest.
    pub fn force_close(&mut self, dbid: ChannelDbid) -> Result<Transaction, Refused> {
        let keys = self.keys(dbid)?;
        let funded = self.channel(dbid)?.funded()?;
        let tx = funded.force_close(&keys)?;
        match funded.stage {
            Stage::Onchain | Stage::Stale | Stage::Recovering => {}
            Stage::Signing | Stage::Closing { .. } => self.change(dbid, Change::Onchain),
        }
        Ok(tx)
    }

    /// By the operator: the peer of a channel does not come back after a recovery, so this signer's own
    /// state of it has to be the newest.
    ///
    /// # Errors
    /// D3; D4: it does not wait for its peer; B2: the journal is of a backup, in which no state is known to
    /// be the newest.
    pub fn end_recovery(&mut self, dbid: ChannelDbid) -> Result<(), Refused> {
        Msg::EndRecovery.check_phase(self.phase(dbid)?)?;
        if dbid < self.state.copied_below {
            return Err(Refused::Copied(dbid));
        }
        self.change(dbid, Change::Onchain);
        Ok(())
    }

    fn change(&mut self, dbid: ChannelDbid, change: Change) {
        self.record(Record::Channel { dbid, change });
    }

    /// What a channel's own socket asks.
    ///
    /// # Errors
    /// What the table says of the request.
    pub fn chan(&mut self, dbid: ChannelDbid, request: Request) -> Result<Reply, Refused> {
        // D4
        request.msg().check_phase(self.phase(dbid)?)?;
        if let Request::EcdhBatch { points } = &request {
            self.take_points(dbid, points.len())?;
        }
        let keys = self.keys(dbid)?;
        let ours = self.destinations();
        let means = Means {
            keys: &keys,
            node: &self.node.key,
            view: View {
                state: &self.state,
                dbid,
                tip_age: self.tip_age(),
            },
            ours: &ours,
        };
        let Decision { reply, change } = self.channel(dbid)?.decide(request, &means)?;
        if let Some(change) = change {
            self.charge_push(dbid, &change)?;
            self.change(dbid, change);
        }
        Ok(reply)
    }

    /// K2
    fn take_points(&mut self, dbid: ChannelDbid, points: usize) -> Result<(), Refused> {
        if points > MAX_BATCH {
            return Err(Refused::Batch(points));
        }
        let bucket = self.ecdh.entry(dbid);
        let bucket = bucket.or_insert_with(|| Bucket::full(POINTS, self.now));
        if !bucket.take(points as u64, self.now) {
            return Err(Refused::TooManyPoints(dbid));
        }
        self.shared_secrets = self.shared_secrets.saturating_add(points as u64);
        Ok(())
    }

    /// How many onions' shared secrets were given since the start.
    #[must_use]
    pub fn shared_secrets(&self) -> u64 {
        self.shared_secrets
    }

    /// A channel's keys, which are derived once.
    pub(crate) fn keys(&mut self, dbid: ChannelDbid) -> Result<Rc<ChannelKeys>, Refused> {
        if let Some(keys) = self.channel_keys.get(&dbid) {
            return Ok(Rc::clone(keys));
        }
        let keys = Rc::new(self.node.channel(&self.channel(dbid)?.peer, dbid)?);
        self.channel_keys.insert(dbid, Rc::clone(&keys));
        Ok(keys)
    }

    /// The step of a BOLT 8 handshake that needs the node key.
    ///
    /// # Errors
    /// The act is not genuine.
    pub fn noise_step(&self, step: &KeyStep) -> Result<KeyStepReply, NoiseError> {
        key_step(step, |point| self.node.key.ecdh(point))
    }

    /// Allocates the next wallet address.
    ///
    /// # Errors
    /// All are used up.
    pub fn get_address(&mut self) -> Result<Address, Refused> {
        let address = self.next_free_address()?;
        let index = address.index;
        self.record(Record::Address(index));
        Ok(address)
    }
}

fn known(state: &State) -> Vec<Known> {
    let known = |(dbid, channel): (&ChannelDbid, &Channel)| {
        let funded = channel.funded().ok()?;
        Some(Known {
            channel: *dbid,
            local: funded.local.as_ref().map(|local| local.newest.n),
            remote: funded.remote.as_ref().map(|remote| remote.newest.n),
        })
    };
    state.channels.iter().filter_map(known).collect()
}
