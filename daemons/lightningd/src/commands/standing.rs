//! Where a channel on chain stands, in words: what has happened, what is waited for, until which block,
//! and about how long that is.

use bitcoin::Network;
use onchain::action::{Fate, OutputKind, OutputStanding, Standing};
use tx::ledger::HtlcKey;
use wire::{BlockHeight, Side};

/// One line for the transaction that spent the funding output, one for each output that somebody has
/// to do something about, and one for the end.
pub fn lines(standing: &Standing, tip: BlockHeight, network: Network) -> Vec<String> {
    let Some((spender, txid, height)) = standing.spender else {
        return Vec::new();
    };
    let depth = tip.depth(height);
    let confirmations = count(depth, "confirmation");
    let mut lines = vec![format!(
        "{spender} {txid} is in block {height}, {confirmations}"
    )];
    let until = |block: BlockHeight| until(block, tip, network);
    let open = standing.outputs.iter().filter_map(|output| {
        let what = fate(output.fate, &until)?;
        Some(format!("{}: {what}", name(output)))
    });
    lines.extend(open);
    if let Some(end) = standing.until {
        let all = "all is buried and the channel forgotten if nothing more happens";
        lines.push(format!("{} {all}", until(end)));
    }
    lines
}

fn name(output: &OutputStanding) -> String {
    let htlc = |key: HtlcKey| match key.offerer {
        Side::Local => format!("HTLC {} that we offered", key.id),
        Side::Remote => format!("HTLC {} that the peer offered", key.id),
    };
    let what = match output.kind {
        OutputKind::ToLocal => "its owner's balance".to_owned(),
        OutputKind::ToRemote => "our balance".to_owned(),
        OutputKind::Anchor => "anchor".to_owned(),
        OutputKind::Htlc(key) => htlc(key),
        OutputKind::HtlcTx(key) => format!("transaction of the {}", htlc(key)),
        OutputKind::Close => "our part".to_owned(),
        OutputKind::Theirs => "the peer's part".to_owned(),
    };
    format!("{} ({what}, {}sat)", output.outpoint, output.value)
}

/// `None` if nobody has to do anything.
fn fate(fate: Fate, until: &impl Fn(BlockHeight) -> String) -> Option<String> {
    Some(match fate {
        Fate::Left | Fate::Spent { .. } => return None,
        Fate::Waits { until: block } => format!("ours {}", until(block)),
        Fate::NeedsPreimage { until: block } => {
            format!(
                "{} the peer takes it back, unless its preimage is learned",
                until(block)
            )
        }
        Fate::Claimed { txid } => format!("taken by {txid}, which is in no block yet"),
        Fate::Uneconomic => "worth less than the fee of taking it".to_owned(),
    })
}

/// `after block 120 (in 10 blocks, about 2 hours)`.
fn until(block: BlockHeight, tip: BlockHeight, network: Network) -> String {
    let left = block.since(tip);
    if left == 0 {
        return format!("since block {block}");
    }
    let blocks = count(left, "block");
    // Blocks of a regtest come when somebody wants them.
    match network {
        Network::Regtest => format!("from block {block} on (in {blocks})"),
        _ => format!(
            "from block {block} on (in {blocks}, about {})",
            duration(left)
        ),
    }
}

fn duration(blocks: u32) -> String {
    let minutes = blocks.saturating_mul(10);
    match minutes {
        0..=119 => count(minutes, "minute"),
        120..=2879 => count(minutes / 60, "hour"),
        _ => count(minutes / 1440, "day"),
    }
}

fn count(n: u32, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{OutPoint, Txid};
    use wire::{HtlcId, Satoshi};

    use super::*;
    use onchain::action::Spender;

    fn output(vout: u32, kind: OutputKind, fate: Fate) -> OutputStanding {
        OutputStanding {
            outpoint: OutPoint {
                txid: Txid::all_zeros(),
                vout,
            },
            value: Satoshi(1000),
            kind,
            fate,
        }
    }

    #[test]
    fn what_is_waited_for_is_said_with_block_and_time() {
        let key = HtlcKey {
            offerer: Side::Remote,
            id: HtlcId(4),
        };
        let until = BlockHeight(244);
        let standing = Standing {
            spender: Some((Spender::Ours, Txid::all_zeros(), BlockHeight(100))),
            outputs: vec![
                output(0, OutputKind::ToLocal, Fate::Waits { until }),
                output(1, OutputKind::Htlc(key), Fate::NeedsPreimage { until }),
                output(2, OutputKind::Anchor, Fate::Left),
            ],
            until: Some(BlockHeight(343)),
        };
        let lines = lines(&standing, BlockHeight(100), Network::Bitcoin);
        let [spent, balance, htlc, end] = &lines[..] else {
            panic!("{lines:#?}")
        };
        assert!(spent.starts_with("our commitment 000") && spent.ends_with("1 confirmation"));
        assert!(balance.contains("ours from block 244 on (in 144 blocks, about 24 hours)"));
        assert!(htlc.contains("HTLC 4 that the peer offered") && htlc.contains("preimage"));
        assert!(end.starts_with("from block 343 on (in 243 blocks, about 40 hours)"));
    }

    #[test]
    fn before_a_block_has_it_there_is_nothing_to_say() {
        let standing = Standing {
            spender: None,
            outputs: Vec::new(),
            until: None,
        };
        assert!(lines(&standing, BlockHeight(1), Network::Regtest).is_empty());
    }

    #[test]
    fn times_are_rounded_for_a_person() {
        let said = [
            (1, "10 minutes"),
            (12, "2 hours"),
            (288, "2 days"),
            (2016, "14 days"),
        ];
        for (blocks, words) in said {
            assert_eq!(duration(blocks), words);
        }
    }
}
