//! What the peer adds to its HTLC transactions, which BOLT 3's signatures with anchors let it: inputs with whatever
//! witness, outputs with whatever script. And its claim in the place of ours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use onchain::action::{Feerates, HtlcEnd};
use onchain::{Action, Event, Notice, Onchain, State};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::onchain::Request;
use wire::{BlockHeight, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Satoshi, Side};

use crate::contract::Contract;
use crate::signer::{Wallet, answer};

/// Where the commitment is.
const CLOSED: u32 = 1_000;
/// lightningd hands a state over in one message, which has a limit of 4 MiB.
const SMALL: usize = 1 << 20;

fn key(id: u64) -> HtlcKey {
    HtlcKey {
        offerer: Side::Local,
        id: HtlcId(id),
    }
}

fn preimage(id: u64) -> Preimage {
    Preimage([u8::try_from(id).unwrap() + 1; 32])
}

fn add(id: u64, satoshi: u64, expiry: u32) -> Delta {
    let htlc = Htlc {
        amount: MilliSatoshi(satoshi * 1_000),
        payment_hash: preimage(id).payment_hash(),
        cltv_expiry: CltvExpiry(expiry),
    };
    Delta::Add { key: key(id), htlc }
}

/// So many HTLCs of ours, in commitment 1, which is the newest or, with `revoked`, the one before it.
fn contract(count: u64, expiry: u32, revoked: bool) -> Contract {
    let adds = (0..count).map(|id| add(id, 1_000_000, expiry)).collect();
    let mut steps: Vec<Vec<Delta>> = vec![adds];
    if revoked {
        steps.push((0..count).map(|id| Delta::Fail { key: key(id) }).collect());
    }
    let preimages: BTreeMap<_, _> = (0..count).map(|id| (key(id), preimage(id))).collect();
    let value = Satoshi(100_000_000);
    Contract::of_steps(&mut StdRng::seed_from_u64(1), value, steps, preimages)
}

/// The core, with a signer that does what it is asked.
struct Node<'a> {
    contract: &'a Contract,
    core: Onchain,
    wallet: Wallet,
    actions: Vec<Action>,
    /// Bytes of parents in one request to the signer.
    longest: usize,
}

