//! Two processes as the two ends of a channel, killed at every step.

use bitcoin::Transaction;
use bitcoin::hashes::{Hash, sha256d};
use hsm_messages::chan::{Reply, Request};
use hsm_messages::edges::{HsmChan, HsmGossip, HsmInvoice, HsmPay};
use hsm_messages::gossip::ChannelUpdateFacts;
use hsm_messages::invoice::{PreimageHolder, Reply as InvoiceReply, Request as InvoiceRequest};
use hsm_messages::{Role, ctl, gossip, pay};
use ipc_transport::blocking::UpperConn;
use secp256k1::ecdh::SharedSecret;
use secp256k1::{Message, SECP256K1};
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::signer::{CloseTerms, EcdhSecret, NextRemote, RevocationSecret, Ticket};
use wire::{
    Body, ChainHash, ChannelUpdate, CltvExpiry, CommitmentNumber, HtlcId, MilliSatoshi, NodeId,
    PaymentHash, Preimage, Satoshi, ShortChannelId, Side,
};

use crate::link::{self, End as _, Next, funding, payments, setup};
use crate::node::{CHAIN, Node, bolt11, now};
use crate::roles::{fields, new_preimage};

const PREIMAGE: Preimage = Preimage([5; 32]);

struct End {
    node: Node,
    node_id: NodeId,
    new: ctl::NewChannel,
    chan: UpperConn<HsmChan>,
    next: Next,
    /// Kill it before and after each request.
    cruel: bool,
}

impl End {
    fn new(mut node: Node, peer: NodeId, cruel: bool) -> End {
        let new = node.new_channel(peer);
        let chan = node.chan(new.channel);
        let node_id = node.kill_and_restart().node_id;
        let mut end = End {
            next: Next::first(&new),
            node,
            node_id,
            new,
            chan,
            cruel,
        };
        end.kill();
        end
    }

    fn kill(&mut self) {
        self.node.kill_and_restart();
        self.chan = self.node.chan(self.new.channel);
    }
}

impl link::End for End {
    /// The answer, which is the same after the process was killed.
    fn ask(&mut self, request: Request) -> Reply {
        if !self.cruel {
            return self.chan.call(&request).unwrap();
        }
        let reply = self.chan.call(&request).unwrap();
        self.kill();
        assert_eq!(
            self.chan.call(&request).unwrap(),
            reply,
            "another answer after a crash"
        );
        self.kill();
        reply
    }

    fn next(&mut self) -> &mut Next {
        &mut self.next
    }
}

fn open(cruel: bool) -> [End; 2] {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (id_a, id_b) = (a.kill_and_restart().node_id, b.kill_and_restart().node_id);
    let mut ends = [End::new(a, id_b, cruel), End::new(b, id_a, cruel)];
    let setups = [
        setup(Side::Local, &ends[0].new, &ends[1].new),
        setup(Side::Remote, &ends[1].new, &ends[0].new),
    ];
    let [a, b] = &mut ends;
    link::open(a, b, setups, funding(9));
    ends
}

/// The signer's own HTLCs are payments.
fn commit(owner: &mut End, signer: &mut End, deltas: [&[Delta]; 2]) -> Option<RevocationSecret> {
    link::commit(owner, signer, deltas, &payments(deltas[1]))
}

/// The answer to an approval of a payment of `amount`, on a PAY socket.
fn approve(end: &mut End, amount: MilliSatoshi) -> pay::Reply {
    approve_hash(end, PREIMAGE.payment_hash(), amount)
}

fn approve_hash(end: &mut End, payment_hash: PaymentHash, amount: MilliSatoshi) -> pay::Reply {
    let mut conn = end.node.mint::<HsmPay>(Role::Pay, None);
    let request = pay::Request::ApproveBolt11 {
        invoice: bolt11(payment_hash, amount, now()),
        amount,
        max_fee: MilliSatoshi(0),
    };
    conn.call(&request).unwrap()
}

fn key(offerer: Side) -> HtlcKey {
    HtlcKey {
        offerer,
        id: HtlcId(0),
    }
}

fn payment(offerer: Side) -> [Delta; 2] {
    let add = Delta::Add {
        key: key(offerer),
        htlc: Htlc {
            amount: MilliSatoshi(50_000_000),
            payment_hash: PREIMAGE.payment_hash(),
            cltv_expiry: CltvExpiry(1000),
        },
    };
    let fulfil = Delta::Fulfil {
        key: key(offerer),
        preimage: PREIMAGE,
    };
    [add, fulfil]
}

