//! What the nodes do, and a link that breaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use channel::Channel;
use channel::action::{Action, Command, Event, Notice, Origin, Persist, Removal};
use channel::state::{HtlcRecord, Live};
use hsm::{Payment, UnixTime};
use hsm_messages::ctl::NewChannel;
use tx::ledger::{Htlc, HtlcKey};
use tx::setup::CommitmentFormat;
use tx::signer::Reply;
use wire::{
    ChannelDbid, CltvExpiry, FeeratePerKw, HtlcId, Message, MilliSatoshi, OnionPacket, PaymentHash,
    Preimage, ShortChannelId,
};

use crate::setup::{CHAIN, Signer, open_channel, policy, told};

/// What a forward leaves between the two timeouts.
const DELTA: u32 = 6;

/// A channel's place: which channel, and which of its ends. Its node is the sum.
type Place = (usize, usize);

const PLACES: [Place; 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// One end of a channel.
struct Core {
    dbid: ChannelDbid,
    /// `None`: it has crashed.
    channel: Option<Channel>,
    live: Live,
    htlcs: BTreeMap<HtlcKey, HtlcRecord>,
    connected: bool,
    /// What the other end has said and this one has not heard.
    wire: VecDeque<Message>,
    /// HTLCs that it was asked to offer and that have no end.
    offered: BTreeSet<(ChannelDbid, u64)>,
    /// It crashes after so many more actions.
    crash_in: Option<u64>,
}

/// A payment, and where it goes.
#[derive(Clone)]
struct Paid {
    from: usize,
    to: usize,
    amount: u64,
    fee: u64,
    expiry: u32,
    arrives: bool,
    attempts: u64,
}

pub struct World {
    signers: [Signer; 3],
    cores: BTreeMap<Place, Core>,
    payments: Vec<Paid>,
    numbers: BTreeMap<PaymentHash, usize>,
    /// HTLCs that the node of a place has to decide on.
    undecided: Vec<(Place, HtlcId, usize)>,
    /// Forwards by their incoming HTLC, and how they ended.
    forwards: BTreeMap<(usize, ChannelDbid, HtlcId), Option<Removal>>,
    random: u64,
    operations: u64,
    now: u64,
    counts: BTreeMap<&'static str, u64>,
}

fn preimage(i: usize) -> Preimage {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(i as u64).to_be_bytes());
    Preimage(bytes)
}

fn part(origin: Origin) -> (ChannelDbid, u64) {
    match origin {
        Origin::Payment {
            groupid, partid, ..
        } => (ChannelDbid(0), groupid << 16 | partid),
        Origin::Forward { channel, id } => (channel, id.0),
    }
}

impl World {
    pub fn new(format: CommitmentFormat, seed: u64) -> World {
        let mut signers = [Signer::new(), Signer::new(), Signer::new()];
        let mut cores = BTreeMap::new();
        for at in [0, 1] {
            let (news, lives): ([NewChannel; 2], [Live; 2]) =
                open_channel(&mut signers, at, format);
            for (end, live) in lives.into_iter().enumerate() {
                let core = Core {
                    dbid: news[end].channel,
                    channel: None,
                    live,
                    htlcs: BTreeMap::new(),
                    connected: false,
                    wire: VecDeque::new(),
                    offered: BTreeSet::new(),
                    crash_in: None,
                };
                cores.insert((at, end), core);
            }
        }
        let mut world = World {
            signers,
            cores,
            payments: vec![],
            numbers: BTreeMap::new(),
            undecided: vec![],
            forwards: BTreeMap::new(),
            random: seed,
            operations: 0,
            now: 1_700_000_000,
            counts: BTreeMap::new(),
        };
        for at in [0, 1] {
            world.connect(at);
        }
        for place in PLACES {
            let scid = Some(ShortChannelId(0x0001_0000_0100_0001));
            world.feed(
                place,
                Event::Command(Command::FundingDepth { depth: 3, scid }),
            );
        }
        world.settle();
        world
    }

