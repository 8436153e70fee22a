//! What may leave the node, as the process enforces it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, ScriptBuf, Txid, WScriptHash};
use hsm_messages::edges::{HsmOperator, HsmWallet};
use hsm_messages::limits::{Approvable, Limit, Limits, Overview, Payout};
use hsm_messages::{Refused, Role, hello, operator, wallet};
use ipc_transport::Conn;
use ipc_transport::blocking::UpperConn;
use wire::Satoshi;

use crate::node::Node;

pub type Wallet = UpperConn<HsmWallet>;

pub fn foreign() -> ScriptBuf {
    ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([9; 32]))
}

const KEY: wallet::WalletKey = wallet::WalletKey {
    index: 0,
    kind: wallet::AddressKind::P2tr,
};

fn outpoint(n: u8) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array([n; 32]),
        vout: 0,
    }
}

/// Pays all of a coin but the fee to somebody else.
pub fn withdraw(wallet: &mut Wallet, n: u8, value: u64) -> Result<(), Refused> {
    let input = wallet::SpendInput {
        outpoint: outpoint(n),
        value: Satoshi(value),
        sequence: 0xffff_fffd,
        key: KEY,
    };
    let output = wallet::SpendOutput {
        value: Satoshi(value - 500),
        script: foreign(),
    };
    let spend = wallet::Spend {
        locktime: 0,
        inputs: vec![input],
        outputs: vec![output],
    };
    match wallet.call(&wallet::Request::Sign { spend }).unwrap() {
        wallet::Reply::Signed { .. } => Ok(()),
        wallet::Reply::Refused(refused) => Err(refused),
        other => panic!("{other:?}"),
    }
}

fn see(wallet: &mut Wallet, n: u8, value: u64) -> Result<(), Refused> {
    let coin = wallet::SeenCoin {
        outpoint: outpoint(n),
        value: Satoshi(value),
        key: KEY,
    };
    let coins = vec![coin];
    match wallet.call(&wallet::Request::Seen { coins }).unwrap() {
        wallet::Reply::Seen => Ok(()),
        wallet::Reply::Refused(refused) => Err(refused),
        other => panic!("{other:?}"),
    }
}

pub fn wallet(node: &mut Node) -> Wallet {
    let mut wallet = node.mint::<HsmWallet>(Role::Wallet, None);
    wallet.call(&wallet::Request::GetAddress).unwrap();
    wallet
}

#[test]
fn w4_without_a_word_from_the_operator_a_million_satoshi_leave_in_a_day() {
    let mut node = Node::new();
    let mut conn = wallet(&mut node);
    withdraw(&mut conn, 1, 600_000).unwrap();
    // kill -9 makes nothing new.
    node.kill_and_restart();
    let mut conn = wallet(&mut node);
    let refused = withdraw(&mut conn, 2, 600_000).unwrap_err();
    assert_eq!(refused.rule, "W4");
    assert!(
        refused
            .reason
            .contains("400000000msat is left of the 1000000sat"),
        "{refused}"
    );
    assert!(
        refused.reason.contains("lightning-hsmtool approve 1"),
        "{refused}"
    );
    withdraw(&mut conn, 3, 400_000).unwrap();
    // What was signed may be asked for again.
    withdraw(&mut conn, 1, 600_000).unwrap();
}

#[test]
fn w3_a_coin_that_was_seen_is_worth_what_was_said_then() {
    let mut node = Node::new();
    let mut conn = wallet(&mut node);
    see(&mut conn, 1, 600_000).unwrap();
    see(&mut conn, 1, 600_000).unwrap();
    node.kill_and_restart();
    let mut conn = wallet(&mut node);
    assert_eq!(see(&mut conn, 1, 600_001).unwrap_err().rule, "W3");
    assert_eq!(withdraw(&mut conn, 1, 500_000).unwrap_err().rule, "W3");
    withdraw(&mut conn, 1, 600_000).unwrap();
}

#[test]
fn s2_lightningd_can_ask_where_a_channel_may_be_closed_to() {
    let mut node = Node::new();
    let mut conn = node.mint::<HsmWallet>(Role::Wallet, None);
    let wallet::Reply::Address { p2wpkh, p2tr, .. } =
        conn.call(&wallet::Request::GetAddress).unwrap()
    else {
        panic!("no address");
    };
    let mut ask = |script| {
        conn.call(&wallet::Request::CheckShutdown { script })
            .unwrap()
    };
    assert_eq!(ask(p2wpkh), wallet::Reply::ShutdownAllowed);
    assert_eq!(ask(p2tr), wallet::Reply::ShutdownAllowed);
    match ask(foreign()) {
        wallet::Reply::Refused(refused) => {
            assert_eq!(refused.rule, "S2");
            assert!(refused.reason.contains("allowlist add"), "{refused}");
        }
        other => panic!("{other:?}"),
    }
}

