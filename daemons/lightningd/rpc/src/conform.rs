//! Checks replies against CLN's interface: required members, types, choices, no unknown members.
//!
//! The tables are tests/vectors/cln/rpc.json (our commands, our layout, explained in the file) and,
//! where it is at hand, a table of all of CLN's commands in the notation that [`facts`] reads.

pub mod compact;
pub mod facts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Field {
    pub shape: Shape,
    pub required: bool,
}

pub type Fields = BTreeMap<String, Field>;

/// What a value may be.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A type by name, its length where the table says: of a string, at least and at most.
    Scalar {
        name: String,
        length: Option<(usize, usize)>,
    },
    /// One of these words, or `true` or `false`.
    Words(Vec<String>),
    /// Elements of any shape without one; at least and at most so many.
    Array {
        items: Option<Box<Shape>>,
        count: Option<(usize, usize)>,
    },
    Object(Object),
}

/// An object's members, and those that depend on others.
#[derive(Debug, Clone, Default)]
pub struct Object {
    pub fields: Fields,
    pub cases: Vec<Case>,
    /// Other members are fine.
    pub open: bool,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub conditions: Vec<Condition>,
    pub then: Branch,
    pub otherwise: Branch,
}

#[derive(Debug, Clone)]
pub enum Condition {
    /// The member is one of these words.
    Is(String, Vec<String>),
    Has(String),
}

/// What a case adds to its object.
#[derive(Debug, Clone, Default)]
pub struct Branch {
    pub fields: Fields,
    pub also_required: Vec<String>,
    pub absent: Vec<String>,
}

/// A parameter as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamRow {
    pub name: String,
    pub required: bool,
    /// A type by name, `=a|b` for a choice, `array` with perhaps the type of its elements.
    pub kind: String,
}

#[derive(Debug, Clone)]
pub struct CommandRow {
    pub category: String,
    pub params: Vec<ParamRow>,
    /// None: the table does not say what the command answers.
    pub result: Option<Object>,
}

/// The interface of some commands.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub commands: BTreeMap<String, CommandRow>,
    pub codes: BTreeMap<String, i64>,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("reading {0}: {1}")]
    Io(PathBuf, std::io::Error),
    #[error("{0} is not JSON: {1}")]
    Json(PathBuf, serde_json::Error),
    #[error("{0}: {1}")]
    Layout(PathBuf, String),
}

impl Table {
    /// This project's own table; only in a checkout of it.
    pub fn project() -> Result<Table, TableError> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/vectors/cln/rpc.json");
        load(&path, compact::table)
    }

    /// A table in the notation of `api/rpc.json` as [`facts`] describes it.
    pub fn facts(path: &Path) -> Result<Table, TableError> {
        load(path, facts::table)
    }

    /// What is wrong with a command's result; empty where nothing is. A command that the table lacks is wrong.
    #[must_use]
    pub fn check(&self, command: &str, result: &Value) -> Vec<String> {
        let Some(row) = self.commands.get(command) else {
            return vec![format!("{command} is not in the table")];
        };
        let mut wrong = Vec::new();
        if let Some(object) = &row.result {
            match result {
                Value::Object(members) => check_object(object, members, command, true, &mut wrong),
                other => wrong.push(format!(
                    "{command}: the result should be an object, not {other}"
                )),
            }
        }
        wrong
    }
}

fn load(path: &Path, read: fn(&Value) -> Result<Table, String>) -> Result<Table, TableError> {
    let text = std::fs::read_to_string(path).map_err(|e| TableError::Io(path.to_owned(), e))?;
    let json = serde_json::from_str(&text).map_err(|e| TableError::Json(path.to_owned(), e))?;
    read(&json).map_err(|e| TableError::Layout(path.to_owned(), e))
}

