//! Reads a table of all of CLN's commands: `{"_meta": {"error_codes": ..}, "commands": [{"command",
//! "category", "params", "order", "response", "response_when", "response_open"}]}`.
//!
//! A member has `type`, and perhaps `required`, `enum`, `len`, `items`, `count`, `fields`, `when`,
//! `open`; a `when` has `if` and perhaps `fields`, `also_required`, `absent`, `else`.

use serde_json::Value;

use super::compact::{conditions, list, members, word, words};
use super::{Branch, Case, CommandRow, Field, Fields, Object, ParamRow, Shape, Table};

pub(super) fn table(json: &Value) -> Result<Table, String> {
    let mut table = Table::default();
    for (name, code) in members(&json["_meta"]["error_codes"], "error_codes")? {
        table.codes.insert(
            name.clone(),
            code.as_i64().ok_or_else(|| format!("code {name}"))?,
        );
    }
    for row in list(&json["commands"])? {
        let name = word(&row["command"])?;
        let read = command(row).map_err(|e| format!("{name}: {e}"))?;
        table.commands.insert(name, read);
    }
    for row in list(&json["commands"])? {
        if let Some(like) = row["response_same_as"].as_str() {
            let result = table.commands.get(like).and_then(|c| c.result.clone());
            if let Some(command) = table
                .commands
                .get_mut(row["command"].as_str().unwrap_or_default())
            {
                command.result = result;
            }
        }
    }
    Ok(table)
}

fn command(row: &Value) -> Result<CommandRow, String> {
    let result = if row["response"].is_object() {
        let cases = row.get("response_when").map_or(Ok(Vec::new()), all_cases)?;
        Some(Object {
            fields: fields(&row["response"])?,
            cases,
            open: row.get("response_open").is_some(),
        })
    } else {
        None
    };
    let order = row.get("order").map_or(Ok(Vec::new()), words)?;
    let params = order.iter().map(|name| (name, &row["params"][name]));
    let params = params.filter(|(_, p)| p["undocumented"] != true && p["dev_only"] != true);
    Ok(CommandRow {
        category: word(&row["category"])?,
        params: params
            .map(|(name, p)| param(name, p))
            .collect::<Result<_, _>>()?,
        result,
    })
}

fn param(name: &str, json: &Value) -> Result<ParamRow, String> {
    let kind = if let Some(words_json) = json.get("enum") {
        format!("={}", words(words_json)?.join("|"))
    } else if json.get("oneOf").is_some() {
        "any".to_owned()
    } else {
        match (json["type"].as_str(), json["items"]["type"].as_str()) {
            (Some("array"), Some(items)) => format!("array {items}"),
            (Some(kind), _) => kind.to_owned(),
            (None, _) => "any".to_owned(),
        }
    };
    Ok(ParamRow {
        name: name.to_owned(),
        required: json["required"] == true,
        kind,
    })
}

fn fields(json: &Value) -> Result<Fields, String> {
    let mut out = Fields::new();
    for (name, json) in members(json, "fields")? {
        out.insert(
            name.clone(),
            Field {
                shape: shape(json)?,
                required: json["required"] == true,
            },
        );
    }
    Ok(out)
}

fn shape(json: &Value) -> Result<Shape, String> {
    if let Some(choice) = json.get("enum") {
        return Ok(Shape::Words(words(choice)?));
    }
    let name = json.get("type").map_or(Ok("any".to_owned()), word)?;
    let pair = |v: &Value| {
        let number = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
        match v.as_array().map(Vec::as_slice) {
            Some([least, most]) => Some((
                number(least).unwrap_or(0),
                number(most).unwrap_or(usize::MAX),
            )),
            _ => number(v).map(|n| (n, n)),
        }
    };
    match name.as_str() {
        "object" => Ok(Shape::Object(Object {
            fields: json.get("fields").map_or(Ok(Fields::new()), fields)?,
            cases: json.get("when").map_or(Ok(Vec::new()), all_cases)?,
            open: json["open"] == true || json.get("fields").is_none(),
        })),
        "array" => Ok(Shape::Array {
            items: json
                .get("items")
                .filter(|i| i.is_object())
                .map(|i| shape(i).map(Box::new))
                .transpose()?,
            count: pair(&json["count"]),
        }),
        _ => Ok(Shape::Scalar {
            name,
            length: pair(&json["len"]),
        }),
    }
}

/// A `when` in words, not in conditions, says nothing that could be checked.
fn all_cases(json: &Value) -> Result<Vec<Case>, String> {
    match json.as_array() {
        Some(cases) => cases
            .iter()
            .filter(|c| c.get("if").is_some())
            .map(case)
            .collect(),
        None => Ok(Vec::new()),
    }
}

fn case(json: &Value) -> Result<Case, String> {
    let otherwise = json.get("else").map_or(Ok(Branch::default()), branch)?;
    Ok(Case {
        conditions: conditions(&json["if"])?,
        then: branch(json)?,
        otherwise,
    })
}

fn branch(json: &Value) -> Result<Branch, String> {
    let names = |key: &str| json.get(key).map_or(Ok(Vec::new()), words);
    Ok(Branch {
        fields: json.get("fields").map_or(Ok(Fields::new()), fields)?,
        also_required: names("also_required")?,
        absent: names("absent")?,
    })
}
