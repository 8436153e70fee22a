//! Thefts by what lightningd says of the chain: blocks without work, spends that are in none.

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{Network, Transaction, TxMerkleNode};
use hsm_messages::edges::HsmTip;
use hsm_messages::onchain::ParentTx;
use hsm_messages::tip::{Reply, Request};
use hsm_messages::{Role, chan, ctl};
use ipc_transport::blocking::UpperConn;
use tx::ledger::Delta;
use wire::{BlockHeight, ChannelDbid, Side};

use crate::link;
use crate::world::{IN, OUT, World, fail};

/// A chain of regtest, with its work or without.
struct Blocks(Vec<Header>);

impl Blocks {
    fn add(&mut self, root: TxMerkleNode, with_work: bool) {
        let last = self.0.last().unwrap();
        let mut header = Header {
            prev_blockhash: last.block_hash(),
            merkle_root: root,
            time: last.time + 600,
            nonce: 0,
            ..*last
        };
        while header.validate_pow(header.target()).is_ok() != with_work {
            header.nonce += 1;
        }
        self.0.push(header);
    }

    /// The headers from this height on.
    fn from(&self, height: usize) -> Request {
        Request::Headers {
            height: BlockHeight(height as u32),
            headers: self.0[height..]
                .iter()
                .map(headers::RawHeader::of)
                .collect(),
        }
    }
}

fn root_of(tx: &Transaction) -> TxMerkleNode {
    TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash())
}

fn spend(channel: ChannelDbid, tx: &Transaction, height: u32) -> Request {
    Request::Spend {
        channel,
        tx: ParentTx::of(tx),
        height: BlockHeight(height),
        index: 0,
        branch: vec![],
    }
}

fn told(conn: &mut UpperConn<HsmTip>, request: &Request) {
    let reply = conn.call(request).unwrap();
    assert!(
        matches!(reply, Reply::Tip { .. } | Reply::Seen),
        "{reply:?}"
    );
}

/// Asks that the peer's commitment of IN loses the HTLC that came in.
fn fail_incoming(world: &mut World) -> chan::Reply {
    let deltas: [Delta; 1] = [fail(Side::Remote, 0)];
    let request = world.sign_remote(IN, &deltas, &[]);
    link::End::ask(&mut world.links[IN].ours, request)
}

#[test]
fn an_htlc_is_not_said_to_have_ended_on_chain_without_a_proof() {
    let mut world = World::forwarded();
    let channel = world.links[OUT].ours.new.channel;
    let request = ctl::Request::ForceClose { channel };
    let ctl::Reply::ForceClose { tx } = world.victim.ctl.call(&request).unwrap() else {
        panic!("not closed");
    };
    let ours: Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
    let mut conn = world.victim.mint::<HsmTip>(Role::Tip, None);
    assert_eq!(conn.call(&Request::Tip).unwrap(), Reply::NoTip);
    let mut blocks = Blocks(vec![genesis_block(Network::Regtest).header]);
    told(&mut conn, &blocks.from(0));
    // A block that cost nothing, with whatever transaction ends the HTLC.
    let mut invented = ours.clone();
    invented.output.clear();
    blocks.add(root_of(&invented), false);
    let reply = conn.call(&blocks.from(1)).unwrap();
    world.was_refused(&reply, "T1", "no work");
    let reply = conn.call(&spend(channel, &invented, 1)).unwrap();
    world.was_refused(&reply, "T1", "in a block that is none");
    // Real blocks, in which it is not; and our commitment, in which the HTLC is.
    blocks.0.truncate(1);
    blocks.add(root_of(&ours), true);
    for n in 0..9 {
        blocks.add(TxMerkleNode::from_byte_array([n; 32]), true);
    }
    told(&mut conn, &blocks.from(1));
    let reply = conn.call(&spend(channel, &invented, 1)).unwrap();
    world.was_refused(&reply, "T1", "in no block");
    told(&mut conn, &spend(channel, &ours, 1));
    let reply = fail_incoming(&mut world);
    world.was_refused(&reply, "H2", "the peer can still take it");
    world.restart();
    let reply = fail_incoming(&mut world);
    world.was_refused(&reply, "H2", "after a crash");
    world.serves_honest_channels();
}

#[test]
fn blocks_are_not_replaced_by_fewer_to_hide_or_fake_a_close() {
    let mut world = World::forwarded();
    let mut conn = world.victim.mint::<HsmTip>(Role::Tip, None);
    let mut blocks = Blocks(vec![genesis_block(Network::Regtest).header]);
    for n in 0..5 {
        blocks.add(TxMerkleNode::from_byte_array([n; 32]), true);
    }
    told(&mut conn, &blocks.from(0));
    let mut other = Blocks(blocks.0[..3].to_vec());
    for n in 0..3 {
        other.add(TxMerkleNode::from_byte_array([n + 50; 32]), true);
    }
    let reply = conn.call(&other.from(3)).unwrap();
    world.was_refused(&reply, "T1", "no more work");
    let tip = conn.call(&Request::Tip).unwrap();
    let (height, hash) = (BlockHeight(5), blocks.0[5].block_hash());
    assert_eq!(tip, Reply::Tip { height, hash });
    world.serves_honest_channels();
}
