//! The conversation with lightningd: a request from the command line's words, notifications, a reply.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use lightningd_options::{Location, Network};
use lightningd_rpc::token::Token;
use serde_json::json;

use crate::failure::Failure;
use crate::flags::{Flags, Notifications};
use crate::notification::Screen;

/// A command and its parameters as JSON text.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// An array or an object.
    pub params: String,
    pub filter: Option<String>,
    /// The parameters as they were typed.
    words: Vec<String>,
}

/// JSON text of what lightningd answered.
#[derive(Debug)]
pub enum Reply {
    Result(String),
    Error(String),
}

impl Call {
    pub fn new(flags: &Flags) -> Result<Call, Failure> {
        if let Some(filter) = flags
            .filter
            .as_deref()
            .filter(|f| Token::parse(f).is_none())
        {
            return Err(Failure::Usage(format!("the filter is not JSON: {filter}")));
        }
        let named = flags.keywords
            || (!flags.order && flags.params.first().is_some_and(|p| p.contains('=')));
        Ok(Call {
            method: flags.command.clone().unwrap_or_else(|| "help".to_owned()),
            params: if named {
                object(&flags.params)?
            } else {
                array(&flags.params)?
            },
            filter: flags.filter.clone(),
            words: flags.params.clone(),
        })
    }

    /// The command that `help` is asked about.
    pub fn help_about(&self) -> Option<&str> {
        (self.method == "help").then(|| self.words.first().map(String::as_str))?
    }

    /// Whether this is `help` about everything.
    pub fn lists_commands(&self) -> bool {
        self.method == "help" && self.words.is_empty()
    }

    fn id(&self) -> String {
        json!(format!("cli:{}#{}", self.method, std::process::id())).to_string()
    }

    fn request(&self) -> String {
        let Call { params, .. } = self;
        let (id, method) = (self.id(), json!(self.method));
        let filter = self
            .filter
            .as_ref()
            .map_or(String::new(), |f| format!(",\"filter\":{f}"));
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}{filter}}}\n\n"
        )
    }
}

fn array(words: &[String]) -> Result<String, Failure> {
    let values: Vec<String> = words.iter().map(|w| value(w)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", values.join(",")))
}

fn object(words: &[String]) -> Result<String, Failure> {
    let member = |word: &String| {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("expected name=value, not '{word}'")))?;
        Ok(format!("{}:{}", json!(name), value(text)?))
    };
    let members: Vec<String> = words.iter().map(member).collect::<Result<_, Failure>>()?;
    Ok(format!("{{{}}}", members.join(",")))
}

/// What looks like JSON is taken as JSON, all else as a string. Digits after a leading zero are no
/// number: they may be hex.
fn value(word: &str) -> Result<String, Failure> {
    let is = |open, close| word.len() > 1 && word.starts_with(open) && word.ends_with(close);
    let is_json = Token::parse(word).is_some();
    if is('{', '}') || is('[', ']') || is('"', '"') {
        return if is_json {
            Ok(word.to_owned())
        } else {
            Err(Failure::Usage(format!(
                "this is not JSON: {word}\nIf it is to be a text, put a space before it."
            )))
        };
    }
    let number = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let literal = matches!(word, "true" | "false" | "null") || (number && is_json);
    Ok(if literal {
        word.to_owned()
    } else {
        json!(word).to_string()
    })
}

/// Asks, shows notifications on `screen` while waiting, and returns the reply.
pub fn ask(
    call: &Call,
    location: &Location,
    shown: Notifications,
    screen: &mut impl Write,
) -> Result<Reply, Failure> {
    let mut connection = Connection::to(location)?;
    if shown != Notifications::None {
        connection.enable_notifications()?;
    }
    connection.send(&call.request())?;
    let mut screen = Screen::new(screen, shown);
    loop {
        let line = connection.line()?;
        let malformed = || Failure::Malformed(line.clone());
        let members = Token::parse(&line)
            .and_then(Token::members)
            .ok_or_else(malformed)?;
        let member = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, t)| *t);
        let Some(id) = member("id") else {
            screen.notification(member("method"), member("params"))?;
            continue;
        };
        screen.finish()?;
        let error = member("error").filter(|e| !e.is_null());
        if let (Some(error), true) = (error, id.is_null()) {
            return Ok(Reply::Error(error.raw().to_owned())); // it could not read the request
        }
        if id.raw() != call.id() {
            return Err(malformed());
        }
        return match (error, member("result")) {
            (Some(error), _) => Ok(Reply::Error(error.raw().to_owned())),
            (None, Some(result)) => Ok(Reply::Result(result.raw().to_owned())),
            (None, None) => Err(malformed()),
        };
    }
}

struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Connection {
    fn to(location: &Location) -> Result<Connection, Failure> {
        let path = &location.rpc_file;
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Connection {
                stream,
                unread: Vec::new(),
            }),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound => Failure::NoSocket {
                    path: path.clone(),
                    hint: other_networks(location),
                },
                io::ErrorKind::ConnectionRefused => Failure::DeadSocket(path.clone()),
                io::ErrorKind::PermissionDenied => Failure::NotAllowed(path.clone()),
                _ => Failure::Connect {
                    path: path.clone(),
                    source,
                },
            }),
        }
    }

    fn send(&mut self, text: &str) -> Result<(), Failure> {
        self.stream
            .write_all(text.as_bytes())
            .map_err(Failure::Talk)
    }

    fn enable_notifications(&mut self) -> Result<(), Failure> {
        self.send("{\"jsonrpc\":\"2.0\",\"id\":\"cli:notifications\",\"method\":\"notifications\",\"params\":{\"enable\":true}}\n\n")?;
        self.line().map(drop)
    }

    /// Up to the next two newlines.
    fn line(&mut self) -> Result<String, Failure> {
        let mut searched = 0;
        let mut chunk = [0; 64 * 1024];
        loop {
            let found = self
                .unread
                .get(searched..)
                .and_then(|b| b.windows(2).position(|w| w == b"\n\n"));
            if let Some(at) = found {
                let rest = self.unread.split_off(searched + at + 2);
                let line = std::mem::replace(&mut self.unread, rest);
                let line = String::from_utf8(line)
                    .map_err(|_| Failure::Malformed("text that is not UTF-8".to_owned()))?;
                return Ok(line.trim().to_owned());
            }
            searched = self.unread.len().saturating_sub(1);
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Failure::Closed),
                Ok(n) => self
                    .unread
                    .extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Failure::Talk(e)),
            }
        }
    }
}

/// A hint where another network's node is running in the same folder.
fn other_networks(location: &Location) -> String {
    let Some(dir) = location.network_dir.parent() else {
        return String::new();
    };
    let running = |n: &Network| Path::exists(&dir.join(n.name()).join("lightning-rpc"));
    let names: Vec<String> = Network::ALL
        .into_iter()
        .filter(|n| *n != location.network && running(n))
        .map(|n| format!("--network={n}"))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("\nThere is one for {}.", names.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn params(words: &[&str]) -> String {
        let flags = Flags::try_parse_from(["lightning-cli", "x"].iter().chain(words)).unwrap();
        Call::new(&flags).unwrap().params
    }

    #[test]
    fn words_that_look_like_json_are_json_and_others_are_strings() {
        let got = params(&[
            "1",
            "1.5",
            "true",
            "null",
            "any",
            "103x1x0",
            "\"5\"",
            "{\"a\": 1}",
            "[1]",
            "a\"b",
            "",
        ]);
        assert_eq!(
            got,
            r#"[1,1.5,true,null,"any","103x1x0","5",{"a": 1},[1],"a\"b",""]"#
        );
    }

    #[test]
    fn digits_that_are_no_number_are_a_string() {
        assert_eq!(
            params(&["0123", "0", "1.2.3.4", "18446744073709551615", ".", "-1"]),
            r#"["0123",0,"1.2.3.4",18446744073709551615,".","-1"]"#
        );
    }

    #[test]
    fn an_equals_sign_in_the_first_word_makes_parameters_named() {
        assert_eq!(
            params(&["label=a=b", "amount_msat=5"]),
            r#"{"label":"a=b","amount_msat":5}"#
        );
        assert_eq!(params(&["a", "b=c"]), r#"["a","b=c"]"#);
        assert_eq!(params(&["-o", "a=b"]), r#"["a=b"]"#);
        assert_eq!(params(&["-k"]), "{}");
    }

    #[test]
    fn what_is_half_json_or_half_named_is_wrong_usage() {
        for words in [&["{a}"][..], &["[1"], &["-k", "x"], &["-l", "{", "y"]] {
            let flags = Flags::try_parse_from(["lightning-cli", "x"].iter().chain(words)).unwrap();
            let expected_wrong = words != ["[1"]; // without its end it is a string
            assert_eq!(
                matches!(Call::new(&flags), Err(Failure::Usage(_))),
                expected_wrong,
                "{words:?}"
            );
        }
    }
}
