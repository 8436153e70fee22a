//! `cargo xtask`: one verb for each thing one does with this repository, the same for a person and
//! for CI. Everything it builds goes into one target folder, in the release profile, so that
//! RocksDB is compiled once (see `paths`).

mod bolts;
mod commands;
mod lint;
mod pages;
mod paths;
mod policy;
mod run;
mod schema;
mod setup;
mod tcb;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What one does with this repository.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check or install what a build and the tests need: a C++ compiler, libclang, a bitcoind,
    /// Core Lightning's Python client.
    Setup,
    /// Three nodes on a private regtest chain: channels, payments, a close; ends with a table.
    Demo(commands::DemoArgs),
    /// Everything CI runs: setup, lint, then every test of the workspace.
    Test(commands::TestArgs),
    /// Format, clippy, layers, file sizes, and the paths that documents name.
    Lint,
    /// Feed the decoders and cores hostile input.
    Fuzz(commands::FuzzArgs),
    /// Write ipc/schema.lock: the golden text of every message between processes.
    Schema(schema::SchemaArgs),
    /// Measure: builds the node and runs tools/bench with the arguments that follow.
    Bench(commands::BenchArgs),
    /// Write the pages that come from the sources; check that each path named in a document exists.
    Docs(pages::DocsArgs),
    /// Each rule of the signer has a test and a mutation; with --mutate, each mutation is caught.
    Policy(policy::PolicyArgs),
    /// Count what has to be trusted with the keys: lines, crates, unsafe.
    Tcb,
    /// Check docs/bolts.toml and print which requirements of the BOLTs are not kept.
    Bolts,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Setup => setup::setup(),
        Verb::Demo(args) => commands::demo(&args),
        Verb::Test(args) => commands::test(&args),
        Verb::Lint => setup::toolchain().and_then(|()| lint::all()),
        Verb::Fuzz(args) => commands::fuzz(&args),
        Verb::Schema(args) => schema::schema(&args),
        Verb::Bench(args) => commands::bench(&args),
        Verb::Docs(args) => pages::docs(&args),
        Verb::Policy(args) => policy::policy(&args),
        Verb::Tcb => tcb::tcb(),
        Verb::Bolts => bolts::bolts(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("cargo xtask: {reason:#}");
            ExitCode::FAILURE
        }
    }
}