impl<'a> Node<'a> {
    fn new(contract: &'a Contract) -> Node<'a> {
        Node::from(contract, None)
    }

    /// Goes on from there.
    fn from(contract: &'a Contract, state: Option<State>) -> Node<'a> {
        let facts = contract.facts(false, &mut StdRng::seed_from_u64(2));
        let feerates = Feerates {
            estimates: vec![(2, FeeratePerKw(1_000))],
            floor: FeeratePerKw(253),
        };
        let (core, actions) = Onchain::new(facts, state, feerates);
        let mut node = Node {
            contract,
            core,
            wallet: Wallet::new(),
            actions: Vec::new(),
            longest: 0,
        };
        node.take(actions);
        node
    }

    fn take(&mut self, actions: Vec<Action>) {
        let mut left = VecDeque::from(actions);
        while let Some(action) = left.pop_front() {
            match action {
                Action::AskSigner(request) => {
                    if let Request::Sweep { parents, .. } = &request {
                        let size = parents.iter().map(|parent| parent.0.len()).sum();
                        self.longest = self.longest.max(size);
                    }
                    let reply = answer(self.contract, &self.wallet, &request);
                    left.extend(self.core.handle(Event::Signer(reply)));
                }
                other => self.actions.push(other),
            }
        }
    }

    fn hear(&mut self, event: Event) {
        let actions = self.core.handle(event);
        self.take(actions);
    }

    fn block(&mut self, height: u32, txs: &[&Transaction]) {
        let height = BlockHeight(height);
        for tx in txs {
            let tx = (*tx).clone();
            self.hear(Event::Confirmed { tx, height });
        }
        self.hear(Event::Block { height });
    }

    fn blocks(&mut self, heights: impl Iterator<Item = u32>) {
        heights.for_each(|height| self.block(height, &[]));
    }

    fn watched(&self) -> usize {
        let watched = self.actions.iter().map(|action| match action {
            Action::Watch(outpoints) => outpoints.len(),
            _ => 0,
        });
        watched.sum()
    }

    fn ends(&self) -> Vec<HtlcEnd> {
        let ends = self.actions.iter().filter_map(|action| match action {
            Action::Tell(Notice::HtlcEnded { end, .. }) => Some(*end),
            _ => None,
        });
        ends.collect()
    }

    fn state(&self) -> &State {
        let mut states = self.actions.iter().rev().filter_map(|action| match action {
            Action::Persist(state) | Action::Record(state) => Some(state),
            _ => None,
        });
        states.next().expect("a state was handed over")
    }

    /// Bytes of transactions in what was handed over last.
    fn kept(&self) -> usize {
        let confirmed = self.state().confirmed.iter();
        confirmed.map(|confirmed| confirmed.tx.0.len()).sum()
    }

    /// What the claims of the state handed over last take, of other transactions than the commitment.
    fn core_takes(&self) -> BTreeSet<OutPoint> {
        let commitment = self.contract.commitment(Side::Remote, 1).tx.compute_txid();
        let claims = self.state().claims.values();
        let takes = claims.flat_map(|claim| claim.takes.clone());
        takes
            .filter(|outpoint| outpoint.txid != commitment)
            .collect()
    }

    /// Outputs of other transactions than the commitment that are taken.
    fn taken(&self, commitment: Txid) -> BTreeSet<OutPoint> {
        let sent = self.actions.iter().filter_map(|action| match action {
            Action::Broadcast(broadcast) => Some(&broadcast.tx),
            _ => None,
        });
        let taken = sent.flat_map(|tx| tx.input.iter().map(|input| input.previous_output));
        taken
            .filter(|outpoint| outpoint.txid != commitment)
            .collect()
    }
}

/// The peer's claim of an HTLC output of its commitment 1.
pub fn peers_claim(contract: &Contract, htlc: usize) -> Transaction {
    let commitment = contract.commitment(Side::Remote, 1);
    let all = commitment.htlc_transactions().unwrap();
    let htlc = &all[htlc];
    let point = contract.theirs.point(commitment.n);
    let sign = |side| {
        htlc.sign(side, &contract.htlc_secret(side, &point))
            .unwrap()
    };
    let preimage = Some(&contract.preimages[&htlc.key]);
    htlc.signed(&sign(Side::Remote), &sign(Side::Local), preimage)
        .unwrap()
}

#[test]
fn outputs_that_the_peer_adds_are_not_ours_to_take() {
    let contract = contract(3, CLOSED + 500, true);
    let mut node = Node::new(&contract);
    node.block(CLOSED, &[&contract.signed(Side::Remote, 1)]);
    let delayed = contract
        .commitment(Side::Remote, 1)
        .to_local_script
        .to_p2wsh();
    for htlc in 0..3 {
        let mut tx = peers_claim(&contract, htlc);
        let dust = TxOut {
            value: Amount::from_sat(330),
            script_pubkey: delayed.clone(),
        };
        tx.output.extend(std::iter::repeat_n(dust, 2_300));
        let before = node.watched();
        node.block(CLOSED + 1 + u32::try_from(htlc).unwrap(), &[&tx]);
        assert_eq!(
            node.watched(),
            before + 1,
            "what the HTLC went to, and nothing else"
        );
    }
}

#[test]
fn witnesses_that_the_peer_adds_are_not_kept_and_preimages_are_told() {
    for revoked in [true, false] {
        let contract = contract(12, CLOSED + 500, revoked);
        let mut node = Node::new(&contract);
        node.block(CLOSED, &[&contract.signed(Side::Remote, 1)]);
        for htlc in 0..12 {
            let mut tx = peers_claim(&contract, htlc);
            let txid = Txid::from_byte_array([9; 32]);
            let vout = u32::try_from(htlc).unwrap();
            tx.input.push(TxIn {
                previous_output: OutPoint { txid, vout },
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&[vec![0; 395_000]]),
            });
            node.block(CLOSED + 1, &[&tx]);
        }
        assert!(node.kept() < SMALL, "{} bytes", node.kept());
        let told = if revoked { 0 } else { 12 };
        assert_eq!(node.ends().len(), told);
    }
}

#[test]
fn outputs_of_any_length_that_the_peer_adds_hide_nothing_and_are_not_kept() {
    let contract = contract(45, CLOSED + 500, true);
    let commitment = contract.signed(Side::Remote, 1);
    let long = |htlc: usize| {
        let mut tx = peers_claim(&contract, htlc);
        tx.output.push(TxOut {
            value: Amount::from_sat(330),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; 98_000]),
        });
        tx
    };
    let claims: Vec<Transaction> = (0..45).map(long).collect();
    let mut node = Node::new(&contract);
    node.block(CLOSED, &[&commitment]);
    for (height, some) in (CLOSED + 1..).zip(claims.chunks(15)) {
        node.block(height, &some.iter().collect::<Vec<_>>());
    }
    let all = claims.iter().map(|tx| OutPoint::new(tx.compute_txid(), 0));
    let all: BTreeSet<OutPoint> = all.collect();
    assert_eq!(node.taken(commitment.compute_txid()), all);
    assert!(node.longest < SMALL, "{} bytes for hsmd", node.longest);
    node.blocks(CLOSED + 4..=CLOSED + 30);
    assert!(node.kept() < 3 * SMALL, "{} bytes", node.kept());
    // What is told again at a start is all that was not kept.
    let state = node.state().clone();
    let after = state.resumes_after();
    assert!((CLOSED..=CLOSED + 2).contains(&after.0), "{after}");
    let mut again = Node::from(&contract, Some(state));
    assert_eq!(again.core.height(), after);
    for (height, some) in (CLOSED + 1..).zip(claims.chunks(15)) {
        if height > after.0 {
            for tx in some {
                let (tx, height) = (tx.clone(), BlockHeight(height));
                again.hear(Event::Confirmed { tx, height });
            }
        }
    }
    again.block(CLOSED + 31, &[]);
    assert_eq!(again.core_takes(), all);
}

#[test]
fn a_preimage_is_told_after_a_failure_that_a_reorganization_took_out() {
    let expiry = CLOSED + 10;
    let contract = contract(1, expiry, false);
    let mut node = Node::new(&contract);
    node.block(CLOSED, &[&contract.signed(Side::Remote, 1)]);
    node.blocks(CLOSED + 1..=expiry);
    let sent = node.actions.iter().filter_map(|action| match action {
        Action::Broadcast(broadcast) => Some(broadcast.tx.clone()),
        _ => None,
    });
    let timeout = |tx: &Transaction| tx.lock_time.to_consensus_u32() == expiry;
    let ours = sent
        .into_iter()
        .rfind(timeout)
        .expect("our timeout is broadcast");
    node.block(expiry + 1, &[&ours]);
    node.blocks(expiry + 2..=expiry + 4);
    assert_eq!(node.ends(), [HtlcEnd::Failed]);
    let from = BlockHeight(expiry + 1);
    node.hear(Event::Disconnected { from });
    node.block(expiry + 1, &[&peers_claim(&contract, 0)]);
    node.blocks(expiry + 2..=expiry + 4);
    let preimage = preimage(0);
    assert_eq!(
        node.ends(),
        [HtlcEnd::Failed, HtlcEnd::Fulfilled { preimage }]
    );
}
