//! Amounts as people and clients write them: `10000`, `10000msat`, `10sat`, `0.0000001btc`.
//!
//! Vectors: tests/vectors/cln/amounts.json. Unlike CLN, text after the unit is refused.

use wire::{MilliSatoshi, Satoshi};

/// A payee's amount: a number, or whatever the payer likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyOrMsat {
    Any,
    Msat(MilliSatoshi),
}

/// An amount to spend: a number, or everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SatOrAll {
    All,
    Sat(Satoshi),
}

const MSAT_DIGITS: u32 = 11; // decimals of a bitcoin that make a whole msat
const SAT_DIGITS: u32 = 8;

struct Parts<'a> {
    whole: &'a str,
    decimals: Option<&'a str>,
    unit: &'a str,
}

fn split(text: &str) -> Option<Parts<'_>> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    if whole.is_empty() {
        return None;
    }
    match rest.strip_prefix('.') {
        None => Some(Parts {
            whole,
            decimals: None,
            unit: rest,
        }),
        Some(rest) => {
            let (decimals, unit) = rest.split_at(digits(rest));
            (!decimals.is_empty()).then_some(Parts {
                whole,
                decimals: Some(decimals),
                unit,
            })
        }
    }
}

/// `whole` and at most `scale` decimals, times 10^`scale`.
fn scaled(whole: &str, decimals: Option<&str>, scale: u32) -> Option<u64> {
    let decimals = decimals.unwrap_or("");
    let missing = scale.checked_sub(u32::try_from(decimals.len()).ok()?)?;
    let whole = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(10u64.checked_pow(scale)?)?;
    let part = if decimals.is_empty() {
        0
    } else {
        decimals
            .parse::<u64>()
            .ok()?
            .checked_mul(10u64.checked_pow(missing)?)?
    };
    whole.checked_add(part)
}

/// A bare number is millisatoshi. Decimals only with `btc`, at most 11.
#[must_use]
pub fn parse_msat(text: &str) -> Option<MilliSatoshi> {
    let Parts {
        whole,
        decimals,
        unit,
    } = split(text)?;
    let scale = match (unit, decimals) {
        ("" | "msat", None) => 0,
        ("sat", None) => 3,
        ("btc", _) => MSAT_DIGITS,
        _ => return None,
    };
    scaled(whole, decimals, scale).map(MilliSatoshi)
}

/// A bare number is satoshi. `msat` only where it is a whole number of satoshi; at most 8 decimals of `btc`.
#[must_use]
pub fn parse_sat(text: &str) -> Option<Satoshi> {
    let Parts {
        whole,
        decimals,
        unit,
    } = split(text)?;
    match (unit, decimals) {
        ("" | "sat", None) => scaled(whole, None, 0),
        ("msat", None) => scaled(whole, None, 0)
            .filter(|m| m % 1000 == 0)
            .map(|m| m / 1000),
        ("btc", _) => scaled(whole, decimals, SAT_DIGITS),
        _ => None,
    }
    .map(Satoshi)
}

/// `any` or an amount in millisatoshi.
#[must_use]
pub fn parse_msat_or_any(text: &str) -> Option<AnyOrMsat> {
    if text == "any" {
        Some(AnyOrMsat::Any)
    } else {
        parse_msat(text).map(AnyOrMsat::Msat)
    }
}

/// `all` or an amount in satoshi.
#[must_use]
pub fn parse_sat_or_all(text: &str) -> Option<SatOrAll> {
    if text == "all" {
        Some(SatOrAll::All)
    } else {
        parse_sat(text).map(SatOrAll::Sat)
    }
}

/// For people: `10.111sat`, no needless zeros.
#[must_use]
pub fn msat_as_sat(amount: MilliSatoshi) -> String {
    let (sat, msat) = (amount.0 / 1000, amount.0 % 1000);
    if msat == 0 {
        return format!("{sat}sat");
    }
    let decimals = format!("{msat:03}");
    format!("{sat}.{}sat", decimals.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_after_the_unit_is_refused() {
        for text in [
            "1satx", "1btc ", "1msat1", " 1", "1 sat", "+1", "1e3", "", ".5btc", "1.btc",
        ] {
            assert_eq!(
                (parse_msat(text), parse_sat(text)),
                (None, None),
                "{text:?}"
            );
        }
    }

    #[test]
    fn all_and_any_are_words_of_their_own_types() {
        assert_eq!(parse_msat_or_any("any"), Some(AnyOrMsat::Any));
        assert_eq!(parse_msat_or_any("all"), None);
        assert_eq!(parse_sat_or_all("all"), Some(SatOrAll::All));
        assert_eq!(
            parse_sat_or_all("1000msat"),
            Some(SatOrAll::Sat(Satoshi(1)))
        );
    }

    proptest! {
        #[test]
        fn every_amount_reads_back_in_every_unit(amount: u64) {
            prop_assert_eq!(parse_msat(&amount.to_string()), Some(MilliSatoshi(amount)));
            let (btc, rest) = (amount / 100_000_000_000, amount % 100_000_000_000);
            prop_assert_eq!(parse_msat(&format!("{btc}.{rest:011}btc")), Some(MilliSatoshi(amount)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = (parse_msat(&text), parse_sat(&text));
        }
    }
}
