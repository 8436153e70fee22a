//! A request as it stands on the wire, before anybody knows its command.

use crate::error::{Code, RpcError, code};
use crate::framing::FramingError;
use crate::token::Token;

/// A well-formed request, borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// String or scalar, echoed byte for byte.
    pub id: Token<'a>,
    pub method: Token<'a>,
    pub params: Token<'a>,
    pub filter: Option<Token<'a>>,
}

/// Why there is no request in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    /// The request's id as JSON text, `null` where it could not be read.
    pub id: String,
    pub error: RpcError,
    /// What follows on this connection cannot be trusted either: read no more of it.
    pub fatal: bool,
}

impl Malformed {
    fn new(id: &str, message: impl Into<String>, fatal: bool) -> Malformed {
        let error = RpcError::new(code::JSONRPC2_INVALID_REQUEST, message);
        Malformed {
            id: id.to_owned(),
            error,
            fatal,
        }
    }
}

impl From<FramingError> for Malformed {
    fn from(e: FramingError) -> Malformed {
        Malformed::new("null", e.to_string(), true)
    }
}

impl<'a> Request<'a> {
    /// Refuses in CLN's order: a document that cannot be a request at all ends the connection.
    pub(crate) fn parse(document: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let fatal = |message: &str| Malformed::new("null", message, true);
        let text =
            std::str::from_utf8(document).map_err(|_| fatal("request is not valid UTF-8"))?;
        let token = Token::parse(text).ok_or_else(|| fatal("request is not valid JSON"))?;
        let members = token
            .members()
            .ok_or_else(|| fatal("Expected {} for json command"))?;
        let member = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, t)| *t);

        let version =
            member("jsonrpc").ok_or_else(|| fatal("request has no \"jsonrpc\" member"))?;
        let malformed = |message: &str| Malformed::new("null", message, false);
        let id = member("id").ok_or_else(|| malformed("No id"))?;
        if id.is_array() || id.is_object() {
            return Err(malformed("Expected string/primitive for id"));
        }
        if version.raw() != "\"2.0\"" {
            return Err(malformed("jsonrpc should be \"2.0\""));
        }
        let invalid = |message: &str| Malformed::new(id.raw(), message, false);
        let method = member("method").ok_or_else(|| invalid("No method"))?;
        let params = member("params").ok_or_else(|| invalid("No params"))?;
        if !method.is_string() {
            return Err(invalid("Expected string for method"));
        }
        Ok(Request {
            id,
            method,
            params,
            filter: member("filter"),
        })
    }
}

/// The line that answers a request.
pub(crate) fn reply_line(id: &str, outcome: &Result<serde_json::Value, RpcError>) -> String {
    let (member, body) = match outcome {
        Ok(result) => ("result", serde_json::to_string(result)),
        Err(error) => ("error", serde_json::to_string(error)),
    };
    match body {
        Ok(body) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{body}}}\n\n"),
        Err(_) => error_line(
            id,
            code::LIGHTNINGD,
            "the reply could not be written as JSON",
        ),
    }
}

fn error_line(id: &str, code: Code, message: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{},\"message\":\"{message}\"}}}}\n\n",
        code.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> (String, String, bool) {
        let m = Request::parse(text.as_bytes()).unwrap_err();
        assert_eq!(m.error.code, code::JSONRPC2_INVALID_REQUEST);
        (m.id, m.error.message, m.fatal)
    }

    #[test]
    fn a_request_keeps_its_id_as_written() {
        for id in ["\"a\\u0062\"", "1.50", "null", "true", "-7"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"getinfo","params":[]}}"#);
            assert_eq!(Request::parse(text.as_bytes()).unwrap().id.raw(), id);
        }
    }

    #[test]
    fn a_document_that_is_no_request_ends_the_connection() {
        for text in [
            "[]",
            r#"[{"jsonrpc":"2.0"}]"#,
            "{\"jsonrpc\":}",
            r#"{"id":1,"method":"x","params":[]}"#,
            "{\"\u{1}\":1}",
        ] {
            let (id, _, fatal) = refusal(text);
            assert_eq!((id.as_str(), fatal), ("null", true), "{text}");
        }
        assert!(Request::parse(b"{\"jsonrpc\":\"\xff\"}").unwrap_err().fatal);
    }

    #[test]
    fn a_request_without_an_id_is_answered_with_id_null() {
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","method":"x","params":[]}"#),
            ("null".into(), "No id".into(), false)
        );
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","id":{},"method":"x","params":[]}"#).0,
            "null"
        );
        assert_eq!(
            refusal(r#"{"jsonrpc":"1.0","id":1,"method":"x","params":[]}"#).0,
            "null"
        );
    }

    #[test]
    fn a_request_without_method_or_params_is_answered_under_its_id() {
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","id":"a","params":[]}"#),
            ("\"a\"".into(), "No method".into(), false)
        );
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","id":2,"method":"x"}"#),
            ("2".into(), "No params".into(), false)
        );
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","id":2,"method":5,"params":[]}"#).1,
            "Expected string for method"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }
    }
}
