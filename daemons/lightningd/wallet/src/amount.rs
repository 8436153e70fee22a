//! Amounts and outpoints as CLN's commands take them.

use std::str::FromStr;

use bitcoin::OutPoint;
use wire::Satoshi;
use wire::units::MAX_SATOSHI;

/// How much to send: a sum, or whatever is left after the fee and the other outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Exactly(Satoshi),
    All,
}

/// Text that is not an amount or an outpoint. Code -32602.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error(
        "'{0}' is not an amount: give satoshi as a number, a number with sat, msat (whole \
         satoshi) or btc, or 'all'"
    )]
    NotAnAmount(String),
    #[error("{0} is more than the 21 million bitcoin that can exist")]
    TooMuch(Satoshi),
    #[error("'{0}' is not an output: give txid:output_index")]
    NotAnOutpoint(String),
}

impl Amount {
    /// Reads `all`, `1000`, `1000sat`, `1000000msat`, `0.00001btc`.
    ///
    /// # Errors
    /// Not a whole number of satoshi, or more than can exist.
    pub fn parse(text: &str) -> Result<Amount, AmountError> {
        if text == "all" {
            return Ok(Amount::All);
        }
        let wrong = || AmountError::NotAnAmount(text.chars().take(60).collect());
        let sat = if let Some(msat) = text.strip_suffix("msat") {
            let msat = digits(msat).ok_or_else(wrong)?;
            if msat % 1000 != 0 {
                return Err(wrong());
            }
            msat / 1000
        } else if let Some(btc) = text.strip_suffix("btc") {
            bitcoins(btc).ok_or_else(wrong)?
        } else {
            digits(text.strip_suffix("sat").unwrap_or(text)).ok_or_else(wrong)?
        };
        if sat > MAX_SATOSHI {
            return Err(AmountError::TooMuch(Satoshi(sat)));
        }
        Ok(Amount::Exactly(Satoshi(sat)))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        Amount::parse(text)
    }
}

/// Reads `txid:vout`.
///
/// # Errors
/// [`AmountError::NotAnOutpoint`].
pub fn parse_outpoint(text: &str) -> Result<OutPoint, AmountError> {
    text.parse()
        .map_err(|_| AmountError::NotAnOutpoint(text.chars().take(80).collect()))
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn bitcoins(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 8 {
        return None;
    }
    let part = digits(part)?.checked_mul(10u64.pow(8 - part.len() as u32))?;
    digits(whole)?.checked_mul(100_000_000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sat(text: &str) -> Option<u64> {
        match Amount::parse(text) {
            Ok(Amount::Exactly(sat)) => Some(sat.0),
            Ok(Amount::All) | Err(_) => None,
        }
    }

    #[test]
    fn each_way_to_write_an_amount_is_read() {
        assert_eq!(Amount::parse("all"), Ok(Amount::All));
        assert_eq!(sat("1000"), Some(1000));
        assert_eq!(sat("1000sat"), Some(1000));
        assert_eq!(sat("1000000msat"), Some(1000));
        assert_eq!(sat("0.00001btc"), Some(1000));
        assert_eq!(sat("1.50btc"), Some(150_000_000));
        assert_eq!(sat("2btc"), Some(200_000_000));
    }

    #[test]
    fn fractions_of_a_satoshi_and_nonsense_are_refused() {
        for text in [
            "",
            "1msat",
            "1.5",
            "1.5sat",
            "btc",
            "1.btc",
            "1.123456789btc",
            "-1",
            "+1",
            "1 sat",
        ] {
            assert!(
                matches!(Amount::parse(text), Err(AmountError::NotAnAmount(_))),
                "{text}"
            );
        }
        assert_eq!(
            Amount::parse("21000001btc"),
            Err(AmountError::TooMuch(Satoshi(2_100_000_100_000_000)))
        );
    }

    #[test]
    fn an_outpoint_needs_a_txid_and_an_index() {
        let txid = "0101010101010101010101010101010101010101010101010101010101010101";
        assert_eq!(parse_outpoint(&format!("{txid}:7")).unwrap().vout, 7);
        assert!(parse_outpoint(txid).is_err());
        assert!(parse_outpoint("ab:1").is_err());
    }
}
