//! The owner's tool: the seed file while no node runs, and a running hsmd over its OPERATOR socket.
//!
//! Holds a seed for as long as one command takes. Talks to: the terminal, and hsmd. A passphrase or
//! words are read from the terminal without echo, or a line each from stdin where it is none; never
//! from an argument or the environment, which other processes can see. Never: the network.
//!
//! Exit codes: 0 done, 1 no, 2 hsmd cannot be reached, 3 wrong usage.

mod audit;
mod dates;
mod descriptor;
mod failure;
mod flags;
mod numbers;
mod offline;
mod operator;
mod prompt;
mod spending;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use failure::Failure;
use flags::{Audit, Command, Flags, Journal};
use numbers::Numbers;

fn main() -> ExitCode {
    // Neither a core nor another process of this user shall see what is typed.
    let _ = nix::sys::prctl::set_dumpable(false);
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(asked) => {
            let _ = asked.print(); // there is nobody else to tell
            return match asked.use_stderr() {
                true => failure::USAGE.into(),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lightning-hsmtool: {failure}");
            failure.exit_code()
        }
    }
}

fn run(flags: &Flags) -> Result<(), Failure> {
    let facts = match &flags.command {
        Command::Generatehsm { file } => offline::generate(file)?,
        Command::Restorehsm { file } => offline::restore(file)?,
        Command::Encrypt { file } => offline::encrypt(file)?,
        Command::Decrypt { file } => offline::decrypt(file)?,
        Command::ChangePassphrase { file } => offline::change_passphrase(file)?,
        Command::Checkhsm { file } => offline::check(file)?,
        Command::Getsecret { file } => offline::words(file)?,
        Command::Getnodeid { file } => offline::node_id(file)?,
        Command::Dumponchaindescriptors { file, network } => offline::descriptors(file, *network)?,
        Command::Guesstoremote {
            address,
            node_id,
            max_channel_dbid,
            file,
            begun_anew,
            private_key,
        } => {
            let wanted = offline::ToRemote {
                address,
                peer: *node_id,
                numbers: Numbers {
                    last: *max_channel_dbid,
                    begun_anew: *begun_anew,
                },
            };
            offline::guess_to_remote(file, &wanted, *private_key)?
        }
        Command::Journal(Journal::Verify { file }) => offline::verify_journal(file)?,
        Command::Status { folder } => operator::status(folder)?,
        Command::Unlock { folder } => operator::unlock(folder)?,
        Command::ShowMnemonic { folder, yes } => operator::show_mnemonic(folder, *yes)?,
        Command::ConfirmRecovery {
            folder,
            channel,
            yes,
        } => operator::confirm_recovery(folder, *channel, *yes)?,
        Command::Spending(command) => return spending::run(command, flags),
        Command::Audit(Audit::Verify { paths }) => return say(&audit::verify(paths)?),
        Command::Audit(Audit::Diff { a, b }) => return say(&audit::diff(a, b)?),
        Command::Audit(Audit::Tail { folder, from }) => {
            return say(&operator::audit_tail(folder, *from)?);
        }
        Command::Why { number, paths } => return say(&audit::why(*number, paths)?),
        Command::Completion { shell } => return Ok(io::stdout().write_all(&flags::script(*shell))?),
    };
    Ok(show(&facts, flags.json)?)
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// What a command found out: names and values, in order.
type Facts = Vec<(&'static str, String)>;

fn show(facts: &Facts, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let object: serde_json::Map<_, _> = facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        return writeln!(out, "{}", serde_json::Value::Object(object));
    }
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        writeln!(out, "{name:width$}  {value}")?;
    }
    Ok(())
}
