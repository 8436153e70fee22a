//! The `filter` member of a request: a template of the wanted result.
//!
//! An object names the wanted members (`true` or a deeper template), an array holds one template for
//! each element, an empty object or `true` takes all below it. Where the template has an array and
//! the result an object, or the other way round, the member is left out and a warning says so.

use serde_json::{Map, Value};

use crate::error::RpcError;
use crate::token::Token;

#[derive(Debug)]
pub(crate) enum Filter {
    All,
    Members(Vec<(String, Filter)>),
    Elements(Box<Filter>),
}

/// What is wrong with a filter, and where in it.
pub(crate) struct Malformed<'a> {
    pub complaint: &'static str,
    pub token: Token<'a>,
}

impl Filter {
    pub(crate) fn parse(token: Token<'_>) -> Result<Filter, Malformed<'_>> {
        if token.is_object() {
            Filter::parse_below(token)
        } else {
            Err(Malformed {
                complaint: "should be an object",
                token,
            })
        }
    }

    fn parse_below(token: Token<'_>) -> Result<Filter, Malformed<'_>> {
        if let Some(elements) = token.elements() {
            return match elements.as_slice() {
                [one] => Ok(Filter::Elements(Box::new(Filter::parse_below(*one)?))),
                _ => Err(Malformed {
                    complaint: "an array should have exactly one element",
                    token,
                }),
            };
        }
        let Some(members) = token.members() else {
            return if token.as_bool() == Some(true) {
                Ok(Filter::All)
            } else {
                Err(Malformed {
                    complaint: "a value should be true",
                    token,
                })
            };
        };
        if members.is_empty() {
            return Ok(Filter::All);
        }
        members
            .into_iter()
            .map(|(name, t)| Ok((name, Filter::parse_below(t)?)))
            .collect::<Result<_, _>>()
            .map(Filter::Members)
    }

    /// The wanted part of `result`, with `warning_parameter_filter` where the shapes differ.
    pub(crate) fn apply(&self, result: Value) -> Result<Value, RpcError> {
        let mut misused = None;
        let kept = self.keep(result, "", &mut misused);
        Ok(match (kept, misused) {
            (Value::Object(mut object), Some(what)) => {
                object.insert("warning_parameter_filter".to_owned(), Value::String(what));
                Value::Object(object)
            }
            (kept, _) => kept,
        })
    }

    fn keep(&self, value: Value, path: &str, misused: &mut Option<String>) -> Value {
        match (self, value) {
            (Filter::All, value) => value,
            (Filter::Members(wanted), Value::Object(object)) => {
                Value::Object(keep_members(wanted, object, path, misused))
            }
            (Filter::Elements(wanted), Value::Array(elements)) => {
                let path = format!("{path}[]");
                Value::Array(
                    elements
                        .into_iter()
                        .map(|e| wanted.keep(e, &path, misused))
                        .collect(),
                )
            }
            (Filter::Members(_), Value::Array(elements)) => {
                Value::Array(scalars_only(elements, misused, || {
                    format!("{path} is an array")
                }))
            }
            (Filter::Elements(_), Value::Object(object)) => {
                if object.values().any(is_container) {
                    misused.get_or_insert_with(|| format!("{path} is an object"));
                }
                Value::Object(Map::new())
            }
            (_, scalar) => scalar,
        }
    }
}

fn keep_members(
    wanted: &[(String, Filter)],
    object: Map<String, Value>,
    path: &str,
    misused: &mut Option<String>,
) -> Map<String, Value> {
    object
        .into_iter()
        .filter_map(|(name, value)| {
            let (_, filter) = wanted.iter().find(|(w, _)| *w == name)?;
            let value = filter.keep(value, &format!("{path}.{name}"), misused);
            Some((name, value))
        })
        .collect()
}

fn scalars_only(
    elements: Vec<Value>,
    misused: &mut Option<String>,
    what: impl Fn() -> String,
) -> Vec<Value> {
    if elements.iter().any(is_container) {
        misused.get_or_insert_with(what);
    }
    elements.into_iter().filter(|e| !is_container(e)).collect()
}

fn is_container(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filtered(filter: &str, result: Value) -> Value {
        let filter = Filter::parse(Token::parse(filter).unwrap())
            .map_err(|m| m.complaint)
            .unwrap();
        filter.apply(result).unwrap()
    }

    fn refused(filter: &str) -> &'static str {
        Filter::parse(Token::parse(filter).unwrap())
            .err()
            .unwrap()
            .complaint
    }

    fn result() -> Value {
        json!({"peers": [{"id": "02aa", "features": "08", "log": [{"n": 1}]}, {"id": "03bb", "log": []}], "count": 2})
    }

    #[test]
    fn named_members_are_kept_in_the_results_order() {
        assert_eq!(
            filtered(r#"{"peers":[{"id":true}]}"#, result()),
            json!({"peers": [{"id": "02aa"}, {"id": "03bb"}]})
        );
        assert_eq!(
            filtered(r#"{"count":true,"nonesuch":true}"#, result()),
            json!({"count": 2})
        );
        assert_eq!(
            filtered(r#"{"peers":[{"log":true}]}"#, result()),
            json!({"peers": [{"log": [{"n": 1}]}, {"log": []}]})
        );
    }

    #[test]
    fn an_empty_filter_keeps_everything() {
        assert_eq!(filtered("{}", result()), result());
        assert_eq!(
            filtered(r#"{"peers":{}}"#, result())["peers"],
            result()["peers"]
        );
    }

    #[test]
    fn a_filter_of_the_wrong_shape_yields_a_warning() {
        let got = filtered(r#"{"peers":{"id":true},"count":true}"#, result());
        assert_eq!(
            got,
            json!({"peers": [], "count": 2, "warning_parameter_filter": ".peers is an array"})
        );
        let got = filtered(r#"{"a":[{"b":true}]}"#, json!({"a": {"b": {"c": 1}}}));
        assert_eq!(
            got,
            json!({"a": {}, "warning_parameter_filter": ".a is an object"})
        );
        let got = filtered(r#"{"peers":[{"log":{"n":true}}]}"#, result());
        assert_eq!(got["warning_parameter_filter"], ".peers[].log is an array");
    }

    #[test]
    fn a_malformed_filter_is_refused() {
        assert_eq!(refused("[]"), "should be an object");
        assert_eq!(refused("true"), "should be an object");
        assert_eq!(
            refused(r#"{"a":[]}"#),
            "an array should have exactly one element"
        );
        assert_eq!(
            refused(r#"{"a":[true,true]}"#),
            "an array should have exactly one element"
        );
        assert_eq!(refused(r#"{"a":false}"#), "a value should be true");
        assert_eq!(refused(r#"{"a":{"b":"x"}}"#), "a value should be true");
    }
}
