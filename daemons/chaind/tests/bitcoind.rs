//! chaind beside a real bitcoind on regtest.

#[path = "fixtures/chaind.rs"]
mod chaind;

use bitcoin::consensus::deserialize;
use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use blackbox::Bitcoind;
use chaind::{Chaind, heights, known, start};
use ipc_messages::lightningd_chaind::{Begin, Login, Start, ToChaind, ToLightningd};
use serde_json::{Value, json};
use wire::{BlockHeight, FeeratePerKw};

fn of(bitcoind: &Bitcoind) -> Start {
    let cookie = bitcoind.data().join("regtest/.cookie");
    Start {
        login: Login::CookieFile {
            path: cookie.display().to_string(),
        },
        ..start(bitcoind.rpc_port())
    }
}

/// An address of the backend's wallet, and its script.
fn address(bitcoind: &Bitcoind) -> (String, ScriptBuf) {
    let address = bitcoind.rpc("getnewaddress", json!([])).unwrap();
    let info = bitcoind.rpc("getaddressinfo", json!([address])).unwrap();
    let script = ScriptBuf::from_hex(info["scriptPubKey"].as_str().unwrap()).unwrap();
    (address.as_str().unwrap().to_owned(), script)
}

/// A signed transaction of the backend's wallet that is nowhere yet.
fn unsent(bitcoind: &Bitcoind) -> Transaction {
    let (to, _) = address(bitcoind);
    let raw = bitcoind
        .rpc("createrawtransaction", json!([[], [{to: 0.5}]]))
        .unwrap();
    let funded = bitcoind.rpc("fundrawtransaction", json!([raw])).unwrap();
    let signed = bitcoind
        .rpc("signrawtransactionwithwallet", json!([funded["hex"]]))
        .unwrap();
    deserialize(&hex::decode(signed["hex"].as_str().unwrap()).unwrap()).unwrap()
}

fn bytes(tx: &Transaction) -> Vec<u8> {
    bitcoin::consensus::serialize(tx)
}

fn hash(bitcoind: &Bitcoind, height: u32) -> Value {
    bitcoind.rpc("getblockhash", json!([height])).unwrap()
}

#[test]
fn blocks_are_reported_in_order_with_what_is_watched_in_them() {
    let bitcoind = Bitcoind::start().unwrap();
    let (to, script) = address(&bitcoind);
    let mut chaind = Chaind::start(Start {
        begin: Begin::Below(10),
        ..of(&bitcoind)
    });
    chaind.watch(vec![], vec![script.clone()]);
    match chaind.next() {
        ToLightningd::Feerates(feerates) => {
            assert_eq!(
                (feerates.estimates, feerates.floor),
                (vec![], FeeratePerKw(253))
            );
        }
        other => panic!("{other:?}"),
    }
    let (blocks, height) = chaind.blocks_until_synced();
    assert_eq!(heights(&blocks), (115..=125).collect::<Vec<_>>());
    assert_eq!(height, 125);
    assert!(blocks.iter().all(|block| block.txs.is_empty()));

    // Paid, between others.
    let (other, _) = address(&bitcoind);
    bitcoind.fund(&other, 1_000_000).unwrap();
    let txid: Txid = bitcoind.fund(&to, 2_000_000).unwrap().parse().unwrap();
    bitcoind.mine(1).unwrap();
    let block = chaind.block();
    assert_eq!(json!(block.hash), hash(&bitcoind, 126));
    let [paid] = &block.txs[..] else {
        panic!("{block:?}")
    };
    assert_eq!(paid.txid, txid);
    let tx: Transaction = deserialize(&paid.tx).unwrap();
    let verbose = bitcoind.rpc("getblock", json!([block.hash, 1])).unwrap();
    assert_eq!(verbose["tx"][paid.index as usize], json!(txid));

    // Spent.
    let vout = tx
        .output
        .iter()
        .position(|output| output.script_pubkey == script)
        .unwrap();
    let outpoint = OutPoint {
        txid,
        vout: vout as u32,
    };
    chaind.watch(vec![outpoint], vec![]);
    let input = json!([{"txid": txid, "vout": vout}]);
    let spend = |amount: f64| {
        let raw = json!([input, [{other.clone(): amount}]]);
        let raw = bitcoind.rpc("createrawtransaction", raw).unwrap();
        let signed = bitcoind
            .rpc("signrawtransactionwithwallet", json!([raw]))
            .unwrap();
        bitcoind
            .rpc("sendrawtransaction", json!([signed["hex"]]))
            .unwrap()
    };
    let spent = spend(0.0199);
    bitcoind.mine(1).unwrap();
    let block = chaind.block();
    assert_eq!(
        block
            .txs
            .iter()
            .map(|tx| json!(tx.txid))
            .collect::<Vec<_>>(),
        [spent]
    );
}

