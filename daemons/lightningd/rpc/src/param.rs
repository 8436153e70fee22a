//! What a command accepts: its parameters in positional order, each with a type.

use bitcoin::{OutPoint, Txid};
use serde_json::Value;
use wire::{ChannelId, MilliSatoshi, NodeId, PaymentHash, Satoshi, ShortChannelId};

use crate::amount::{self, AnyOrMsat, SatOrAll};
use crate::feerate::{self, Feerate};
use crate::token::Token;

/// One parameter of a command.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    pub name: &'static str,
    /// Another name that clients may use for it.
    pub alias: Option<&'static str>,
    pub kind: Type,
    pub required: bool,
    /// JSON text that stands for an omitted parameter. None with `required` or where lightningd decides.
    pub default: Option<&'static str>,
    /// Refused unless lightningd runs with `--developer`.
    pub dev_only: bool,
    /// Never logged, not even when it is malformed.
    pub secret: bool,
}

impl Param {
    #[must_use]
    pub const fn required(name: &'static str, kind: Type) -> Param {
        Param {
            name,
            alias: None,
            kind,
            required: true,
            default: None,
            dev_only: false,
            secret: false,
        }
    }

    #[must_use]
    pub const fn optional(name: &'static str, kind: Type) -> Param {
        Param {
            required: false,
            ..Param::required(name, kind)
        }
    }

    #[must_use]
    pub const fn or(name: &'static str, kind: Type, default: &'static str) -> Param {
        Param {
            default: Some(default),
            ..Param::optional(name, kind)
        }
    }

    #[must_use]
    pub const fn also_named(self, alias: &'static str) -> Param {
        Param {
            alias: Some(alias),
            ..self
        }
    }

    #[must_use]
    pub const fn developer(self) -> Param {
        Param {
            dev_only: true,
            ..self
        }
    }

    #[must_use]
    pub const fn secret(self) -> Param {
        Param {
            secret: true,
            ..self
        }
    }

    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }
}

/// How a parameter's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Any token, by its text.
    String,
    /// Unquoted `true` or `false`.
    Bool,
    U16,
    U32,
    U64,
    /// A decimal fraction that is not negative.
    Number,
    Msat,
    MsatOrAny,
    Sat,
    SatOrAll,
    NodeId,
    ShortChannelId,
    ChannelId,
    Outpoint,
    Txid,
    /// An even number of hex digits, or none.
    Hex,
    /// 32 bytes in hex.
    Hash,
    /// A string or a bare unsigned number; read as its text.
    Label,
    Feerate,
    /// One of these words.
    OneOf(&'static [&'static str]),
    Strings,
    U32s,
    Outpoints,
    Feerates,
    /// An array of anything.
    Array,
    /// Anything, uninterpreted.
    Json,
}

/// A parameter that has been read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parsed {
    Text(String),
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    Msat(MilliSatoshi),
    MsatOrAny(AnyOrMsat),
    Sat(Satoshi),
    SatOrAll(SatOrAll),
    NodeId(NodeId),
    ShortChannelId(ShortChannelId),
    ChannelId(ChannelId),
    Outpoint(OutPoint),
    Txid(Txid),
    Bytes(Vec<u8>),
    Hash(PaymentHash),
    Feerate(Feerate),
    Strings(Vec<String>),
    U32s(Vec<u32>),
    Outpoints(Vec<OutPoint>),
    Feerates(Vec<Feerate>),
    Json(Value),
}

impl Type {
    /// What a malformed one is told: "<param>: <this>: invalid token".
    #[must_use]
    pub fn complaint(self) -> String {
        let fixed = match self {
            Type::String => "should be valid Unicode",
            Type::Bool => "should be 'true' or 'false'",
            Type::U16 => "should be an unsigned 16 bit integer",
            Type::U32 => "should be an unsigned 32 bit integer",
            Type::U64 => "should be an unsigned 64 bit integer",
            Type::Number => "should be a non-negative number",
            Type::Msat => "should be a millisatoshi amount",
            Type::MsatOrAny => "should be a millisatoshi amount or 'any'",
            Type::Sat => "should be a satoshi amount",
            Type::SatOrAll => "should be a satoshi amount or 'all'",
            Type::NodeId => "should be a node id",
            Type::ShortChannelId => "should be a short_channel_id of form NxNxN",
            Type::ChannelId => "should be a channel id",
            Type::Outpoint => "should be a txid:outnum",
            Type::Txid => "should be a txid",
            Type::Hex => "should be a hex value",
            Type::Hash => "should be a 32 byte hex value",
            Type::Label => "should be a string or number",
            Type::Feerate => {
                "should be a number with optional perkw, perkb or blocks, or a word such as 'normal'"
            }
            Type::OneOf(words) => return one_of(words),
            Type::Strings => "should be an array of strings",
            Type::U32s => "should be an array of unsigned 32 bit integers",
            Type::Outpoints => "should be an array of txid:outnum",
            Type::Feerates => "should be an array of feerates",
            Type::Array => "should be an array",
            Type::Json => "should be valid JSON",
        };
        fixed.to_owned()
    }