fn owner(node: &Node) -> UpperConn<HsmOperator> {
    let stream = UnixStream::connect(node.dir.path().join(operator::SOCKET)).unwrap();
    Conn::new(OwnedFd::from(stream), hello::<HsmOperator>()).unwrap()
}

fn overview(owner: &mut UpperConn<HsmOperator>) -> Overview {
    match owner.call(&operator::Request::Limits).unwrap() {
        operator::Reply::Limits(overview) => overview,
        other => panic!("{other:?}"),
    }
}

fn done(owner: &mut UpperConn<HsmOperator>, request: &operator::Request) {
    assert_eq!(owner.call(request).unwrap(), operator::Reply::Done);
}

#[test]
fn w1_the_owner_approves_what_a_limit_has_refused() {
    let mut node = Node::new();
    let mut conn = wallet(&mut node);
    assert_eq!(withdraw(&mut conn, 1, 2_000_000).unwrap_err().rule, "W4");
    let mut owner = owner(&node);
    let operator::Reply::Refusals { refusals } = owner.call(&operator::Request::Refusals).unwrap()
    else {
        panic!("no refusals");
    };
    let payout = Payout {
        script: foreign(),
        value: Satoshi(1_999_500),
    };
    let what = Approvable::Spend {
        payouts: vec![payout],
        fee: Satoshi(1000),
    };
    assert_eq!((refusals.len(), refusals[0].number), (1, 1));
    assert_eq!(refusals[0].what, what);
    done(&mut owner, &operator::Request::Approve { what });
    // It is durable when it is answered.
    node.kill_and_restart();
    let mut conn = wallet(&mut node);
    withdraw(&mut conn, 1, 2_000_000).unwrap();
    assert_eq!(withdraw(&mut conn, 2, 2_000_000).unwrap_err().rule, "W4");
}

#[test]
fn w2_the_owner_moves_limits_within_bounds_and_they_stay() {
    let mut node = Node::new();
    let mut owned = owner(&node);
    let before = overview(&mut owned);
    assert_eq!(before.limits.withdraw_per_day, Limit::InProportion);
    assert_eq!(before.withdrawals.left.0, 1_000_000_000);
    let limits = Limits {
        withdraw_per_day: Limit::Exactly(Satoshi(50_000)),
        ..before.limits
    };
    done(&mut owned, &operator::Request::SetLimits { limits });
    let wrong = Limits {
        max_fee: Satoshi(10_000_001),
        ..limits
    };
    let request = operator::Request::SetLimits { limits: wrong };
    match owned.call(&request).unwrap() {
        operator::Reply::Refused(refused) => assert_eq!(refused.rule, "W2"),
        other => panic!("{other:?}"),
    }
    node.kill_and_restart();
    let mut owned = owner(&node);
    assert_eq!(overview(&mut owned).limits, limits);
    let mut conn = wallet(&mut node);
    assert_eq!(withdraw(&mut conn, 1, 60_000).unwrap_err().rule, "W4");
    withdraw(&mut conn, 2, 40_000).unwrap();
    assert_eq!(overview(&mut owned).withdrawals.left.0, 10_000_000);
}

#[test]
fn s2_the_owner_lets_channels_be_closed_elsewhere() {
    let mut node = Node::new();
    let mut owner = owner(&node);
    let mut conn = wallet(&mut node);
    let script = foreign();
    done(&mut owner, &operator::Request::AllowlistAdd { script });
    let allowlist = operator::Reply::Allowlist {
        scripts: vec![foreign()],
    };
    assert_eq!(
        owner.call(&operator::Request::Allowlist).unwrap(),
        allowlist
    );
    let ask = wallet::Request::CheckShutdown { script: foreign() };
    assert_eq!(conn.call(&ask).unwrap(), wallet::Reply::ShutdownAllowed);
    withdraw(&mut conn, 1, 2_000_000).unwrap();
    let script = foreign();
    done(&mut owner, &operator::Request::AllowlistRemove { script });
    let reply = conn.call(&ask).unwrap();
    assert!(matches!(reply, wallet::Reply::Refused(refused) if refused.rule == "S2"));
}
