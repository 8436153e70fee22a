//! Reads tests/vectors/cln/rpc.json. Its `layout` member explains the notation.

use serde_json::{Map, Value};

use super::{Branch, Case, CommandRow, Condition, Field, Fields, Object, ParamRow, Shape, Table};

pub(super) fn table(json: &Value) -> Result<Table, String> {
    let mut table = Table::default();
    for (name, code) in members(&json["codes"], "codes")? {
        table.codes.insert(
            name.clone(),
            code.as_i64().ok_or_else(|| format!("code {name}"))?,
        );
    }
    for (name, row) in members(&json["commands"], "commands")? {
        let row = CommandRow {
            category: word(&row["category"])?,
            params: list(&row["params"])?
                .iter()
                .map(param)
                .collect::<Result<_, _>>()?,
            result: Some(object(members(&row["result"], name)?)?),
        };
        table.commands.insert(name.clone(), row);
    }
    Ok(table)
}

fn param(json: &Value) -> Result<ParamRow, String> {
    let text = word(json)?;
    let (name, kind) = text
        .split_once(' ')
        .ok_or_else(|| format!("parameter {text}"))?;
    let (name, required) = required(name);
    Ok(ParamRow {
        name,
        required,
        kind: kind.to_owned(),
    })
}

fn required(name: &str) -> (String, bool) {
    name.strip_suffix('!')
        .map_or((name.to_owned(), false), |n| (n.to_owned(), true))
}

fn object(json: &Map<String, Value>) -> Result<Object, String> {
    let cases = json.get("?").map_or(Ok(Vec::new()), |cases| {
        list(cases)?.iter().map(case).collect()
    })?;
    Ok(Object {
        fields: fields(json)?,
        cases,
        open: json.contains_key("*"),
    })
}

fn fields(json: &Map<String, Value>) -> Result<Fields, String> {
    let mut out = Fields::new();
    for (name, shape_json) in json
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "?" | "*" | "!" | "-"))
    {
        let (name, required) = required(name);
        out.insert(
            name,
            Field {
                shape: shape(shape_json)?,
                required,
            },
        );
    }
    Ok(out)
}

fn shape(json: &Value) -> Result<Shape, String> {
    match json {
        Value::Object(members) => Ok(Shape::Object(object(members)?)),
        Value::Array(parts) => {
            let items = parts.first().map(|s| shape(s).map(Box::new)).transpose()?;
            let number = |i: usize| {
                parts
                    .get(i)
                    .and_then(Value::as_u64)
                    .and_then(|n| usize::try_from(n).ok())
            };
            Ok(Shape::Array {
                items,
                count: number(1).zip(number(2)),
            })
        }
        Value::String(text) => scalar(text),
        other => Err(format!("shape {other}")),
    }
}

fn scalar(text: &str) -> Result<Shape, String> {
    if let Some(words) = text.strip_prefix('=') {
        return Ok(Shape::Words(words.split('|').map(str::to_owned).collect()));
    }
    let Some((name, length)) = text.split_once(' ') else {
        return Ok(Shape::Scalar {
            name: text.to_owned(),
            length: None,
        });
    };
    let parse = |n: &str| n.parse::<usize>().map_err(|_| format!("length {text}"));
    let length = match length.strip_prefix("..") {
        Some(most) => (0, parse(most)?),
        None => (parse(length)?, parse(length)?),
    };
    Ok(Shape::Scalar {
        name: name.to_owned(),
        length: Some(length),
    })
}

fn case(json: &Value) -> Result<Case, String> {
    let branch_of = |name: &str| {
        json.get(name)
            .map_or(Ok(Branch::default()), |b| branch(members(b, name)?))
    };
    Ok(Case {
        conditions: conditions(&json["if"])?,
        then: branch_of("then")?,
        otherwise: branch_of("else")?,
    })
}

pub(super) fn conditions(json: &Value) -> Result<Vec<Condition>, String> {
    let mut out = Vec::new();
    for (name, values) in members(json, "if")? {
        let words = words(values)?;
        if name == "has" {
            out.extend(words.into_iter().map(Condition::Has));
        } else {
            out.push(Condition::Is(name.clone(), words));
        }
    }
    Ok(out)
}

fn branch(json: &Map<String, Value>) -> Result<Branch, String> {
    let names = |key: &str| json.get(key).map_or(Ok(Vec::new()), words);
    Ok(Branch {
        fields: fields(json)?,
        also_required: names("!")?,
        absent: names("-")?,
    })
}

pub(super) fn members<'a>(json: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    json.as_object()
        .ok_or_else(|| format!("{what} should be an object"))
}

pub(super) fn list(json: &Value) -> Result<&Vec<Value>, String> {
    json.as_array()
        .ok_or_else(|| format!("{json} should be an array"))
}

pub(super) fn word(json: &Value) -> Result<String, String> {
    json.as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{json} should be a string"))
}

/// Strings as they are, anything else as its JSON.
pub(super) fn words(json: &Value) -> Result<Vec<String>, String> {
    Ok(list(json)?.iter().map(super::as_word).collect())
}