fn pay_and_close(cruel: bool) {
    let [mut a, mut b] = open(cruel);
    let refused = a.ask(Request::SignRemote(NextRemote {
        n: b.next.n,
        point: b.next.point,
        deltas: payment(Side::Local)[..1].to_vec(),
        tickets: vec![Ticket::Payment],
    }));
    assert!(matches!(refused, Reply::Refused { rule, .. } if rule == "H1"));
    let approved = approve(&mut a, MilliSatoshi(50_000_000));
    assert_eq!(approved, pay::Reply::Approved);
    let (as_a, as_b) = (payment(Side::Local), payment(Side::Remote));
    for at in 0..2 {
        let (as_a, as_b) = (&as_a[at..=at], &as_b[at..=at]);
        commit(&mut b, &mut a, [as_b, as_a]);
        commit(&mut a, &mut b, [as_a, as_b]);
    }
    let secret = commit(&mut a, &mut b, [&[], &[]]);
    let n = CommitmentNumber(a.next.n.0 - 2);
    let reply = a.ask(Request::RevokedSecret { n });
    assert_eq!(
        Some(reply),
        secret.map(|secret| Reply::RevokedSecret { secret })
    );

    let fee = Satoshi(500);
    let scripts = (a.new.shutdown_p2tr.clone(), b.new.shutdown_p2tr.clone());
    let reply = a.ask(Request::SignClose(CloseTerms {
        fee,
        local_script: scripts.0.clone(),
        remote_script: scripts.1.clone(),
    }));
    let Reply::SignedClose { signature } = reply else {
        panic!("no signature: {reply:?}");
    };
    let reply = b.ask(Request::CompleteClose {
        terms: CloseTerms {
            fee,
            local_script: scripts.1,
            remote_script: scripts.0.clone(),
        },
        signature,
    });
    let Reply::CompletedClose { tx } = reply else {
        panic!("not complete: {reply:?}");
    };
    let tx: Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
    let paid: Vec<u64> = tx.output.iter().map(|out| out.value.to_sat()).collect();
    assert_eq!(paid, [250_000, 750_000 - fee.0]);
    assert_eq!(tx.output[1].script_pubkey, scripts.0);
}

#[test]
fn a_payment_and_a_mutual_close_between_two_processes() {
    pay_and_close(false);
}

#[test]
fn kill_9_after_every_request_changes_no_answer() {
    pay_and_close(true);
}

#[test]
fn a_new_socket_of_a_channel_comes_with_its_newest_point() {
    let mut node = Node::new();
    let peer = node.kill_and_restart().node_id;
    let without_commitment = Some(node.new_channel(peer).channel);
    let (_, told) = node.mint_newest::<HsmChan>(Role::Chan, without_commitment);
    assert_eq!(told, None);

    let [mut a, mut b] = open(false);
    for n in [0, 1].map(CommitmentNumber) {
        let Reply::Point { point } = a.ask(Request::Point { n }) else {
            panic!("no point");
        };
        let newest = Some(ctl::LocalPoint { n, point });
        let channel = Some(a.new.channel);
        let (chan, told) = a.node.mint_newest::<HsmChan>(Role::Chan, channel);
        assert_eq!(told, newest);
        a.chan = chan;
        a.node.kill_and_restart();
        let (chan, told) = a.node.mint_newest::<HsmChan>(Role::Chan, channel);
        assert_eq!(told, newest, "another one after a crash");
        a.chan = chan;
        commit(&mut a, &mut b, [&[], &[]]);
    }
}

#[test]
fn force_close_gives_a_whole_transaction_and_ends_signing() {
    let [mut a, mut b] = open(false);
    let channel = a.new.channel;
    let close = ctl::Request::ForceClose { channel };
    let ctl::Reply::ForceClose { tx } = a.node.ctl.call(&close).unwrap() else {
        panic!("no transaction");
    };
    let tx: Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
    assert_eq!(tx.input[0].witness.len(), 4);
    a.kill();
    let Next { n, point } = b.next;
    let reply = a.ask(Request::SignRemote(NextRemote {
        n,
        point,
        deltas: vec![],
        tickets: vec![],
    }));
    assert!(matches!(reply, Reply::Refused { rule, .. } if rule == "D4"));
    let known = a.node.kill_and_restart().channels;
    assert_eq!((known.len(), known[0].channel), (1, channel));
    // The other end is not concerned.
    commit_refused_by(&mut b);
}

fn commit_refused_by(b: &mut End) {
    let reply = b.ask(Request::Point { n: b.next.n });
    assert_eq!(
        reply,
        Reply::Point {
            point: b.next.point
        }
    );
}

#[test]
fn onions_are_opened_with_the_node_key() {
    let [mut a, b] = open(false);
    let ephemeral = secp256k1::SecretKey::from_slice(&[0x31; 32]).unwrap();
    let expected = SharedSecret::new(&a.node_id.0, &ephemeral).secret_bytes();
    let point = ephemeral.public_key(secp256k1::SECP256K1);
    let reply = a.ask(Request::EcdhBatch {
        points: vec![point, b.node_id.0],
    });
    let Reply::SharedSecrets { secrets } = reply else {
        panic!("no secrets: {reply:?}");
    };
    assert!(secrets[0] == EcdhSecret(expected));
    assert_eq!(secrets.len(), 2);
}

/// `a` receives `deltas` in both commitments.
fn receive(a: &mut End, b: &mut End, as_a: &[Delta], as_b: &[Delta]) {
    commit(a, b, [as_a, as_b]);
    commit(b, a, [as_b, as_a]);
}

