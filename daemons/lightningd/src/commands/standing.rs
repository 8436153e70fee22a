//! Where a channel on chain stands, in words: what has happened, what is waited for, until which block,
//! and about how long that is.

use bitcoin::Network;
use onchain::action::{Fate, Held, OutputKind, OutputStanding, Standing};
use tx::ledger::HtlcKey;
use wire::{BlockHeight, FeeratePerKw, Side};

/// In a few words: how much is left to do, what is waited for, until which block, and how long that is.
pub fn summary(standing: &Standing, tip: BlockHeight, network: Network) -> String {
    if standing.spender.is_none() {
        return "looking at the transaction that closed it".to_owned();
    }
    let fates: Vec<Fate> = standing.outputs.iter().map(|output| output.fate).collect();
    let block = |block| self::block(block, tip, network);
    let outputs = |is: fn(&Fate) -> bool| {
        let n = fates.iter().filter(|fate| is(fate)).count();
        u32::try_from(n).unwrap_or(u32::MAX)
    };
    let to_claim = outputs(|fate| {
        matches!(
            fate,
            Fate::Waits { .. }
                | Fate::NeedsCoins { .. }
                | Fate::NeedsLowerFees
                | Fate::Claimed { .. }
        )
    });
    if to_claim > 0 {
        let awaited = awaited(&fates, block);
        return format!(
            "{} to claim, waiting for {awaited}",
            count(to_claim, "output")
        );
    }
    let expires = fates.iter().filter_map(|fate| match fate {
        Fate::NeedsPreimage { until } => Some(*until),
        Fate::Left
        | Fate::Waits { .. }
        | Fate::NeedsCoins { .. }
        | Fate::NeedsLowerFees
        | Fate::Claimed { .. }
        | Fate::Uneconomic
        | Fate::Spent { .. } => None,
    });
    if let Some(until) = expires.max() {
        let until = block(until);
        return format!("nothing to claim without a preimage, waiting for {until}");
    }
    match standing.until.map(block) {
        None => "all outputs are resolved".to_owned(),
        Some(over) => format!("all outputs are resolved, over at {over}"),
    }
}

/// What comes first of what the outputs that are to be claimed wait for.
fn awaited(fates: &[Fate], block: impl Fn(BlockHeight) -> String) -> String {
    let any = |is: fn(&Fate) -> bool| fates.iter().any(is);
    if any(|fate| matches!(fate, Fate::Claimed { held: None, .. })) {
        return "a block with the claim".to_owned();
    }
    if any(|fate| matches!(fate, Fate::Claimed { held: Some(_), .. })) {
        return "a block with the claim, at lower fees than now".to_owned();
    }
    if any(|fate| matches!(fate, Fate::NeedsCoins { .. })) {
        return "coins in the wallet that pay the fee".to_owned();
    }
    if any(|fate| *fate == Fate::NeedsLowerFees) {
        return "lower fees".to_owned();
    }
    let opens = fates.iter().filter_map(|fate| match fate {
        Fate::Waits { until } => Some(*until),
        Fate::Left
        | Fate::NeedsPreimage { .. }
        | Fate::NeedsCoins { .. }
        | Fate::NeedsLowerFees
        | Fate::Claimed { .. }
        | Fate::Uneconomic
        | Fate::Spent { .. } => None,
    });
    opens.min().map_or_else(String::new, block)
}

/// `block 120 (in 10 blocks, about 2 hours)`.
pub fn block(block: BlockHeight, tip: BlockHeight, network: Network) -> String {
    match block.since(tip) {
        0 => format!("block {block}"),
        left => format!("block {block} (in {})", span(left, network)),
    }
}

/// `10 blocks, about 2 hours`.
pub fn span(blocks: u32, network: Network) -> String {
    let counted = count(blocks, "block");
    match network {
        // Blocks of a regtest come when somebody wants them.
        Network::Regtest => counted,
        _ => format!("{counted}, about {}", duration(blocks)),
    }
}

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
    format!("{} ({what}, {})", output.outpoint, output.value)
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
        Fate::NeedsCoins { deadline } => {
            let before = deadline.map(|block| {
                format!(
                    "; others may take it, or what pays for it, {}",
                    until(block)
                )
            });
            format!(
                "ours, waiting for confirmed coins in the wallet that pay the fee of taking it{}",
                before.unwrap_or_default()
            )
        }
        Fate::Claimed { txid, held } => {
            let held = held.map(|Held { pays, wanted }| {
                let (pays, wanted) = (per_vbyte(pays), per_vbyte(wanted));
                format!(
                    ": it can pay no more than {pays}, blocks want {wanted}, waiting for lower fees"
                )
            });
            let held = held.unwrap_or_default();
            format!("taken by {txid}, which is in no block yet{held}")
        }
        Fate::NeedsLowerFees => {
            "worth less than twice the fee of taking it now: waits for lower fees".to_owned()
        }
        Fate::Uneconomic => "worth less than twice the fee of taking it: it is left".to_owned(),
    })
}

