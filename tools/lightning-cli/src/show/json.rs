//! A reply as JSON, every value exactly as lightningd wrote it.

use std::io::{self, Write};

use lightningd_rpc::token::Token;
use serde_json::json;

use super::Style;

const INDENT: &str = "   ";
const CYAN: &str = "\x1b[36m";
/// Deeper values are shown on one line.
const MAX_DEPTH: usize = 128;

/// Indented by three spaces, as CLN does.
pub fn pretty(out: &mut impl Write, token: Token<'_>, style: Style) -> io::Result<()> {
    nested(out, token, style, 0)?;
    writeln!(out)
}

fn nested(out: &mut impl Write, token: Token<'_>, style: Style, depth: usize) -> io::Result<()> {
    let elements = token.elements().filter(|_| depth < MAX_DEPTH);
    let members = token.members().filter(|_| depth < MAX_DEPTH);
    let (open, close) = if token.is_array() {
        ('[', ']')
    } else {
        ('{', '}')
    };
    let items: Vec<(Option<String>, Token<'_>)> = match (elements, members) {
        (Some(elements), _) => elements.into_iter().map(|t| (None, t)).collect(),
        (_, Some(members)) => members
            .into_iter()
            .map(|(name, t)| (Some(json!(name).to_string()), t))
            .collect(),
        (None, None) => return write!(out, "{}", token.raw()),
    };
    if items.is_empty() {
        return write!(out, "{open}{close}");
    }
    let mut separator = open.to_string();
    for (name, item) in items {
        write!(out, "{separator}\n{}", INDENT.repeat(depth + 1))?;
        if let Some(name) = name {
            write!(out, "{}: ", style.paint(CYAN, &name))?;
        }
        nested(out, item, style, depth + 1)?;
        separator = ",".to_owned();
    }
    write!(out, "\n{}{close}", INDENT.repeat(depth))
}

/// A line `path=value` for each value.
pub fn flat(out: &mut impl Write, token: Token<'_>) -> io::Result<()> {
    flat_below(out, "", token, 0)
}

fn flat_below(out: &mut impl Write, path: &str, token: Token<'_>, depth: usize) -> io::Result<()> {
    if let Some(elements) = token.elements().filter(|_| depth < MAX_DEPTH) {
        for (i, element) in elements.into_iter().enumerate() {
            flat_below(out, &format!("{path}[{i}]"), element, depth + 1)?;
        }
    } else if let Some(members) = token.members().filter(|_| depth < MAX_DEPTH) {
        for (name, member) in members {
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}.{name}")
            };
            flat_below(out, &path, member, depth + 1)?;
        }
    } else {
        let raw = token.raw();
        let text = if token.is_string() {
            raw.trim_start_matches('"').strip_suffix('"').unwrap_or(raw)
        } else {
            raw
        };
        writeln!(out, "{path}={text}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"a":1.50,"b":[],"c":{},"d":[{"e":"x\ny"},2],"f":18446744073709551616}"#;

    fn shown(show: impl Fn(&mut Vec<u8>, Token<'_>) -> io::Result<()>, text: &str) -> String {
        let mut out = Vec::new();
        show(&mut out, Token::parse(text).unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_shown_as_they_came() {
        let got = shown(|out, t| pretty(out, t, Style { color: false }), TEXT);
        let expected = "{\n   \"a\": 1.50,\n   \"b\": [],\n   \"c\": {},\n   \"d\": [\n      {\n         \"e\": \"x\\ny\"\n      },\n      2\n   ],\n   \"f\": 18446744073709551616\n}\n";
        assert_eq!(got, expected);
    }

    #[test]
    fn flat_lines_carry_the_path() {
        assert_eq!(
            shown(flat, TEXT),
            "a=1.50\nd[0].e=x\\ny\nd[1]=2\nf=18446744073709551616\n"
        );
    }

    #[test]
    fn colors_are_on_names_only() {
        let got = shown(
            |out, t| pretty(out, t, Style { color: true }),
            r#"{"a":"b"}"#,
        );
        assert_eq!(got, "{\n   \x1b[36m\"a\"\x1b[0m: \"b\"\n}\n");
    }

    #[test]
    fn deep_nesting_ends_on_one_line() {
        let text = "[".repeat(500) + &"]".repeat(500);
        assert!(
            shown(|out, t| pretty(out, t, Style { color: false }), &text)
                .lines()
                .count()
                < 2 * MAX_DEPTH + 2
        );
    }
}
