//! A reply as text for people (-H): `name=value` lines as CLN, and tables for lists of objects.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::printable;

/// Lists with more columns are shown entry by entry.
const MAX_COLUMNS: usize = 8;

pub fn text(out: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Object(members) if members.len() == 1 => {
            members.values().try_for_each(|v| text(out, v))
        }
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, v)| member(out, name, v)),
        Value::Array(elements) => list(out, elements),
        scalar => writeln!(out, "{}", word(scalar)),
    }
}

fn member(out: &mut impl Write, name: &str, value: &Value) -> io::Result<()> {
    match value {
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            writeln!(out, "{}:", printable(name))?;
            list(out, elements)
        }
        // Sentences stand on lines of their own.
        Value::Array(elements) if elements.iter().any(is_sentence) => {
            writeln!(out, "{}:", printable(name))?;
            let mut lines = elements.iter().map(word);
            lines.try_for_each(|line| writeln!(out, "  {line}"))
        }
        Value::Object(members) if members.len() > 1 => {
            for (inner, value) in members {
                member(out, &format!("{name}.{inner}"), value)?;
            }
            Ok(())
        }
        Value::Array(elements) => writeln!(
            out,
            "{}={}",
            printable(name),
            elements.iter().map(word).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(members) => writeln!(
            out,
            "{}={}",
            printable(name),
            members.values().map(word).collect::<String>()
        ),
        scalar => writeln!(out, "{}={}", printable(name), word(scalar)),
    }
}

fn is_sentence(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(' '))
}

fn list(out: &mut impl Write, elements: &[Value]) -> io::Result<()> {
    let objects: Vec<&Map<String, Value>> = elements.iter().filter_map(Value::as_object).collect();
    if objects.is_empty() || objects.len() < elements.len() {
        return elements.iter().try_for_each(|e| text(out, e));
    }
    let mut columns: Vec<&str> = Vec::new();
    for name in objects.iter().flat_map(|o| o.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    if columns.len() == 1 {
        return elements.iter().try_for_each(|e| text(out, e));
    }
    if columns.len() <= MAX_COLUMNS {
        return writeln!(out, "{}", table(&columns, &objects));
    }
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        object
            .iter()
            .try_for_each(|(name, v)| member(out, name, v))?;
    }
    Ok(())
}

fn table(columns: &[&str], objects: &[&Map<String, Value>]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|c| printable(c)));
    for object in objects {
        table.add_row(
            columns
                .iter()
                .map(|c| object.get(*c).map_or(String::new(), word)),
        );
    }
    table
}

/// On one line: a string's text, or JSON.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(value: Value) -> String {
        let mut out = Vec::new();
        text(&mut out, &value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_single_member_is_shown_without_its_name() {
        assert_eq!(shown(json!({"bech32": "bcrt1q"})), "bcrt1q\n");
        assert_eq!(
            shown(json!({"a": 1, "b": "x", "c": {"d": 2, "e": 3}, "f": [1, 2]})),
            "a=1\nb=x\nc.d=2\nc.e=3\nf=1, 2\n"
        );
    }

    #[test]
    fn sentences_stand_on_lines_of_their_own() {
        let status = json!(["ONCHAIN:1 output to claim", "ONCHAIN:our commitment"]);
        assert_eq!(
            shown(json!({"a": 1, "status": status})),
            "a=1\nstatus:\n  ONCHAIN:1 output to claim\n  ONCHAIN:our commitment\n"
        );
    }

    #[test]
    fn a_list_of_small_objects_is_a_table() {
        let got =
            shown(json!({"peers": [{"id": "02aa", "connected": true}, {"id": "03bb", "log": []}]}));
        let words: Vec<Vec<&str>> = got
            .lines()
            .map(|l| l.split_whitespace().collect())
            .filter(|w: &Vec<&str>| w.len() > 1)
            .collect();
        assert_eq!(
            words,
            [
                vec!["id", "connected", "log"],
                vec!["02aa", "true"],
                vec!["03bb", "[]"]
            ]
        );
    }

    #[test]
    fn a_list_of_large_objects_is_shown_one_by_one() {
        let large: Map<String, Value> = (0..9).map(|i| (format!("m{i}"), json!(i))).collect();
        let got = shown(json!([large, large]));
        assert_eq!(got.lines().count(), 19);
        assert!(got.contains("m8=8\n\nm0=0\n"));
    }

    #[test]
    fn a_peers_words_cannot_steer_the_terminal() {
        assert_eq!(
            shown(json!({"alias": "\u{1b}[31mred"})),
            "\u{fffd}[31mred\n"
        );
    }
}