/// `2.5 sat/vB`.
fn per_vbyte(rate: FeeratePerKw) -> String {
    let tenths = u64::from(rate.0).saturating_mul(40) / 1000;
    format!("{}.{} sat/vB", tenths / 10, tenths % 10)
}

/// `from block 120 on (in 10 blocks, about 2 hours)`.
fn until(block: BlockHeight, tip: BlockHeight, network: Network) -> String {
    match block.since(tip) {
        0 => format!("since block {block}"),
        left => format!("from block {block} on (in {})", span(left, network)),
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

    fn claimed(held: Option<Held>) -> Fate {
        Fate::Claimed {
            txid: Txid::all_zeros(),
            held,
        }
    }

    fn standing(fates: &[Fate]) -> Standing {
        let outputs = (0..).zip(fates);
        Standing {
            spender: Some((Spender::Ours, Txid::all_zeros(), BlockHeight(100))),
            rival: None,
            outputs: outputs
                .map(|(vout, fate)| output(vout, OutputKind::ToLocal, *fate))
                .collect(),
            until: Some(BlockHeight(300)),
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
            rival: None,
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
    fn the_summary_says_how_much_is_waited_for_and_how_long() {
        let waits = |block| Fate::Waits {
            until: BlockHeight(block),
        };
        let said = |fates: &[Fate], network| summary(&standing(fates), BlockHeight(100), network);
        assert_eq!(
            said(&[waits(144), waits(118), Fate::Left], Network::Bitcoin),
            "2 outputs to claim, waiting for block 118 (in 18 blocks, about 3 hours)"
        );
        assert_eq!(
            said(&[waits(118)], Network::Regtest),
            "1 output to claim, waiting for block 118 (in 18 blocks)"
        );
        let claimed = said(&[claimed(None), waits(118)], Network::Bitcoin);
        assert!(claimed.starts_with("2 outputs to claim, waiting for a block"));
        let until = BlockHeight(130);
        let needs = said(&[Fate::NeedsPreimage { until }], Network::Bitcoin);
        assert!(
            needs.contains("preimage") && needs.contains("block 130 (in 30 blocks, about 5 hours)")
        );
        let over = said(&[Fate::Left], Network::Regtest);
        assert_eq!(
            over,
            "all outputs are resolved, over at block 300 (in 200 blocks)"
        );
    }

    #[test]
    fn what_fees_and_coins_hold_up_is_said_in_words() {
        let until = BlockHeight(130);
        let held = Some(Held {
            pays: FeeratePerKw(253),
            wanted: FeeratePerKw(12_500),
        });
        let said = |fate: Fate| {
            let standing = standing(&[fate, Fate::Left]);
            let (tip, network) = (BlockHeight(100), Network::Bitcoin);
            let lines = lines(&standing, tip, network);
            let [_, line, _] = &lines[..] else {
                panic!("{lines:#?}")
            };
            (summary(&standing, tip, network), line.clone())
        };
        let (all, one) = said(Fate::NeedsLowerFees);
        assert_eq!(all, "1 output to claim, waiting for lower fees");
        assert!(one.ends_with("waits for lower fees"), "{one}");
        let (all, one) = said(Fate::Uneconomic);
        let over = "block 300 (in 200 blocks, about 33 hours)";
        assert_eq!(all, format!("all outputs are resolved, over at {over}"));
        assert!(one.ends_with("it is left"), "{one}");
        let (all, one) = said(claimed(held));
        assert!(all.ends_with("waiting for a block with the claim, at lower fees than now"));
        let line = "no more than 1.0 sat/vB, blocks want 50.0 sat/vB, waiting for lower fees";
        assert!(one.ends_with(line), "{one}");
        let (all, one) = said(Fate::NeedsCoins {
            deadline: Some(until),
        });
        assert!(all.ends_with("waiting for coins in the wallet that pay the fee"));
        let line = "from block 130 on (in 30 blocks, about 5 hours)";
        assert!(
            one.contains("coins in the wallet") && one.ends_with(line),
            "{one}"
        );
        let (all, one) = said(Fate::NeedsPreimage { until });
        assert!(all.ends_with("waiting for block 130 (in 30 blocks, about 5 hours)"));
        assert!(one.contains(line) && one.contains("unless its preimage is learned"));
    }

    #[test]
    fn before_a_block_has_it_there_is_nothing_to_say() {
        let standing = Standing {
            spender: None,
            rival: None,
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
