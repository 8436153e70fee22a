//! One value of one option, read and checked.

use serde_json::{Value as Json, json};
use wire::MilliSatoshi;

use crate::error::{OptionError, Place, Source};
use crate::log::LevelArgument;
use crate::network::Network;
use crate::options::Sandbox;
use crate::table::{Kind, Row};

/// Outputs below this are not relayed (BOLT 3, Dust Limits, P2PKH).
const DUST_SAT: u64 = 546;
const MAX_ALIAS_BYTES: usize = 32;

/// A name and perhaps a value, before anybody looked the name up. No Debug: it may be a password.
#[derive(Clone)]
pub(crate) struct Raw {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

impl Raw {
    /// For messages. A concealed value is not repeated.
    pub(crate) fn place(&self) -> Place {
        let conceal = Row::find(&self.name).is_some_and(|r| r.conceal);
        let text = match &self.value {
            Some(_) if conceal => format!("{}=...", self.name),
            Some(value) => format!("{}={value}", self.name),
            None => self.name.clone(),
        };
        Place {
            source: self.source.clone(),
            text,
        }
    }
}

/// A value by its kind.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Flag,
    Bool(bool),
    Text(String),
    Unsigned(u64),
    Signed(i32),
    Msat(MilliSatoshi),
    Network(Network),
    Mode(u32),
    Color([u8; 3]),
}

impl Value {
    /// As `listconfigs` shows it.
    pub(crate) fn json(&self) -> Json {
        match self {
            Value::Flag => json!(true),
            Value::Bool(b) => json!(b),
            Value::Text(text) => json!(text),
            Value::Unsigned(n) => json!(n),
            Value::Signed(n) => json!(n),
            Value::Msat(amount) => json!(amount.0),
            Value::Network(network) => json!(network.name()),
            Value::Mode(mode) => json!(format!("{mode:04o}")),
            Value::Color(color) => json!(hex::encode(color)),
        }
    }
}

/// One option that somebody set.
#[derive(Clone)]
pub(crate) struct Setting {
    pub row: &'static Row,
    pub value: Value,
    pub raw: Raw,
}

impl Setting {
    pub(crate) fn new(row: &'static Row, mut raw: Raw) -> Result<Setting, OptionError> {
        if !row.keeps_space {
            raw.value = raw.value.map(|v| v.trim_end().to_owned());
        }
        let value = match (&raw.value, row.takes_value()) {
            (None, false) => Ok(Value::Flag),
            (None, true) => Err("requires an argument".to_owned()),
            (Some(_), false) => Err("doesn't allow an argument".to_owned()),
            (Some(text), true) => read(row.kind, text),
        };
        match value {
            Ok(value) => Ok(Setting { row, value, raw }),
            Err(why) => Err(OptionError::Value {
                at: raw.place(),
                why,
            }),
        }
    }

    pub(crate) fn refuse(&self, why: impl Into<String>) -> OptionError {
        OptionError::Value {
            at: self.raw.place(),
            why: why.into(),
        }
    }

    /// The network that a flag or `network` chooses.
    pub(crate) fn network(&self) -> Option<Network> {
        match (&self.value, self.row.name) {
            (Value::Network(network), _) => Some(*network),
            (Value::Flag, "mainnet") => Some(Network::Bitcoin),
            (Value::Flag, name) => name.parse().ok(),
            _ => None,
        }
    }
}

