//! Two nodes and a link that delays, loses and breaks.

use std::collections::VecDeque;

use channel::Channel;
use channel::action::{Action, Command, Event, Notice, PeerFault, Removal};
use channel::state::Phase;
use tx::setup::{CommitmentFormat, Setup};
use wire::{FeeratePerKw, Message, MilliSatoshi, ShortChannelId};

use crate::fixture::{
    CLOSE_FEES, funding, htlc, live, mirror, onion, origin, policy, preimage, script, setup,
};
use crate::node::Node;
use crate::signer::TestSigner;

/// Index of a node: A opened the channel.
pub const A: usize = 0;
pub const B: usize = 1;

pub struct World {
    pub nodes: [Node; 2],
    /// What is on its way to each node.
    pub wires: [VecDeque<Message>; 2],
    /// The transport stands; a node may notice its end later.
    link: bool,
    /// Who pays and how much, by number of the payment.
    pub payments: Vec<(usize, u64)>,
    /// Every message that was delivered, by name.
    pub log: Vec<(usize, &'static str)>,
    /// The transport breaks after so many more deliveries.
    lose_after: Option<u32>,
    /// A signer has refused, which ended the connection.
    cut: bool,
}

impl World {
    /// Both have commitment 0, nothing else has happened.
    pub fn new(format: CommitmentFormat) -> World {
        World::agreed(setup(format))
    }

    /// After an opening with these terms, seen from A.
    fn agreed(ours: Setup) -> World {
        let theirs = mirror(&ours);
        let points = [
            TestSigner::new(0x10).point(0),
            TestSigner::new(0x20).point(0),
        ];
        let node = |seed: u8, setup: &Setup, remote_point| {
            let signer = TestSigner::opened(seed, setup, funding(), remote_point);
            let mut node = Node::new(seed, policy(), signer);
            node.db.live = Some(live(seed, setup.clone(), remote_point));
            node.start();
            node
        };
        let nodes = [node(0x10, &ours, points[1]), node(0x20, &theirs, points[0])];
        World::of(nodes)
    }

    pub fn of(nodes: [Node; 2]) -> World {
        World {
            nodes,
            wires: Default::default(),
            link: false,
            payments: vec![],
            log: vec![],
            lose_after: None,
            cut: false,
        }
    }

    /// Ready for payments.
    pub fn ready(format: CommitmentFormat) -> World {
        World::with(format, |_| {})
    }

    /// The same with other terms.
    pub fn with(format: CommitmentFormat, change: impl Fn(&mut Setup)) -> World {
        let mut ours = setup(format);
        change(&mut ours);
        let mut world = World::agreed(ours);
        world.connect();
        world.deepen();
        world.settle();
        for node in [A, B] {
            assert_eq!(world.nodes[node].live().phase, Phase::Normal);
        }
        world
    }

    pub fn deepen(&mut self) {
        for node in [A, B] {
            let scid = Some(ShortChannelId(0x0001_0000_0100_0001));
            self.command(node, Command::FundingDepth { depth: 3, scid });
        }
    }

    /// Whatever is down comes up.
    pub fn connect(&mut self) {
        if self.link && self.nodes.iter().all(|node| node.connected) {
            return;
        }
        self.break_link();
        for node in [A, B] {
            self.notice_break(node);
            if self.nodes[node].channel.is_none() {
                self.nodes[node].start();
            }
        }
        self.link = true;
        for node in [A, B] {
            self.nodes[node].connected = true;
            self.feed(node, Event::Connected).unwrap();
        }
    }

    /// A connection between nodes that have no channel yet.
    pub fn link_up(&mut self) {
        self.link = true;
        for node in &mut self.nodes {
            node.connected = true;
        }
    }

    pub fn lose_after(&mut self, deliveries: u32) {
        self.lose_after = Some(deliveries);
    }

