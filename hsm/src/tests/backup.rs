//! R2: backups. S1 and B3: channels that come from one.

use hsm_messages::backup::{Plain, Sealed};
use hsm_messages::ctl::LostChannel;
use tx::claim::How;
use tx::commitment::CommitmentOutput;
use tx::onchain::{Reply as OnchainReply, Request as OnchainRequest};
use tx::setup::{BackedUp, CommitmentFormat};
use tx::signer::{NextRemote, Request};
use wire::{ChannelDbid, CommitmentNumber, NodeId, Side};

use super::fixture::{CLOSE_FEE, Node, Pair, open};
use super::onchain::{ask, check_sweep, claim, index, newest, sweep};
use crate::Rule;
use crate::refused::Phase;

const FORMATS: [CommitmentFormat; 2] = [
    CommitmentFormat::StaticRemotekey,
    CommitmentFormat::AnchorsZeroFeeHtlc,
];

#[test]
fn r2_a_backup_of_another_seed_or_a_changed_one_is_not_opened() {
    let (mut node, mut other) = (Node::new(), Node::new());
    for plain in [vec![], vec![7], vec![1; 70_000]].map(Plain) {
        let sealed = node.hsm().seal_backup(&plain).unwrap();
        assert_eq!(node.hsm().open_backup(&sealed).unwrap(), plain);
        assert_ne!(node.hsm().seal_backup(&plain).unwrap(), sealed);
        let rule = |opened: Result<_, crate::Refused>| opened.unwrap_err().rule();
        assert_eq!(rule(other.hsm().open_backup(&sealed)), Rule::R2);
        let mut changed = sealed.clone();
        *changed.0.last_mut().unwrap() ^= 1;
        assert_eq!(rule(node.hsm().open_backup(&changed)), Rule::R2);
        let cut = Sealed(sealed.0[..sealed.0.len() - 1].to_vec());
        assert_eq!(rule(node.hsm().open_backup(&cut)), Rule::R2);
    }
}

/// A signer of the same seed that has lost its journal.
fn lost(node: &mut Node) -> Node {
    let mut new = Node::new();
    new.stop();
    std::fs::remove_file(new.journal()).unwrap();
    let seed = std::fs::read(node.dir.path().join("hsm_secret")).unwrap();
    std::fs::remove_file(new.dir.path().join("hsm_secret")).unwrap();
    std::fs::write(new.dir.path().join("hsm_secret"), seed).unwrap();
    let hsm = open(new.dir.path(), true).unwrap();
    new.go_on(hsm);
    new
}

fn lost_channel(channel: ChannelDbid, peer: NodeId, backup: &BackedUp) -> LostChannel {
    let backup = backup.clone();
    LostChannel {
        channel,
        peer,
        backup,
    }
}

fn backup(pair: &Pair) -> BackedUp {
    let setup = &pair.a.setup;
    BackedUp {
        funding: pair.funding,
        format: setup.format,
        opener: setup.opener,
        basepoints: setup.remote.basepoints,
        to_self_delay: setup.remote.to_self_delay,
    }
}

/// `a`'s signer without its journal, and the channel from a backup there.
fn recovered(format: CommitmentFormat) -> (Pair, NodeId) {
    let mut pair = Pair::open(format);
    for _ in 0..3 {
        pair.commit(Side::Remote, &[]);
        pair.commit(Side::Local, &[]);
    }
    let peer = pair.b.node.hsm().node_id();
    let mut signer = lost(&mut pair.a.node);
    let terms = backup(&pair);
    let channel = pair.a.new.channel;
    let new = signer
        .hsm()
        .recover_channel(&lost_channel(channel, peer, &terms))
        .unwrap();
    assert_eq!(new.basepoints, pair.a.new.basepoints);
    assert_eq!(new.funding_pubkey, pair.a.new.funding_pubkey);
    (pair.a.node, pair.a.new) = (signer, new);
    (pair, peer)
}

#[test]
fn a_recovered_channel_takes_what_the_peers_commitment_pays_us() {
    for format in FORMATS {
        let mut known = Pair::open(format);
        let (commitment, _) = newest(&mut known, Side::Remote);
        let to_remote = index(&commitment, CommitmentOutput::ToRemote);
        let peer = known.b.node.hsm().node_id();
        let mut signer = lost(&mut known.a.node);
        let terms = backup(&known);
        let channel = known.a.new.channel;
        known.a.new = signer
            .hsm()
            .recover_channel(&lost_channel(channel, peer, &terms))
            .unwrap();
        known.a.node = signer;
        known.a.node.restart();
        known.a.node.hsm().compact().unwrap();
        known.a.node.restart();
        let claims = vec![claim(to_remote, How::ToRemote)];
        check_sweep(&mut known.a, &commitment.tx, claims, 500);
        // And no other output.
        for vout in (0..commitment.tx.output.len() as u32).filter(|vout| *vout != to_remote) {
            let other = sweep(&commitment.tx, vec![claim(vout, How::ToRemote)], 100);
            let refused = ask(&mut known.a, &other);
            assert!(matches!(refused, OnchainReply::Refused { rule, .. } if rule == "X1"));
        }
    }
}