    /// For a page that people read.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Type::String => "text".to_owned(),
            Type::Json => "any JSON".to_owned(),
            Type::Feerate => "feerate: 2000perkw, 8000perkb, 6blocks, normal, ..".to_owned(),
            Type::Bool
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::Number
            | Type::Msat
            | Type::MsatOrAny
            | Type::Sat
            | Type::SatOrAll
            | Type::NodeId
            | Type::ShortChannelId
            | Type::ChannelId
            | Type::Outpoint
            | Type::Txid
            | Type::Hex
            | Type::Hash
            | Type::Label
            | Type::OneOf(_)
            | Type::Strings
            | Type::U32s
            | Type::Outpoints
            | Type::Feerates
            | Type::Array => {
                let complaint = self.complaint();
                let text = complaint.trim_start_matches("should be ");
                text.strip_prefix("an ")
                    .or(text.strip_prefix("a "))
                    .unwrap_or(text)
                    .to_owned()
            }
        }
    }

    /// `None`: the token is not of this type.
    pub(crate) fn parse(self, token: Token<'_>) -> Option<Parsed> {
        Some(match self {
            Type::Bool => Parsed::Bool(token.as_bool()?),
            Type::Label if !token.is_string() && !token.is_unsigned_number() => return None,
            Type::Strings => Parsed::Strings(each(token, |t| t.is_string().then(|| t.text())?)?),
            Type::U32s => Parsed::U32s(each(token, |t| unsigned(&t.text()?)?.try_into().ok())?),
            Type::Outpoints => Parsed::Outpoints(each(token, |t| outpoint(&t.text()?))?),
            Type::Feerates => Parsed::Feerates(each(token, |t| feerate::parse(&t.text()?))?),
            Type::Array if !token.is_array() => return None,
            Type::Array | Type::Json => Parsed::Json(token.value()?),
            Type::String
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::Number
            | Type::Msat
            | Type::MsatOrAny
            | Type::Sat
            | Type::SatOrAll
            | Type::NodeId
            | Type::ShortChannelId
            | Type::ChannelId
            | Type::Outpoint
            | Type::Txid
            | Type::Hex
            | Type::Hash
            | Type::Label
            | Type::Feerate
            | Type::OneOf(_) => return self.parse_text(token.text()?),
        })
    }

    fn parse_text(self, text: String) -> Option<Parsed> {
        Some(match self {
            Type::String | Type::Label => Parsed::Text(text),
            Type::OneOf(words) => Parsed::Text(words.contains(&text.as_str()).then_some(text)?),
            Type::U16 => Parsed::Unsigned(at_most(&text, u64::from(u16::MAX))?),
            Type::U32 => Parsed::Unsigned(at_most(&text, u64::from(u32::MAX))?),
            Type::U64 => Parsed::Unsigned(unsigned(&text)?),
            Type::Number => Parsed::Number(number(&text)?),
            Type::Msat => Parsed::Msat(amount::parse_msat(&text)?),
            Type::MsatOrAny => Parsed::MsatOrAny(amount::parse_msat_or_any(&text)?),
            Type::Sat => Parsed::Sat(amount::parse_sat(&text)?),
            Type::SatOrAll => Parsed::SatOrAll(amount::parse_sat_or_all(&text)?),
            Type::NodeId => Parsed::NodeId((text.len() == 66).then(|| text.parse().ok())??),
            Type::ShortChannelId => Parsed::ShortChannelId(text.parse().ok()?),
            Type::ChannelId => Parsed::ChannelId(text.parse().ok()?),
            Type::Outpoint => Parsed::Outpoint(outpoint(&text)?),
            Type::Txid => Parsed::Txid(text.parse().ok()?),
            Type::Hex => Parsed::Bytes(hex::decode(&text).ok()?),
            Type::Hash => Parsed::Hash(text.parse().ok()?),
            Type::Feerate => Parsed::Feerate(feerate::parse(&text)?),
            Type::Bool
            | Type::Strings
            | Type::U32s
            | Type::Outpoints
            | Type::Feerates
            | Type::Array
            | Type::Json => return None,
        })
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    match quoted.as_slice() {
        [init @ .., last] if !init.is_empty() => format!("should be {} or {last}", init.join(", ")),
        _ => format!("should be {}", quoted.concat()),
    }
}

