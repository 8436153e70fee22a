//! T1 and H2: what the chain is proved to have ended need not be waited for, and nothing else.

use std::slice::from_ref;

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Network, Transaction, TxMerkleNode};
use headers::{BranchHash, RawHeader};
use tx::claim::{CoinKind, FeeCoin, How};
use tx::ledger::{Delta, Ledger};
use tx::onchain::{Claim, ParentTx, Reply, Request};
use tx::script::HtlcScripts;
use tx::signer::Ticket;
use wire::{BlockHeight, FeeratePerKw, MilliSatoshi, Satoshi, Side};

use super::fixture::Node;
use super::line::{IN, LEFT, Line, M, OUT, PREIMAGE, RIGHT, add, fail, fulfil, htlc, key};
use super::spend::{addresses, outpoint};
use crate::tickets::View;
use crate::tip::OLD;
use crate::{Refused, Rule};

/// A chain of regtest that a node is told of.
struct Blocks(Vec<Header>);

impl Blocks {
    /// Told to the middle node.
    fn new(line: &mut Line) -> Blocks {
        let blocks = Blocks(vec![genesis_block(Network::Regtest).header]);
        blocks.tell(&mut line.nodes[M], 0).unwrap();
        blocks
    }

    /// Headers from this height on.
    fn tell(&self, node: &mut Node, from: usize) -> Result<(), Refused> {
        let headers = self.0[from..].iter().map(RawHeader::of).collect();
        node.hsm().take_headers(BlockHeight(from as u32), headers)
    }

    fn mine_root(&mut self, root: TxMerkleNode) -> BlockHeight {
        let last = self.0.last().unwrap();
        let mut header = Header {
            prev_blockhash: last.block_hash(),
            merkle_root: root,
            time: last.time + 600,
            nonce: 0,
            ..*last
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        self.0.push(header);
        BlockHeight(self.0.len() as u32 - 1)
    }

    /// A block with this transaction alone.
    fn mine(&mut self, tx: &Transaction) -> BlockHeight {
        self.mine_root(TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash()))
    }

    fn mine_empty(&mut self, count: usize, node: &mut Node) {
        let from = self.0.len();
        for n in 0..count {
            self.mine_root(TxMerkleNode::from_byte_array([n as u8; 32]));
        }
        self.tell(node, from).unwrap();
    }

    /// This transaction is in a block of its own, which is told and proved.
    fn confirm(&mut self, line: &mut Line, tx: &Transaction) -> BlockHeight {
        let height = self.mine(tx);
        self.tell(&mut line.nodes[M], height.0 as usize).unwrap();
        prove(line, tx, height).unwrap();
        height
    }
}

/// To the middle node, of the channel OUT.
fn prove(line: &mut Line, tx: &Transaction, height: BlockHeight) -> Result<(), Refused> {
    let out = line.dbid(OUT, LEFT);
    line.nodes[M]
        .hsm()
        .see_spend(out, &ParentTx::of(tx), height, 0, &[])
}

fn rule(result: Result<(), Refused>) -> Rule {
    result.unwrap_err().rule()
}

/// HTLC 0 came in and went out.
fn forwarded() -> Line {
    forwarded_of(49_000_000)
}

fn forwarded_of(msat: u64) -> Line {
    let mut line = Line::new();
    line.comes_in(0, msat + 1_000_000, 600);
    let ticket = line.ticket(0);
    line.left_says(OUT, &[add(0, msat, 590)], &[ticket]);
    line
}

fn close(line: &mut Line, end: usize) -> Transaction {
    let out = line.dbid(OUT, end);
    line.nodes[OUT + end].hsm().force_close(out).unwrap()
}

fn cannot_go_back(line: &mut Line, why: &str) {
    let request = line.request(IN, LEFT, &[fail(0)], &[]);
    assert_eq!(line.refused(IN, RIGHT, request), "H2", "{why}");
}

fn goes_back(line: &mut Line) {
    line.commit(IN, LEFT, &[fail(0)], &[]);
    line.commit(IN, RIGHT, &[fail(0)], &[]);
}

