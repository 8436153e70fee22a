//! The harness's own bitcoind: what the other tests rely on.

use blackbox::Bitcoind;
use blackbox::bitcoind::FIRST_BLOCKS;
use serde_json::json;

/// As heights are counted.
const FIRST: u64 = FIRST_BLOCKS as u64;

#[test]
fn coins_are_mined_sent_and_survive_a_kill() {
    let mut bitcoind = Bitcoind::start().unwrap();
    assert_eq!(bitcoind.height().unwrap(), FIRST);
    let address = bitcoind.rpc("getnewaddress", json!([])).unwrap();
    let txid = bitcoind.fund(address.as_str().unwrap(), 123_456).unwrap();
    assert_eq!(bitcoind.wait_for_mempool(1).unwrap(), [txid.as_str()]);
    bitcoind.mine(2).unwrap();
    assert_eq!(bitcoind.transaction(&txid).unwrap()["confirmations"], 2);
    bitcoind.stop().unwrap();
    bitcoind.restart().unwrap();
    assert_eq!(bitcoind.height().unwrap(), FIRST + 2);
    assert!(bitcoind.mempool().unwrap().is_empty());
    let unknown = bitcoind.rpc("nosuchmethod", json!([])).unwrap_err();
    assert_eq!(unknown.code(), Some(-32601));
}
