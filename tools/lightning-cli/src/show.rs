//! Shows a reply: JSON, flat lines, or text for people.

mod human;
mod json;

use std::io::{self, Write};

use lightningd_rpc::commands::wrap;
use lightningd_rpc::token::Token;
use serde_json::Value;

use crate::flags::Format;
use crate::rpc::Call;

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// Of the list of commands.
const WIDTH: usize = 90;

/// How the terminal may be used.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
}

impl Style {
    fn paint(self, style: &str, text: &str) -> String {
        if self.color {
            format!("{style}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }
}

/// `result`: JSON text of what the command answered.
pub fn result(
    out: &mut impl Write,
    result: &str,
    call: &Call,
    format: Format,
    style: Style,
) -> io::Result<()> {
    let Some(token) = Token::parse(result) else {
        return writeln!(out, "{result}");
    };
    match format {
        Format::Raw => writeln!(out, "{result}"),
        Format::Json => json::pretty(out, token, style),
        Format::Flat => json::flat(out, token),
        Format::Human => human::text(out, &without_hint(token).0),
        Format::Default => {
            if let Some(value) = token.value().filter(|_| call.lists_commands()) {
                return help_list(out, &value, style);
            }
            if let Some(page_text) = token
                .value()
                .filter(|_| call.help_about().is_some())
                .and_then(|v| verbose(&v))
            {
                return page(out, &page_text, style);
            }
            match without_hint(token) {
                (value, true) => human::text(out, &value),
                (_, false) => json::pretty(out, token, style),
            }
        }
    }
}

/// `error`: JSON text of why not.
pub fn error(out: &mut impl Write, error: &str, format: Format, style: Style) -> io::Result<()> {
    match Token::parse(error).filter(|_| format != Format::Raw) {
        Some(token) => json::pretty(out, token, style),
        None => writeln!(out, "{error}"),
    }
}

/// A page with headings that are not indented.
pub fn page(out: &mut impl Write, text: &str, style: Style) -> io::Result<()> {
    for line in printable(text).lines() {
        let heading = !line.is_empty() && !line.starts_with(' ');
        writeln!(
            out,
            "{}",
            if heading {
                style.paint(BOLD, line)
            } else {
                line.to_owned()
            }
        )?;
    }
    Ok(())
}

/// The value without its `format-hint`, and whether that said that it is simple.
fn without_hint(token: Token<'_>) -> (Value, bool) {
    let mut value = token.value().unwrap_or_default();
    let hint = value
        .as_object_mut()
        .and_then(|o| o.shift_remove("format-hint"));
    (value, hint.is_some_and(|h| h == "simple"))
}

fn verbose(help: &Value) -> Option<String> {
    help["help"][0]["verbose"].as_str().map(str::to_owned)
}

/// Commands by category, each with its parameters and what it is for, as far as the node says.
fn help_list(out: &mut impl Write, result: &Value, style: Style) -> io::Result<()> {
    let none = Vec::new();
    let mut entries: Vec<&Value> = result["help"].as_array().unwrap_or(&none).iter().collect();
    let text = |entry: &Value, name: &str| printable(entry[name].as_str().unwrap_or_default());
    entries.sort_by_key(|e| (text(e, "category"), text(e, "command")));
    let mut category = String::new();
    for entry in entries {
        let this = text(entry, "category");
        if this != category {
            writeln!(
                out,
                "{}{}",
                if category.is_empty() { "" } else { "\n" },
                style.paint(BOLD, &this)
            )?;
            category = this;
        }
        let (command, about) = (text(entry, "command"), text(entry, "description"));
        for (i, line) in wrap(&command, WIDTH).into_iter().enumerate() {
            writeln!(out, "  {}{line}", if i == 0 { "" } else { "        " })?;
        }
        if !about.is_empty() {
            writeln!(out, "      {about}")?;
        }
    }
    writeln!(out, "---\nlightning-cli help <command> explains a command.")
}

/// Without control characters except newline and tab: a peer's words must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
