//! What chaind makes of a backend that is not ready, not right or not sane.

#[path = "fixtures/backend.rs"]
mod backend;
#[path = "fixtures/chaind.rs"]
mod chaind;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backend::{Backend, Reply, another_block, block_with_other_root, info};
use base64::Engine;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, OutPoint, Txid};
use chaind::{Chaind, PASSWORD, USER, heights, start};
use ipc_messages::lightningd_chaind::{Begin, Login, ToChaind, ToLightningd};
use serde_json::json;
use wire::{BlockHeight, FeeratePerKw};

/// The backend says something else to `method`; the reason that chaind gives; then it behaves, and
/// chaind goes on.
fn why_it_waits(method: &'static str, reply: impl Fn() -> Reply + Send + 'static) -> String {
    let backend = Backend::start(move |asked, _| match asked == method {
        true => reply(),
        false => Reply::Well,
    });
    let mut settings = start(backend.port);
    settings.timeout = 2;
    let mut chaind = Chaind::follow(settings);
    let why = chaind.waiting();
    backend.set(|_, _| Reply::Well);
    let (blocks, height) = chaind.blocks_until_synced();
    assert_eq!((heights(&blocks).as_slice(), height), (&[0][..], 0));
    why
}

#[test]
fn garbage_is_waited_out_and_named() {
    for garbage in [
        "",
        "{",
        "<html>",
        "[1]",
        r#"{"result":7,"error":null,"id":1}"#,
    ] {
        let why = why_it_waits("getblockchaininfo", move || {
            Reply::Http(200, garbage.to_owned())
        });
        assert!(
            why.contains("getblockchaininfo makes no sense"),
            "{garbage}: {why}"
        );
    }
    let why = why_it_waits("getblockhash", || Reply::Result(json!("zz")));
    assert!(why.contains("getblockhash makes no sense"), "{why}");
}

#[test]
fn what_does_not_speak_http_is_named() {
    let why = why_it_waits("getblockchaininfo", || {
        Reply::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec())
    });
    assert!(why.contains("does not speak HTTP"), "{why}");
}

#[test]
fn endless_headers_are_cut_short() {
    let why = why_it_waits("getblockchaininfo", || {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        bytes.extend(b"X: ".iter().chain([b'a'; 1 << 20].iter()));
        Reply::Bytes(bytes)
    });
    assert!(why.contains("does not speak HTTP"), "{why}");
}

#[test]
fn an_endless_answer_is_cut_short() {
    let why = why_it_waits("getblock", || {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(17 << 20, b'0');
        Reply::Bytes(bytes)
    });
    assert!(why.contains("sent more than 16777216 bytes"), "{why}");
    let why = why_it_waits("getblockchaininfo", || {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(2 << 20, b' ');
        Reply::Bytes(bytes)
    });
    assert!(why.contains("sent more than 1048576 bytes"), "{why}");
}

#[test]
fn a_backend_that_hangs_is_given_up_and_tried_again() {
    let why = why_it_waits("getblockchaininfo", || Reply::Hang);
    assert!(why.contains("did not answer within 2 s"), "{why}");
}

#[test]
fn a_backend_that_hangs_up_is_tried_again() {
    let why = why_it_waits("getblockchaininfo", || Reply::Bytes(Vec::new()));
    assert!(
        why.contains("closed the connection without an answer"),
        "{why}"
    );
}

#[test]
fn a_backend_that_starts_says_how_far_it_is() {
    let why = why_it_waits("getblockchaininfo", || {
        Reply::Error(-28, "Loading block index…")
    });
    assert_eq!(why, "bitcoind is starting: Loading block index…");
}

#[test]
fn a_full_work_queue_is_waited_out() {
    let why = why_it_waits("getblockchaininfo", || {
        Reply::Http(503, "Work queue depth exceeded".to_owned())
    });
    assert!(why.contains("busy"), "{why}");
}

