//! `lightningd --check`: whether database, seed, journal and chain of a node that does not run go
//! together, in words: what is wrong and what to do.
//!
//! Nothing is written, no peer is contacted, and the node must not run: its locks are taken. hsmd alone
//! reads seed and journal, in its sandbox as ever, and is told only to inspect them; chaind reads the
//! blocks. What the start itself would refuse is refused here with the same words, by the same code.

mod chain;
mod database;
mod files;
mod report;
mod signer;

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lightningd_options::{CheckOutput, Options};
use nix::fcntl::Flock;

use self::report::{Check, Finding, Report};
use crate::logbook::LogBook;
use crate::process;
use crate::subdaemons::Launcher;

/// Checks, prints what was found, and says whether all is well.
pub fn run(options: &Options, output: CheckOutput) -> ExitCode {
    match check(options) {
        Ok(report) => {
            match output {
                CheckOutput::Text => print!("{}", report.text()),
                CheckOutput::Json => println!("{:#}", report.json()),
            }
            match report.is_well() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("lightningd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> anyhow::Result<Report> {
    let folder = &options.network_dir;
    if !files::is_a_nodes(folder) {
        bail!(
            "there is no node in {}: check --lightning-dir and --network",
            folder.display()
        );
    }
    let lock = process::lock_existing(&options.pid_file)?;
    // Tried by a child, so while there is one thread.
    let (sandbox, _) = crate::sandbox::choose(options.sandbox);
    let mut quiet = options.log.clone();
    quiet.targets.clear();
    let log = LogBook::open(quiet)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(async {
        let launcher = Launcher::new(log, sandbox)?;
        look(options, &launcher, lock).await
    });
    runtime.shutdown_background();
    report
}

async fn look(
    options: &Options,
    launcher: &Launcher,
    _lock: Option<Flock<File>>,
) -> anyhow::Result<Report> {
    let mut report = Report::new(&options.network_dir);
    files::look(options, &mut report);
    let view = database::look(options, &mut report);
    signer::look(options, launcher, view.as_ref(), &mut report).await?;
    match &view {
        Some(view) => chain::look(options, launcher, view, &mut report).await?,
        None => {
            for check in [Check::Chain, Check::Funding] {
                report.add(check, Finding::not_checked("the database cannot be read"));
            }
        }
    }
    Ok(report)
}
