//! The channel core, between a node that is honest and a wire that is not.
//!
//! Two cores and their signers are joined by a link on which the input delivers, loses, repeats,
//! changes and makes up messages, gives commands, breaks the connection and restarts either node.
//! A peer may be found at fault; nothing may panic, and the signer, which is the one of the core's
//! own tests, may never be asked for something that the order of commitments forbids.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::OutPoint;
use channel::Channel;
use channel::action::{Action, CloseFees, Command, Event, Notice, OpenRequest, PeerFault, Removal};
use channel::state::{HtlcRecord, Live, Phase};
use tx::ledger::HtlcKey;
use tx::setup::CommitmentFormat;
use tx::signer::{NextLocal, Reply, Request};
use wire::{
    BlockHeight, ChannelId, FeeratePerKw, HtlcId, Message, MilliSatoshi, Satoshi, ShortChannelId,
};

use crate::Target;
use crate::choices::Choices;
use crate::fixture::{
    CLOSE_FEES, funding, htlc, identity, live, mirror, onion, origin, policy, preimage, script,
    setup,
};
use crate::sample::samples;
use crate::signer::TestSigner;

const SEEDS: [u8; 2] = [0x10, 0x20];
/// Longest life, in steps.
const MAX_STEPS: usize = 400;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("channel_running", running, 2048, running_seeds),
        Target::new("channel_opening", opening, 2048, opening_seeds),
        Target::new("channel_stranger", stranger, 4096, stranger_seeds),
    ]
}

struct Node {
    seed: u8,
    channel: Option<Channel>,
    signer: TestSigner,
    /// The newest commitment of ours that the signer has validated.
    validated: Option<Request>,
    connected: bool,
    stored: Option<Live>,
    htlcs: BTreeMap<HtlcKey, HtlcRecord>,
    outbox: Vec<Message>,
    locked: Vec<HtlcId>,
}

impl Node {
    fn new(seed: u8) -> Node {
        Node {
            seed,
            channel: None,
            signer: TestSigner::new(seed),
            validated: None,
            connected: true,
            stored: None,
            htlcs: BTreeMap::new(),
            outbox: vec![],
            locked: vec![],
        }
    }

    /// As channeld does it: a warning ends the connection, an error the channel.
    fn feed(&mut self, event: Event) {
        let Some(channel) = &mut self.channel else {
            return;
        };
        tell(|| format!("node {:#x} hears {event:?}", self.seed));
        match channel.handle(event) {
            Ok(actions) => self.run(actions),
            Err(PeerFault::Warning(text)) => {
                assert!(!text.is_empty());
                self.disconnect();
            }
            Err(PeerFault::Error(text)) => {
                assert!(!text.is_empty());
                self.disconnect();
            }
        }
    }

    fn disconnect(&mut self) {
        if std::mem::take(&mut self.connected) {
            self.feed(Event::Disconnected);
        }
    }

    fn run(&mut self, actions: Vec<Action>) {
        let last = actions.len().saturating_sub(1);
        for (at, action) in actions.into_iter().enumerate() {
            tell(|| format!("node {:#x} does {action:?}", self.seed));
            match action {
                Action::Persist(persist) | Action::Record(persist) => {
                    conserved(&persist.live);
                    self.stored = Some(persist.live);
                    for (key, record) in persist.htlcs {
                        match record {
                            Some(record) => self.htlcs.insert(key, record),
                            None => self.htlcs.remove(&key),
                        };
                    }
                }
                Action::AskSigner(request) => {
                    assert_eq!(at, last, "AskSigner is not the last action");
                    let reply = self.ask(request);
                    self.feed(Event::Signer(reply));
                }
                Action::Send(message) => {
                    assert!(message.encode().len() <= wire::MAX_MESSAGE);
                    self.outbox.push(message);
                }
                Action::Tell(Notice::Locked { id, .. }) => self.locked.push(id),
                Action::Tell(_) => {}
            }
        }
    }

