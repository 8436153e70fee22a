//! One peer, connected or not: its connection, its channels' sockets, and whether it is wanted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use tokio::sync::Notify;
use wire::{ChannelId, NodeId};

use crate::backoff::Backoff;
use crate::channels::Attached;
use crate::connection::Connection;
use crate::limits::Limits;

/// A peer that is connected, has a channel attached, or is to be connected.
pub struct Peer {
    pub id: NodeId,
    /// Ends the pause before it is dialled again.
    pub hurry: Notify,
    state: RefCell<State>,
}

struct State {
    live: Option<Rc<Connection>>,
    channels: BTreeMap<u64, Rc<Attached>>,
    claims: HashMap<ChannelId, Rc<Attached>>,
    keep: bool,
    /// host:port, those to be tried first first.
    addresses: Vec<String>,
    /// lightningd's Connects that wait for an answer.
    requests: Vec<u64>,
    backoff: Backoff,
    dialling: bool,
    /// What it is told first on each connection; may be empty.
    greeting: Vec<u8>,
}

impl Peer {
    #[must_use]
    pub fn new(id: NodeId, limits: &Limits) -> Peer {
        let state = State {
            live: None,
            channels: BTreeMap::new(),
            claims: HashMap::new(),
            keep: false,
            addresses: Vec::new(),
            requests: Vec::new(),
            backoff: Backoff::new(limits),
            dialling: false,
            greeting: Vec::new(),
        };
        Peer {
            id,
            hurry: Notify::new(),
            state: RefCell::new(state),
        }
    }

    /// Its connection, if there is one.
    #[must_use]
    pub fn live(&self) -> Option<Rc<Connection>> {
        self.state.borrow().live.clone()
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state.borrow().live.is_some()
    }

    pub fn set_live(&self, live: Option<Rc<Connection>>) {
        self.state.borrow_mut().live = live;
    }

    /// Nobody would miss it, were it to go.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        let state = self.state.borrow();
        state.channels.is_empty() && !state.keep && state.requests.is_empty()
    }

    /// There is nothing to remember of it.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        let state = self.state.borrow();
        self.is_stranger() && !self.is_live() && !state.dialling && state.greeting.is_empty()
    }

    /// Its channels' sockets.
    #[must_use]
    pub fn channels(&self) -> Vec<Rc<Attached>> {
        self.state.borrow().channels.values().cloned().collect()
    }

    /// Whose messages with this id are.
    #[must_use]
    pub fn claimant(&self, id: ChannelId) -> Option<Rc<Attached>> {
        self.state.borrow().claims.get(&id).cloned()
    }

    pub fn add(&self, channel: &Rc<Attached>) {
        self.state
            .borrow_mut()
            .channels
            .insert(channel.number, Rc::clone(channel));
    }

    /// Takes it out; gives how many ids it had claimed, or `None` if it was not there.
    pub fn remove(&self, channel: &Rc<Attached>) -> Option<usize> {
        let mut state = self.state.borrow_mut();
        state.channels.remove(&channel.number)?;
        let before = state.claims.len();
        state
            .claims
            .retain(|_, claimant| claimant.number != channel.number);
        Some(before - state.claims.len())
    }

    /// Gives `id` to `channel`; says whether that may be.
    #[must_use]
    pub fn claim(&self, channel: &Rc<Attached>, id: ChannelId, limits: &Limits) -> bool {
        let mut state = self.state.borrow_mut();
        let has = state
            .claims
            .values()
            .filter(|other| other.number == channel.number)
            .count();
        match state.claims.get(&id) {
            Some(other) => other.number == channel.number,
            // It names every channel, so it can be none's.
            None if id == ChannelId::ALL || has >= limits.claims => false,
            None => state.claims.insert(id, Rc::clone(channel)).is_none(),
        }
    }

    pub fn release(&self, channel: &Attached, id: ChannelId) {
        let mut state = self.state.borrow_mut();
        if state
            .claims
            .get(&id)
            .is_some_and(|other| other.number == channel.number)
        {
            state.claims.remove(&id);
        }
    }

    #[must_use]
    pub fn has_claimed(&self, channel: &Attached, id: ChannelId) -> bool {
        let state = self.state.borrow();
        state
            .claims
            .get(&id)
            .is_some_and(|other| other.number == channel.number)
    }

    /// Puts these before those known.
    pub fn know(&self, mut addresses: Vec<String>, limits: &Limits) {
        let mut state = self.state.borrow_mut();
        addresses.append(&mut state.addresses);
        for address in addresses {
            if state.addresses.len() < limits.addresses && !state.addresses.contains(&address) {
                state.addresses.push(address);
            }
        }
    }

    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.state.borrow().addresses.clone()
    }

    pub fn set_keep(&self, keep: bool) {
        self.state.borrow_mut().keep = keep;
    }

    pub fn ask(&self, request: u64) {
        self.state.borrow_mut().requests.push(request);
    }

    #[must_use]
    pub fn requests(&self) -> Vec<u64> {
        self.state.borrow().requests.clone()
    }

    /// Takes all, or of `some` those that have not been answered yet.
    pub fn take_requests(&self, some: Option<&[u64]>) -> Vec<u64> {
        let mut state = self.state.borrow_mut();
        match some {
            None => std::mem::take(&mut state.requests),
            Some(some) => {
                let (taken, left) = state.requests.iter().partition(|one| some.contains(one));
                state.requests = left;
                taken
            }
        }
    }

    /// Somebody wants it connected, and there is a way.
    #[must_use]
    pub fn is_to_be_dialled(&self) -> bool {
        let state = self.state.borrow();
        let wanted = !state.requests.is_empty() || state.keep && !state.addresses.is_empty();
        state.live.is_none() && wanted
    }

    #[must_use]
    pub fn is_dialling(&self) -> bool {
        self.state.borrow().dialling
    }

    pub fn set_dialling(&self, dialling: bool) {
        self.state.borrow_mut().dialling = dialling;
    }

    /// What it is told first, if anything.
    #[must_use]
    pub fn greeting(&self) -> Option<Vec<u8>> {
        let greeting = self.state.borrow().greeting.clone();
        (!greeting.is_empty()).then_some(greeting)
    }

    pub fn greet_with(&self, greeting: Vec<u8>) {
        self.state.borrow_mut().greeting = greeting;
    }

    /// The next pause before it is dialled.
    pub fn pause(&self) -> std::time::Duration {
        self.state.borrow_mut().backoff.pause()
    }

    pub fn reset_pause(&self) {
        self.state.borrow_mut().backoff.reset();
    }
}
