//! Income in words of the owner's own (`bkpr-report`): a text with tags in braces, once for each gain or
//! loss. The tags and their grammar are Core Lightning's: `{tag}`, `{tag?if there}`, `{tag:if not}`,
//! `{tag?if there:if not}`, any of which may hold tags again, and `{{` for a brace.

use chrono::{Local, TimeZone};
use time::macros::format_description;
use wire::MilliSatoshi;

use super::csv::{btc, date, plain};
use super::income::Line;

/// How deep tags stand in tags, at most.
const MAX_DEPTH: usize = 32;

/// Why a format cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("Unterminated tag")]
    Unterminated,
    #[error("Unknown tag {0}")]
    Unknown(String),
    #[error("tags stand more than {MAX_DEPTH} deep in tags")]
    TooDeep,
}

/// A format that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field {
        field: Field,
        there: Option<Format>,
        missing: Option<Format>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Account,
    Tag,
    Description,
    Credit,
    Debit,
    Fees,
    Localtime,
    Utctime,
    Outpoint,
    Txid,
    PaymentId,
    CreditDebit,
    /// Of these there is nothing here: no plugin tells what a bitcoin is worth elsewhere.
    Currency,
    CurrencyCreditDebit,
}

/// What a field says.
enum Said {
    Text(String),
    /// An amount of nothing: `0`, but not there where a format asks.
    Zero,
    Nothing,
}

impl Field {
    fn named(name: &str) -> Result<Field, FormatError> {
        Ok(match name {
            "account" => Field::Account,
            "tag" => Field::Tag,
            "description" => Field::Description,
            "credit" => Field::Credit,
            "debit" => Field::Debit,
            "fees" => Field::Fees,
            "localtime" => Field::Localtime,
            "utctime" => Field::Utctime,
            "outpoint" => Field::Outpoint,
            "txid" => Field::Txid,
            "payment_id" => Field::PaymentId,
            "creditdebit" => Field::CreditDebit,
            "bkpr-currency" | "currencyrate" | "currencycredit" | "currencydebit" => {
                Field::Currency
            }
            "currencycreditdebit" => Field::CurrencyCreditDebit,
            other => return Err(FormatError::Unknown(other.to_owned())),
        })
    }

    fn of(self, line: &Line) -> Said {
        let income = &line.income;
        let text = |text: Option<String>| text.map_or(Said::Nothing, Said::Text);
        match self {
            Field::Account => Said::Text(line.account.clone()),
            Field::Tag => Said::Text(income.tag.to_owned()),
            Field::Description => text(line.description.clone()),
            Field::Credit => amount("", income.credit),
            Field::Debit => amount("", income.debit),
            Field::Fees => amount("", income.fees),
            Field::Localtime => Said::Text(local(income.at)),
            Field::Utctime => {
                let at = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
                Said::Text(date(income.at, at))
            }
            Field::Outpoint => text(income.outpoint.map(|outpoint| outpoint.to_string())),
            Field::Txid => text(income.txid.map(|txid| txid.to_string())),
            Field::PaymentId => text(income.payment_hash.map(|hash| hash.to_string())),
            Field::CreditDebit if income.credit > MilliSatoshi::ZERO => amount("+", income.credit),
            Field::CreditDebit => amount("-", income.debit),
            Field::Currency => Said::Nothing,
            Field::CurrencyCreditDebit if is_nothing(line) => Said::Text("0".to_owned()),
            Field::CurrencyCreditDebit => Said::Nothing,
        }
    }
}

fn is_nothing(line: &Line) -> bool {
    (line.income.credit, line.income.debit) == (MilliSatoshi::ZERO, MilliSatoshi::ZERO)
}

fn amount(sign: &str, amount: MilliSatoshi) -> Said {
    match amount > MilliSatoshi::ZERO {
        true => Said::Text(format!("{sign}{}", btc(amount))),
        false => Said::Zero,
    }
}

/// Where the node runs.
fn local(at: u64) -> String {
    let seconds = i64::try_from(at).ok();
    let at = seconds.and_then(|at| Local.timestamp_opt(at, 0).single());
    at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// What is done to the fields' values; the format's own text stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    None,
    /// RFC 4180.
    Csv,
}

impl Escape {
    fn of(self, field: Field, text: String) -> String {
        match self {
            Escape::None => text,
            Escape::Csv => {
                let text = match field {
                    Field::Description => plain(&text),
                    _ => text,
                };
                match text.contains([',', '"', '\n', '\r']) {
                    true => format!("\"{}\"", text.replace('"', "\"\"")),
                    false => text,
                }
            }
        }
    }
}

impl Format {
    /// # Errors
    /// See [`FormatError`].
    pub fn read(text: &str) -> Result<Format, FormatError> {
        let mut rest = text;
        let format = Format::until(&mut rest, &[], 0)?;
        Ok(format)
    }