    /// A peer may sign another commitment of the same number after a restart: hsmd refuses that,
    /// while the signer of the core's tests, whose peers are honest, takes it for a bug.
    fn ask(&mut self, request: Request) -> Reply {
        let number = |request: &Request| match request {
            Request::ValidateLocal(NextLocal { n, .. }) => Some(*n),
            _ => None,
        };
        let is_other = |known: &Request| number(known) == number(&request) && *known != request;
        if number(&request).is_some() && self.validated.as_ref().is_some_and(is_other) {
            let (rule, reason) = ("C5".to_owned(), "changed repetition".to_owned());
            return Reply::Refused { rule, reason };
        }
        let reply = self.signer.ask(&request);
        if let Reply::ValidatedLocal { .. } = reply {
            self.validated = Some(request);
        }
        reply
    }

    fn restart(&mut self) {
        tell(|| format!("node {:#x} restarts", self.seed));
        self.connected = false;
        self.locked.clear();
        self.outbox.clear();
        self.channel = None;
        if let Some(live) = self.stored.clone() {
            let htlcs = self.htlcs.clone().into_iter().collect();
            let (channel, actions) = Channel::resume(live, htlcs, policy());
            self.channel = Some(channel);
            self.run(actions);
        }
    }

    fn channel_id(&self) -> ChannelId {
        let live = self.channel.as_ref().and_then(Channel::live);
        live.map_or(TEMPORARY, |live| live.channel_id)
    }
}

/// A line for whoever looks at one input.
fn tell(what: impl FnOnce() -> String) {
    if crate::is_told() {
        eprintln!("{}", what());
    }
}

/// No commitment gives out more than the channel holds.
fn conserved(live: &Live) {
    let total = live
        .setup
        .funding_value
        .to_msat()
        .expect("a sum that exists");
    for view in [&live.local_view, &live.remote_view] {
        let sum = view.to_local.checked_add(view.to_remote);
        assert!(sum.is_some_and(|sum| sum <= total));
    }
}

struct World {
    nodes: [Node; 2],
    /// What is on its way to each node.
    wires: [VecDeque<Message>; 2],
    payments: u32,
}

const TEMPORARY: ChannelId = ChannelId([9; 32]);

impl World {
    /// Commitment 0 on both sides and channel_ready both ways.
    fn ready(format: CommitmentFormat) -> World {
        let ours = setup(format);
        let points = SEEDS.map(|seed| TestSigner::new(seed).point(0));
        let setups = [ours.clone(), mirror(&ours)];
        let mut world = World::of([0, 1].map(|n| {
            let mut node = Node::new(SEEDS[n]);
            node.signer = TestSigner::opened(SEEDS[n], &setups[n], funding(), points[1 - n]);
            node.stored = Some(live(SEEDS[n], setups[n].clone(), points[1 - n]));
            node.restart();
            node
        }));
        world.connect();
        for n in [0, 1] {
            world.feed(n, Event::Command(deep(3)));
        }
        while world.deliver(0) || world.deliver(1) {}
        world
    }

    /// A has asked for a channel; B hears of it with the first message.
    fn proposed(format: CommitmentFormat) -> World {
        let mut world = World::of(SEEDS.map(Node::new));
        let request = OpenRequest {
            temporary_channel_id: TEMPORARY,
            funding_value: Satoshi(1_000_000),
            push: MilliSatoshi(400_000_000),
            feerate: FeeratePerKw(1000),
            announce: true,
            format,
            minimum_depth: None,
            reserve: None,
        };
        let (channel, actions) = Channel::open(
            identity(SEEDS[0], &world.nodes[0].signer),
            policy(),
            request,
        );
        world.nodes[0].channel = Some(channel);
        world.nodes[0].run(actions);
        world.carry(0);
        world
    }

    fn of(nodes: [Node; 2]) -> World {
        World {
            nodes,
            wires: Default::default(),
            payments: 0,
        }
    }

    fn feed(&mut self, n: usize, event: Event) {
        self.nodes[n].feed(event);
        self.carry(n);
    }

    fn carry(&mut self, n: usize) {
        let sent = std::mem::take(&mut self.nodes[n].outbox);
        if self.nodes[n].connected {
            self.wires[1 - n].extend(sent);
        } else {
            self.wires = Default::default();
        }
    }

    fn hear(&mut self, n: usize, message: Message) {
        if !self.nodes[n].connected {
            return;
        }
        match (message, self.nodes[n].channel.is_some()) {
            (Message::OpenChannel(open), false) if self.nodes[n].stored.is_none() => {
                let node = &mut self.nodes[n];
                if let Ok((channel, actions)) =
                    Channel::accept(identity(node.seed, &node.signer), policy(), open)
                {
                    node.channel = Some(channel);
                    node.run(actions);
                }
                self.carry(n);
            }
            (message, _) => self.feed(n, Event::Peer(message)),
        }
    }