#[test]
fn a_block_that_is_not_the_one_asked_for_is_not_taken() {
    let why = why_it_waits("getblock", || {
        Reply::Result(json!(serialize_hex(&another_block())))
    });
    assert!(why.contains("getblock makes no sense"), "{why}");
    let why = why_it_waits("getblock", || {
        let genesis = bitcoin::constants::genesis_block(Network::Regtest);
        Reply::Result(json!(serialize_hex(&block_with_other_root(&genesis))))
    });
    assert!(why.contains("getblock makes no sense"), "{why}");
    let why = why_it_waits("getblock", || Reply::Result(json!("00ff")));
    assert!(why.contains("getblock makes no sense"), "{why}");
}

#[test]
fn a_wrong_password_names_the_option_and_is_never_shown() {
    let backend = Backend::start(|_, _| Reply::Http(401, String::new()));
    let mut chaind = Chaind::follow(start(backend.port));
    let why = chaind.waiting();
    assert!(why.contains("bitcoin-rpcpassword"), "{why}");
    backend.set(|_, _| Reply::Well);
    chaind.blocks_until_synced();
    let log = chaind.stop();
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &encoded] {
        assert!(!why.contains(secret), "{why}");
        let found = log
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{}", String::from_utf8_lossy(&log));
    }
    // The log was there to be searched.
    assert!(!log.is_empty());
}

#[test]
fn a_host_that_may_not_connect_is_told_why() {
    let backend = Backend::start(|_, _| Reply::Http(403, String::new()));
    let why = Chaind::follow(start(backend.port)).waiting();
    assert!(why.contains("rpcallowip"), "{why}");
}

#[test]
fn a_backend_that_is_not_to_be_found_is_waited_for() {
    let backend = Backend::start(|_, _| Reply::Well);
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join(".cookie");
    let mut settings = start(backend.port);
    settings.login = Login::CookieFile {
        path: cookie.display().to_string(),
    };
    let mut chaind = Chaind::follow(settings);
    let why = chaind.waiting();
    assert!(why.contains("no cookie"), "{why}");
    std::fs::write(&cookie, "__cookie__:abcdef\n").unwrap();
    assert_eq!(chaind.blocks_until_synced().1, 0);
}

#[test]
fn a_backend_that_does_not_run_is_named_and_waited_for() {
    // A port that is ours, and on which nobody listens once the listener is gone.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let why = Chaind::follow(start(port)).waiting();
    assert!(
        why.contains(&format!("127.0.0.1:{port}")) && why.contains("running"),
        "{why}"
    );
}

#[test]
fn a_backend_on_another_chain_is_unusable() {
    let backend = Backend::start(|method, _| match method {
        "getblockchaininfo" => {
            let mut info = info(0, BlockHash::all_zeros());
            info["chain"] = json!("main");
            Reply::Result(info)
        }
        _ => Reply::Well,
    });
    let why = Chaind::follow(start(backend.port)).unusable();
    assert!(why.contains("`main`") && why.contains("`regtest`"), "{why}");
}

#[test]
fn a_backend_that_has_pruned_what_is_needed_is_unusable() {
    let backend = Backend::start(|method, _| match method {
        "getblock" => Reply::Error(-1, "Block not available (pruned data)"),
        _ => Reply::Well,
    });
    let why = Chaind::follow(start(backend.port)).unusable();
    assert!(why.contains("pruned block 0"), "{why}");
}

#[test]
fn what_a_channel_asks_of_pruned_blocks_stops_nothing() {
    let backend = Backend::start(|_, _| Reply::Well);
    (0..150).for_each(|_| backend.mine());
    let tip = backend.chain.lock().unwrap()[150].block_hash();
    backend.set(move |method, params| match method {
        "getblock" if params[0] != json!(tip) => {
            Reply::Error(-1, "Block not available (pruned data)")
        }
        _ => Reply::Well,
    });
    let mut chaind = Chaind::follow(start(backend.port));
    assert_eq!(chaind.blocks_until_synced().1, 150);
    let search = |request, partly| ToChaind::Search {
        request,
        outpoints: vec![OutPoint::new(Txid::all_zeros(), 7)],
        scripts: vec![],
        since: BlockHeight(10),
        partly,
    };
    chaind.send(search(1, true));
    let next = chaind.next_of_chain();
    assert!(matches!(next, ToLightningd::Searched { request: 1 }));
    chaind.send(search(2, false));
    assert!(chaind.unusable().contains("pruned block 10"));
}

