//! Who may speak, and what a bad end costs.

use hsm_messages::edges::{HsmChan, HsmNoise, HsmWallet};
use hsm_messages::hello;
use hsm_messages::operator::SOCKET;
use hsm_messages::{Role, chan, ctl, wallet};
use ipc_transport::{Conn, pair};
use subd::{Exit, START_FAILED};
use wire::{ChannelDbid, CommitmentNumber};

use crate::node::{Node, init, somebody, start, start_silent};

fn point(n: u64) -> chan::Request {
    chan::Request::Point {
        n: CommitmentNumber(n),
    }
}

#[test]
fn the_same_seed_is_the_same_node_and_nothing_is_forgotten() {
    let mut node = Node::before_init(tempfile::tempdir().unwrap());
    let first = node.init(ctl::Database::Absent);
    assert_eq!((first.channels.len(), first.next_address), (0, 0));
    let new = node.new_channel(somebody());
    let again = node.kill_and_restart();
    assert_eq!(again.node_id, first.node_id);
    assert_eq!(again.next_address, 1);
    let next = node.new_channel(somebody());
    assert_eq!(next.channel, ChannelDbid(new.channel.0 + 1));
    let mut chan = node.chan(new.channel);
    for (n, expected) in (0..).zip(new.first_points) {
        let reply = chan.call(&point(n)).unwrap();
        assert_eq!(reply, chan::Reply::Point { point: expected });
    }
}

#[test]
fn d4_init_comes_first_and_once() {
    let mut node = Node::before_init(tempfile::tempdir().unwrap());
    let peer = somebody();
    assert_eq!(node.refused(&ctl::Request::NewChannel { peer }).rule, "D4");
    node.init(ctl::Database::Absent);
    assert_eq!(node.refused(&init(true)).rule, "D4");
}

#[test]
fn b2_a_seed_is_not_made_for_a_database_that_exists() {
    let mut node = Node::before_init(tempfile::tempdir().unwrap());
    let refused = node.refused(&init(false));
    assert_eq!(refused.rule, "B2");
    assert!(refused.reason.contains("hsm_secret"), "{}", refused.reason);
    assert!(refused.reason.contains("restore"), "{}", refused.reason);
    let made = |name: &str| node.dir.path().join(name).exists();
    assert!(!made("hsm_secret") && !made("hsm-journal"));
}

