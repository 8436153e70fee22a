//! Runs the fuzz targets: builds them with coverage instrumentation, gives each its seconds, and
//! says which found something and how to see it again.
//!
//! The instrumentation is LLVM's own pass, asked for by flags that stable rustc takes, so that
//! neither a nightly toolchain nor cargo-fuzz is needed. The fuzzing itself is libFuzzer's.

mod arguments;
mod build;
mod campaign;
mod outcome;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use arguments::{Arguments, Wish};
use build::{Instrumented, Listed};

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)).and_then(run) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    if let Wish::Help = arguments.wish {
        println!("{}", arguments::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let targets = Instrumented::build()?;
    let chosen = chosen(&targets.list()?, &arguments.targets)?;
    match arguments.wish {
        Wish::Help => {}
        Wish::List => chosen.iter().for_each(|target| println!("{}", target.name)),
        Wish::Seeds => targets.write_seeds(&home().join("seeds"))?,
        Wish::Input(file) => return again(&targets, &chosen, &file),
        Wish::Fuzz => return campaign::run(&targets, &chosen, arguments.seconds, arguments.jobs),
    }
    Ok(ExitCode::SUCCESS)
}

/// This package's folder.
fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Those that were named, by their whole names or by what they begin with; all if none was.
fn chosen(all: &[Listed], names: &[String]) -> Result<Vec<Listed>, String> {
    let is_wanted = |target: &&Listed| {
        names.is_empty()
            || names.contains(&target.name)
            || names
                .iter()
                .any(|name| target.name.starts_with(&format!("{name}_")))
    };
    let chosen: Vec<Listed> = all.iter().filter(is_wanted).cloned().collect();
    let matches = |name: &&String| {
        !chosen
            .iter()
            .any(|target| target.name.starts_with(name.as_str()))
    };
    match names.iter().find(matches) {
        Some(unknown) => Err(format!("no target {unknown}; --list prints them")),
        None => Ok(chosen),
    }
}

/// One input once more, with everything that the target prints.
fn again(targets: &Instrumented, chosen: &[Listed], file: &Path) -> Result<ExitCode, String> {
    let [target] = chosen else {
        return Err("--input needs one --target".to_owned());
    };
    let file: PathBuf = file
        .canonicalize()
        .map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command: Command = targets.command(&target.name);
    command
        .env("FUZZ_TELL", "1")
        .args(campaign::LIMITS)
        .arg(file);
    let status = command
        .status()
        .map_err(|e| format!("cannot run the target: {e}"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