    fn deliver(&mut self, n: usize) -> bool {
        let Some(message) = self.wires[n].pop_front() else {
            return false;
        };
        self.hear(n, message);
        true
    }

    fn break_link(&mut self) {
        self.wires = Default::default();
        self.nodes.iter_mut().for_each(Node::disconnect);
    }

    fn connect(&mut self) {
        if self.nodes.iter().all(|node| node.connected) {
            return;
        }
        self.break_link();
        for n in [0, 1] {
            self.nodes[n].outbox.clear();
            self.nodes[n].connected = true;
        }
        for n in [0, 1] {
            self.feed(n, Event::Connected);
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let n = usize::from(what & 1);
        match what >> 1 {
            0..=29 => drop(self.deliver(n)),
            30..=44 => self.feed(n, Event::Flush),
            45..=59 => self.pay(n, choices),
            60..=69 => self.remove(n, choices),
            70..=79 => self.change(n, choices),
            80..=89 => self.make_up(n, choices),
            90..=92 => drop(self.wires[n].pop_front()),
            93..=95 => self.repeat(n),
            96..=98 => self.wires[n].rotate_left(1.min(self.wires[n].len())),
            99..=101 => self.break_link(),
            102..=105 => self.connect(),
            106..=108 => {
                self.wires = Default::default();
                self.nodes[n].restart();
                self.nodes[1 - n].disconnect();
            }
            _ => self.command(n, choices),
        }
    }

    fn pay(&mut self, n: usize, choices: &mut Choices<'_>) {
        const AMOUNTS: [u64; 6] = [200_000, 7_000_000, 90_000_000, 250_000_000, 1, 399_000];
        let amount = match choices.byte() {
            0xff => {
                self.nodes[n]
                    .channel
                    .as_ref()
                    .map(Channel::spendable)
                    .unwrap_or_default()
                    .0
            }
            byte => AMOUNTS[usize::from(byte) % AMOUNTS.len()],
        };
        let i = self.payments;
        self.payments += 1;
        let command = Command::Add {
            origin: origin(i),
            htlc: htlc(i, amount),
            onion: onion(),
        };
        self.feed(n, Event::Command(command));
    }

    fn remove(&mut self, n: usize, choices: &mut Choices<'_>) {
        let known = (!self.nodes[n].locked.is_empty()).then(|| self.nodes[n].locked.remove(0));
        let how = choices.byte();
        let id = match (known, how) {
            (Some(id), 0..=0xef) => id,
            _ => HtlcId(u64::from(choices.byte())),
        };
        // Ids count from 0 as payments do, but for each side: the preimage may be a wrong one.
        let i = self.nodes[n]
            .htlcs
            .get(&HtlcKey {
                offerer: wire::Side::Remote,
                id,
            })
            .and_then(|record| {
                (0..self.payments).find(|i| preimage(*i).payment_hash() == record.htlc.payment_hash)
            });
        let removal = match (how % 4, i) {
            (0 | 1, Some(i)) => Removal::Fulfil {
                preimage: preimage(i),
            },
            (2, _) => Removal::Malformed {
                sha256_of_onion: [1; 32],
                failure_code: 0xc004,
            },
            _ => Removal::Fail {
                reason: vec![how; 292],
            },
        };
        self.feed(n, Event::Command(Command::Remove { id, removal }));
    }

    /// The next message, with some of its bytes changed.
    fn change(&mut self, n: usize, choices: &mut Choices<'_>) {
        let Some(message) = self.wires[n].pop_front() else {
            return;
        };
        let mut bytes = message.encode();
        for _ in 0..=choices.byte() % 3 {
            let mut at = usize::from(choices.byte());
            if bytes.len() > 256 {
                at |= usize::from(choices.byte()) << 8;
            }
            let at = at % bytes.len().max(1);
            let by = choices.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= by;
            }
        }
        if let Ok(message) = Message::decode(&bytes) {
            self.hear(n, message);
        }
    }

