//! What the books are read in: yearly percentages, tables for other programs, lines of the owner's own, and
//! the owner's words for what things were for. The sums are those of the balances, whatever the form.

use blackbox::node::settled;
use blackbox::{Network, Node, RpcError};
use lightningd_rpc::conform::Table;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CHANNEL: u64 = 1_000_000;
const PUSHED: u64 = 400_000_000;
/// What Carol gets in one payment: large enough that the forward's fee shows in four places.
const PAID: u64 = 100_000_123;

/// A reply as the interface table has it.
fn ask(node: &Node, method: &str, params: Value) -> Value {
    let reply = node.rpc(method, params).unwrap();
    let wrong = Table::project().unwrap().check(method, &reply);
    assert!(wrong.is_empty(), "{method}: {wrong:#?} in {reply:#}");
    reply
}

fn refused(node: &Node, method: &str, params: Value, wanted: i64) -> String {
    match node.rpc(method, params) {
        Err(RpcError::Refused { code, message, .. }) if code == wanted => message,
        other => panic!("{method}: {other:?}"),
    }
}

/// Alice has paid Carol through Bob, and Carol has paid Bob.
fn paid() -> (Network, [String; 2]) {
    let network = Network::start(&["alice", "bob", "carol"]).unwrap();
    let one = network.open(0, 1, CHANNEL, PUSHED).unwrap();
    let two = network.open(1, 2, CHANNEL, PUSHED).unwrap();
    network.sync().unwrap();
    let [alice, bob, carol] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let hint = carol.channels_with(&bob.id().unwrap()).unwrap()[0].clone();
    let params = json!({
        "amount_msat": PAID, "label": "tea", "description": "=tea, \"hot\"",
        "exposeprivatechannels": [hint.short_channel_id.unwrap()],
    });
    let invoice = carol.rpc("invoice", params).unwrap();
    alice.pay(invoice["bolt11"].as_str().unwrap()).unwrap();
    let back = bob.invoice(50_000_000, "back").unwrap();
    carol.pay(&back.bolt11).unwrap();
    settled(alice, bob).unwrap();
    settled(bob, carol).unwrap();
    (network, [one.channel_id, two.channel_id])
}

/// Millisatoshi of a percentage of so many millisatoshi.
fn percent(text: &Value) -> f64 {
    let text = text.as_str().unwrap();
    text.strip_suffix('%').unwrap().parse().unwrap()
}

fn near(found: &Value, wanted: f64) {
    assert!(
        (percent(found) - wanted).abs() <= 0.000_051,
        "{found} is not {wanted}"
    );
}

/// What Bob earned is in both channels of the forward, and the percentages are of what they began with.
fn yearly(network: &Network, channels: &[String; 2]) {
    let [alice, bob, _] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let reply = ask(bob, "bkpr-channelsapy", json!({}));
    let all = reply["channels_apy"].as_array().unwrap();
    assert_eq!(all.len(), 3, "{reply:#}");
    let of = |name: &str| all.iter().find(|entry| entry["account"] == name).unwrap();
    let (inward, outward, net) = (of(&channels[0]), of(&channels[1]), of("net"));
    let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap();
    let fee = number(inward, "routed_in_msat") - PAID;
    assert!(fee > 0);
    assert_eq!(ask(bob, "getinfo", json!({}))["fees_collected_msat"], fee);
    assert_eq!(number(inward, "fees_in_msat"), fee);
    assert_eq!(number(outward, "fees_out_msat"), fee);
    assert_eq!(number(outward, "routed_out_msat"), PAID);
    assert_eq!(number(outward, "routed_in_msat"), 50_000_000);
    assert_eq!(number(inward, "our_start_balance_msat"), PUSHED);
    assert_eq!(number(inward, "pushed_in_msat"), PUSHED);
    assert_eq!(
        number(outward, "our_start_balance_msat"),
        CHANNEL * 1000 - PUSHED
    );
    assert_eq!(
        number(net, "channel_start_balance_msat"),
        2 * CHANNEL * 1000
    );
    for name in [
        "fees_in_msat",
        "fees_out_msat",
        "routed_in_msat",
        "pushed_out_msat",
    ] {
        assert_eq!(
            number(net, name),
            number(inward, name) + number(outward, name)
        );
    }
    near(
        &outward["utilization_out"],
        PAID as f64 / (CHANNEL * 1000) as f64 * 100.0,
    );
    let opened = ask(bob, "bkpr-listaccountevents", json!([channels[0]]));
    let at = opened["events"][0]["blockheight"].as_u64().unwrap();
    let blocks = network.bitcoind.height().unwrap() - at + 1;
    let year = fee as f64 / PUSHED as f64 * 52_364.0 / blocks as f64 * 100.0;
    near(&inward["apy_total_initial"], year);
    // Who opened and has not been paid has no capital of the other side's to speak of, but its own.
    let alices = ask(alice, "bkpr-channelsapy", json!({}));
    assert_eq!(alices["channels_apy"][0]["fees_out_msat"], 0);
    let later = json!({"start_time": 4_000_000_000_u64});
    assert_eq!(
        ask(bob, "bkpr-channelsapy", later),
        json!({"channels_apy": []})
    );
}

