//! Real subdaemons: this program starts itself as one, with a main of its own because the test
//! harness would not understand a subdaemon's arguments. `--list`, `--exact NAME` and a part of a
//! name are understood as usual; one test runs at a time.

#[path = "first_steps/probe.rs"]
mod probe;
#[path = "first_steps/tests.rs"]
mod tests;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg.starts_with("--fds=")) {
        return probe::main(&args[0]);
    }
    if args.get(1).is_some_and(|arg| arg == probe::CONTROL) {
        return probe::control();
    }
    if args.get(1).is_some_and(|arg| arg == probe::STARTER) {
        return probe::starter(&args[2..]);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let parts: Vec<&str> = args
        .iter()
        .skip(1)
        .map(String::as_str)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    // `terse` is the value of `--format`.
    let parts: Vec<&str> = parts.into_iter().filter(|part| *part != "terse").collect();
    let fits = |name: &str, part: &str| {
        if has("--exact") {
            name == part
        } else {
            name.contains(part)
        }
    };
    let chosen = tests::ALL
        .iter()
        .filter(|(name, _)| parts.is_empty() || parts.iter().any(|part| fits(name, part)));
    for (name, test) in chosen.filter(|_| !has("--ignored")) {
        if has("--list") {
            println!("{name}: test");
        } else {
            println!("test {name} ...");
            test();
        }
    }
    ExitCode::SUCCESS
}
