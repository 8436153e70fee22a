//! Finds in a source what serde writes: types with a derive, implementations by hand, macros that
//! make either, and the uses of those macros.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, Punct, Spacing, TokenStream, TokenTree};

/// Macros that make no type themselves but say which types cross an edge.
const TABLES: [&str; 1] = ["edges"];

/// A source as tokens.
pub struct Tokens(Vec<TokenTree>);

impl Tokens {
    /// # Errors
    /// Not Rust.
    pub fn read(source: &str) -> Result<Tokens> {
        let stream: TokenStream = source.parse().map_err(|e| anyhow!("not Rust: {e}"))?;
        Ok(Tokens(stream.into_iter().collect()))
    }

    /// The items that are serialized, in their order, without what does not count.
    pub fn serialized(&self, macros: &BTreeSet<String>) -> Vec<Vec<TokenTree>> {
        let mut out = Vec::new();
        collect(&self.0, macros, &mut out);
        out
    }
}

/// The names of the macros that make serialized types.
pub fn serde_macros<'a>(files: impl Iterator<Item = &'a Tokens>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = TABLES.iter().map(|name| (*name).to_owned()).collect();
    for Tokens(tokens) in files {
        for window in tokens.windows(4) {
            let [first, bang, name, body] = window else {
                continue;
            };
            if is_ident(first, "macro_rules") && is_punct(bang, '!') && mentions_serde(body) {
                names.insert(name.to_string());
            }
        }
    }
    names
}

fn collect(tokens: &[TokenTree], macros: &BTreeSet<String>, out: &mut Vec<Vec<TokenTree>>) {
    let mut at = 0;
    let mut attributes: Vec<&Group> = Vec::new();
    while let Some(token) = tokens.get(at) {
        let rest = tokens.get(at..).unwrap_or_default();
        if let Some((attribute, len)) = attribute(rest) {
            attributes.push(attribute);
            at += len;
            continue;
        }
        if attributes.iter().any(|attribute| is_test(attribute)) {
            at += item_len(rest);
        } else if let Some(len) = definition(rest, &attributes) {
            let mut item = of_serde(&attributes);
            item.extend(stripped(rest.get(..len).unwrap_or_default()));
            out.push(item);
            at += len;
        } else if let Some(len) = by_hand(rest).or_else(|| invocation(rest, macros)) {
            out.push(stripped(rest.get(..len).unwrap_or_default()));
            at += len;
        } else {
            if let TokenTree::Group(group) = token {
                collect(&trees(group), macros, out);
            }
            at += 1;
        }
        attributes.clear();
    }
}

fn trees(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// `#[...]` or `#![...]`, and how many tokens it takes.
fn attribute(tokens: &[TokenTree]) -> Option<(&Group, usize)> {
    let (hash, rest) = tokens.split_first()?;
    if !is_punct(hash, '#') {
        return None;
    }
    let inner = usize::from(rest.first().is_some_and(|token| is_punct(token, '!')));
    match rest.get(inner)? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            Some((group, 2 + inner))
        }
        _ => None,
    }
}

/// Those attributes that are serde's own.
fn of_serde(attributes: &[&Group]) -> Vec<TokenTree> {
    let own = attributes.iter().filter(|attribute| is_serde(attribute));
    let pair = |attribute: &&Group| {
        let hash = Punct::new('#', Spacing::Alone);
        [
            TokenTree::Punct(hash),
            TokenTree::Group((*attribute).clone()),
        ]
    };
    own.flat_map(pair).collect()
}

fn is_serde(attribute: &Group) -> bool {
    trees(attribute)
        .first()
        .is_some_and(|token| is_ident(token, "serde"))
}

fn is_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// A type behind a derive of serde's: how many tokens, `pub` included.
fn definition(tokens: &[TokenTree], attributes: &[&Group]) -> Option<usize> {
    let derives = attributes.iter().any(|attribute| {
        let tokens = trees(attribute);
        tokens
            .first()
            .is_some_and(|token| is_ident(token, "derive"))
            && tokens.iter().any(mentions_serde)
    });
    let is_type = |token: &&TokenTree| is_ident(token, "struct") || is_ident(token, "enum");
    let keyword = tokens.iter().take(3).position(|token| is_type(&token))?;
    derives.then(|| keyword + item_len(tokens.get(keyword..).unwrap_or_default()))
}

/// `impl Serialize for ...`
fn by_hand(tokens: &[TokenTree]) -> Option<usize> {
    if !tokens.first().is_some_and(|token| is_ident(token, "impl")) {
        return None;
    }
    let body = tokens.iter().position(is_braces)?;
    let head = tokens.get(..body)?;
    let of = head.iter().position(|token| is_ident(token, "for"))?;
    head.get(..of)?
        .iter()
        .any(mentions_serde)
        .then_some(body + 1)
}

/// `message! { ... }`
fn invocation(tokens: &[TokenTree], macros: &BTreeSet<String>) -> Option<usize> {
    let [TokenTree::Ident(name), bang, TokenTree::Group(input), ..] = tokens else {
        return None;
    };
    // `@` begins a macro's words to itself.
    let inner = trees(input)
        .first()
        .is_some_and(|token| is_punct(token, '@'));
    (is_punct(bang, '!') && !inner && macros.contains(&name.to_string())).then_some(3)
}

/// Up to the braces or the semicolon that end an item.
fn item_len(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| is_braces(token) || is_punct(token, ';');
    tokens
        .iter()
        .position(ends)
        .map_or(tokens.len(), |end| end + 1)
}

/// Without attributes other than serde's, and without the repetitions that only carried them.
fn stripped(tokens: &[TokenTree]) -> Vec<TokenTree> {
    let mut out: Vec<TokenTree> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let rest = tokens.get(at..).unwrap_or_default();
        if let Some((attribute, len)) = attribute(rest) {
            if is_serde(attribute) {
                out.extend_from_slice(rest.get(..len).unwrap_or_default());
            }
            at += len;
            continue;
        }
        if let [dollar, TokenTree::Group(group), _, ..] = rest
            && is_punct(dollar, '$')
            && !trees(group).is_empty()
            && stripped(&trees(group)).is_empty()
        {
            at += 3;
            continue;
        }
        out.push(match token {
            TokenTree::Group(group) => {
                let inner = stripped(&trees(group)).into_iter().collect();
                TokenTree::Group(Group::new(group.delimiter(), inner))
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => token.clone(),
        });
        at += 1;
    }
    out
}

fn mentions_serde(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(ident) => ident == "Serialize" || ident == "Deserialize",
        TokenTree::Group(group) => trees(group).iter().any(mentions_serde),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}