    /// SplitMix64, below `below`.
    fn roll(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn count(&mut self, what: &'static str) {
        self.operations += 1;
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn live(&mut self, operations: u64) {
        while self.operations < operations {
            self.step();
        }
        self.settle();
        self.check();
    }

    fn step(&mut self) {
        let place = PLACES[self.roll(4) as usize];
        match self.roll(100) {
            0..10 => self.pay(),
            10..25 => drop(self.decide()),
            25 => self.aim(place.0),
            26..70 => drop(self.deliver(place)),
            70..96 => self.feed(place, Event::Flush),
            96 => match self.roll(40) {
                0..20 => self.reconnect(place.0),
                20 => self.restart_signer(place.0 + place.1),
                _ => self.core(place).crash_in = Some(self.random % 5),
            },
            _ => {
                self.now += self.random % 100;
                for node in 0..3 {
                    let now = UnixTime(self.now);
                    self.signers[node].hsm().set_now(now);
                }
                self.revive();
            }
        }
    }

    fn core(&mut self, place: Place) -> &mut Core {
        self.cores.get_mut(&place).unwrap()
    }

    fn pay(&mut self) {
        let (from, to) = [
            (0, 1),
            (1, 0),
            (1, 2),
            (2, 1),
            (0, 2),
            (2, 0),
            (0, 2),
            (2, 0),
        ][self.roll(8) as usize];
        // Some below every dust limit, most above, a few too large.
        let scale = [2_000_000, 60_000_000, 60_000_000, 400_000_000][self.roll(4) as usize];
        let paid = Paid {
            from,
            to,
            amount: 1 + self.roll(scale),
            fee: self.roll(3) * 1000,
            expiry: 500 + self.roll(400) as u32,
            arrives: self.roll(3) != 0,
            attempts: 0,
        };
        let i = self.payments.len();
        self.numbers.insert(preimage(i).payment_hash(), i);
        self.payments.push(paid);
        self.attempt(i);
    }

    /// As lightningd does it: first the approval, then the HTLC.
    fn attempt(&mut self, i: usize) {
        self.count("payments");
        self.payments[i].attempts += 1;
        let paid = self.payments[i].clone();
        let payee = self.signers[paid.to].hsm().node_id();
        let approved = self.signers[paid.from].hsm().approve(&Payment {
            chain_hash: CHAIN,
            payment_hash: preimage(i).payment_hash(),
            payee,
            amount: MilliSatoshi(paid.amount),
            max_fee: MilliSatoshi(paid.fee),
            expires: None,
        });
        approved.unwrap_or_else(|refused| panic!("false alarm: {refused}"));
        let place = match paid.from < paid.to {
            true => (paid.from, 0),
            false => (paid.from - 1, 1),
        };
        let direct = paid.from.abs_diff(paid.to) == 1;
        let htlc = Htlc {
            amount: MilliSatoshi(paid.amount + if direct { 0 } else { paid.fee }),
            payment_hash: preimage(i).payment_hash(),
            cltv_expiry: CltvExpiry(paid.expiry + if direct { 0 } else { DELTA }),
        };
        let origin = Origin::Payment {
            payment_hash: htlc.payment_hash,
            groupid: i as u64,
            partid: paid.attempts,
        };
        self.offer(place, origin, htlc);
    }

    fn offer(&mut self, place: Place, origin: Origin, htlc: Htlc) {
        if self.core(place).channel.is_none() {
            return self.ended(place, origin, None);
        }
        self.core(place).offered.insert(part(origin));
        let onion = OnionPacket(Box::new([0; 1366]));
        let command = Command::Add {
            origin,
            htlc,
            onion,
        };
        self.feed(place, Event::Command(command));
    }

    /// An HTLC came in for good, perhaps not for the first time.
    fn locked(&mut self, place: Place, id: HtlcId, htlc: Htlc, over_dust_limit: bool) {
        let node = place.0 + place.1;
        let i = self.numbers[&htlc.payment_hash];
        let paid = self.payments[i].clone();
        if over_dust_limit {
            let reason = vec![0; 292];
            return self.remove(place, id, Removal::Fail { reason });
        }
        if node == paid.to {
            let known = self
                .undecided
                .iter()
                .any(|(at, known, _)| (*at, *known) == (place, id));
            if !known {
                self.undecided.push((place, id, i));
            }
            return;
        }
        let dbid = self.core(place).dbid;
        match self.forwards.get(&(node, dbid, id)) {
            None => {}
            Some(None) => return,
            Some(Some(end)) => {
                let end = end.clone();
                return self.remove(place, id, end);
            }
        }
        self.count("forwards");
        self.forwards.insert((node, dbid, id), None);
        let out = match paid.to {
            2 => (1, 0),
            _ => (0, 1),
        };
        let origin = Origin::Forward { channel: dbid, id };
        let htlc = Htlc {
            amount: MilliSatoshi(paid.amount),
            cltv_expiry: CltvExpiry(paid.expiry),
            ..htlc
        };
        self.offer(out, origin, htlc);
    }

    fn decide(&mut self) -> bool {
        if self.undecided.is_empty() {
            return false;
        }
        let at = self.roll(self.undecided.len() as u64) as usize;
        let (place, id, i) = self.undecided.swap_remove(at);
        self.count("decisions");
        let removal = match self.payments[i].arrives || self.payments[i].attempts > 1 {
            true => Removal::Fulfil {
                preimage: preimage(i),
            },
            false if i.is_multiple_of(7) => Removal::Malformed {
                sha256_of_onion: [1; 32],
                failure_code: 0xc004,
            },
            false => Removal::Fail {
                reason: vec![1; 292],
            },
        };
        self.remove(place, id, removal);
        true
    }

    fn remove(&mut self, place: Place, id: HtlcId, removal: Removal) {
        self.feed(place, Event::Command(Command::Remove { id, removal }));
    }

    /// An HTLC of ours ended, or never left (`None`).
    fn ended(&mut self, place: Place, origin: Origin, removal: Option<Removal>) {
        self.core(place).offered.remove(&part(origin));
        let failed = || Removal::Fail {
            reason: vec![2; 292],
        };
        match origin {
            Origin::Forward { channel, id } => {
                let node = place.0 + place.1;
                let removal = removal.unwrap_or_else(failed);
                self.forwards
                    .insert((node, channel, id), Some(removal.clone()));
                let incoming = match place {
                    (1, 0) => (0, 1),
                    _ => (1, 0),
                };
                self.remove(incoming, id, removal);
            }
            Origin::Payment {
                groupid, partid, ..
            } => {
                let i = groupid as usize;
                if removal.is_none() {
                    // It was none: the operation does not count.
                    self.operations -= 1;
                    *self.counts.entry("payments").or_default() -= 1;
                }
                let paid = matches!(removal, Some(Removal::Fulfil { .. }));
                let again = removal.is_some() && !paid && partid == self.payments[i].attempts;
                if again && partid < 3 && self.roll(2) == 0 {
                    self.attempt(i);
                }
            }
        }
    }

    fn aim(&mut self, at: usize) {
        self.count("feerates");
        let most = [5_000, 5_000, 5_000, 30_000][self.roll(4) as usize];
        let feerate = FeeratePerKw(253 + self.roll(most) as u32);
        self.feed((at, 0), Event::Command(Command::Feerate { feerate }));
    }

    fn deliver(&mut self, place: Place) -> bool {
        let core = self.core(place);
        if core.channel.is_none() || !core.connected {
            return false;
        }
        let Some(message) = core.wire.pop_front() else {
            return false;
        };
        self.feed(place, Event::Peer(message));
        true
    }

    fn reconnect(&mut self, at: usize) {
        self.count("reconnects");
        self.disconnect(at);
        self.connect(at);
    }

    fn disconnect(&mut self, at: usize) {
        for end in [0, 1] {
            let core = self.core((at, end));
            core.wire.clear();
            if std::mem::take(&mut core.connected) {
                self.feed((at, end), Event::Disconnected);
            }
        }
    }

    fn connect(&mut self, at: usize) {
        for end in [0, 1] {
            self.start((at, end));
        }
        for end in [0, 1] {
            self.core((at, end)).connected = true;
        }
        for end in [0, 1] {
            self.feed((at, end), Event::Connected);
        }
    }

    /// From what is stored.
    fn start(&mut self, place: Place) {
        let core = self.core(place);
        if core.channel.is_some() {
            return;
        }
        let htlcs = core.htlcs.clone().into_iter().collect();
        let (channel, actions) = Channel::resume(core.live.clone(), htlcs, policy());
        core.channel = Some(channel);
        self.run(place, actions);
    }

    fn crash(&mut self, place: Place) {
        self.count("crashes");
        let core = self.core(place);
        core.channel = None;
        core.crash_in = None;
        core.connected = false;
        let other = (place.0, 1 - place.1);
        self.core(place).wire.clear();
        self.core(other).wire.clear();
        self.undecided.retain(|(at, _, _)| *at != place);
        // What was to be offered and is not stored has never left.
        let core = self.core(place);
        let stored: BTreeSet<_> = core
            .htlcs
            .values()
            .filter_map(|r| r.origin)
            .map(part)
            .collect();
        let lost: Vec<_> = core.offered.difference(&stored).copied().collect();
        for (channel, number) in lost {
            let origin = match channel {
                ChannelDbid(0) => Origin::Payment {
                    payment_hash: preimage((number >> 16) as usize).payment_hash(),
                    groupid: number >> 16,
                    partid: number & 0xffff,
                },
                channel => Origin::Forward {
                    channel,
                    id: HtlcId(number),
                },
            };
            self.ended(place, origin, None);
        }
        let core = self.core(other);
        if std::mem::take(&mut core.connected) {
            self.feed(other, Event::Disconnected);
        }
    }

    /// Whatever has crashed comes back.
    fn revive(&mut self) {
        for at in [0, 1] {
            let up = |end| {
                let core = &self.cores[&(at, end)];
                core.channel.is_some() && core.connected
            };
            if !up(0) || !up(1) {
                self.disconnect(at);
                self.connect(at);
            }
        }
    }

    fn restart_signer(&mut self, node: usize) {
        self.count("signer restarts");
        self.signers[node].restart();
        let now = UnixTime(self.now);
        self.signers[node].hsm().set_now(now);
    }

    fn feed(&mut self, place: Place, event: Event) {
        let Some(channel) = &mut self.core(place).channel else {
            return;
        };
        match channel.handle(event) {
            Ok(actions) => self.run(place, actions),
            Err(fault) => panic!("false alarm at {place:?}: {fault}; {:?}", self.counts),
        }
    }

    fn run(&mut self, place: Place, actions: Vec<Action>) {
        for action in actions {
            let core = self.core(place);
            match &mut core.crash_in {
                _ if core.channel.is_none() => return,
                Some(0) => return self.crash(place),
                Some(left) => *left -= 1,
                None => {}
            }
            match action {
                Action::Persist(persist) | Action::Record(persist) => self.store(place, *persist),
                Action::AskSigner(request) => {
                    let dbid = self.core(place).dbid;
                    let signer = &mut self.signers[place.0 + place.1];
                    let reply = told(signer.hsm(), dbid, request);
                    if let Reply::Refused { rule, reason } = &reply {
                        panic!("false alarm, rule {rule}: {reason}; {:?}", self.counts);
                    }
                    if self.core(place).crash_in == Some(0) {
                        return self.crash(place);
                    }
                    self.feed(place, Event::Signer(reply));
                }
                Action::Send(message) => {
                    if self.core(place).connected {
                        self.core((place.0, 1 - place.1)).wire.push_back(message);
                    }
                }
                Action::Tell(notice) => self.hear(place, notice),
            }
        }
    }

    fn store(&mut self, place: Place, persist: Persist) {
        let core = self.core(place);
        core.live = persist.live;
        for (key, record) in persist.htlcs {
            match record {
                Some(record) => core.htlcs.insert(key, record),
                None => core.htlcs.remove(&key),
            };
        }
    }

    fn hear(&mut self, place: Place, notice: Notice) {
        match notice {
            Notice::Locked {
                id,
                htlc,
                over_dust_limit,
                ..
            } => self.locked(place, id, htlc, over_dust_limit),
            Notice::AddRefused { origin, .. } => {
                *self.counts.entry("not added").or_default() += 1;
                self.ended(place, origin, None);
            }
            Notice::Resolved {
                origin, removal, ..
            } => self.ended(place, origin, Some(removal)),
            Notice::NeedFunding { .. }
            | Notice::WatchFunding { .. }
            | Notice::FundingSigned { .. }
            | Notice::OpeningFailed { .. }
            | Notice::Ready { .. }
            | Notice::Active { .. }
            | Notice::PeerUpdate { .. }
            | Notice::ShuttingDown { .. }
            | Notice::MutualClose { .. } => {}
            Notice::WeAreStale => panic!("false alarm: stale"),
        }
    }

    /// Until nothing moves and every HTLC has its end.
    fn settle(&mut self) {
        for place in PLACES {
            self.core(place).crash_in = None;
        }
        self.revive();
        for _ in 0..100_000 {
            let mut moved = self.decide();
            for place in PLACES {
                while self.deliver(place) {
                    moved = true;
                }
                self.feed(place, Event::Flush);
                moved |= !self.cores[&(place.0, 1 - place.1)].wire.is_empty();
            }
            if !moved {
                return;
            }
        }
        panic!("never quiet");
    }

    fn check(&mut self) {
        println!("{:?}", self.counts);
        for what in [
            "payments",
            "forwards",
            "decisions",
            "reconnects",
            "crashes",
            "feerates",
        ] {
            assert!(self.counts[what] > 100, "too few {what}: {:?}", self.counts);
        }
        for core in self.cores.values() {
            assert!(core.htlcs.is_empty(), "{:?}", core.htlcs);
            assert_eq!(core.live.local_view, core.live.remote_view);
        }
        for at in [0, 1] {
            let [one, other] = [0, 1].map(|end| self.cores[&(at, end)].live.local_view);
            assert_eq!(
                (one.to_local, one.to_remote),
                (other.to_remote, other.to_local)
            );
        }
    }
}
