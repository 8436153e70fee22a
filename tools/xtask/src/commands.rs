//! The verbs that build and run something.

use crate::paths;
use crate::run::{cargo, check, say, show};
use crate::{lint, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The packages whose binaries make up the node, its client and the owner's tool.
const NODE: [&str; 9] = [
    "lightningd",
    "hsmd",
    "connectd",
    "channeld",
    "onchaind",
    "chaind",
    "payd",
    "lightning-cli",
    "hsmtool",
];

#[derive(Args)]
pub struct DemoArgs {
    /// Leave the nodes and bitcoind running at the end, and print how to talk to them.
    #[arg(long)]
    keep: bool,
}

#[derive(Args)]
pub struct TestArgs {
    /// Leave out the lints (format, clippy, layers, documents).
    #[arg(long)]
    no_lint: bool,
    /// Passed on to `cargo test`, such as `-p wire` (instead of the whole workspace) or a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Args)]
pub struct FuzzArgs {
    /// Each target for a short time, seeds first; an error if one finds something.
    #[arg(long)]
    smoke: bool,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Passed on to tests/fuzz, such as the name of one target.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Args)]
pub struct BenchArgs {
    /// Which bench and its options, such as `payments --payments 1000`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the node and runs the demo of tests/blackbox.
pub fn demo(arguments: &DemoArgs) -> Result<()> {
    setup::to_run()?;
    build(&["blackbox"])?;
    let mut command = program("demo")?;
    if arguments.keep {
        command.arg("--keep");
    }
    check(&mut command)
}

/// Lints, then all tests; ends with `N passed, N failed`.
pub fn test(arguments: &TestArgs) -> Result<()> {
    let needs_node = needs_node(&arguments.rest);
    if needs_node {
        setup::setup()?;
    } else {
        setup::to_run()?;
    }
    if !arguments.no_lint && arguments.rest.is_empty() {
        lint::all()?;
    }
    if needs_node {
        build(&[])?;
    }
    let mut command = cargo(&["test", "--release", "--no-fail-fast"]);
    if !arguments.rest.iter().any(|word| chooses_package(word)) {
        command.arg("--workspace");
    }
    command.args(&arguments.rest);
    with_environment(&mut command)?;
    if needs_node {
        command.env("PYLN_PYTHON", setup::pyln()?);
    }
    say(&show(&command));
    let (counted, succeeded) = count(&mut command)?;
    say("tests done");
    println!(
        "{} passed, {} failed, {} skipped",
        counted.passed, counted.failed, counted.skipped
    );
    if !succeeded {
        bail!("the tests failed");
    }
    if counted.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn chooses_package(word: &str) -> bool {
    word.starts_with("-p") || word.starts_with("--package")
}

/// True unless only packages are asked for whose tests start no node.
fn needs_node(rest: &[String]) -> bool {
    const START_NODES: [&str; 3] = ["blackbox", "interop", "lightning-cli"];
    let starts_nodes = |word: &String| START_NODES.iter().any(|name| word.contains(name));
    !rest.iter().any(|word| chooses_package(word)) || rest.iter().any(starts_nodes)
}

/// Runs tests/fuzz.
pub fn fuzz(arguments: &FuzzArgs) -> Result<()> {
    setup::toolchain()?;
    let mut command = cargo(&[
        "run",
        "--release",
        "--manifest-path",
        "tests/fuzz/Cargo.toml",
        "--",
    ]);
    if arguments.smoke {
        command.arg("--smoke");
    }
    command
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(&arguments.rest)
        // Other flags, other dependencies: in the one target folder each would undo the other's work.
        .env("CARGO_TARGET_DIR", paths::fuzz_target());
    say(&show(&command));
    check(&mut command)
}

/// Builds the node and tools/bench, and runs it.
pub fn bench(arguments: &BenchArgs) -> Result<()> {
    setup::to_run()?;
    build(&["bench"])?;
    check(program("bench")?.args(&arguments.rest))
}

fn build(more: &[&str]) -> Result<()> {
    let mut command = cargo(&["build", "--release", "--bins"]);
    for package in NODE.iter().chain(more) {
        command.args(["-p", package]);
    }
    say("building (the first build compiles RocksDB: about ten minutes on two cores)");
    check(&mut command)?;
    say("built");
    Ok(())
}

fn program(name: &str) -> Result<Command> {
    let mut command = Command::new(paths::binaries().join(name));
    with_environment(&mut command)?;
    Ok(command)
}

/// Tells a test or tool where the node's binaries and bitcoind are.
fn with_environment(command: &mut Command) -> Result<()> {
    command
        .env("BULKHEAD_BIN_DIR", paths::binaries())
        .env("BITCOIND", setup::bitcoind()?);
    Ok(())
}

#[derive(Default)]
struct Counted {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs cargo test, passes its lines on, and adds up what each test binary says.
fn count(command: &mut Command) -> Result<(Counted, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut counted = Counted::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        add(&mut counted, &line);
    }
    Ok((counted, child.wait()?.success()))
}

/// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; other lines add nothing.
fn add(counted: &mut Counted, line: &str) {
    let Some(result) = line.strip_prefix("test result: ") else {
        return;
    };
    let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
    for part in counts.split("; ") {
        let Some((number, word)) = part.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match word {
            "passed" => counted.passed += number,
            "failed" => counted.failed += number,
            "ignored" => counted.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_binaries_are_added_up() {
        let mut counted = Counted::default();
        add(&mut counted, "running 4 tests");
        add(
            &mut counted,
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        add(
            &mut counted,
            "test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s",
        );
        assert_eq!((counted.passed, counted.failed, counted.skipped), (5, 5, 1));
    }
}
