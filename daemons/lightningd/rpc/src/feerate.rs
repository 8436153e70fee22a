//! Feerates as clients write them: `5000perkb`, `1250perkw`, `6blocks`, `urgent`.

use wire::FeeratePerKw;

/// A feerate that a client asked for. The named ones are lightningd's to estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feerate {
    /// Already a number; raised to the floor of 253 per kw where it was below.
    PerKw(FeeratePerKw),
    /// To be mined within so many blocks.
    Blocks(u32),
    /// The lowest that the backend would relay.
    Minimum,
    /// What we pay for that kind of transaction.
    For(Purpose),
}

/// Transactions with an estimate of their own (names as the `feerates` command shows them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Opening,
    MutualClose,
    UnilateralClose,
    UnilateralAnchorClose,
    Penalty,
}

/// `slow`, `normal` and `urgent` stand for these block targets.
pub const SLOW_BLOCKS: u32 = 100;
pub const NORMAL_BLOCKS: u32 = 12;
pub const URGENT_BLOCKS: u32 = 6;

/// A bare number is per kB.
#[must_use]
pub fn parse(text: &str) -> Option<Feerate> {
    Some(match text {
        "slow" => Feerate::Blocks(SLOW_BLOCKS),
        "normal" => Feerate::Blocks(NORMAL_BLOCKS),
        "urgent" => Feerate::Blocks(URGENT_BLOCKS),
        "minimum" => Feerate::Minimum,
        "opening" => Feerate::For(Purpose::Opening),
        "mutual_close" => Feerate::For(Purpose::MutualClose),
        "unilateral_close" => Feerate::For(Purpose::UnilateralClose),
        "unilateral_anchor_close" => Feerate::For(Purpose::UnilateralAnchorClose),
        "penalty" => Feerate::For(Purpose::Penalty),
        _ => return number(text),
    })
}

fn number(text: &str) -> Option<Feerate> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(end);
    let n: u32 = digits.parse().ok()?;
    match unit {
        "" | "perkb" => Some(per_kw(n.div_ceil(4))), // 4 weight units in a byte
        "perkw" => Some(per_kw(n)),
        "blocks" if n > 0 => Some(Feerate::Blocks(n)),
        _ => None,
    }
}

fn per_kw(n: u32) -> Feerate {
    Feerate::PerKw(FeeratePerKw(n).max(FeeratePerKw::FLOOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_per_kilobyte() {
        assert_eq!(parse("4000"), Some(Feerate::PerKw(FeeratePerKw(1000))));
        assert_eq!(parse("4000perkb"), parse("1000perkw"));
        assert_eq!(parse("1000"), Some(Feerate::PerKw(FeeratePerKw::FLOOR)));
    }

    #[test]
    fn words_stand_for_block_targets() {
        assert_eq!(parse("urgent"), parse("6blocks"));
        assert_eq!(parse("normal"), Some(Feerate::Blocks(12)));
        for wrong in [
            "",
            "fast",
            "1.5perkw",
            "-1",
            "10sat",
            "0blocks",
            "99999999999",
            "perkw",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