/// What ended it is in the newest block, and counts from its third confirmation on.
fn goes_back_once_deep(line: &mut Line, blocks: &mut Blocks) {
    blocks.mine_empty(1, &mut line.nodes[M]);
    cannot_go_back(line, "two blocks deep");
    blocks.mine_empty(1, &mut line.nodes[M]);
    goes_back(line);
}

fn signed(line: &mut Line, end: usize, request: Request) -> Transaction {
    let out = line.dbid(OUT, end);
    match line.nodes[OUT + end].hsm().onchain(out, request) {
        Ok(Reply::Signed { tx }) => bitcoin::consensus::deserialize(&tx).unwrap(),
        other => panic!("not signed: {other:?}"),
    }
}

/// HTLC 0's transaction of this end's own commitment.
fn htlc_tx(line: &mut Line, end: usize) -> Transaction {
    let index = addresses(&mut line.nodes[OUT + end])[0].index;
    let coin = FeeCoin {
        outpoint: outpoint(1),
        value: Satoshi(100_000),
        index,
        kind: CoinKind::P2tr,
    };
    let (offerer, preimage) = match end {
        LEFT => (Side::Local, None),
        _ => (Side::Remote, Some(PREIMAGE)),
    };
    let request = Request::HtlcTxs {
        htlcs: vec![(key(offerer, 0), preimage)],
        coins: vec![coin],
        fee: Satoshi(1_000),
    };
    signed(line, end, request)
}

/// The output of HTLC 0 in the commitment of the right end, and what takes it back.
fn timeout(line: &mut Line, commitment: &Transaction) -> Transaction {
    let out = line.dbid(OUT, LEFT);
    let hsm = line.nodes[M].hsm();
    let funded = hsm.channel(out).unwrap().funded().unwrap();
    let point = funded.remote.as_ref().unwrap().point;
    let keys = tx::CommitmentKeys::derive(&funded.setup, Side::Remote, &point).unwrap();
    let htlc = htlc(49_000_000, 590);
    let scripts = HtlcScripts::new(funded.setup.format, &keys);
    let script = scripts
        .received(&htlc.payment_hash, htlc.cltv_expiry)
        .to_p2wsh();
    let vout = commitment
        .output
        .iter()
        .position(|o| o.script_pubkey == script);
    let claim = Claim {
        parent: 0,
        vout: vout.unwrap() as u32,
        how: How::Timeout {
            point,
            payment_hash: htlc.payment_hash,
            cltv_expiry: htlc.cltv_expiry,
        },
    };
    let request = Request::Sweep {
        parents: vec![ParentTx::of(commitment)],
        claims: vec![claim],
        fee: Satoshi(500),
    };
    signed(line, LEFT, request)
}

#[test]
fn h2_an_htlc_that_timed_out_in_our_commitment_lets_the_incoming_one_go_back() {
    let mut line = forwarded();
    let commitment = close(&mut line, LEFT);
    cannot_go_back(&mut line, "nothing is told");
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.mine_empty(5, &mut line.nodes[M]);
    cannot_go_back(&mut line, "the peer can show the preimage");
    let back = htlc_tx(&mut line, LEFT);
    let height = blocks.confirm(&mut line, &back);
    blocks.mine_empty(1, &mut line.nodes[M]);
    cannot_go_back(&mut line, "two blocks deep");
    blocks.mine_empty(1, &mut line.nodes[M]);
    // A reorg that takes it out, and one that has it again.
    let (mut other, known) = (
        Blocks(blocks.0[..height.0 as usize].to_vec()),
        blocks.0.len(),
    );
    for n in 0..known - other.0.len() + 1 {
        other.mine_root(TxMerkleNode::from_byte_array([n as u8 + 100; 32]));
    }
    other.tell(&mut line.nodes[M], height.0 as usize).unwrap();
    cannot_go_back(&mut line, "it is in no block any more");
    other.confirm(&mut line, &back);
    other.mine_empty(2, &mut line.nodes[M]);
    line.nodes[M].restart();
    line.nodes[M].hsm().compact().unwrap();
    line.nodes[M].restart();
    goes_back(&mut line);
}

