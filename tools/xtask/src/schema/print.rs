//! Tokens as text: the same tokens always give the same text, with a line for each field or
//! variant so that a difference is read at a glance. A comma before a closing bracket, which
//! rustfmt adds and takes away, is left out.

use proc_macro2::{Delimiter, Group, TokenTree};

const INDENT: usize = 4;
/// What is longer gets a line for each of its parts.
const WIDTH: usize = 100;

/// An item and a line end.
pub fn item(tokens: &[TokenTree]) -> String {
    let mut out = String::new();
    match tokens.split_last() {
        Some((TokenTree::Group(group), head)) if is_block(group) => {
            block(head, group, "", 0, &mut out)
        }
        Some(_) | None => out.push_str(&format!("{}\n", line(tokens))),
    }
    out
}

fn block(head: &[TokenTree], body: &Group, tail: &str, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    out.push_str(&format!("{margin}{}{{\n", line(head)));
    for part in parts(body) {
        let (core, comma) = match part.split_last() {
            Some((last, core)) if is(last, ',') => (core, ","),
            Some(_) | None => (&part[..], ""),
        };
        let text = line(core);
        match core.split_last() {
            Some((TokenTree::Group(group), head))
                if is_block(group) && indent + INDENT + text.len() > WIDTH =>
            {
                block(head, group, comma, indent + INDENT, out);
            }
            Some(_) | None => {
                out.push_str(&format!("{margin}{}{text}{comma}\n", " ".repeat(INDENT)));
            }
        }
    }
    out.push_str(&format!("{margin}}}{tail}\n"));
}

fn is_block(group: &Group) -> bool {
    group.delimiter() != Delimiter::Bracket && !group.stream().is_empty() && {
        let fields = group.delimiter() == Delimiter::Brace;
        let last = group.stream().into_iter().last();
        fields || last.is_some_and(|token| is(&token, ';'))
    }
}

/// What stands between the commas and semicolons of a group, these included; in a macro's input
/// braces end a part too.
fn parts(group: &Group) -> Vec<Vec<TokenTree>> {
    let mut parts: Vec<Vec<TokenTree>> = vec![Vec::new()];
    let mut angles = 0_usize;
    let mut before = None;
    for token in tokens(group) {
        if is(&token, '<') {
            angles += 1;
        } else if is(&token, '>') && before != Some('-') {
            angles = angles.saturating_sub(1);
        }
        before = match &token {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => None,
        };
        let ends = angles == 0 && (is(&token, ',') || is(&token, ';'));
        let behind_block = ends && parts.last().is_some_and(Vec::is_empty);
        let block =
            matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        let at = parts.len()
            - if behind_block && parts.len() > 1 {
                2
            } else {
                1
            };
        parts[at].push(token);
        if (ends && !behind_block) || block {
            parts.push(Vec::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Without a comma at the end.
fn tokens(group: &Group) -> Vec<TokenTree> {
    let mut tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    if tokens.last().is_some_and(|token| is(token, ',')) {
        tokens.pop();
    }
    tokens
}

fn line(tokens: &[TokenTree]) -> String {
    let mut out = String::new();
    let mut before = None;
    for token in tokens {
        let text = match token {
            TokenTree::Group(group) => inline(group),
            TokenTree::Punct(punct) => punct.to_string(),
            TokenTree::Ident(_) | TokenTree::Literal(_) => token.to_string(),
        };
        let begins_word = text.chars().next().is_some_and(|c| is_word(c) || c == '$');
        if out.chars().last().is_some_and(is_word) && begins_word {
            out.push(' ');
        }
        // `: ` between a name and its type, `::` in a path.
        if is(token, ':') && before == Some(':') && out.ends_with(": ") {
            out.pop();
            out.push(':');
        } else {
            out.push_str(&text);
            if is(token, ',') || is(token, ':') {
                out.push(' ');
            }
        }
        before = text.chars().next();
    }
    out.trim_end().to_owned()
}

fn is(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '"')
}

fn inline(group: &Group) -> String {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    // A tuple of one part is written as that part: its comma makes no difference either.
    format!("{open}{}{close}", line(&tokens(group)))
}
