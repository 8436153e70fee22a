//! Completions of lightningd's command line for shells.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::{Generator, generate, shells};

use crate::error::OptionError;
use crate::log::LogLevel;
use crate::network::Network;
use crate::options::Sandbox;
use crate::setting::Raw;
use crate::table::{Kind, ROWS, Row};

/// The script for the shell that `--completion` names.
pub(crate) fn script(asked: &Raw) -> Result<String, OptionError> {
    match asked.value.as_deref() {
        Some("bash") => Ok(script_for(shells::Bash)),
        Some("zsh") => Ok(script_for(shells::Zsh)),
        Some("fish") => Ok(script_for(shells::Fish)),
        _ => Err(OptionError::Value {
            at: asked.place(),
            why: "should be bash, zsh or fish".to_owned(),
        }),
    }
}

fn script_for(shell: impl Generator) -> String {
    let mut out = Vec::new();
    generate(shell, &mut command(), "lightningd", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn command() -> Command {
    let mut command = Command::new("lightningd")
        .disable_help_flag(true)
        .disable_version_flag(true);
    for row in ROWS.iter().filter(|r| !r.hidden) {
        command = command.arg(argument(row));
    }
    command
}

fn argument(row: &'static Row) -> Arg {
    let mut arg = Arg::new(row.name)
        .long(row.name)
        .help(first_sentence(row.help))
        .help_heading(row.group.title());
    if let Some(short) = row.short {
        arg = arg.short(short);
    }
    if !row.takes_value() {
        return arg.action(ArgAction::SetTrue);
    }
    arg = arg
        .value_name(row.argument)
        .action(ArgAction::Append)
        .require_equals(true);
    match row.kind {
        Kind::Bool => arg.value_parser(PossibleValuesParser::new(["true", "false"])),
        Kind::Network => {
            arg.value_parser(PossibleValuesParser::new(Network::ALL.map(Network::name)))
        }
        Kind::Level => {
            arg.value_parser(PossibleValuesParser::new(LogLevel::ALL.map(LogLevel::name)))
        }
        Kind::Sandbox => {
            arg.value_parser(PossibleValuesParser::new(Sandbox::ALL.map(Sandbox::name)))
        }
        Kind::Path if row.argument == "DIR" => arg.value_hint(ValueHint::DirPath),
        Kind::Path => arg.value_hint(ValueHint::FilePath),
        Kind::Flag
        | Kind::Text
        | Kind::Unsigned { .. }
        | Kind::Signed
        | Kind::Msat
        | Kind::MsatWhole
        | Kind::Mode
        | Kind::Address
        | Kind::Alias
        | Kind::Color => arg,
    }
}

fn first_sentence(help: &'static str) -> &'static str {
    help.split_once(". ")
        .map_or(help, |(first, _)| first)
        .trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shells_script_knows_the_options() {
        for script in [
            script_for(shells::Bash),
            script_for(shells::Zsh),
            script_for(shells::Fish),
        ] {
            assert!(
                script.contains("lightning-dir") && script.contains("regtest"),
                "{script}"
            );
        }
    }
}