#[test]
fn h2_an_htlc_that_we_took_back_from_their_commitment_lets_the_incoming_one_go_back() {
    let mut line = forwarded();
    let commitment = close(&mut line, RIGHT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    let back = timeout(&mut line, &commitment);
    blocks.confirm(&mut line, &back);
    goes_back_once_deep(&mut line, &mut blocks);
}

#[test]
fn h2_an_htlc_that_the_peer_took_on_chain_keeps_the_incoming_one() {
    let mut line = forwarded();
    let commitment = close(&mut line, RIGHT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    let taken = htlc_tx(&mut line, RIGHT);
    // The block says nothing of witnesses: without its preimage it is the same to the proof.
    let mut stripped = taken.clone();
    stripped.input[0].witness = bitcoin::Witness::new();
    let height = blocks.confirm(&mut line, &stripped);
    prove(&mut line, &taken, height).unwrap();
    blocks.mine_empty(10, &mut line.nodes[M]);
    cannot_go_back(&mut line, "it is paid");
    // From our own commitment it takes it with any transaction.
    let mut line = forwarded();
    let commitment = close(&mut line, LEFT);
    let mut taken = htlc_tx(&mut line, LEFT);
    taken.output[0].value -= bitcoin::Amount::ONE_SAT;
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.confirm(&mut line, &taken);
    blocks.mine_empty(10, &mut line.nodes[M]);
    cannot_go_back(&mut line, "it does not pay us");
}

#[test]
fn h2_an_htlc_without_an_output_in_what_is_on_chain_lets_the_incoming_one_go_back() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let ticket = line.ticket(0);
    // Signed for the peer, which has not revoked the commitment before, and broadcasts that.
    line.sign(OUT, RIGHT, &[add(0, 49_000_000, 590)], &[ticket]);
    let commitment = close(&mut line, RIGHT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    goes_back_once_deep(&mut line, &mut blocks);
}

#[test]
fn h2_an_htlc_whose_output_nobody_will_take_lets_the_incoming_one_go_back() {
    for end in [LEFT, RIGHT] {
        let mut line = forwarded_of(599_999);
        let commitment = close(&mut line, end);
        let mut blocks = Blocks::new(&mut line);
        blocks.confirm(&mut line, &commitment);
        goes_back_once_deep(&mut line, &mut blocks);

        let mut line = forwarded_of(600_000);
        let commitment = close(&mut line, end);
        let mut blocks = Blocks::new(&mut line);
        blocks.confirm(&mut line, &commitment);
        blocks.mine_empty(10, &mut line.nodes[M]);
        cannot_go_back(&mut line, "its output is worth a claim");
    }
}

#[test]
fn h2_a_revoked_commitment_has_nothing_for_the_peer() {
    let mut line = forwarded();
    let (out, peer) = (
        line.dbid(OUT, LEFT),
        line.nodes[OUT + RIGHT].hsm().node_id(),
    );
    let hsm = line.nodes[M].hsm();
    let keys = hsm.node.channel(&peer, out).unwrap();
    let live = hsm
        .channel(out)
        .unwrap()
        .funded()
        .unwrap()
        .live(&keys)
        .unwrap();
    let theirs = live
        .into_iter()
        .find(|live| live.owner == Side::Remote)
        .unwrap();
    assert_eq!(theirs.htlcs.len(), 1);
    line.commit(OUT, RIGHT, &[], &[]);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &theirs.tx);
    goes_back_once_deep(&mut line, &mut blocks);
}

#[test]
fn h2_a_commitment_that_is_not_known_may_have_the_htlc() {
    let mut line = forwarded();
    let mut unknown = close(&mut line, RIGHT);
    unknown.lock_time = bitcoin::absolute::LockTime::from_consensus(0x20ff_ffff);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &unknown);
    blocks.mine_empty(10, &mut line.nodes[M]);
    cannot_go_back(&mut line, "nobody knows what is in it");
}