#[test]
fn what_is_no_longer_watched_is_not_reported() {
    let bitcoind = Bitcoind::start().unwrap();
    let tx = unsent(&bitcoind);
    let outpoint = tx.input[0].previous_output;
    let mut chaind = Chaind::start(of(&bitcoind));
    chaind.watch(vec![outpoint], vec![]);
    chaind.blocks_until_synced();
    chaind.send(ToChaind::Unwatch {
        outpoints: vec![outpoint],
    });
    chaind.broadcast(1, bytes(&tx));
    assert_eq!(chaind.broadcast_error(1), None);
    bitcoind.mine(1).unwrap();
    assert_eq!(chaind.block().txs, []);
}

#[test]
fn a_watch_that_comes_late_looks_into_the_last_blocks() {
    let bitcoind = Bitcoind::start().unwrap();
    let (to, script) = address(&bitcoind);
    let (_, unrelated) = address(&bitcoind);
    let mut chaind = Chaind::follow(of(&bitcoind));
    chaind.blocks_until_synced();
    let txid = bitcoind.fund(&to, 2_000_000).unwrap();
    bitcoind.mine(3).unwrap();
    let mined: Vec<_> = (0..3).map(|_| chaind.block()).collect();
    assert!(mined.iter().all(|block| block.txs.is_empty()));
    chaind.watch(vec![], vec![unrelated]);
    chaind.watch(vec![], vec![script]);
    match chaind.next_of_chain() {
        ToLightningd::Rescanned(block) => {
            assert_eq!((block.height, block.hash), (mined[0].height, mined[0].hash));
            let txids: Vec<_> = block.txs.iter().map(|tx| tx.txid.to_string()).collect();
            assert_eq!(txids, [txid]);
        }
        other => panic!("{other:?}"),
    }
    bitcoind.mine(1).unwrap();
    assert_eq!(chaind.block().height, BlockHeight(129));
}