    /// Takes from `rest` what stands before one of `ends`, which it leaves; all of it where there are none.
    fn until(rest: &mut &str, ends: &[char], depth: usize) -> Result<Format, FormatError> {
        if depth > MAX_DEPTH {
            return Err(FormatError::TooDeep);
        }
        let (mut pieces, mut text) = (Vec::new(), String::new());
        loop {
            let Some(next) = rest.chars().next() else {
                match ends {
                    [] => break,
                    _ => return Err(FormatError::Unterminated),
                }
            };
            if ends.contains(&next) {
                break;
            }
            if let Some(after) = rest.strip_prefix("{{") {
                text.push('{');
                *rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                *rest = after;
                pieces.push(Format::field(rest, depth)?);
            } else {
                text.push(next);
                *rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Format(pieces))
    }

    /// Takes a tag with its closing brace.
    fn field(rest: &mut &str, depth: usize) -> Result<Piece, FormatError> {
        let end = rest
            .find(['?', ':', '}'])
            .ok_or(FormatError::Unterminated)?;
        let (name, after) = rest.split_at(end);
        let field = Field::named(name)?;
        *rest = after;
        let mut part = |begin: char, ends: &[char]| match rest.strip_prefix(begin) {
            Some(after) => {
                *rest = after;
                Format::until(rest, ends, depth + 1).map(Some)
            }
            None => Ok(None),
        };
        let there = part('?', &[':', '}'])?;
        let missing = part(':', &['}'])?;
        *rest = rest.strip_prefix('}').ok_or(FormatError::Unterminated)?;
        Ok(Piece::Field {
            field,
            there,
            missing,
        })
    }

    /// The text for one gain or loss.
    #[must_use]
    pub fn of(&self, line: &Line, escape: Escape) -> String {
        let mut text = String::new();
        self.write(line, escape, &mut text);
        text
    }

    fn write(&self, line: &Line, escape: Escape, to: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => to.push_str(text),
                Piece::Field {
                    field,
                    there,
                    missing,
                } => match (field.of(line), there, missing) {
                    (Said::Text(_), Some(there), _) => there.write(line, escape, to),
                    (Said::Text(text), None, _) => to.push_str(&escape.of(*field, text)),
                    (Said::Zero, None, None) => to.push('0'),
                    (Said::Zero | Said::Nothing, _, Some(missing)) => {
                        missing.write(line, escape, to);
                    }
                    (Said::Zero | Said::Nothing, _, None) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::csv::tests::{deposit, payment};

    fn shown(format: &str, line: &Line) -> String {
        Format::read(format).unwrap().of(line, Escape::None)
    }

    #[test]
    fn tags_say_what_there_is_and_what_is_not() {
        let (came, paid) = (deposit(), payment());
        let bb = "bb".repeat(32);
        for (format, of_deposit, of_payment) in [
            (
                "{tag} of {account}",
                "deposit of wallet",
                "invoice of c0ffee",
            ),
            ("{credit}/{debit}", "1.23000000000/0", "0/0.00100000001"),
            ("{credit?+{credit}:none}", "+1.23000000000", "none"),
            ("{credit:-}{debit?paid}", "1.23000000000", "-paid"),
            ("{creditdebit}", "+1.23000000000", "-0.00100000001"),
            ("{fees}{fees?!}", "0", "0.00000001234!"),
            ("{utctime}", "2026-01-27 17:46:41", "2026-01-27 17:46:41"),
            ("{outpoint:nowhere}", &format!("{bb}:1"), "nowhere"),
            (
                "{txid:{payment_id?a payment:{outpoint?[{outpoint}]}}}",
                &format!("[{bb}:1]"),
                "a payment",
            ),
            ("{{tag} {{{tag}", "{tag} {deposit", "{tag} {invoice"),
            (
                "{bkpr-currency}{currencyrate}{currencycredit:no rate}",
                "no rate",
                "no rate",
            ),
            ("ü{tag?é:}ü", "üéü", "üéü"),
            ("", "", ""),
        ] {
            assert_eq!(shown(format, &came), of_deposit, "{format}");
            assert_eq!(shown(format, &paid), of_payment, "{format}");
        }
    }

    #[test]
    fn a_format_that_is_none_is_refused_with_the_reason() {
        for unterminated in [
            "{",
            "{tag",
            "{tag?",
            "{tag?a",
            "{tag?a:b",
            "{tag:b",
            "{tag:{tag}",
        ] {
            assert_eq!(
                Format::read(unterminated),
                Err(FormatError::Unterminated),
                "{unterminated}"
            );
        }
        let unknown = FormatError::Unknown("taag".to_owned());
        assert_eq!(Format::read("{tag}{taag}"), Err(unknown));
        let deep = "{tag?".repeat(100_000);
        assert_eq!(Format::read(&deep), Err(FormatError::TooDeep));
    }

    #[test]
    fn csv_quotes_values_and_leaves_the_formats_own_text() {
        let mut paid = payment();
        let csv = |format: &str, line: &Line| Format::read(format).unwrap().of(line, Escape::Csv);
        assert_eq!(
            csv("a,{tag},{description}", &paid),
            "a,invoice,\"tea, \"\"hot\"\"\nnow\""
        );
        paid.description = Some("=1+1".to_owned());
        assert_eq!(
            csv("{description},{creditdebit}", &paid),
            "'=1+1,-0.00100000001"
        );
    }

    #[test]
    fn local_time_is_utc_but_for_the_zone() {
        let text = shown("{localtime}", &payment());
        assert_eq!(text.len(), "2026-01-27 17:46:41".len(), "{text}");
        assert!(text.ends_with(":41"), "{text}");
    }
}