#[test]
fn t1_headers_that_do_not_follow_are_refused() {
    let mut line = Line::new();
    let blocks = Blocks(vec![genesis_block(Network::Regtest).header]);
    let node = &mut line.nodes[M];
    assert_eq!(node.hsm().tip(), None);
    let at_one = vec![RawHeader::of(&blocks.0[0])];
    let begun = node.hsm().take_headers(BlockHeight(1), at_one);
    assert_eq!(rule(begun), Rule::T1, "no place to begin");
    let mut blocks = Blocks::new(&mut line);
    let node = &mut line.nodes[M];
    blocks.mine_empty(3, node);
    let len = node.journal_len();
    blocks.tell(node, 1).unwrap();
    assert_eq!(node.journal_len(), len, "a repetition was recorded");
    blocks.mine_root(TxMerkleNode::from_byte_array([9; 32]));
    while blocks.0[4].validate_pow(blocks.0[4].target()).is_ok() {
        blocks.0[4].nonce += 1;
    }
    assert_eq!(rule(blocks.tell(node, 4)), Rule::T1, "no work");
    let other = node
        .hsm()
        .take_headers(BlockHeight(9), vec![RawHeader::of(&blocks.0[3])]);
    assert_eq!(rule(other), Rule::T1, "a gap");
    let mut other = Blocks(blocks.0[..2].to_vec());
    for n in [60, 61] {
        other.mine_root(TxMerkleNode::from_byte_array([n; 32]));
    }
    assert_eq!(rule(other.tell(node, 2)), Rule::T1, "no more work");
    let tip = (BlockHeight(3), blocks.0[3].block_hash());
    node.restart();
    assert_eq!(node.hsm().tip(), Some(tip));
}

#[test]
fn a_whole_window_of_headers_survives_a_compaction() {
    let mut line = Line::new();
    let mut blocks = Blocks::new(&mut line);
    let node = &mut line.nodes[M];
    for _ in 0..2 {
        blocks.mine_empty(1_500, node);
    }
    node.hsm().compact().unwrap();
    node.restart();
    let tip = (BlockHeight(3_000), blocks.0[3_000].block_hash());
    assert_eq!(node.hsm().tip(), Some(tip));
    blocks.mine_empty(1, node);
    node.restart();
}

#[test]
fn t1_a_spend_that_is_not_proved_counts_for_nothing() {
    let mut line = forwarded();
    let commitment = close(&mut line, LEFT);
    let back = htlc_tx(&mut line, LEFT);
    let mut blocks = Blocks::new(&mut line);
    let unknown = prove(&mut line, &commitment, BlockHeight(1));
    assert_eq!(rule(unknown), Rule::T1, "no such block");
    blocks.mine_empty(1, &mut line.nodes[M]);
    let elsewhere = prove(&mut line, &commitment, BlockHeight(1));
    assert_eq!(rule(elsewhere), Rule::T1, "not in it");
    // In a block of two, at the second place.
    let (first, second) = ([7; 32], commitment.compute_txid().to_byte_array());
    let root = sha256d::Hash::hash(&[first, second].concat());
    let height = blocks.mine_root(TxMerkleNode::from_raw_hash(root));
    blocks.tell(&mut line.nodes[M], height.0 as usize).unwrap();
    let out = line.dbid(OUT, LEFT);
    let parent = ParentTx::of(&commitment);
    let mut ask = |parent: &ParentTx, index, branch: &[BranchHash]| {
        line.nodes[M]
            .hsm()
            .see_spend(out, parent, height, index, branch)
    };
    assert_eq!(rule(ask(&parent, 0, &[BranchHash(first)])), Rule::T1);
    assert_eq!(rule(ask(&parent, 1, &[])), Rule::T1);
    assert_eq!(rule(ask(&ParentTx(vec![1]), 0, &[])), Rule::T1);
    // The second stage before the first.
    let at = blocks.mine(&back);
    blocks.tell(&mut line.nodes[M], at.0 as usize).unwrap();
    assert_eq!(rule(prove(&mut line, &back, at)), Rule::T1);
    let mut ask = |parent: &ParentTx, index, branch: &[BranchHash]| {
        line.nodes[M]
            .hsm()
            .see_spend(out, parent, height, index, branch)
    };
    ask(&parent, 1, &[BranchHash(first)]).unwrap();
    // Again is nothing new.
    let len = line.nodes[M].journal_len();
    line.nodes[M]
        .hsm()
        .see_spend(out, &parent, height, 1, &[BranchHash(first)])
        .unwrap();
    assert_eq!(line.nodes[M].journal_len(), len);
    // Of another channel it is nothing.
    let other = line.dbid(IN, RIGHT);
    let asked = line.nodes[M]
        .hsm()
        .see_spend(other, &parent, height, 1, &[BranchHash(first)]);
    assert_eq!(rule(asked), Rule::T1);
    prove(&mut line, &back, at).unwrap();
}

