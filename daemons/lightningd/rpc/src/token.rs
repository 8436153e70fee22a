//! One JSON value of a request as the client wrote it, not yet interpreted.
//!
//! CLN reads parameters from their text: a bare `1.10` given where a string is wanted is the string
//! `1.10`, and `"5"` given where an integer is wanted is 5. So parameters stay text until their type
//! is known.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON text of one complete value, without surrounding white space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token<'a>(&'a str);

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)") // may hold a secret
    }
}

impl<'a> Token<'a> {
    #[must_use]
    pub fn new(raw: &'a RawValue) -> Token<'a> {
        Token(raw.get().trim())
    }

    /// `text` must be one valid JSON value; `None` otherwise.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Token<'a>> {
        serde_json::from_str::<&RawValue>(text).ok().map(Token::new)
    }

    /// As the client wrote it, quotes included.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.0
    }

    fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(0)
    }

    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    #[must_use]
    pub fn is_string(self) -> bool {
        self.first() == b'"'
    }

    #[must_use]
    pub fn is_array(self) -> bool {
        self.first() == b'['
    }

    #[must_use]
    pub fn is_object(self) -> bool {
        self.first() == b'{'
    }

    /// A bare run of digits.
    #[must_use]
    pub fn is_unsigned_number(self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_digit())
    }

    /// `true` or `false` without quotes.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A string's contents, or the text of anything else. `None`: a string that is not valid Unicode.
    #[must_use]
    pub fn text(self) -> Option<String> {
        if self.is_string() {
            serde_json::from_str(self.0).ok()
        } else {
            Some(self.0.to_owned())
        }
    }

    /// The elements of an array; `None` for anything else.
    #[must_use]
    pub fn elements(self) -> Option<Vec<Token<'a>>> {
        self.is_array()
            .then(|| {
                serde_json::from_str::<Elements<'a>>(self.0)
                    .ok()
                    .map(|e| e.0)
            })
            .flatten()
    }

    /// The members of an object in the order written, repeated names included; `None` for anything else.
    #[must_use]
    pub fn members(self) -> Option<Vec<(String, Token<'a>)>> {
        self.is_object()
            .then(|| {
                serde_json::from_str::<Members<'a>>(self.0)
                    .ok()
                    .map(|m| m.0)
            })
            .flatten()
    }

    /// As a value. `None` where it nests deeper than serde_json allows.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        serde_json::from_str(self.0).ok()
    }
}

struct Elements<'a>(Vec<Token<'a>>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                    out.push(Token::new(raw));
                }
                Ok(Elements(out))
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

struct Members<'a>(Vec<(String, Token<'a>)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    out.push((name, Token::new(raw)));
                }
                Ok(Members(out))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_repetitions() {
        let token = Token::parse(r#"{"b": 1, "a": "x", "b": [2]}"#).unwrap();
        let members = token.members().unwrap();
        let seen: Vec<(&str, &str)> = members.iter().map(|(n, t)| (n.as_str(), t.raw())).collect();
        assert_eq!(seen, [("b", "1"), ("a", "\"x\""), ("b", "[2]")]);
    }

    #[test]
    fn text_of_a_number_is_what_was_written() {
        assert_eq!(Token::parse("1.10").unwrap().text().unwrap(), "1.10");
        assert_eq!(Token::parse(r#""a\"b""#).unwrap().text().unwrap(), "a\"b");
        assert!(Token::parse("1 2").is_none());
    }

    #[test]
    fn debug_output_hides_the_text() {
        assert!(!format!("{:?}", Token::parse("\"hunter2\"").unwrap()).contains("hunter2"));
    }
}