    /// A message out of nowhere: of any type, about this channel.
    fn make_up(&mut self, n: usize, choices: &mut Choices<'_>) {
        let types = wire::KNOWN_TYPES;
        let type_num = types[usize::from(choices.byte()) % types.len()];
        let id = self.nodes[n].channel_id();
        let len = usize::from(choices.byte());
        let rest = choices.bytes(len);
        let mut bytes = [&type_num.to_be_bytes()[..], &id.0, rest].concat();
        if type_num == 128 {
            bytes.extend([0; 1366]);
        }
        if let Ok(message) = Message::decode(&bytes) {
            self.hear(n, message);
        }
    }

    fn repeat(&mut self, n: usize) {
        if let Some(message) = self.wires[n].front().cloned() {
            self.wires[n].push_front(message);
        }
    }

    fn command(&mut self, n: usize, choices: &mut Choices<'_>) {
        let number = || -> [u32; 5] { [253, 500, 2000, 4000, 15_000] };
        let what = choices.byte();
        let command = match what % 8 {
            0 => deep(u32::from(choices.byte() % 8)),
            1 => Command::Feerate {
                feerate: FeeratePerKw(number()[usize::from(choices.byte()) % 5]),
            },
            2 => Command::Block {
                height: BlockHeight(choices.number() % 1000),
            },
            3 => Command::Shutdown {
                script: script(self.nodes[n].seed),
                fees: CLOSE_FEES,
                wished: false,
            },
            4 => Command::Shutdown {
                script: script(choices.byte()),
                fees: CloseFees {
                    ideal: FeeratePerKw(choices.number() % 10_000),
                    ..CLOSE_FEES
                },
                wished: true,
            },
            5 => Command::FundingCreated {
                outpoint: OutPoint {
                    vout: u32::from(choices.byte()),
                    ..funding().outpoint
                },
            },
            6 if what > 200 => Command::CancelOpening {
                reason: "enough".to_owned(),
            },
            6 => deep(6),
            _ if what > 240 => Command::FundingSpent,
            _ => Command::Block {
                height: BlockHeight(100),
            },
        };
        self.feed(n, Event::Command(command));
    }
}

fn deep(depth: u32) -> Command {
    Command::FundingDepth {
        depth,
        scid: (depth > 0).then_some(ShortChannelId(0x0001_0000_0100_0001)),
    }
}

fn format(choices: &mut Choices<'_>) -> CommitmentFormat {
    match choices.byte() & 1 {
        0 => CommitmentFormat::AnchorsZeroFeeHtlc,
        _ => CommitmentFormat::StaticRemotekey,
    }
}

fn running(data: &[u8]) {
    let mut choices = Choices::new(data);
    let world = World::ready(format(&mut choices));
    for node in &world.nodes {
        let live = node.channel.as_ref().and_then(Channel::live);
        assert_eq!(live.map(|live| &live.phase), Some(&Phase::Normal));
    }
    play(world, choices);
}

fn opening(data: &[u8]) {
    let mut choices = Choices::new(data);
    let world = World::proposed(format(&mut choices));
    play(world, choices);
}

fn play(mut world: World, mut choices: Choices<'_>) {
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        world.step(&mut choices);
    }
    // Whatever came of it, each node can be asked, told and started again.
    for n in [0, 1] {
        let node = &mut world.nodes[n];
        if let Some(channel) = &node.channel {
            let _ = (
                channel.spendable(),
                channel.receivable(),
                channel.htlcs().count(),
            );
        }
        node.restart();
        node.connected = true;
        node.feed(Event::Connected);
    }
}

/// One core alone, and any messages at all in frames of a two-byte length.
fn stranger(data: &[u8]) {
    let mut choices = Choices::new(data);
    let start = choices.byte();
    let mut world = match start & 2 {
        0 => World::ready(format(&mut Choices::new(&[start]))),
        _ => World::proposed(format(&mut Choices::new(&[start]))),
    };
    let n = usize::from(start & 4 != 0);
    while !choices.is_empty() {
        let len = usize::from(u16::from_le_bytes([choices.byte(), choices.byte()]));
        if let Ok(message) = Message::decode(choices.bytes(len)) {
            world.hear(n, message);
            world.feed(n, Event::Flush);
            world.connect();
        }
    }
}