#[test]
fn t1_no_htlc_goes_out_on_an_old_tip() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let (ticket, out) = (line.ticket(0), line.dbid(OUT, LEFT));
    let state = &line.nodes[M].hsm().state;
    let next = Ledger {
        to_local: MilliSatoshi::ZERO,
        to_remote: MilliSatoshi::ZERO,
        feerate: FeeratePerKw(253),
        htlcs: Default::default(),
    };
    let offered = add(0, 49_000_000, 590);
    let check = |tip_age, deltas: &[Delta], tickets: &[Ticket]| {
        let dbid = out;
        View {
            state,
            dbid,
            tip_age,
        }
        .check_tickets(&next, deltas, tickets)
    };
    for age in [None, Some(0), Some(OLD)] {
        check(age, from_ref(&offered), &[ticket]).unwrap();
    }
    let old = check(Some(OLD + 1), from_ref(&offered), &[ticket]);
    assert_eq!(rule(old), Rule::T1);
    check(Some(OLD + 1), &[], &[]).unwrap();
}

#[test]
fn c7_an_htlc_that_has_timed_out_at_the_tip_does_not_go_out() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let mut blocks = Blocks::new(&mut line);
    blocks.mine_empty(20, &mut line.nodes[M]);
    let ticket = line.ticket(0);
    for cltv_expiry in [1, 20] {
        let request = line.request(OUT, RIGHT, &[add(0, 49_000_000, cltv_expiry)], &[ticket]);
        assert_eq!(line.refused(OUT, LEFT, request), "C7");
    }
    let in_time = line.request(OUT, RIGHT, &[add(0, 49_000_000, 21)], &[ticket]);
    let signed = line.ask(OUT, LEFT, in_time.clone());
    assert!(matches!(signed, tx::signer::Reply::SignedRemote { .. }));
    // What was signed is signed again: the channel core relies on a refusal meaning that it was not.
    blocks.mine_empty(1, &mut line.nodes[M]);
    assert_eq!(line.ask(OUT, LEFT, in_time), signed);
    // Regtest may have no block for days.
    let node = &mut line.nodes[M];
    assert_eq!(node.hsm().tip_age(), None);
}

#[test]
fn a_payment_that_the_chain_has_ended_may_be_tried_again() {
    let mut line = Line::new();
    line.approve(M, 49_000_000);
    line.left_says(OUT, &[add(0, 49_000_000, 590)], &[Ticket::Payment]);
    let commitment = close(&mut line, LEFT);
    let spent = |line: &mut Line| {
        let state = &line.nodes[M].hsm().state;
        let at = state.flows.iter().flat_map(|(_, flow)| &flow.legs).next();
        state.is_claimable(at.unwrap().out)
    };
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    let back = htlc_tx(&mut line, LEFT);
    blocks.confirm(&mut line, &back);
    assert!(spent(&mut line));
    blocks.mine_empty(2, &mut line.nodes[M]);
    assert!(!spent(&mut line));
}

fn forgets_out(line: &mut Line) -> Result<(), Refused> {
    let out = line.dbid(OUT, LEFT);
    line.nodes[M].hsm().forget(out)
}