    /// A node begins an opening.
    pub fn begin(&mut self, node: usize, channel: Channel, actions: Vec<Action>) {
        self.nodes[node].channel = Some(channel);
        let result = self.nodes[node].run(actions);
        self.pass_on(node, result).unwrap();
    }

    /// The transport is gone; what was on its way is lost.
    pub fn break_link(&mut self) {
        self.link = false;
        self.wires = Default::default();
    }

    /// A node hears that the transport is gone.
    pub fn notice_break(&mut self, node: usize) {
        if !self.link && self.nodes[node].connected {
            self.nodes[node].connected = false;
            self.feed(node, Event::Disconnected).unwrap();
        }
    }

    pub fn feed(&mut self, node: usize, event: Event) -> Result<(), PeerFault> {
        let result = self.nodes[node].feed(event);
        self.pass_on(node, result)
    }

    fn pass_on(&mut self, node: usize, result: Result<(), PeerFault>) -> Result<(), PeerFault> {
        // As its shell does after each warning.
        let refused = std::mem::take(&mut self.nodes[node].signer.has_refused);
        let result = match self.nodes[node].channel {
            Some(_) if refused => {
                assert!(matches!(result, Err(PeerFault::Warning(_))), "{result:?}");
                self.break_link();
                self.cut = true;
                Ok(())
            }
            Some(_) | None => result,
        };
        let sent = std::mem::take(&mut self.nodes[node].outbox);
        if self.nodes[node].channel.is_none() {
            self.break_link();
        } else if self.link {
            self.wires[1 - node].extend(sent);
        }
        result
    }

    pub fn command(&mut self, node: usize, command: Command) {
        self.feed(node, Event::Command(command)).unwrap();
    }

    pub fn flush(&mut self, node: usize) {
        self.feed(node, Event::Flush).unwrap();
    }

    /// Delivers the next message to a node, if there is one; honest nodes find no fault.
    pub fn deliver(&mut self, node: usize) -> bool {
        if self.nodes[node].channel.is_none() {
            return false;
        }
        if self.lose_after == Some(0) {
            self.break_link();
        }
        let Some(message) = self.wires[node].pop_front() else {
            return false;
        };
        let name = message.name();
        self.log.push((node, name));
        self.lose_after = self.lose_after.map(|left| left - 1);
        let result = self.feed(node, Event::Peer(message));
        assert_eq!(result, Ok(()), "{name} to {node}; {:?}", self.log);
        true
    }

    pub fn pay(&mut self, node: usize, amount: u64) -> u32 {
        let i = self.payments.len() as u32;
        self.payments.push((node, amount));
        if self.nodes[node].channel.is_none() {
            self.nodes[node].db.results.insert(i, false);
            return i;
        }
        self.nodes[node].db.attempts.push(i);
        self.command(
            node,
            Command::Add {
                origin: origin(i),
                htlc: htlc(i, amount),
                onion: onion(),
            },
        );
        i
    }

    /// Every third payment fails, one in eleven of them as malformed.
    pub fn succeeds(i: u32) -> bool {
        !i.is_multiple_of(3)
    }

    /// Decides on the oldest HTLC that waits.
    pub fn decide(&mut self, node: usize) -> bool {
        let Some((id, i)) = self.nodes[node].undecided.pop_front() else {
            return false;
        };
        let removal = match World::succeeds(i) {
            true => Removal::Fulfil {
                preimage: preimage(i),
            },
            false if i % 11 == 0 => Removal::Malformed {
                sha256_of_onion: [1; 32],
                failure_code: 0xc004,
            },
            false => Removal::Fail {
                reason: vec![i as u8; 292],
            },
        };
        self.command(node, Command::Remove { id, removal });
        true
    }

    pub fn aim_feerate(&mut self, feerate: u32) {
        self.command(
            A,
            Command::Feerate {
                feerate: FeeratePerKw(feerate),
            },
        );
    }

    pub fn shut_down(&mut self, node: usize) {
        let seed = self.nodes[node].seed;
        self.command(
            node,
            Command::Shutdown {
                script: script(seed),
                fees: CLOSE_FEES,
                wished: true,
            },
        );
    }

