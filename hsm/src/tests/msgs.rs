//! The table of what may be asked.

use std::collections::HashSet;

use crate::Rule;
use crate::msgs::{MSGS, Msg, Role, When};
use crate::refused::{Phase, Refused};
use crate::tests::fixture::Node;

fn rule(checked: Result<(), Refused>) -> Option<Rule> {
    checked.err().map(|refused| refused.rule())
}

#[test]
fn d4_a_request_is_answered_on_its_roles_socket_alone() {
    let mut node = Node::new();
    let hsm = node.hsm();
    for msg in MSGS {
        for role in Role::ALL {
            if msg.row().role != role {
                let checked = msg.check(role, Some(hsm), None);
                assert_eq!(rule(checked), Some(Rule::D4), "{msg:?} for {role:?}");
            }
        }
    }
    assert_eq!(
        rule(Msg::GetAddress.check(Role::Wallet, Some(hsm), None)),
        None
    );
}

#[test]
fn d4_before_the_keys_are_open_only_init_and_stop_are_answered() {
    let mut node = Node::new();
    for msg in MSGS {
        let row = msg.row();
        let before = rule(msg.check(row.role, None, None));
        let expected = match row.when {
            When::Always | When::BeforeInit => None,
            When::Open | When::Phases(_) => Some(Rule::D4),
        };
        assert_eq!(before, expected, "{msg:?}");
    }
    let again = Msg::Init.check(Role::Ctl, Some(node.hsm()), None);
    assert_eq!(rule(again), Some(Rule::D4));
}

#[test]
fn d3_what_is_about_a_channel_names_one_that_exists() {
    let mut node = Node::new();
    let hsm = node.hsm();
    for msg in MSGS {
        let row = msg.row();
        if let When::Phases(_) = row.when {
            assert_eq!(rule(msg.check(row.role, Some(hsm), None)), Some(Rule::D3));
            let nobody = Some(wire::ChannelDbid(77));
            assert_eq!(rule(msg.check(row.role, Some(hsm), nobody)), Some(Rule::D3));
        }
    }
}

#[test]
fn a_message_stands_in_the_table_once_and_a_channels_names_its_phases() {
    let mut seen = HashSet::new();
    for msg in MSGS {
        let row = msg.row();
        assert!(seen.insert((row.role, row.name)), "{msg:?} comes twice");
        let phases = matches!(row.when, When::Phases(phases) if !phases.is_empty());
        assert!(row.role != Role::Chan || phases, "{msg:?}");
    }
    // After our own commitment was signed no other is, nor a close.
    for msg in [
        Msg::SignRemote,
        Msg::ValidateLocal,
        Msg::SignClose,
        Msg::CompleteClose,
    ] {
        assert_eq!(rule(msg.check_phase(Phase::Onchain)), Some(Rule::D4));
    }
}