/// Bitcoin as the tables write it, in millisatoshi.
fn msat(btc: &str) -> i128 {
    let (sign, digits) = match btc.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, btc.trim_start_matches('+')),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: i128 = format!("{part:0<11}").parse().unwrap();
    sign * (whole.parse::<i128>().unwrap() * 100_000_000_000 + part)
}

fn held_by(node: &Node) -> i128 {
    let reply = ask(node, "bkpr-listbalances", json!({}));
    let accounts = reply["accounts"].as_array().unwrap().iter();
    let sum = accounts.flat_map(|account| account["balances"][0]["balance_msat"].as_u64());
    sum.map(i128::from).sum()
}

/// The lines of a report add up to all that the node holds.
fn lines(network: &Network) {
    for node in &network.nodes {
        let all = ask(node, "bkpr-report", json!({"format": "{creditdebit}"}));
        let all = all["report"].as_array().unwrap().iter();
        let sum: i128 = all.map(|line| msat(line.as_str().unwrap())).sum();
        assert_eq!(sum, held_by(node), "{}", node.name());
    }
    let carol = &network.nodes[2];
    let report = ask(
        carol,
        "bkpr-report",
        json!({
            "format": "{tag},{credit},{description:-},{payment_id?paid:{outpoint}}",
            "headers": ["Tag,Credit,Description,Id"],
            "escape": "csv",
        }),
    );
    let report = report["report"].as_array().unwrap();
    assert_eq!(report[0], "Tag,Credit,Description,Id");
    let tea = "invoice,0.00100000123,\"'=tea, \"\"hot\"\"\",paid";
    assert!(report.iter().any(|line| line == tea), "{report:#?}");
    for (params, why) in [
        (json!(["{taag}"]), "Unknown tag taag"),
        (json!(["{tag"]), "Unterminated tag"),
        (json!({"format": "", "escape": "html"}), "`csv` or `none`"),
    ] {
        let message = refused(carol, "bkpr-report", params, -32602);
        assert!(message.contains(why), "{message}");
    }
}

/// Every form is written; in one that has an amount in each row, the rows add up to all that the node holds.
fn tables(network: &Network) {
    let bob = &network.nodes[1];
    for form in ["cointracker", "koinly", "harmony", "quickbooks"] {
        let name = format!("{form}.csv");
        let reply = ask(bob, "bkpr-dumpincomecsv", json!([form, name]));
        assert_eq!(reply, json!({"csv_file": name, "csv_format": form}));
        let path = bob.network_dir().join(&name);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() > 3, "{text}");
    }
    let harmony = fs::read_to_string(bob.network_dir().join("harmony.csv")).unwrap();
    let rows = harmony
        .lines()
        .skip(4)
        .map(|row| row.split(',').nth(3).unwrap());
    assert_eq!(rows.map(msat).sum::<i128>(), held_by(bob));
    // Without a name it gets one, and a table is written anew where one stands.
    let named = ask(bob, "bkpr-dumpincomecsv", json!({"csv_format": "koinly"}));
    assert!(
        bob.network_dir()
            .join(named["csv_file"].as_str().unwrap())
            .is_file()
    );
    ask(bob, "bkpr-dumpincomecsv", json!(["harmony", "koinly.csv"]));
    let again = fs::read_to_string(bob.network_dir().join("koinly.csv")).unwrap();
    assert_eq!(again, harmony);
    // The node's own files are not a table, and stay.
    let seed = fs::read(bob.network_dir().join("hsm_secret")).unwrap();
    let message = refused(
        bob,
        "bkpr-dumpincomecsv",
        json!(["koinly", "hsm_secret"]),
        -3,
    );
    assert!(message.contains("no income table"), "{message}");
    refused(
        bob,
        "bkpr-dumpincomecsv",
        json!(["koinly", "no/such/folder.csv"]),
        -3,
    );
    let message = refused(bob, "bkpr-dumpincomecsv", json!(["excel"]), -32602);
    assert!(message.contains("\"harmony\""), "{message}");
    assert_eq!(
        fs::read(bob.network_dir().join("hsm_secret")).unwrap(),
        seed
    );
}