#[test]
fn a_backend_without_any_of_our_many_blocks_is_unusable() {
    let backend = Backend::start(|_, _| Reply::Well);
    (0..150).for_each(|_| backend.mine());
    let mut settings = start(backend.port);
    let hash = |height: u8| BlockHash::from_byte_array([height; 32]);
    settings.known = (1..=120)
        .rev()
        .map(|height| (BlockHeight(height.into()), hash(height)))
        .collect();
    let mut chaind = Chaind::follow(settings);
    let why = chaind.until(|message| match message {
        ToLightningd::Unusable { why } => Some(why.clone()),
        ToLightningd::Disconnected { .. } => panic!("nothing is taken out for another chain"),
        _ => None,
    });
    assert!(why.contains("none of the last 120 blocks"), "{why}");
}

#[test]
fn a_backend_below_our_blocks_is_waited_for_and_takes_none_from_us() {
    let backend = Backend::start(|_, _| Reply::Well);
    let mut settings = start(backend.port);
    settings.known = vec![(BlockHeight(3), BlockHash::all_zeros())];
    let why = Chaind::follow(settings).waiting();
    assert!(
        why.contains("ends at block 0") && why.contains("block 3"),
        "{why}"
    );
}

#[test]
fn a_backend_that_came_back_with_fewer_blocks_gets_broadcasts_when_it_has_ours() {
    let backend = Backend::start(|_, _| Reply::Well);
    (0..3).for_each(|_| backend.mine());
    let mut chaind = Chaind::follow(start(backend.port));
    assert_eq!(chaind.blocks_until_synced().1, 3);
    let lost = backend.chain.lock().unwrap().split_off(1);
    backend.set(|method, _| match method {
        "sendrawtransaction" => Reply::Error(-25, "bad-txns-inputs-missingorspent"),
        _ => Reply::Well,
    });
    let why = chaind.waiting();
    assert!(why.contains("ends at block 0"), "{why}");
    chaind.broadcast(1, vec![1]);
    // Nothing to wait for here: a wrong chaind would have asked long before these five questions.
    let questions = Arc::new(AtomicUsize::new(0));
    let counter = questions.clone();
    backend.set(move |method, _| match method {
        "sendrawtransaction" => Reply::Error(-25, "bad-txns-inputs-missingorspent"),
        _ => {
            counter.fetch_add(1, Ordering::SeqCst);
            Reply::Well
        }
    });
    while questions.load(Ordering::SeqCst) < 5 {
        std::thread::yield_now();
    }
    backend.set(|method, _| match method {
        "sendrawtransaction" => Reply::Result(json!("ab")),
        _ => Reply::Well,
    });
    backend.chain.lock().unwrap().extend(lost);
    assert_eq!(chaind.broadcast_error(1), None);
}

#[test]
fn a_backend_behind_the_headers_is_syncing_until_it_is_not() {
    let backend = Backend::start(|_, _| Reply::Well);
    (0..5).for_each(|_| backend.mine());
    let tip = backend.chain.lock().unwrap().last().unwrap().block_hash();
    backend.set(move |method, _| match method {
        "getblockchaininfo" => {
            let mut info = info(5, tip);
            info["headers"] = json!(100);
            Reply::Result(info)
        }
        _ => Reply::Well,
    });
    let mut chaind = Chaind::follow(start(backend.port));
    chaind.until(|message| match message {
        ToLightningd::BackendSyncing { blocks, headers } => {
            assert_eq!((blocks.0, headers.0), (5, 100));
            Some(())
        }
        ToLightningd::Block(_) | ToLightningd::Synced { .. } => {
            panic!("nothing is followed before it is known where the end is: {message:?}")
        }
        _ => None,
    });
    backend.set(|_, _| Reply::Well);
    let (blocks, height) = chaind.blocks_until_synced();
    assert_eq!((heights(&blocks).as_slice(), height), (&[5][..], 5));
}