#[test]
fn h4_a_preimage_leaves_for_a_committed_payment_whatever_is_killed() {
    let [mut a, mut b] = open(true);
    let mut invoices = a.node.mint::<HsmInvoice>(Role::Invoice, None);
    let payment_hash = new_preimage(&mut invoices);
    let fields = Box::new(fields(bitcoin::Network::Regtest, payment_hash));
    let holder = PreimageHolder::Hsmd;
    let signed = invoices.call(&InvoiceRequest::SignBolt11 { fields, holder });
    assert!(matches!(signed.unwrap(), InvoiceReply::Signed { .. }));
    let add = |offerer| {
        [Delta::Add {
            key: key(offerer),
            htlc: Htlc {
                amount: MilliSatoshi(50_000_000),
                payment_hash,
                cltv_expiry: CltvExpiry(1000),
            },
        }]
    };
    let release = InvoiceRequest::Release { payment_hash };
    let ask = |a: &mut End| {
        a.kill();
        let mut invoices = a.node.mint::<HsmInvoice>(Role::Invoice, None);
        invoices.call(&release).unwrap()
    };
    let approved = approve_hash(&mut b, payment_hash, MilliSatoshi(50_000_000));
    assert_eq!(approved, pay::Reply::Approved);
    let (as_a, as_b) = (add(Side::Remote), add(Side::Local));
    commit(&mut a, &mut b, [&as_a, &as_b]);
    match ask(&mut a) {
        InvoiceReply::Refused(refused) => assert_eq!(refused.rule, "H4"),
        other => panic!("too early: {other:?}"),
    }
    commit(&mut b, &mut a, [&as_b, &as_a]);
    let InvoiceReply::Released { preimage } = ask(&mut a) else {
        panic!("not released");
    };
    assert_eq!(preimage.payment_hash(), payment_hash);
    let fulfil = |offerer| {
        [Delta::Fulfil {
            key: key(offerer),
            preimage,
        }]
    };
    let (as_a, as_b) = (fulfil(Side::Remote), fulfil(Side::Local));
    receive(&mut a, &mut b, &as_a, &as_b);
    assert_eq!(ask(&mut a), InvoiceReply::Released { preimage });
}

fn facts(a: &End, b: &End) -> ChannelUpdateFacts {
    ChannelUpdateFacts {
        chain_hash: CHAIN,
        scid: ShortChannelId::new(100, 2, 1).unwrap(),
        message_flags: 1,
        channel_flags: u8::from(a.node_id.0.serialize() > b.node_id.0.serialize()),
        cltv_expiry_delta: gossip::MAX_CLTV_DELTA,
        htlc_minimum: MilliSatoshi(1),
        fee_base: MilliSatoshi(1000),
        fee_proportional_millionths: gossip::MAX_PROPORTIONAL_MILLIONTHS,
        htlc_maximum: MilliSatoshi(5_000_000),
    }
}

#[test]
fn g1_g2_g3_a_channel_update_verifies_and_keeps_to_its_channel() {
    let [mut a, b] = open(false);
    let mut conn = a.node.mint::<HsmGossip>(Role::Gossip, None);
    let (channel, facts) = (a.new.channel, facts(&a, &b));
    let ask = |channel, update| gossip::Request::SignChannelUpdate { channel, update };
    let mut signed = || match conn.call(&ask(channel, facts.clone())).unwrap() {
        gossip::Reply::Signed {
            timestamp,
            signature,
        } => (timestamp, signature),
        other => panic!("not signed: {other:?}"),
    };
    let (first, _) = signed();
    let (timestamp, signature) = signed();
    assert!(timestamp > first);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(u64::from(timestamp).abs_diff(now) < 60);
    let update = ChannelUpdate {
        signature,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: 1000,
        fee_proportional_millionths: facts.fee_proportional_millionths,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: vec![],
    };
    let hash = sha256d::Hash::hash(&update.to_bytes()[ChannelUpdate::SIGNED_FROM..]);
    let message = Message::from_digest(hash.to_byte_array());
    SECP256K1
        .verify_ecdsa(&message, &signature, &a.node_id.0)
        .unwrap();

    type Change = fn(&mut ChannelUpdateFacts);
    let wrong: [(&str, Change); 5] = [
        ("G1", |f| f.chain_hash = ChainHash([1; 32])),
        ("G1", |f| f.channel_flags ^= 1),
        ("G3", |f| f.fee_base = MilliSatoshi(1 << 32)),
        ("G3", |f| f.fee_proportional_millionths += 1),
        ("G3", |f| f.cltv_expiry_delta.0 += 1),
    ];
    let mut refused = |request| match conn.call(&request).unwrap() {
        gossip::Reply::Refused(refused) => refused.rule,
        other => panic!("{other:?}"),
    };
    for (rule, change) in wrong {
        let mut facts = facts.clone();
        change(&mut facts);
        assert_eq!(refused(ask(channel, facts)), rule);
    }
    assert_eq!(refused(ask(wire::ChannelDbid(77), facts)), "D3");
}