fn descriptions(node: &Node, member: &str, reply: &Value) -> Vec<String> {
    let all = reply[member].as_array().unwrap().iter();
    let said = all.filter_map(|event| event["description"].as_str());
    let mut said: Vec<String> = said.map(str::to_owned).collect();
    assert!(!said.is_empty(), "{}: {reply:#}", node.name());
    said.dedup();
    said
}

/// The owner's words stand instead of the invoice's, and outlive the node's death.
fn words(network: &mut Network) {
    let carol = &network.nodes[2];
    let hash = ask(carol, "listinvoices", json!(["tea"]))["invoices"][0]["payment_hash"].clone();
    let by_hash = json!({"payment_id": hash});
    let events = ask(carol, "bkpr-listaccountevents", by_hash.clone());
    assert_eq!(descriptions(carol, "events", &events), ["=tea, \"hot\""]);
    for text in ["first", "two pounds of tea"] {
        let params = json!({"payment_id": hash, "description": text});
        let updated = ask(carol, "bkpr-editdescriptionbypaymentid", params);
        assert_eq!(descriptions(carol, "updated", &updated), [text]);
    }
    let coin = ask(&network.nodes[0], "listfunds", json!({}))["outputs"][0].clone();
    let outpoint = format!("{}:{}", coin["txid"].as_str().unwrap(), coin["output"]);
    let updated = ask(
        &network.nodes[0],
        "bkpr-editdescriptionbyoutpoint",
        json!([outpoint, "change"]),
    );
    assert_eq!(updated["updated"][0]["outpoint"], outpoint);
    assert_eq!(updated["updated"][0]["description"], "change");
    // What is not there yet may be described.
    let unknown = json!(["00".repeat(32), "some day"]);
    let none = json!({"updated": []});
    assert_eq!(ask(carol, "bkpr-editdescriptionbypaymentid", unknown), none);
    for (method, wrong) in [
        ("bkpr-editdescriptionbypaymentid", json!(["00", ""])),
        (
            "bkpr-editdescriptionbyoutpoint",
            json!(["00".repeat(32), ""]),
        ),
    ] {
        refused(carol, method, wrong, -32602);
    }
    for node in &mut network.nodes {
        node.kill_all().unwrap();
        node.launch().unwrap();
    }
    let carol = &network.nodes[2];
    let income = ask(carol, "bkpr-listincome", json!({}));
    let events = ask(carol, "bkpr-listaccountevents", by_hash);
    assert!(
        descriptions(carol, "income_events", &income).contains(&"two pounds of tea".to_owned())
    );
    assert_eq!(
        descriptions(carol, "events", &events),
        ["two pounds of tea"]
    );
    let events = ask(
        &network.nodes[0],
        "bkpr-listaccountevents",
        json!(["wallet"]),
    );
    assert!(descriptions(&network.nodes[0], "events", &events).contains(&"change".to_owned()));
}

#[test]
fn the_books_say_the_same_in_every_form() {
    let (mut network, channels) = paid();
    yearly(&network, &channels);
    lines(&network);
    tables(&network);
    let collected = |network: &Network| {
        let info = ask(&network.nodes[1], "getinfo", json!({}));
        info["fees_collected_msat"].as_u64().unwrap()
    };
    let before = collected(&network);
    words(&mut network);
    assert_eq!(collected(&network), before);
}