#[test]
fn blocks_are_noticed_where_there_is_no_long_poll() {
    // The well-behaved one of this test has none.
    let backend = Backend::start(|_, _| Reply::Well);
    let mut chaind = Chaind::follow(start(backend.port));
    assert_eq!(chaind.blocks_until_synced().1, 0);
    backend.mine();
    assert_eq!(chaind.block().height, BlockHeight(1));
}

/// A backend at the genesis block which answers the first so many long polls at once, and no more of them.
fn cuts_short(times: usize) -> Backend {
    let backend = Backend::start(|_, _| Reply::Well);
    let genesis = backend.chain.lock().unwrap()[0].block_hash();
    let mut left = times;
    backend.set(move |method, _| match method {
        "waitfornewblock" | "waitforblockheight" => match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                Reply::Result(json!({"hash": genesis, "height": 0}))
            }
            None => Reply::Hang,
        },
        _ => Reply::Well,
    });
    backend
}

#[test]
fn a_backend_that_ends_and_is_back_before_it_is_asked_is_said_to_be_synced_again() {
    let backend = cuts_short(1);
    let mut chaind = Chaind::follow(start(backend.port));
    assert_eq!(chaind.blocks_until_synced().1, 0);
    assert_eq!(chaind.blocks_until_synced().1, 0);
}

#[test]
fn a_backend_that_never_waits_is_polled() {
    let backend = cuts_short(usize::MAX);
    let mut chaind = Chaind::follow(start(backend.port));
    (0..2).for_each(|_| assert_eq!(chaind.blocks_until_synced().1, 0));
    backend.mine();
    let next = chaind.until(|message| match message {
        ToLightningd::Synced { .. } => Some(None),
        ToLightningd::Block(block) => Some(Some(block.height)),
        _ => None,
    });
    assert_eq!(next, Some(BlockHeight(1)));
}

#[test]
fn a_connection_that_was_closed_between_two_questions_is_made_again() {
    let backend = Backend::start(|_, _| Reply::WellAndClose);
    (0..3).for_each(|_| backend.mine());
    let mut settings = start(backend.port);
    settings.begin = Begin::Below(3);
    let mut chaind = Chaind::follow(settings);
    let mut blocks = Vec::new();
    loop {
        match chaind.next() {
            ToLightningd::Block(block) => blocks.push(*block),
            ToLightningd::Synced { .. } => break,
            ToLightningd::Feerates(_) => {}
            other => panic!("a closed connection is no trouble: {other:?}"),
        }
    }
    assert_eq!(heights(&blocks), [0, 1, 2, 3]);
}

#[test]
fn estimates_are_converted_and_the_floor_is_kept() {
    let backend = Backend::start(|method, params| match method {
        "getmempoolinfo" => Reply::Result(json!({"mempoolminfee": 0.00004001})),
        "estimatesmartfee" => match params[0].as_u64().unwrap() {
            2 => {
                assert_eq!(params[1], "CONSERVATIVE");
                Reply::Result(json!({"feerate": 0.00100001, "blocks": 2}))
            }
            6 => Reply::Result(json!({"feerate": 0.0002, "blocks": 6})),
            100 => Reply::Result(json!({"feerate": 0.00001, "blocks": 100})),
            _ => Reply::Result(json!({"errors": ["Insufficient data"], "blocks": 0})),
        },
        _ => Reply::Well,
    });
    let mut chaind = Chaind::follow(start(backend.port));
    let feerates = chaind.until(|message| match message {
        ToLightningd::Feerates(feerates) => Some(feerates.clone()),
        _ => None,
    });
    assert_eq!(feerates.floor, FeeratePerKw(1001));
    let expected = [(2, 25_001), (6, 5000), (100, 1001)];
    assert_eq!(
        feerates.estimates,
        expected.map(|(target, rate)| (target, FeeratePerKw(rate)))
    );
}

