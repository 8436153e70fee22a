//! The prefix of an invoice: network and amount (BOLT 11, Human-Readable Part).

use bitcoin::Network;
use lightning_invoice::{Currency, RawHrp, SiPrefix};
use wire::MilliSatoshi;

/// Testnet 4 shares its prefix with testnet 3.
pub(crate) fn of_network(network: Network) -> Currency {
    match network {
        Network::Bitcoin => Currency::Bitcoin,
        Network::Testnet | Network::Testnet4 => Currency::BitcoinTestnet,
        Network::Signet => Currency::Signet,
        Network::Regtest => Currency::Regtest,
    }
}

/// `None` for simnet, which we do not support.
pub(crate) fn to_network(currency: &Currency) -> Option<Network> {
    match currency {
        Currency::Bitcoin => Some(Network::Bitcoin),
        Currency::BitcoinTestnet => Some(Network::Testnet),
        Currency::Signet => Some(Network::Signet),
        Currency::Regtest => Some(Network::Regtest),
        Currency::Simnet => None,
    }
}

/// Picobitcoin in a millisatoshi.
const PICO_PER_MSAT: u64 = 10;
/// Picobitcoin in a bitcoin.
const PICO_PER_BTC: u64 = 1_000_000_000_000;

/// An amount that is 0, too large or not a whole number of msat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadAmount;

pub(crate) fn amount(hrp: &RawHrp) -> Result<Option<MilliSatoshi>, BadAmount> {
    let Some(number) = hrp.raw_amount else {
        return Ok(None);
    };
    let unit = hrp
        .si_prefix
        .map_or(PICO_PER_BTC, |prefix| prefix.multiplier());
    let pico = number.checked_mul(unit).ok_or(BadAmount)?;
    // BOLT 11, amount, reader: with `p` the last digit must be 0.
    if pico == 0 || !pico.is_multiple_of(PICO_PER_MSAT) {
        return Err(BadAmount);
    }
    Ok(Some(MilliSatoshi(pico / PICO_PER_MSAT)))
}

/// BOLT 11, amount, writer: as short as it can be. `None` where the amount is 0 or too large.
pub(crate) fn hrp(currency: Currency, amount: Option<MilliSatoshi>) -> Option<RawHrp> {
    let Some(amount) = amount else {
        return Some(RawHrp {
            currency,
            raw_amount: None,
            si_prefix: None,
        });
    };
    let pico = amount
        .0
        .checked_mul(PICO_PER_MSAT)
        .filter(|pico| *pico > 0)?;
    let prefixes = [
        SiPrefix::Milli,
        SiPrefix::Micro,
        SiPrefix::Nano,
        SiPrefix::Pico,
    ];
    let (number, si_prefix) = if pico.is_multiple_of(PICO_PER_BTC) {
        (pico / PICO_PER_BTC, None)
    } else {
        let prefix = prefixes
            .into_iter()
            .find(|prefix| pico.is_multiple_of(prefix.multiplier()))?;
        (pico / prefix.multiplier(), Some(prefix))
    };
    Some(RawHrp {
        currency,
        raw_amount: Some(number),
        si_prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_with_its_largest_unit() {
        for (msat, text) in [
            (100_000_000_000, "lnbc1"),
            (2_500_000_000, "lnbc25m"),
            (250_000_000, "lnbc2500u"),
            (1_000, "lnbc10n"),
            (967_878_534, "lnbc9678785340p"),
            (1, "lnbc10p"),
        ] {
            let hrp = hrp(Currency::Bitcoin, Some(MilliSatoshi(msat))).unwrap();
            assert_eq!(hrp.to_string(), text);
            assert_eq!(amount(&hrp), Ok(Some(MilliSatoshi(msat))));
        }
    }

    #[test]
    fn an_amount_that_overflows_is_not_no_amount() {
        for text in [
            "lnbc18446744073709551615",
            "lnbc18446744073709551",
            "lnbc0u",
            "lnbc0",
        ] {
            assert_eq!(amount(&text.parse().unwrap()), Err(BadAmount), "{text}");
        }
    }

    #[test]
    fn an_amount_that_cannot_be_written_is_refused() {
        assert_eq!(hrp(Currency::Bitcoin, Some(MilliSatoshi(0))), None);
        assert_eq!(hrp(Currency::Bitcoin, Some(MilliSatoshi(u64::MAX))), None);
    }
}