    /// No more faults, until nothing moves.
    pub fn settle(&mut self) {
        for node in &mut self.nodes {
            node.crash_in = None;
        }
        self.connect();
        for _ in 0..10_000 {
            let mut moved = false;
            for node in [A, B] {
                while self.deliver(node) {
                    moved = true;
                }
                while self.decide(node) {
                    moved = true;
                }
                self.flush(node);
                moved |= !self.wires[1 - node].is_empty();
            }
            if std::mem::take(&mut self.cut) {
                self.connect();
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("never quiet: {:?}", self.log);
    }

    /// Until nothing moves, but nobody decides on an HTLC.
    pub fn quiet(&mut self) {
        loop {
            for node in [A, B] {
                while self.deliver(node) {}
                self.flush(node);
            }
            if self.wires.iter().all(VecDeque::is_empty) {
                return;
            }
        }
    }

    /// Both sides say the same, every payment ended, and the balances are what the ends say.
    pub fn check_agreement(&mut self) {
        let mut balances = [600_000_000_i64, 400_000_000];
        let mut paid = [(0, 0), (0, 0)];
        for (i, (payer, amount)) in self.payments.iter().enumerate() {
            let i = i as u32;
            let node = &mut self.nodes[*payer];
            node.sync(usize::MAX);
            let result = node.db.results.get(&i);
            let success =
                *result.unwrap_or_else(|| panic!("payment {i} has no end: {:?}", self.log));
            assert!(
                !success || World::succeeds(i),
                "payment {i} was not to be fulfilled"
            );
            if success {
                balances[*payer] -= *amount as i64;
                balances[1 - payer] += *amount as i64;
                paid[*payer] = (paid[*payer].0 + 1, paid[*payer].1 + amount);
            }
        }
        for (n, node) in self.nodes.iter_mut().enumerate() {
            node.sync(usize::MAX);
            let live = node.channel.as_ref().unwrap().live().unwrap();
            assert_eq!(node.channel.as_ref().unwrap().htlcs().count(), 0);
            assert_eq!(live.local_view, live.remote_view);
            assert_eq!(
                live.local_view.to_local.0 as i64, balances[n],
                "balance of {n}"
            );
            assert_eq!(live.local_view.to_remote.0 as i64, balances[1 - n]);
            let out = (live.fulfilled_out.count, live.fulfilled_out.amount.0);
            let into = (live.fulfilled_in.count, live.fulfilled_in.amount.0);
            assert_eq!((out, into), (paid[n], paid[1 - n]));
            assert!(live.feerate.pending.is_empty() && !live.awaiting_revocation);
            // What is stored is what is in memory.
            assert_eq!(node.db.live.as_ref(), Some(live));
            assert!(node.db.htlcs.is_empty());
            // And hsmd means the same.
            let (ours, theirs) = (node.signer.local_ledger(), node.signer.remote_ledger());
            assert_eq!(ours, theirs);
            assert_eq!(ours.to_local, live.local_view.to_local);
            assert_eq!(ours.feerate, live.feerate.current);
        }
        let [a, b] = &self.nodes;
        assert_eq!(a.live().local_next, b.live().remote_next);
        assert_eq!(a.live().remote_next, b.live().local_next);
        assert_eq!(a.live().feerate.current, b.live().feerate.current);
        assert_eq!(a.live().next_htlc_id, b.live().remote_next_htlc_id);
        assert_eq!(a.live().remote_next_htlc_id, b.live().next_htlc_id);
    }

    /// The closing transactions that a node was told of.
    pub fn closes(&self, node: usize) -> Vec<Vec<u8>> {
        let txs = self.nodes[node]
            .notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::MutualClose { tx } => Some(tx.clone()),
                _ => None,
            });
        txs.collect()
    }

    pub fn balance(&self, node: usize) -> MilliSatoshi {
        self.nodes[node].live().local_view.to_local
    }
}
