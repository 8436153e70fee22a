//! The audit log of the real program.

use std::fs;

use hsm_messages::operator::{LineNumber, Reply, Request};
use hsm_messages::{chan, ctl};
use ipc_transport::codec::encode;
use sha2::{Digest, Sha256};
use subd::Exit;
use wire::CommitmentNumber;

use crate::node::connect;
use crate::node::{Node, somebody};

impl Node {
    /// The words of each line, without the file's first.
    pub fn audit(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.dir.path().join("hsm-audit")).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        text.lines().skip(1).map(words).collect()
    }
}

fn hash<T: serde::Serialize>(message: &T) -> String {
    let hash: [u8; 32] = Sha256::digest(encode(message).unwrap()).into();
    hex::encode(hash)
}

#[test]
fn each_request_is_a_line_and_a_refusal_names_its_rule_before_the_reply() {
    let mut node = Node::new();
    let channel = node.new_channel(somebody()).channel;
    let mut chan = node.chan(channel);
    let number = channel.0.to_string();

    let point = chan::Request::Point {
        n: CommitmentNumber(1),
    };
    let reply = chan.call(&point).unwrap();
    let line = node.audit().pop().unwrap();
    assert_eq!(line[2..6], ["CHAN", &number, "Point", "1"]);
    assert_eq!(line[6..9], [hash(&point), "ok".to_owned(), hash(&reply)]);

    let onions = chan::Request::EcdhBatch {
        points: vec![somebody().0; 3],
    };
    let reply = chan.call(&onions).unwrap();
    let chan::Reply::Refused { rule, reason } = &reply else {
        panic!("answered: {reply:?}");
    };
    let line = node.audit().pop().unwrap();
    assert_eq!(line[2..6], ["CHAN", &number, "EcdhBatch", "3"]);
    assert_eq!(line[6..9], [hash(&onions), rule.clone(), hash(&reply)]);
    assert_eq!(line[9..line.len() - 1].join(" "), *reason);

    let asked: Vec<(String, String)> = node
        .audit()
        .into_iter()
        .map(|line| (line[2].clone(), line[4].clone()))
        .collect();
    let expected = [
        ("-", "Start"),
        ("CTL", "Init"),
        ("CTL", "NewChannel"),
        ("CTL", "Mint"),
        ("CHAN", "Point"),
        ("CHAN", "EcdhBatch"),
    ];
    let expected = expected.map(|(role, message)| (role.to_owned(), message.to_owned()));
    assert_eq!(asked, expected);
}

#[test]
fn the_log_goes_on_after_kill_9_and_a_stop_is_its_last_line() {
    let mut node = Node::new();
    node.new_channel(somebody());
    node.kill_and_restart();
    node.ctl.send(&ctl::Request::Stop).unwrap();
    node.ctl.flush().unwrap();
    assert_eq!(node.child.wait().unwrap(), Exit::Code(0));
    let lines = node.audit();
    let messages: Vec<&str> = lines.iter().map(|line| line[4].as_str()).collect();
    let expected = ["Start", "Init", "NewChannel", "Start", "Init", "Stop"];
    assert_eq!(messages, expected);
    let numbers: Vec<&str> = lines.iter().map(|line| line[0].as_str()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn the_owner_reads_the_log_past_lightningd() {
    let mut node = Node::new();
    node.new_channel(somebody());
    let mut owner = connect(node.dir.path());
    let reply = owner.call(&Request::AuditHead).unwrap();
    let Reply::AuditHead { number, hash } = reply else {
        panic!("no head: {reply:?}");
    };
    let before = &node.audit()[2];
    assert_eq!((number, &before[0]), (LineNumber(3), &"3".to_owned()));
    assert_eq!(hex::encode(hash), before[before.len() - 1]);
    let tail = Request::AuditTail { from: number };
    let Reply::AuditTail { lines } = owner.call(&tail).unwrap() else {
        panic!("no tail");
    };
    let expected: Vec<String> = node.audit()[2..4]
        .iter()
        .map(|line| line.join(" "))
        .collect();
    assert_eq!(lines, expected);
}
