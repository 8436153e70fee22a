//! Sends one command to a running lightningd and shows the reply, with CLN's flags and exit codes.
//!
//! Exit codes: 0 done, 1 lightningd says no, 2 lightningd cannot be reached, 3 wrong usage.

mod advice;
mod complete;
mod failure;
mod flags;
mod notification;
mod rpc;
mod show;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use lightningd_options::{Environment, locate};
use lightningd_rpc::commands;

use failure::Failure;
use flags::{Flags, Format};
use rpc::{Call, Reply};

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(asked) => {
            let _ = asked.print(); // there is nobody else to tell
            return if asked.use_stderr() {
                failure::USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&flags) {
        Ok(code) => code,
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lightning-cli: {e}");
            e.exit_code()
        }
    }
}

fn run(flags: &Flags) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    if let Some(shell) = flags.completion {
        out.write_all(&complete::script(shell))?;
        return Ok(ExitCode::SUCCESS);
    }
    if flags.command.is_none() {
        write!(
            out,
            "{}\n\nThe commands of the running lightningd (lightning-cli help):\n\n",
            flags::usage()
        )?;
    }
    let call = Call::new(flags)?;
    let environment = Environment::from_process().map_err(Failure::Output)?;
    let location = locate(flags.overrides(), &environment).map_err(Failure::Options)?;
    let style = show::Style {
        color: out.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    match rpc::ask(&call, &location, flags.notifications, &mut out) {
        Ok(Reply::Result(result)) => {
            show::result(&mut out, &result, &call, flags.format(), style)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Reply::Error(error)) => {
            show::error(&mut out, &error, flags.format(), style)?;
            if let Some(advice) = advice::about(&error, &call.method) {
                out.flush()?;
                eprintln!("{advice}");
            }
            Ok(failure::REFUSED.into())
        }
        // Help about a command that we know needs no node.
        Err(e) => match call
            .help_about()
            .and_then(|name| commands::ALL.iter().find(|c| c.name == name))
        {
            Some(command) if flags.format() == Format::Default => {
                show::page(&mut out, &command.page(), style)?;
                Ok(ExitCode::SUCCESS)
            }
            _ => Err(e),
        },
    }
}