#[test]
fn d4_a_channel_is_forgotten_once_its_close_is_proved_and_buried() {
    let mut line = Line::new();
    let commitment = close(&mut line, RIGHT);
    assert_eq!(rule(forgets_out(&mut line)), Rule::D4, "nothing is proved");
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.mine_empty(98, &mut line.nodes[M]);
    assert_eq!(rule(forgets_out(&mut line)), Rule::D4, "99 blocks deep");
    blocks.mine_empty(1, &mut line.nodes[M]);
    forgets_out(&mut line).unwrap();
    assert_eq!(rule(forgets_out(&mut line)), Rule::D3, "it is gone");
    let node = &mut line.nodes[M];
    let len = node.journal_len();
    node.restart();
    node.hsm().compact().unwrap();
    node.restart();
    assert!(node.journal_len() < len, "the compacted journal has it");
    assert_eq!(node.hsm().channels().len(), 1);
}

#[test]
fn h2_a_channel_is_not_forgotten_while_its_htlc_can_be_claimed_and_the_incoming_one_can_fail() {
    let mut line = forwarded();
    let commitment = close(&mut line, LEFT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.mine_empty(120, &mut line.nodes[M]);
    assert_eq!(rule(forgets_out(&mut line)), Rule::H2, "nobody has it yet");
    let back = htlc_tx(&mut line, LEFT);
    blocks.confirm(&mut line, &back);
    blocks.mine_empty(2, &mut line.nodes[M]);
    forgets_out(&mut line).unwrap();
    line.nodes[M].restart();
    goes_back(&mut line);
}

#[test]
fn h2_what_was_paid_in_a_forgotten_channel_keeps_the_incoming_htlc() {
    let mut line = forwarded();
    line.commit(OUT, LEFT, &[fulfil(0)], &[]);
    let commitment = close(&mut line, LEFT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.mine_empty(99, &mut line.nodes[M]);
    forgets_out(&mut line).unwrap();
    cannot_go_back(&mut line, "it is paid");
    line.nodes[M].restart();
    line.commit(IN, LEFT, &[fulfil(0)], &[]);
    line.commit(IN, RIGHT, &[fulfil(0)], &[]);
    assert_eq!(line.legs(), 0);
}

#[test]
fn h1_a_payment_that_may_have_been_made_in_a_forgotten_channel_stays_paid() {
    let mut line = Line::new();
    line.approve(M, 49_000_000);
    line.left_says(OUT, &[add(0, 49_000_000, 590)], &[Ticket::Payment]);
    let commitment = close(&mut line, LEFT);
    let mut blocks = Blocks::new(&mut line);
    blocks.confirm(&mut line, &commitment);
    blocks.mine_empty(99, &mut line.nodes[M]);
    forgets_out(&mut line).unwrap();
    line.nodes[M].restart();
    let flow = line.nodes[M].hsm().state.flows.get(PREIMAGE.payment_hash());
    let flow = flow.unwrap();
    assert_eq!(flow.budget.as_ref().unwrap().paid, MilliSatoshi(49_000_000));
    assert!(flow.legs.is_empty());
}

#[test]
fn h1_an_htlc_of_a_channel_that_is_closed_on_chain_pays_for_nothing() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    // By the peer, so that this signer learns of it from the chain alone.
    let at_left = line.dbid(IN, LEFT);
    let commitment = line.nodes[LEFT].hsm().force_close(at_left).unwrap();
    let request = line.request(OUT, RIGHT, &[add(0, 49_000_000, 590)], &[line.ticket(0)]);
    let mut blocks = Blocks::new(&mut line);
    let height = blocks.mine(&commitment);
    let at_middle = line.dbid(IN, RIGHT);
    let node = &mut line.nodes[M];
    blocks.tell(node, height.0 as usize).unwrap();
    let tx = ParentTx::of(&commitment);
    node.hsm()
        .see_spend(at_middle, &tx, height, 0, &[])
        .unwrap();
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}