#[test]
fn a_search_reads_older_blocks_again_and_says_when_it_is_done() {
    let bitcoind = Bitcoind::start().unwrap();
    let (to, script) = address(&bitcoind);
    let mut chaind = Chaind::follow(of(&bitcoind));
    chaind.blocks_until_synced();
    let txid: Txid = bitcoind.fund(&to, 2_000_000).unwrap().parse().unwrap();
    bitcoind.mine(20).unwrap();
    for _ in 0..20 {
        assert!(chaind.block().txs.is_empty());
    }
    let search = |request, since| ToChaind::Search {
        request,
        outpoints: vec![],
        scripts: vec![script.clone()],
        since: BlockHeight(since),
        partly: false,
    };
    chaind.send(search(7, 126));
    match chaind.next_of_chain() {
        ToLightningd::Rescanned(block) => {
            assert_eq!(block.height, BlockHeight(126));
            let [paid] = &block.txs[..] else {
                panic!("{block:?}")
            };
            assert_eq!(paid.txid, txid);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        chaind.next_of_chain(),
        ToLightningd::Searched { request: 7 }
    );
    // Nothing is there from here on, and nothing is found beyond the end.
    for (request, since) in [(8, 127), (9, 5000)] {
        chaind.send(search(request, since));
        assert_eq!(chaind.next_of_chain(), ToLightningd::Searched { request });
    }
    // What is searched is watched, too.
    let txid = bitcoind.fund(&to, 1_000_000).unwrap();
    bitcoind.mine(1).unwrap();
    assert_eq!(chaind.block().txs[0].txid.to_string(), txid);
}

#[test]
fn a_report_proves_that_its_transactions_are_in_its_block() {
    use bitcoin::hashes::{Hash, sha256d};
    let bitcoind = Bitcoind::start().unwrap();
    let (to, script) = address(&bitcoind);
    let mut chaind = Chaind::start(of(&bitcoind));
    chaind.watch(vec![], vec![script]);
    chaind.blocks_until_synced();
    for satoshi in [1_000_000, 2_000_000, 3_000_000, 4_000_000] {
        bitcoind.fund(&to, satoshi).unwrap();
    }
    bitcoind.mine(1).unwrap();
    let block = chaind.block();
    assert_eq!(
        (block.txs.len(), block.header.block_hash()),
        (4, block.hash)
    );
    for tx in &block.txs {
        let mut hash = tx.txid.to_byte_array();
        let mut index = tx.index;
        for sibling in &tx.branch {
            let pair = match index % 2 {
                0 => [hash, sibling.0].concat(),
                _ => [sibling.0, hash].concat(),
            };
            hash = sha256d::Hash::hash(&pair).to_byte_array();
            index /= 2;
        }
        assert_eq!(hash, block.header.merkle_root.to_byte_array());
    }
}

#[test]
fn a_child_takes_its_parent_along() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::follow(of(&bitcoind));
    let parent = unsent(&bitcoind);
    let change = (0..parent.output.len())
        .find(|vout| parent.output[*vout].value.to_sat() != 50_000_000)
        .unwrap();
    let output = &parent.output[change];
    let (to, _) = address(&bitcoind);
    let amount = (output.value.to_sat() - 10_000) as f64 / 1e8;
    let txid = parent.compute_txid();
    let raw = json!([[{"txid": txid, "vout": change}], [{to: amount}]]);
    let raw = bitcoind.rpc("createrawtransaction", raw).unwrap();
    let spent = json!([{
        "txid": txid, "vout": change, "amount": output.value.to_btc(),
        "scriptPubKey": output.script_pubkey,
    }]);
    let signed = bitcoind
        .rpc("signrawtransactionwithwallet", json!([raw, spent]))
        .unwrap();
    let child = hex::decode(signed["hex"].as_str().unwrap()).unwrap();
    chaind.send(ToChaind::Broadcast {
        request: 1,
        tx: child.clone(),
        parent: Some(bytes(&parent)),
        allow_high_fees: false,
    });
    assert_eq!(chaind.broadcast_error(1), None);
    assert_eq!(bitcoind.wait_for_mempool(2).unwrap().len(), 2);
    // Again, and when both are in a block.
    for _ in 0..2 {
        chaind.send(ToChaind::Broadcast {
            request: 2,
            tx: child.clone(),
            parent: Some(bytes(&parent)),
            allow_high_fees: false,
        });
        assert_eq!(chaind.broadcast_error(2), None);
        bitcoind.mine(1).unwrap();
    }
}

#[test]
fn a_reorg_takes_blocks_out_from_the_top_and_goes_on_from_the_fork() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::follow(Start {
        begin: Begin::Below(5),
        ..of(&bitcoind)
    });
    let (old, _) = chaind.blocks_until_synced();
    bitcoind
        .rpc("invalidateblock", json!([hash(&bitcoind, 124)]))
        .unwrap();
    bitcoind.mine(3).unwrap();
    for gone in [&old[5], &old[4]] {
        let (height, hash) = (gone.height, gone.hash);
        assert_eq!(
            chaind.next_of_chain(),
            ToLightningd::Disconnected { height, hash }
        );
    }
    for height in 124..=126 {
        let block = loop {
            match chaind.next_of_chain() {
                ToLightningd::Block(block) => break block,
                // The backend was behind us for a moment.
                ToLightningd::Synced { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(block.height, BlockHeight(height));
        assert_eq!(json!(block.hash), hash(&bitcoind, height));
    }
}

#[test]
fn a_start_after_a_reorg_finds_the_fork_among_the_known_blocks() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::follow(Start {
        begin: Begin::Below(5),
        ..of(&bitcoind)
    });
    let (old, _) = chaind.blocks_until_synced();
    chaind.stop();
    bitcoind
        .rpc("invalidateblock", json!([hash(&bitcoind, 124)]))
        .unwrap();
    bitcoind.mine(3).unwrap();
    let mut chaind = Chaind::follow(Start {
        known: known(&old),
        ..of(&bitcoind)
    });
    for gone in [&old[5], &old[4]] {
        let (height, hash) = (gone.height, gone.hash);
        assert_eq!(
            chaind.next_of_chain(),
            ToLightningd::Disconnected { height, hash }
        );
    }
    let (new, height) = chaind.blocks_until_synced();
    assert_eq!((heights(&new), height), (vec![124, 125, 126], 126));
}

#[test]
fn a_start_goes_on_after_the_newest_known_block() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::follow(Start {
        begin: Begin::Below(5),
        ..of(&bitcoind)
    });
    let (old, _) = chaind.blocks_until_synced();
    chaind.stop();
    bitcoind.mine(2).unwrap();
    let mut chaind = Chaind::follow(Start {
        known: known(&old),
        ..of(&bitcoind)
    });
    let (new, _) = chaind.blocks_until_synced();
    assert_eq!(heights(&new), [126, 127]);
}

