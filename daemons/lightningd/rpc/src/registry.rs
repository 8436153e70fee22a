//! Which commands there are, and the three that answer from the table alone: `help`, `check` and
//! `notifications`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde_json::{Value, json};

use crate::args::{Args, Given, Strictness, bad_param};
use crate::commands::{self, Command};
use crate::context::Context;
use crate::error::{RpcError, code};
use crate::filter::Filter;
use crate::token::Token;

/// What a command comes to.
pub type Outcome = Result<Value, RpcError>;
type Function = Arc<dyn Fn(Context, Args) -> BoxFuture<'static, Outcome> + Send + Sync>;

#[derive(Clone)]
enum Run {
    Help,
    Check,
    Notifications,
    Function(Function),
}

#[derive(Clone)]
struct Entry {
    command: &'static Command,
    run: Run,
}

/// The commands of this node.
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    developer: bool,
}

/// Two functions for one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("command {0} is registered twice")]
pub struct RegisteredTwice(pub &'static str);

impl Registry {
    /// With the built-in commands only. `developer`: accept developer-only parameters and show
    /// clients what was wrong with theirs.
    #[must_use]
    pub fn new(developer: bool) -> Registry {
        let built_in = [
            (&commands::HELP, Run::Help),
            (&commands::CHECK, Run::Check),
            (&commands::NOTIFICATIONS, Run::Notifications),
        ];
        let entries = built_in
            .into_iter()
            .map(|(command, run)| (command.name, Entry { command, run }))
            .collect();
        Registry { entries, developer }
    }

    /// `run` gets parameters that are already checked against `command`'s table.
    pub fn add<F, Fut>(&mut self, command: &'static Command, run: F) -> Result<(), RegisteredTwice>
    where
        F: Fn(Context, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if self.entries.contains_key(command.name) {
            return Err(RegisteredTwice(command.name));
        }
        let run: Function = Arc::new(move |context, args| run(context, args).boxed());
        self.entries.insert(
            command.name,
            Entry {
                command,
                run: Run::Function(run),
            },
        );
        Ok(())
    }

    /// Commands of the table that nobody has registered.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        commands::ALL
            .iter()
            .map(|c| c.name)
            .filter(|name| !self.entries.contains_key(name))
            .collect()
    }

    #[must_use]
    pub fn developer(&self) -> bool {
        self.developer
    }

    /// Runs a command that did not come over the socket. `params`: an array or an object.
    pub async fn call(&self, context: Context, params: &Value) -> Outcome {
        let text = params.to_string();
        let token =
            Token::parse(&text).ok_or_else(|| RpcError::invalid_params("params are not JSON"))?;
        let method = context.method().to_owned();
        self.start(context, &method, token, None, &AtomicBool::new(false))
            .await
    }

    /// Checks the request and starts its command. Everything up to the command's own first step has
    /// happened when this returns, so a `notifications` request holds for the request after it.
    pub(crate) fn start(
        &self,
        context: Context,
        method: &str,
        params: Token<'_>,
        filter: Option<Token<'_>>,
        notifications: &AtomicBool,
    ) -> BoxFuture<'static, Outcome> {
        match self.prepare(context, method, params, filter, notifications) {
            Ok(running) => running,
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn prepare(
        &self,
        context: Context,
        method: &str,
        params: Token<'_>,
        filter: Option<Token<'_>>,
        notifications: &AtomicBool,
    ) -> Result<BoxFuture<'static, Outcome>, RpcError> {
        let entry = self.find(method)?;
        let how = Strictness {
            developer: self.developer,
            echo: self.developer,
        };
        let filter = filter
            .map(|t| {
                Filter::parse(t).map_err(|m| bad_param("filter", m.complaint, m.token, false, how))
            })
            .transpose()?;
        let given = Given::new(params)?;
        let running = match &entry.run {
            Run::Help => ready(self.help(&given, how)).boxed(),
            Run::Check => ready(self.check(given)).boxed(),
            Run::Notifications => {
                let enable = Args::read(entry.command.params, &given, how)?.required("enable")?;
                notifications.store(enable, Ordering::Relaxed);
                ready(Ok(json!({}))).boxed()
            }
            Run::Function(run) => run(context, Args::read(entry.command.params, &given, how)?),
        };
        Ok(match filter {
            None => running,
            Some(filter) => running
                .map(move |outcome| outcome.and_then(|result| filter.apply(result)))
                .boxed(),
        })
    }

    fn find(&self, name: &str) -> Result<&Entry, RpcError> {
        self.entries.get(name).ok_or_else(|| {
            RpcError::new(
                code::JSONRPC2_METHOD_NOT_FOUND,
                format!("Unknown command '{name}'"),
            )
        })
    }

    fn help(&self, given: &Given<'_>, how: Strictness) -> Outcome {
        let wanted: Option<String> =
            Args::read(commands::HELP.params, given, how)?.optional("command")?;
        let shown: Vec<Value> = match wanted {
            Some(name) => vec![help_entry(self.find(&name)?.command, true)],
            None => self
                .entries
                .values()
                .map(|e| help_entry(e.command, false))
                .collect(),
        };
        Ok(json!({"help": shown, "format-hint": "simple"}))
    }

    /// The parameters of another command, checked as that command would check them.
    fn check(&self, given: Given<'_>) -> Outcome {
        const NAME: &str = "command_to_check";
        let how = Strictness {
            developer: self.developer,
            echo: true,
        };
        let (named, rest) = match given {
            Given::Positions(mut elements) if !elements.is_empty() => {
                (elements.remove(0), Given::Positions(elements))
            }
            Given::Names(mut members) => match members.iter().position(|(n, _)| n == NAME) {
                Some(at) => (members.remove(at).1, Given::Names(members)),
                None => {
                    return Err(RpcError::invalid_params(format!(
                        "missing required parameter: {NAME}"
                    )));
                }
            },
            Given::Positions(_) => {
                return Err(RpcError::invalid_params(format!(
                    "missing required parameter: {NAME}"
                )));
            }
        };
        let entry = self.find(&named.text().unwrap_or_default())?;
        match entry.run {
            Run::Check => Ok(json!({NAME: self.check(rest)?[NAME]})),
            Run::Help => self
                .help(&rest, how)
                .map(|_| json!({NAME: entry.command.name})),
            Run::Notifications | Run::Function(_) => Args::read(entry.command.params, &rest, how)
                .map(|_| json!({NAME: entry.command.name})),
        }
    }
}

/// `full`: with everything that a page about the command needs. CLN has `command` alone; its schema
/// allows more members.
fn help_entry(command: &Command, full: bool) -> Value {
    let mut entry = json!({
        "command": format!("{} {}", command.name, command.usage()),
        "category": command.category.name(),
        "description": command.summary,
    });
    if full {
        entry["verbose"] = json!(command.page());
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use futures::executor::block_on;

    fn registry() -> Registry {
        let mut registry = Registry::new(false);
        registry
            .add(&commands::PING, |_, args| async move {
                let len: u16 = args.required("len")?;
                Ok(json!({"totlen": len, "nested": [{"a": 1, "b": 2}]}))
            })
            .unwrap();
        registry
    }

    fn ask(method: &str, params: Value) -> Outcome {
        block_on(registry().call(Context::internal(method), &params))
    }

    const ID: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    #[test]
    fn a_command_gets_its_parameters_with_defaults_filled_in() {
        assert_eq!(ask("ping", json!([ID])).unwrap()["totlen"], 128);
        assert_eq!(
            ask("ping", json!({"id": ID, "len": 5})).unwrap()["totlen"],
            5
        );
    }

    #[test]
    fn an_unknown_command_is_method_not_found() {
        let e = ask("nonesuch", json!([])).unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (
                code::JSONRPC2_METHOD_NOT_FOUND,
                "Unknown command 'nonesuch'"
            )
        );
    }

    #[test]
    fn a_command_is_registered_once() {
        let mut registry = registry();
        let again = registry.add(&commands::PING, |_, _| async { Ok(json!({})) });
        assert_eq!(again, Err(RegisteredTwice("ping")));
        assert!(registry.missing().contains(&"getinfo") && !registry.missing().contains(&"ping"));
    }

    #[test]
    fn help_lists_every_registered_command_with_its_usage() {
        let all = ask("help", json!([])).unwrap();
        let lines: Vec<&str> = all["help"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| h["command"].as_str().unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                "check command_to_check",
                "help [command]",
                "notifications enable",
                "ping id [len] [pongbytes]"
            ]
        );
        assert_eq!(all["format-hint"], "simple");
        assert_eq!(
            ask("help", json!(["ping"])).unwrap()["help"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            ask("help", json!(["x"])).unwrap_err().code,
            code::JSONRPC2_METHOD_NOT_FOUND
        );
    }

    #[test]
    fn check_reads_parameters_and_runs_nothing() {
        let fine = json!({"command_to_check": "ping"});
        assert_eq!(ask("check", json!(["ping", ID])).unwrap(), fine);
        assert_eq!(
            ask("check", json!({"command_to_check": "ping", "id": ID})).unwrap(),
            fine
        );
        assert_eq!(
            ask("check", json!(["ping"])).unwrap_err().message,
            "missing required parameter: id"
        );
        assert_eq!(
            ask("check", json!(["ping", "zz"])).unwrap_err().message,
            "id: should be a node id: invalid token '\"zz\"'"
        );
        assert_eq!(
            ask("check", json!([])).unwrap_err().code,
            code::JSONRPC2_INVALID_PARAMS
        );
        assert_eq!(
            ask("check", json!(["nonesuch"])).unwrap_err().code,
            code::JSONRPC2_METHOD_NOT_FOUND
        );
        assert_eq!(
            ask("check", json!(["help", "nonesuch"])).unwrap_err().code,
            code::JSONRPC2_METHOD_NOT_FOUND
        );
    }

    #[test]
    fn a_filter_holds_for_the_result_and_not_for_errors() {
        let start = |params: &str, filter: &str| {
            let (params, filter) = (Token::parse(params).unwrap(), Token::parse(filter).unwrap());
            block_on(registry().start(
                Context::internal("ping"),
                "ping",
                params,
                Some(filter),
                &AtomicBool::new(false),
            ))
        };
        let params = format!("[\"{ID}\"]");
        assert_eq!(
            start(&params, r#"{"nested":[{"b":true}]}"#).unwrap(),
            json!({"nested": [{"b": 2}]})
        );
        let e = start(&params, "[]").unwrap_err();
        assert_eq!(
            e.message,
            "filter: should be an object: invalid token (see logs for details)"
        );
        assert_eq!(
            start("[]", r#"{"x":true}"#).unwrap_err().message,
            "missing required parameter: id"
        );
    }
}