#[test]
fn b3_a_recovered_channel_signs_no_commitment_no_close_and_gives_no_secret() {
    let (mut pair, _) = recovered(CommitmentFormat::AnchorsZeroFeeHtlc);
    let channel = pair.a.new.channel;
    for _ in 0..2 {
        assert_eq!(pair.a.node.hsm().phase(channel).unwrap(), Phase::Stale);
        for n in [0, 1, 4, 5] {
            let sign = Request::SignRemote(NextRemote {
                n: CommitmentNumber(n),
                point: pair.b.next_point,
                deltas: vec![],
                tickets: vec![],
            });
            assert_eq!(pair.a.refused(sign), "B3");
            let revoked = Request::RevokedSecret {
                n: CommitmentNumber(n),
            };
            assert_eq!(pair.a.refused(revoked), "C5");
            let revoked = OnchainRequest::RevokedPoint {
                n: CommitmentNumber(n),
            };
            let refused = ask(&mut pair.a, &revoked);
            assert!(matches!(refused, OnchainReply::Refused { rule, .. } if rule == "X3"));
        }
        let close = pair.sign_close(CLOSE_FEE);
        assert_eq!(pair.a.refused(close), "B3");
        let setup = pair.a.setup.clone();
        assert_eq!(pair.a.refused(Request::Setup { setup }), "B3");
        let funding = pair.funding;
        assert_eq!(pair.a.refused(Request::SetFunding { funding }), "B3");
        let force = pair.a.node.hsm().force_close(channel);
        assert!(force.is_err());
        pair.a.node.restart();
    }
}

#[test]
fn s1_a_known_channel_is_not_recovered_over() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let (channel, terms) = (pair.a.new.channel, backup(&pair));
    let peer = pair.b.node.hsm().node_id();
    for peer in [peer, NodeId(pair.a.new.funding_pubkey)] {
        let hsm = pair.a.node.hsm();
        let refused = hsm
            .recover_channel(&lost_channel(channel, peer, &terms))
            .unwrap_err();
        assert_eq!(refused.rule(), Rule::S1);
    }
    pair.commit(Side::Local, &[]);
    let (mut pair, peer) = recovered(CommitmentFormat::StaticRemotekey);
    let terms = backup(&pair);
    let again = pair
        .a
        .node
        .hsm()
        .recover_channel(&lost_channel(pair.a.new.channel, peer, &terms));
    assert_eq!(again.unwrap_err().rule(), Rule::S1);
    let last =
        pair.a
            .node
            .hsm()
            .recover_channel(&lost_channel(ChannelDbid(u64::MAX), peer, &terms));
    assert_eq!(last.unwrap_err().rule(), Rule::S1);
}

#[test]
fn s1_the_number_of_a_recovered_channel_is_for_no_new_one() {
    let pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let (mut node, terms) = (Node::new(), backup(&pair));
    let peer = NodeId(pair.b.new.funding_pubkey);
    let hsm = node.hsm();
    let seven = hsm
        .recover_channel(&lost_channel(ChannelDbid(7), peer, &terms))
        .unwrap();
    let three = hsm
        .recover_channel(&lost_channel(ChannelDbid(3), peer, &terms))
        .unwrap();
    assert_ne!(seven.shutdown_index, three.shutdown_index);
    assert_eq!(hsm.new_channel(peer).unwrap().channel, ChannelDbid(8));
    node.restart();
    node.hsm().compact().unwrap();
    node.restart();
    assert_eq!(
        node.hsm().new_channel(peer).unwrap().channel,
        ChannelDbid(9)
    );
    // What nobody has a stake in may go, and come again.
    node.hsm().forget(ChannelDbid(7)).unwrap();
    node.hsm()
        .recover_channel(&lost_channel(ChannelDbid(7), peer, &terms))
        .unwrap();
    assert_eq!(
        node.hsm().new_channel(peer).unwrap().channel,
        ChannelDbid(10)
    );
}