fn check_object(
    object: &Object,
    members: &Map<String, Value>,
    path: &str,
    top: bool,
    wrong: &mut Vec<String>,
) {
    let branches: Vec<&Branch> = object
        .cases
        .iter()
        .map(|case| {
            if case.conditions.iter().all(|c| holds(c, members)) {
                &case.then
            } else {
                &case.otherwise
            }
        })
        .collect();
    let fields = || {
        object
            .fields
            .iter()
            .chain(branches.iter().flat_map(|b| &b.fields))
    };
    let also_required = branches.iter().flat_map(|b| &b.also_required);
    let required = fields()
        .filter(|(_, f)| f.required)
        .map(|(name, _)| name)
        .chain(also_required);
    for name in required.filter(|name| !members.contains_key(*name)) {
        wrong.push(format!("{path}.{name} is missing"));
    }
    for name in branches
        .iter()
        .flat_map(|b| &b.absent)
        .filter(|name| members.contains_key(*name))
    {
        wrong.push(format!("{path}.{name} should not be there"));
    }
    for (name, value) in members {
        let path = format!("{path}.{name}");
        // A later case may say more about a member than the object does.
        match fields().rfind(|(n, _)| *n == name) {
            Some((_, field)) => check_value(&field.shape, value, &path, wrong),
            // A case may ask for a member of any shape.
            None if branches.iter().any(|b| b.also_required.contains(name)) => {}
            None if object.open || (top && name.starts_with("warning_") && value.is_string()) => {}
            None => wrong.push(format!("{path} is not in the table")),
        }
    }
}

fn holds(condition: &Condition, members: &Map<String, Value>) -> bool {
    match condition {
        Condition::Has(name) => members.contains_key(name),
        Condition::Is(name, words) => members
            .get(name)
            .is_some_and(|v| words.contains(&as_word(v))),
    }
}

/// A string without its quotes, or the JSON of anything else.
fn as_word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn check_value(shape: &Shape, value: &Value, path: &str, wrong: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Words(words), value) => {
            if !words.contains(&as_word(value)) {
                wrong.push(format!("{path} should be one of {words:?}, not {value}"));
            }
        }
        (Shape::Object(object), Value::Object(members)) => {
            check_object(object, members, path, false, wrong)
        }
        (Shape::Array { items, count }, Value::Array(elements)) => {
            if count.is_some_and(|(least, most)| elements.len() < least || elements.len() > most) {
                wrong.push(format!("{path} has {} elements", elements.len()));
            }
            for (i, element) in elements.iter().enumerate() {
                if let Some(items) = items {
                    check_value(items, element, &format!("{path}[{i}]"), wrong);
                }
            }
        }
        (Shape::Object(_), value) => wrong.push(format!("{path} should be an object, not {value}")),
        (Shape::Array { .. }, value) => {
            wrong.push(format!("{path} should be an array, not {value}"))
        }
        (Shape::Scalar { name, length }, value) => {
            let fits = length.is_none_or(|(least, most)| {
                value
                    .as_str()
                    .is_none_or(|s| (least..=most).contains(&s.len()))
            });
            if !fits || !is_type(name, value) {
                wrong.push(format!(
                    "{path} should be {name}{}, not {value}",
                    length.map_or(String::new(), |(a, b)| format!(" of length {a} to {b}"))
                ));
            }
        }
    }
}

/// Whether a reply's value is of a type. A type that nobody has taught us is never right.
fn is_type(name: &str, value: &Value) -> bool {
    let text = value.as_str();
    let hex = |length: usize| text.is_some_and(|s| is_hex(s) && s.len() == length);
    match name {
        "any" => true,
        "string" => text.is_some(),
        "string|integer" | "string|u64" => text.is_some() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "u64" | "msat" | "sat" => value.is_u64(),
        "u32" => value.as_u64().is_some_and(|n| n <= u64::from(u32::MAX)),
        "u16" => value.as_u64().is_some_and(|n| n <= u64::from(u16::MAX)),
        "u8" => value.as_u64().is_some_and(|n| n <= u64::from(u8::MAX)),
        "hex" => text.is_some_and(is_hex),
        "hash" | "secret" | "txid" => hex(64),
        "pubkey" => hex(66) && text.is_some_and(|s| s.starts_with("02") || s.starts_with("03")),
        "signature" => text.is_some_and(|s| is_hex(s) && s.len() <= 144),
        "bip340sig" => hex(128),
        "short_channel_id" => text.is_some_and(|s| s.parse::<wire::ShortChannelId>().is_ok()),
        "short_channel_id_dir" => {
            text.and_then(|s| s.split_once('/'))
                .is_some_and(|(scid, dir)| {
                    scid.parse::<wire::ShortChannelId>().is_ok() && matches!(dir, "0" | "1")
                })
        }
        "outpoint" => text
            .and_then(|s| s.split_once(':'))
            .is_some_and(|(txid, n)| txid.len() == 64 && is_hex(txid) && n.parse::<u32>().is_ok()),
        _ => false,
    }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