/// Payments both ways, failures, a new feerate and a close, with a break in the middle.
fn running_seeds() -> Vec<Vec<u8>> {
    let settle = [[60, 61], [0, 1], [0, 1], [0, 1], [0, 1]].concat();
    let pay = [&[90, 2, 91, 1][..], &settle, &settle].concat();
    let end = [&[120, 0, 121, 2][..], &settle, &settle].concat();
    let cut = [&[90, 0, 60, 0][..], &[198, 204][..], &settle, &settle].concat();
    let restart = [&[90, 0, 60, 0, 0][..], &[212, 204][..], &settle, &settle].concat();
    let fee = [&[218, 1, 2][..], &settle].concat();
    let close = [&[218, 3][..], &settle, &settle, &settle].concat();
    let all = [&[0][..], &pay, &end, &fee, &cut, &end, &restart, &close].concat();
    vec![
        [&[0][..], &pay, &end].concat(),
        [&[1][..], &pay, &end, &fee].concat(),
        [&[0][..], &cut, &restart].concat(),
        [&[1][..], &close].concat(),
        [&[0][..], &pay, &close, &end, &settle].concat(),
        [&[0, 90, 0, 60][..], &[140, 0, 40, 0, 0, 0, 1], &settle].concat(),
        [&[0][..], &[160, 31, 20], &[0; 20], &settle].concat(),
        all,
        // Each message of a payment, changed on its way.
        [&[0, 90, 0, 60, 140, 0, 40, 0, 1], &settle[..]].concat(),
        [&[0, 90, 0, 60, 1, 141, 0, 40, 1], &settle[..]].concat(),
        [&[0, 90, 0, 60, 1, 1, 61, 140, 0, 40, 1], &settle[..]].concat(),
        [&[0][..], &pay, &[204, 140, 0, 40, 1], &settle].concat(),
        made_up(&pay, 0..20),
        made_up(&pay, 20..50),
    ]
}

/// Messages of these types that nobody sent, after a payment, about the HTLC with id 0.
fn made_up(before: &[u8], types: std::ops::Range<u8>) -> Vec<u8> {
    let message = |type_index: u8| [&[160, type_index, 40][..], &[0; 40]].concat();
    let messages: Vec<u8> = types.flat_map(message).collect();
    [&[0], before, &messages].concat()
}

fn opening_seeds() -> Vec<Vec<u8>> {
    let both = [1, 0, 1, 0];
    let funded = [218, 5, 1];
    let lock = [218, 0, 3, 219, 0, 3, 0, 1, 0, 1];
    let whole = |format: u8| {
        [
            &[format][..],
            &both,
            &funded,
            &both,
            &both,
            &lock,
            &[90, 2, 60, 1, 61, 0, 0, 1],
        ]
        .concat()
    };
    vec![
        whole(0),
        whole(1),
        [&[0][..], &both, &funded, &[212, 204], &both].concat(),
        [&[0][..], &both, &funded, &[1], &[213, 204], &both].concat(),
        [&[0][..], &both, &[218, 206]].concat(),
        // Each message, changed on its way.
        [&[0][..], &[141, 0, 40, 0, 1], &both].concat(),
        [&[0][..], &[1, 140, 0, 40, 0, 1], &both, &funded, &both].concat(),
        [&[0][..], &both, &funded, &[141, 0, 40, 1], &both].concat(),
        [&[0][..], &both, &funded, &[1, 140, 0, 40, 1], &both].concat(),
    ]
}

fn stranger_seeds() -> Vec<Vec<u8>> {
    let id = World::ready(CommitmentFormat::AnchorsZeroFeeHtlc).nodes[0].channel_id();
    let framed = |mut bytes: Vec<u8>| {
        // Every message about a channel but open_channel starts with its id.
        if matches!(wire::peek(&bytes), Some((type_num, Some(_))) if type_num != 32 && type_num != 64)
        {
            bytes[2..34].copy_from_slice(&id.0);
        }
        [&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat()
    };
    let messages: Vec<Vec<u8>> = samples::<Message>(1)
        .iter()
        .map(Message::encode)
        .map(framed)
        .collect();
    let alone = messages.iter().map(|message| [&[0][..], message].concat());
    let many = messages
        .chunks(3)
        .map(|few| [&[2][..], &few.concat()].concat());
    alone
        .chain(many)
        .filter(|seed| seed.len() <= 4096)
        .collect()
}