/// The value, or what is wrong with it.
pub(crate) fn read(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Flag => Ok(Value::Flag),
        Kind::Bool => boolean(text)
            .map(Value::Bool)
            .ok_or_else(|| format!("'{text}' is not true or false")),
        Kind::Text | Kind::Address => Ok(Value::Text(text.to_owned())),
        Kind::Path if text.is_empty() => Err("requires a path".to_owned()),
        Kind::Path => Ok(Value::Text(text.to_owned())),
        Kind::Unsigned { min, max } => match c_number(text)? {
            n if n < i128::from(min) || n > i128::from(max) => {
                Err(format!("'{text}' is out of range (from {min} to {max})"))
            }
            n => Ok(Value::Unsigned(
                u64::try_from(n).map_err(|e| e.to_string())?,
            )),
        },
        Kind::Signed => i32::try_from(c_number(text)?)
            .map(Value::Signed)
            .map_err(|_| format!("'{text}' is out of range")),
        Kind::Msat => msat(text).map(Value::Msat),
        Kind::MsatWhole => match msat(text)? {
            amount if amount.0 % 1000 != 0 => {
                Err(format!("'{text}' is not a whole number of sats"))
            }
            amount if amount.0 / 1000 < DUST_SAT => {
                Err(format!("'{text}' is below the dust limit of {DUST_SAT}sat"))
            }
            amount => Ok(Value::Msat(amount)),
        },
        Kind::Network => text
            .parse()
            .map(Value::Network)
            .map_err(|e: crate::network::UnknownNetwork| e.to_string()),
        Kind::Mode => mode(text)
            .map(Value::Mode)
            .ok_or_else(|| format!("'{text}' is not a file mode such as 0600")),
        Kind::Level => LevelArgument::parse(text).map(|_| Value::Text(text.to_owned())),
        Kind::Sandbox => Sandbox::from_name(text)
            .map(|_| Value::Text(text.to_owned()))
            .ok_or_else(|| format!("'{text}' is not required or best-effort")),
        Kind::Alias if text.len() > MAX_ALIAS_BYTES => {
            Err(format!("the alias is longer than {MAX_ALIAS_BYTES} bytes"))
        }
        Kind::Alias => Ok(Value::Text(text.to_owned())),
        Kind::Color => color(text)
            .map(Value::Color)
            .ok_or_else(|| format!("'{text}' is not six hex digits")),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// As C reads numbers, CLN being written in it: `0x` for hex, a leading 0 for octal.
fn c_number(text: &str) -> Result<i128, String> {
    let wrong = || format!("'{text}' is not a number");
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |d| (true, d));
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        d if d.starts_with("0x") => (16, d.trim_start_matches("0x")),
        d if d.len() > 1 && d.starts_with('0') => (8, &d[1..]),
        d => (10, d),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) || digits.len() > 24 {
        return Err(wrong());
    }
    let n = i128::from_str_radix(digits, radix).map_err(|_| wrong())?;
    Ok(if negative { -n } else { n })
}

fn msat(text: &str) -> Result<MilliSatoshi, String> {
    lightningd_rpc::amount::parse_msat(text)
        .ok_or_else(|| format!("'{text}' is not an amount such as 5000, 5000msat, 5sat or 0.1btc"))
}

fn mode(text: &str) -> Option<u32> {
    (text.len() == 4 && text.starts_with('0')).then(|| u32::from_str_radix(text, 8).ok())?
}

fn color(text: &str) -> Option<[u8; 3]> {
    let mut color = [0; 3];
    hex::decode_to_slice(text, &mut color).ok().map(|()| color)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<i128> {
        c_number(text).ok()
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        assert_eq!(
            [
                number("10"),
                number("0x10"),
                number("010"),
                number("0"),
                number("-3")
            ],
            [Some(10), Some(16), Some(8), Some(0), Some(-3)]
        );
        for wrong in [
            "", "0x", "08", "1.5", "1e3", "ten", "-", "--1", "+1", "1 ", "0x-1",
        ] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let kind = Kind::Unsigned { min: 1, max: 483 };
        assert!(read(kind, "483").is_ok());
        for wrong in ["0", "484", "-1", "99999999999999999999"] {
            assert!(read(kind, wrong).is_err(), "{wrong}");
        }
        assert!(
            read(
                Kind::Unsigned {
                    min: 0,
                    max: u64::MAX
                },
                "18446744073709551615"
            )
            .is_ok()
        );
        assert!(
            read(
                Kind::Unsigned {
                    min: 0,
                    max: u64::MAX
                },
                "18446744073709551616"
            )
            .is_err()
        );
        assert!(read(Kind::Signed, "-2147483648").is_ok());
        assert!(read(Kind::Signed, "2147483648").is_err());
    }

    #[test]
    fn bools_are_words_in_any_case() {
        for (text, expected) in [
            ("true", Some(true)),
            ("YES", Some(true)),
            ("No", Some(false)),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn modes_colors_and_amounts_have_their_forms() {
        assert_eq!(mode("0640"), Some(0o640));
        assert_eq!(
            [mode("640"), mode("0800"), mode("1600"), mode("06000")],
            [None; 4]
        );
        assert_eq!(color("ff0080"), Some([255, 0, 128]));
        assert_eq!(color("ff00"), None);
        assert!(read(Kind::MsatWhole, "25000sat").is_ok());
        assert!(read(Kind::MsatWhole, "1000001").is_err());
        assert!(read(Kind::MsatWhole, "100sat").is_err());
    }

    #[test]
    fn a_concealed_value_is_not_repeated() {
        let raw = Raw {
            name: "bitcoin-rpcpassword".into(),
            value: Some("sesame".into()),
            source: Source::CommandLine,
        };
        assert_eq!(raw.place().to_string(), "--bitcoin-rpcpassword=...");
    }
}