fn each<T>(token: Token<'_>, read: impl Fn(Token<'_>) -> Option<T>) -> Option<Vec<T>> {
    token.elements()?.into_iter().map(read).collect()
}

/// Digits only: no sign, no space, no exponent.
fn unsigned(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn at_most(text: &str, max: u64) -> Option<u64> {
    unsigned(text).filter(|n| *n <= max)
}

fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain && text.starts_with(|c: char| c.is_ascii_digit())).then(|| text.parse().ok())?
}

fn outpoint(text: &str) -> Option<OutPoint> {
    let (txid, vout) = text.split_once(':')?;
    Some(OutPoint {
        txid: txid.parse().ok()?,
        vout: at_most(vout, u64::from(u32::MAX))? as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Type, text: &str) -> Option<Parsed> {
        kind.parse(Token::parse(text).unwrap())
    }

    #[test]
    fn integers_may_be_quoted_but_not_signed_or_fractional() {
        assert_eq!(read(Type::U16, "65535"), Some(Parsed::Unsigned(65535)));
        assert_eq!(read(Type::U16, "\"7\""), Some(Parsed::Unsigned(7)));
        for wrong in [
            "65536", "-1", "1.0", "1e2", "\"\"", "true", "[1]", "\"+1\"", "null",
        ] {
            assert_eq!(read(Type::U16, wrong), None, "{wrong}");
        }
        assert_eq!(
            read(Type::U64, "18446744073709551615"),
            Some(Parsed::Unsigned(u64::MAX))
        );
        assert_eq!(read(Type::U64, "18446744073709551616"), None);
    }

    #[test]
    fn a_quoted_bool_is_refused() {
        assert_eq!(read(Type::Bool, "true"), Some(Parsed::Bool(true)));
        assert_eq!(read(Type::Bool, "\"true\""), None);
        assert_eq!(read(Type::Bool, "1"), None);
    }

    #[test]
    fn a_label_is_a_string_or_a_bare_number() {
        assert_eq!(read(Type::Label, "12"), Some(Parsed::Text("12".into())));
        assert_eq!(
            read(Type::Label, "\"a b\""),
            Some(Parsed::Text("a b".into()))
        );
        for wrong in ["-1", "1.5", "true", "{}", "[]"] {
            assert_eq!(read(Type::Label, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_string_takes_any_token_by_its_text() {
        assert_eq!(
            read(Type::String, "1.10"),
            Some(Parsed::Text("1.10".into()))
        );
        assert_eq!(
            read(Type::String, "[1, 2]"),
            Some(Parsed::Text("[1, 2]".into()))
        );
    }

    #[test]
    fn identifiers_are_read_in_the_form_they_are_shown() {
        let id = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert!(
            matches!(read(Type::NodeId, &format!("\"{id}\"")), Some(Parsed::NodeId(n)) if n.to_string() == id)
        );
        let uncompressed = format!(
            "\"04{}\"",
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        );
        assert_eq!(read(Type::NodeId, &uncompressed), None);
        assert!(
            matches!(read(Type::ShortChannelId, "\"103x1x0\""), Some(Parsed::ShortChannelId(s)) if s.to_string() == "103x1x0")
        );
        let outpoint = format!("\"{}:1\"", "ab".repeat(32));
        assert!(
            matches!(read(Type::Outpoint, &outpoint), Some(Parsed::Outpoint(o)) if o.vout == 1)
        );
        assert_eq!(
            read(Type::Outpoint, &format!("\"{}\"", "ab".repeat(32))),
            None
        );
        assert_eq!(read(Type::Hex, "\"abc\""), None);
    }

    #[test]
    fn the_words_of_a_choice_are_named_in_its_complaint() {
        assert_eq!(
            Type::OneOf(&["a", "b", "c"]).complaint(),
            "should be 'a', 'b' or 'c'"
        );
        assert_eq!(Type::OneOf(&["a"]).complaint(), "should be 'a'");
    }
}
