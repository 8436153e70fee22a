//! lightningd's options: the command line and CLN's configuration files, made into typed values.
//!
//! Here is what can be set, how it is read, which setting wins, and how `listconfigs` and `--help`
//! show it. What an option does is not here. Nothing outside is touched except the configuration
//! files, which are read.

pub mod address;
mod collect;
mod complete;
mod elsewhere;
pub mod environment;
mod error;
mod help;
mod listconfigs;
pub mod locate;
pub mod log;
pub mod network;
mod options;
mod setting;
pub mod table;

pub use address::{Address, Host, Purpose};
pub use environment::Environment;
pub use error::{OptionError, Place, Source};
pub use listconfigs::UnknownConfig;
pub use locate::{Location, Overrides, locate};
pub use log::{LogFilter, LogLevel, LogOptions, LogTarget};
pub use network::Network;
pub use options::{
    Bitcoind, Channels, CheckOutput, Connections, Developer, Options, Password, Rescan, Sandbox,
};

use std::ffi::OsString;

/// What the command line asks for.
pub enum Start {
    /// Run the node.
    Run(Box<Options>),
    /// Print this and exit with success (`--help`, `--version`, `--completion`).
    Print(String),
}

/// Reads the command line (`arguments` without the program's name) and the configuration files that
/// it leads to. `version` is what `--version` prints.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    version: &str,
) -> Result<Start, OptionError> {
    let raw = collect::command_line(arguments)?;
    if let Some(asked) = raw
        .iter()
        .find(|r| table::Row::find(&r.name).is_some_and(|row| row.exits))
    {
        return Ok(Start::Print(match asked.name.as_str() {
            "version" => format!("{version}\n"),
            "completion" => complete::script(asked)?,
            _ => help::page(environment),
        }));
    }
    let collected = collect::collect(raw, environment, collect::Unknown::Refuse)?;
    Ok(Start::Run(Box::new(Options::build(
        collected,
        environment,
    )?)))
}