#[test]
fn no_block_is_reported_before_the_first_watch() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::start(of(&bitcoind));
    // The backend answers, which is when blocks could come.
    chaind.broadcast(1, vec![0]);
    chaind.until(|message| match message {
        ToLightningd::Broadcast { .. } => Some(()),
        ToLightningd::Feerates(_) => None,
        other => panic!("{other:?}"),
    });
    chaind.watch(vec![], vec![]);
    assert_eq!(heights(&chaind.blocks_until_synced().0), [125]);
}

#[test]
fn a_bitcoind_that_is_killed_is_waited_for_and_the_broadcast_with_it() {
    let mut bitcoind = Bitcoind::start().unwrap();
    let tx = unsent(&bitcoind);
    let mut chaind = Chaind::follow(of(&bitcoind));
    chaind.blocks_until_synced();
    // Writes the chain's state to the disk: what is killed before comes back without its last blocks.
    bitcoind.rpc("gettxoutsetinfo", json!([])).unwrap();
    bitcoind.kill9().unwrap();
    let why = chaind.waiting();
    assert!(why.contains("running"), "{why}");
    chaind.broadcast(7, bytes(&tx));
    bitcoind.restart().unwrap();
    // It has written a new cookie.
    assert_eq!(chaind.blocks_until_synced(), (vec![], 125));
    assert_eq!(chaind.broadcast_error(7), None);
    assert_eq!(bitcoind.mempool().unwrap(), [tx.compute_txid().to_string()]);
    bitcoind.mine(1).unwrap();
    assert_eq!(chaind.block().height, BlockHeight(126));
}

#[test]
fn blocks_that_came_while_we_did_not_listen_are_reported_too() {
    let mut bitcoind = Bitcoind::start().unwrap();
    let mut chaind = Chaind::follow(of(&bitcoind));
    chaind.blocks_until_synced();
    for round in 0..3 {
        bitcoind.stop().unwrap();
        bitcoind.restart().unwrap();
        bitcoind.mine(2).unwrap();
        let expected = 125 + 2 * round;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match chaind.next_of_chain() {
                ToLightningd::Block(block) => seen.push(block.height.0),
                ToLightningd::Synced { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [expected + 1, expected + 2]);
    }
}

#[test]
fn a_broadcast_of_what_is_in_the_mempool_or_confirmed_succeeds() {
    let bitcoind = Bitcoind::start().unwrap();
    let tx = unsent(&bitcoind);
    let mut chaind = Chaind::follow(of(&bitcoind));
    for request in 1..=2 {
        chaind.broadcast(request, bytes(&tx));
        assert_eq!(chaind.broadcast_error(request), None);
    }
    bitcoind.mine(1).unwrap();
    chaind.broadcast(3, bytes(&tx));
    assert_eq!(chaind.broadcast_error(3), None);
}

#[test]
fn a_broadcast_that_bitcoind_refuses_brings_its_words() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut tx = unsent(&bitcoind);
    tx.output[0].value = bitcoin::Amount::from_sat(1);
    let mut chaind = Chaind::follow(of(&bitcoind));
    chaind.broadcast(1, bytes(&tx));
    assert!(chaind.broadcast_error(1).unwrap().contains("code -2"));
    chaind.broadcast(2, vec![1, 2, 3]);
    let error = chaind.broadcast_error(2).unwrap();
    assert!(error.contains("TX decode failed"), "{error}");
}

#[test]
fn a_wrong_password_and_a_wrong_chain_are_told_apart() {
    let bitcoind = Bitcoind::start().unwrap();
    let wrong = Chaind::follow(start(bitcoind.rpc_port())).waiting();
    assert!(wrong.contains("bitcoin-rpcpassword"), "{wrong}");
    let wrong = Chaind::follow(Start {
        chain: "main".to_owned(),
        ..of(&bitcoind)
    })
    .unusable();
    assert!(wrong.contains("`regtest`"), "{wrong}");
}