#[test]
fn d3_a_socket_is_for_a_channel_that_exists_or_for_none() {
    let mut node = Node::new();
    let new = node.new_channel(somebody());
    let mut refused = |role, channel| {
        let (_ours, theirs) = pair().unwrap();
        let request = ctl::Request::Mint { role, channel };
        node.ctl.send_with_fd(&request, theirs).unwrap();
        match node.ctl.recv().unwrap() {
            ctl::Reply::Refused(refused) => refused.rule,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(Role::Chan, None), "D3");
    assert_eq!(refused(Role::Chan, Some(ChannelDbid(77))), "D3");
    for role in [
        Role::Noise,
        Role::Wallet,
        Role::Gossip,
        Role::Invoice,
        Role::Pay,
        Role::Rpc,
    ] {
        assert_eq!(refused(role, Some(new.channel)), "D3", "{role:?}");
    }
    let without_fd = ctl::Request::Mint {
        role: Role::Noise,
        channel: None,
    };
    assert_eq!(node.refused(&without_fd).rule, "D3");
}

#[test]
fn d3_a_new_socket_of_the_same_channel_ends_the_old_one() {
    let mut node = Node::new();
    let one = node.new_channel(somebody()).channel;
    let other = node.new_channel(somebody()).channel;
    let (mut old, mut elsewhere) = (node.chan(one), node.chan(other));
    old.call(&point(0)).unwrap();
    let mut new = node.chan(one);
    assert!(old.call(&point(0)).is_err());
    new.call(&point(0)).unwrap();
    elsewhere.call(&point(0)).unwrap();
}

#[test]
fn a_forgotten_channels_socket_ends() {
    let mut node = Node::new();
    let channel = node.new_channel(somebody()).channel;
    let mut chan = node.chan(channel);
    chan.call(&point(0)).unwrap();
    let reply = node.ctl.call(&ctl::Request::Forget { channel }).unwrap();
    assert_eq!(reply, ctl::Reply::Forgotten);
    assert!(chan.call(&point(0)).is_err());
    assert_eq!(node.refused(&ctl::Request::Forget { channel }).rule, "D3");
}

#[test]
fn a_bad_frame_costs_that_socket_alone() {
    let mut node = Node::new();
    let channel = node.new_channel(somebody()).channel;
    let mut good = node.chan(channel);
    good.call(&point(0)).unwrap();
    for rubbish in [&[0xff; 64][..], &[3, 0, 0, 0, 1, 2, 3], &[0, 0, 0x20, 0]] {
        let (ours, theirs) = pair().unwrap();
        let request = ctl::Request::Mint {
            role: Role::Wallet,
            channel: None,
        };
        node.ctl.send_with_fd(&request, theirs).unwrap();
        assert_eq!(
            node.ctl.recv().unwrap(),
            ctl::Reply::Minted { newest: None }
        );
        nix::unistd::write(&ours, rubbish).unwrap();
        // Its own hello, and then the end.
        let mut buf = [0; 4096];
        while nix::unistd::read(&ours, &mut buf).is_ok_and(|read| read > 0) {}
        good.call(&point(0)).unwrap();
    }
}

#[test]
fn an_end_of_another_role_is_no_end() {
    let mut node = Node::new();
    let (ours, theirs) = pair().unwrap();
    let request = ctl::Request::Mint {
        role: Role::Noise,
        channel: None,
    };
    node.ctl.send_with_fd(&request, theirs).unwrap();
    assert_eq!(
        node.ctl.recv().unwrap(),
        ctl::Reply::Minted { newest: None }
    );
    let mut wallet =
        Conn::<wallet::Request, wallet::Reply>::new(ours, hello::<HsmWallet>()).unwrap();
    assert!(wallet.call(&wallet::Request::GetAddress).is_err());
    assert_eq!(node.kill_and_restart().next_address, 0, "it was answered");
}

#[test]
fn an_end_that_does_not_read_costs_that_socket_alone() {
    let mut node = Node::new();
    let one = node.new_channel(somebody()).channel;
    let other = node.new_channel(somebody()).channel;
    let (mut deaf, mut good) = (node.chan(one), node.chan(other));
    let mut sent = 0u32;
    // Each reply is some 40 bytes: the limit and both socket buffers are full long before that.
    while sent < 200_000 && deaf.send(&point(0)).and_then(|()| deaf.flush()).is_ok() {
        sent += 1;
    }
    assert!(sent < 200_000, "it still listens");
    good.call(&point(0)).unwrap();
    node.new_channel(somebody());
}

#[test]
fn what_is_asked_at_once_is_answered_in_order() {
    let mut node = Node::new();
    let new = node.new_channel(somebody());
    let mut chan = node.chan(new.channel);
    // More than one turn, more than one read.
    for at in 0..2000u64 {
        chan.send(&point(at % 3)).unwrap();
    }
    chan.flush().unwrap();
    for at in 0..2000u64 {
        match (at % 3, chan.recv().unwrap()) {
            (2, chan::Reply::Refused { rule, .. }) => assert_eq!(rule, "C5"),
            (n, chan::Reply::Point { point }) => assert_eq!(point, new.first_points[n as usize]),
            (n, other) => panic!("{n}: {other:?}"),
        }
    }
}

#[test]
fn hundreds_of_channels_speak_at_once() {
    let mut node = Node::new();
    let mut chans = Vec::new();
    for _ in 0..300 {
        let new = node.new_channel(somebody());
        chans.push((node.chan(new.channel), new));
    }
    for _ in 0..3 {
        for (chan, _) in &mut chans {
            chan.send(&point(1)).unwrap();
            chan.flush().unwrap();
        }
        for (chan, new) in &mut chans {
            let point = new.first_points[1];
            assert_eq!(chan.recv().unwrap(), chan::Reply::Point { point });
        }
    }
}

#[test]
fn it_ends_when_lightningd_says_so_or_goes() {
    let mut node = Node::new();
    let mut noise = node.mint::<HsmNoise>(Role::Noise, None);
    node.ctl.send(&ctl::Request::Stop).unwrap();
    node.ctl.flush().unwrap();
    assert_eq!(node.child.wait().unwrap(), Exit::Code(0));
    assert!(noise.recv().is_err());

    let Node {
        ctl,
        mut child,
        dir,
        marks: _,
    } = Node::new();
    drop(ctl);
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
    drop(dir);
}

#[test]
fn a_second_one_on_the_same_folder_is_refused() {
    let mut node = Node::new();
    let (mut child, _socket) = start_silent(node.dir.path());
    assert_eq!(child.wait().unwrap(), Exit::Code(i32::from(START_FAILED)));
    // Nor without the owner's socket in its way.
    std::fs::remove_file(node.dir.path().join(SOCKET)).unwrap();
    let (_child, mut ctl) = start(node.dir.path());
    match ctl.call(&init(false)).unwrap() {
        ctl::Reply::Refused(refused) => assert_eq!(refused.rule, "B2"),
        other => panic!("{other:?}"),
    }
    node.new_channel(somebody());
}

#[test]
fn what_a_channel_socket_asks_is_about_its_channel_alone() {
    let mut node = Node::new();
    let one = node.new_channel(somebody());
    let other = node.new_channel(somebody());
    let mut first = node.mint::<HsmChan>(Role::Chan, Some(one.channel));
    let mut second = node.mint::<HsmChan>(Role::Chan, Some(other.channel));
    let of = |reply| match reply {
        chan::Reply::Point { point } => point,
        other => panic!("{other:?}"),
    };
    let (a, b) = (
        of(first.call(&point(0)).unwrap()),
        of(second.call(&point(0)).unwrap()),
    );
    assert_eq!((a, b), (one.first_points[0], other.first_points[0]));
    assert_ne!(a, b);
}
