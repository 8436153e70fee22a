//! What `cargo xtask docs` writes for the auditor, from the tables that the signer itself obeys:
//! `boundary` prints docs/hsm-boundary.md, `rules` a line for each rule of docs/policy-rules.md.

use hsm::Rule;
use hsm::msgs::{MSGS, Msg, Role, When};
use hsm::rules::RULES;

const BEFORE: &str = "\
# The hsm boundary on one page

Written by `cargo xtask docs` from `hsm/src/msgs.rs`, the table that hsmd's dispatcher obeys. Do not edit.

## What hsmd holds

- The seed (`hsm_secret`), and every key that comes from it: the node key, the wallet, each channel's
  funding key, basepoints and revocation seed. No other process has any of them.
- For each channel its own ledger: what was agreed, what was signed, what was revoked. It believes
  nothing that it is told about balances, numbers or earlier signatures.
- The journal (`hsm-journal`), which it writes before it answers, and its audit log (`hsm-audit`).
- No network, no other file, no other process's descriptors, no clock but the system's.

Who asks is the socket: lightningd hands out one for each role and channel, the newest alone counts, and
no message names a role, nor a channel but those of CTL and GOSSIP. What a role may not do is not in its messages.

A refusal signs nothing and changes nothing. It names its rule; [policy-rules.md](policy-rules.md) has the
rules with the file that keeps each and the tests that show it. No option, feature or environment turns one off.

## Phases of a channel

| phase | what happened |
|---|---|
| Stub | its keys exist |
| Opening | its terms are fixed; not both first commitments are signed |
| Active | both first commitments are signed |
| Closing | a mutual close was signed |
| Onchain | our own commitment was signed |

## Who may ask what

\"Open\" is: once the keys are open. \"Before the reply\" is what the journal holds, on disk, when the reply leaves.
";

/// Rules of the design that nothing keeps in this version, with what they say. One that hsm gets is
/// left out from then on.
const PLANNED: [(&str, &str); 10] = [
    (
        "B4",
        "The journal's head is anchored at peers (peer storage).",
    ),
    (
        "I2",
        "BOLT 12 invoices are parsed and hashed here. This version has no BOLT 12.",
    ),
    (
        "R1",
        "A rune's MAC is computed here alone. This version has no runes in hsmd.",
    ),
    (
        "S3",
        "All pending fundings are signed at the same number. This version has no splicing.",
    ),
    (
        "T1",
        "Headers are checked from a checkpoint. This version's hsmd sees no chain.",
    ),
    (
        "W8",
        "Replacements of a funding share an input of ours. This version has no dual funding.",
    ),
    (
        "X1",
        "A sweep is built here, to our own script. This version has no claims on chain.",
    ),
    (
        "X2",
        "The fee of a claim has an absolute and a relative cap.",
    ),
    ("X3", "A penalty's secret comes from our own store."),
    (
        "X4",
        "The budget of anchors is a share of what is at stake.",
    ),
];

const AFTER: &str = "
## What it leaves behind

`hsm-audit` in the node's folder has a line for each request: number, time, role, channel, message, SHA-256 of
the request's bytes, the decision or the broken rule, SHA-256 of the reply's bytes, and a hash over all of it
and the line before (`hsm/files/src/audit.rs`). No line has a secret in it. A refusal is on disk before its reply
leaves; everything else is written before, and on disk no later than the next refusal, the file's end or a
stop. What cannot be noted is not answered. A file of 16 MiB is put aside as `hsm-audit.1`, and eight of those
are kept: who floods hsmd with requests that are allowed can push older lines out, and an owner who wants to
keep them copies the files away.
## What no signer can stop

- Withholding: a transaction that is not broadcast, a reply that is not passed on, a peer that is not answered.
- Refusing to run: whoever controls lightningd can stop the node.
- Force-closing: our newest commitment may always be asked for.
- What the rules allow: fees within their caps, payments within their budgets.
";

fn main() {
    let text = match std::env::args().nth(1).as_deref() {
        Some("boundary") => boundary(),
        Some("rules") => rules(),
        Some(_) | None => "say `boundary` or `rules`\n".to_owned(),
    };
    print!("{text}");
}

fn boundary() -> String {
    let mut page = BEFORE.to_owned();
    for role in Role::ALL {
        page += &format!("\n### {}\n\n{}.\n\n", role.name(), role.who());
        page += "| message | reply | when | key | rules | before the reply |\n|---|---|---|---|---|---|\n";
        for msg in MSGS.iter().filter(|msg| msg.row().role == role) {
            page += &row(*msg);
        }
    }
    page + AFTER
}

fn row(msg: Msg) -> String {
    let row = msg.row();
    let or_dash = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let when = match row.when {
        When::Always => "always".to_owned(),
        When::BeforeInit => "before the keys are open".to_owned(),
        When::Open => "Open".to_owned(),
        When::Phases(phases) => {
            let names: Vec<String> = phases.iter().map(|phase| format!("{phase:?}")).collect();
            names.join(", ")
        }
    };
    let rules: Vec<String> = row.rules.iter().map(Rule::to_string).collect();
    format!(
        "| {} | {} | {when} | {} | {} | {} |\n",
        row.name,
        or_dash(row.reply),
        or_dash(row.key),
        or_dash(&rules.join(" ")),
        or_dash(row.journal),
    )
}

fn rules() -> String {
    let line = |rule: &Rule| {
        let said = rule.said();
        format!("{rule}\t{}\t{}\n", said.says, said.place)
    };
    let planned = PLANNED
        .iter()
        .filter(|(id, _)| Rule::from_id(id).is_none())
        .map(|(id, says)| format!("{id}\t{says}\n"));
    RULES.iter().map(line).chain(planned).collect()
}
