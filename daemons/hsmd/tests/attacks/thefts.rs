//! Every theft by a compromised node that the design of the signer knows of, in its order.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How it stands with a theft.
pub enum Shown {
    /// Tests in this folder, by name; and what is left of the theft, if anything.
    By(&'static [&'static str], Option<&'static str>),
    /// By tests elsewhere in the repository.
    In(&'static str),
    /// Why it cannot be tried today.
    NotYet(&'static str),
}

use Shown::{By, In, NotYet};

pub const THEFTS: &[(&str, Shown)] = &[
    (
        "sign a revoked commitment",
        By(
            &[
                "a_revoked_commitment_is_not_what_force_close_gives",
                "a_revoked_commitment_is_not_signed_again_for_the_peer",
                "a_revoked_commitment_does_not_become_ours_again",
            ],
            None,
        ),
    ),
    (
        "release a current or future secret",
        By(
            &[
                "a_secret_is_not_given_before_its_commitment_is_replaced",
                "a_secret_is_not_given_for_a_commitment_that_the_peer_did_not_sign",
                "a_secret_to_come_is_not_told_by_its_point_or_by_a_wrong_proof",
            ],
            None,
        ),
    ),
    (
        "two live peer commitments",
        By(&["two_live_commitments_of_the_peer_are_not_signed"], None),
    ),
    (
        "balance moved to the peer without an HTLC",
        By(
            &[
                "balance_is_not_moved_to_the_peer_without_an_htlc",
                "balance_is_not_moved_by_an_htlc_that_comes_and_goes_at_once",
                "balance_is_not_moved_by_an_htlc_without_its_preimage",
            ],
            None,
        ),
    ),
    (
        "mutual close to a foreign script",
        By(
            &[
                "a_mutual_close_does_not_pay_a_foreign_script",
                "a_mutual_close_to_a_foreign_script_is_not_agreed_at_the_opening",
            ],
            None,
        ),
    ),
    (
        "underpaying us as fee payer at close",
        By(
            &[
                "a_mutual_close_does_not_burn_our_balance_as_its_fee",
                "a_mutual_close_does_not_leave_out_what_is_pending",
                "a_mutual_close_pays_the_newest_balance",
            ],
            Some("A fee of up to 1,000 satoshi per virtual byte is signed, some 190,000 satoshi."),
        ),
    ),
    (
        "a forward without its incoming HTLC",
        By(
            &[
                "a_forward_without_its_incoming_htlc_is_not_signed",
                "a_forward_is_not_signed_before_its_incoming_htlc_is_there_for_good",
                "a_forward_does_not_take_more_than_came_in_or_later_or_twice",
            ],
            Some("A forward for nothing: what comes in may go out whole."),
        ),
    ),
    (
        "dropping the incoming before the outgoing",
        By(
            &["the_incoming_htlc_is_not_dropped_before_the_outgoing_one"],
            Some("Withholding: nobody can be made to fulfil the incoming one in time."),
        ),
    ),
    (
        "a payment nobody approved",
        By(
            &[
                "a_payment_that_nobody_approved_does_not_leave",
                "a_payment_is_not_approved_by_a_bad_invoice",
                "a_payment_above_the_days_limit_is_not_approved",
            ],
            Some(
                "lightningd itself approves: it can pay invoices of its choice within the day's limit.",
            ),
        ),
    ),
    (
        "giving away our preimages",
        By(
            &[
                "our_preimages_are_not_given_away_before_they_are_paid_for",
                "our_preimages_are_not_given_for_hashes_that_are_not_ours",
            ],
            Some("Preimages that a client has chosen: lightningd has them."),
        ),
    ),
    (
        "withdrawal to an arbitrary address",
        By(
            &[
                "a_withdrawal_to_the_thief_is_not_above_the_days_limit",
                "a_withdrawal_to_the_thief_is_not_hidden_behind_invented_coins",
            ],
            Some(
                "The day's limit itself. Until the owner sets it as a sum it is half of what the node \
                 holds, as lightningd tells it: invented coins raise it.",
            ),
        ),
    ),
    (
        "burning fees by feerate or by anchors",
        By(
            &[
                "fees_are_not_burnt_by_a_withdrawal",
                "balance_is_not_burnt_by_a_feerate_or_below_the_reserve",
                "fees_are_not_burnt_by_sweeps_and_anchors",
            ],
            Some(
                "Fees up to the caps: of a channel that is closed on chain, half of what is claimed and \
                 half of what is at stake.",
            ),
        ),
    ),
    (
        "the segwit-v0 amount lie over several calls",
        By(
            &["a_coins_amount_is_not_lied_about_over_several_calls"],
            None,
        ),
    ),
    (
        "dust HTLCs siphoned into fees",
        By(
            &["dust_is_not_siphoned_into_fees"],
            Some("Up to the cap: the higher of 500,000 satoshi and a tenth of the channel."),
        ),
    ),
    (
        "an old signer state restored",
        By(
            &[
                "an_old_signer_state_is_not_signed_with",
                "an_old_signer_state_is_found_out_by_the_peers_proof",
                "an_old_database_is_not_gone_on_with",
                "an_old_database_that_the_owner_has_confirmed_gives_no_signature_before_the_peers_proof",
            ],
            Some(
                "Journal and database put back together, and a peer that shows no later secret: \
                 nothing here can know.",
            ),
        ),
    ),
    (
        "ECDH used to impersonate or to decrypt onions",
        By(
            &[
                "ecdh_of_a_handshake_does_not_open_an_onion",
                "ecdh_of_onions_is_for_channels_that_are_open_and_in_small_batches",
            ],
            Some(
                "An open channel's socket multiplies any point with the node key, the points of \
                 handshakes too: a compromised channeld that finds an ally with a network can speak \
                 as our node in new connections and open onions that it sees, as long as it lives. \
                 It cannot sign.",
            ),
        ),
    ),
    (
        "a blind BOLT 12 signature",
        NotYet("hsmd signs nothing of BOLT 12: there is no message for it."),
    ),
    (
        "one signature domain passed off as another",
        By(&["one_domains_signature_is_none_in_another"], None),
    ),
    (
        "channels closed and fees faked by gossip",
        By(
            &["gossip_does_not_fake_another_chain_the_peers_direction_or_a_fee_that_is_none"],
            Some("A channel can be said to be disabled, or to ask any fee within the bounds."),
        ),
    ),
    (
        "a rune minted and backup keys taken",
        By(
            &["a_made_up_backup_gives_nothing_away"],
            Some(
                "hsmd has no key of runes: there is no message for them. The key of backups is one that users \
                 may have by name, as in Core Lightning; what is in one, lightningd knows anyway.",
            ),
        ),
    ),
    (
        "closes hidden and the tip frozen",
        By(
            &[
                "an_htlc_is_not_said_to_have_ended_on_chain_without_a_proof",
                "blocks_are_not_replaced_by_fewer_to_hide_or_fake_a_close",
            ],
            Some(
                "The first header is taken on lightningd's word; on mainnet it must have the work of \
                 2022. A close that is not told is not known: hsmd then waits for the peer for good. A \
                 frozen tip stops outgoing HTLCs on mainnet alone, once headers were told since the start.",
            ),
        ),
    ),
    ("sibling processes' fds and memory", In("tests/sandbox")),
    (
        "a penalty or sweep to a foreign script",
        By(
            &[
                "a_penalty_or_a_sweep_pays_no_foreign_script",
                "a_parent_that_is_made_up_gets_nothing_that_spends",
            ],
            Some("Withholding: a claim that is not asked for, or not broadcast, comes too late."),
        ),
    ),
    (
        "a splice or v2 open with a bad split",
        By(
            &["a_bad_split_does_not_give_the_balance_to_ones_own_peer_at_the_opening"],
            Some("hsmd signs no splice and no dual funding yet: there is no message for them."),
        ),
    ),
    (
        "another role's or another channel's socket",
        By(
            &[
                "a_socket_of_one_role_is_not_good_for_another",
                "a_socket_of_one_role_is_not_good_for_what_the_owner_may_ask",
                "a_socket_of_one_channel_is_not_good_for_another",
            ],
            None,
        ),
    ),
    (
        "a channel funded that only the peer can close",
        By(&["a_channel_is_not_funded_before_it_can_be_closed"], None),
    ),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// docs/attacks.md.
fn page() -> String {
    let mut page = "\
# Attacks

Each known theft by a compromised node from an honest signer, and the test that tries it on the real hsmd over
its real sockets: `cargo xtask test -- -p hsmd --test attacks`. The tests are in `daemons/hsmd/tests/attacks`;
each checks that the refusal names its rule, that it stands in the audit log, and that hsmd still serves the
channels that nobody attacked. Written by `ATTACKS_PAGE=write cargo test -p hsmd --test attacks page`, from
`daemons/hsmd/tests/attacks/thefts.rs`. What a compromised process gains is in [threat-model.md](threat-model.md).

| theft | shown by | what is left |
|---|---|---|
"
    .to_owned();
    for (theft, shown) in THEFTS {
        let (by, left) = match shown {
            By(tests, left) => {
                let names = tests.iter().map(|test| format!("`{test}`"));
                (names.collect::<Vec<_>>().join(", "), left.unwrap_or("-"))
            }
            In(place) => (format!("the tests in `{place}`"), "-"),
            NotYet(why) => ("-".to_owned(), *why),
        };
        writeln!(page, "| {theft} | {by} | {left} |").unwrap();
    }
    page
}

#[test]
fn the_list_of_thefts_has_every_test_and_no_other() {
    let folder = root().join("daemons/hsmd/tests/attacks");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("thefts.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let tests = text.split("#[test]\nfn ").skip(1);
        found.extend(tests.map(|test| test.split_once('(').unwrap().0.to_owned()));
    }
    let mut listed = BTreeSet::new();
    for (theft, shown) in THEFTS {
        match shown {
            By(tests, _) => {
                assert!(!tests.is_empty(), "{theft}: shown by nothing");
                listed.extend(tests.iter().map(|test| (*test).to_owned()));
            }
            In(place) => assert!(root().join(place).exists(), "{theft}: no {place}"),
            NotYet(why) => assert!(!why.is_empty(), "{theft}: no reason"),
        }
    }
    assert_eq!(found, listed);
}

#[test]
fn the_page_is_the_list_of_thefts() {
    let path = root().join("docs/attacks.md");
    if std::env::var_os("ATTACKS_PAGE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        page(),
        "see the page's first lines for how to write it anew"
    );
}