#[test]
fn garbled_estimates_are_no_estimates_to_rely_on() {
    for garbled in [
        json!({"feerate": -1}),
        json!({"feerate": "x"}),
        json!({"feerate": 1e300}),
    ] {
        let why = why_it_waits("estimatesmartfee", move || Reply::Result(garbled.clone()));
        assert!(why.contains("estimatesmartfee makes no sense"), "{why}");
    }
}

#[test]
fn broadcasts_wait_for_a_backend_that_is_away_up_to_a_limit() {
    let backend = Backend::start(|_, _| Reply::Error(-28, "Verifying blocks…"));
    let mut chaind = Chaind::follow(start(backend.port));
    chaind.waiting();
    // A thousand wait, and one may be in hand.
    for request in 0..1002 {
        chaind.broadcast(request, vec![1, 2, 3]);
    }
    let error = chaind.broadcast_error(1001).unwrap();
    assert!(error.contains("too many"), "{error}");
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = heard.clone();
    backend.set(move |method, params| match method {
        "sendrawtransaction" => {
            assert_eq!(*params, json!(["010203"]));
            match counter.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::Error(-26, "txn-already-known"),
                1 => Reply::Error(-27, "Transaction outputs already in utxo set"),
                2 => Reply::Error(-25, "bad-txns-inputs-missingorspent"),
                _ => Reply::Result(json!("ab")),
            }
        }
        _ => Reply::Well,
    });
    assert_eq!(chaind.broadcast_error(0), None);
    assert_eq!(chaind.broadcast_error(1), None);
    let error = chaind.broadcast_error(2).unwrap();
    assert_eq!(error, "bad-txns-inputs-missingorspent (code -25)");
    assert_eq!(chaind.broadcast_error(999), None);
    let heard = heard.load(Ordering::SeqCst);
    assert!(heard == 1000 || heard == 1001, "{heard}");
}

#[test]
fn a_broadcast_without_a_limit_on_fees_says_so_to_the_backend() {
    let backend = Backend::start(|method, params| match method {
        "sendrawtransaction" => Reply::Error(
            -26,
            if params[1] == json!(0) {
                "txn-already-known"
            } else {
                "max-fee-exceeded"
            },
        ),
        _ => Reply::Well,
    });
    let mut chaind = Chaind::follow(start(backend.port));
    let broadcast = |request, allow_high_fees| {
        let tx = vec![1];
        ipc_messages::lightningd_chaind::ToChaind::Broadcast {
            request,
            tx,
            parent: None,
            allow_high_fees,
        }
    };
    chaind.send(broadcast(1, true));
    assert_eq!(chaind.broadcast_error(1), None);
    chaind.send(broadcast(2, false));
    let error = chaind.broadcast_error(2).unwrap();
    assert!(error.contains("max-fee-exceeded"), "{error}");
}

#[test]
fn a_backend_without_packages_gets_the_parent_and_then_the_child() {
    let backend = Backend::start(|method, params| match method {
        "submitpackage" => Reply::Error(-32601, "Method not found"),
        "sendrawtransaction" => match params[0].as_str() {
            // A parent that pays too little does not stop its child, which may be known.
            Some("01") => Reply::Error(-26, "min relay fee not met"),
            Some("02") => Reply::Error(-25, "bad-txns-inputs-missingorspent"),
            other => panic!("{other:?}"),
        },
        _ => Reply::Well,
    });
    let mut chaind = Chaind::follow(start(backend.port));
    chaind.send(ipc_messages::lightningd_chaind::ToChaind::Broadcast {
        request: 1,
        tx: vec![2],
        parent: Some(vec![1]),
        allow_high_fees: true,
    });
    let error = chaind.broadcast_error(1).unwrap();
    assert!(error.contains("missingorspent"), "{error}");
}
