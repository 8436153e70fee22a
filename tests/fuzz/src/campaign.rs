//! All chosen targets, some at a time, each for its seconds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::build::{Instrumented, Listed};
use crate::home;
use crate::outcome::{Figures, artifacts};

/// What one input may take: memory in MiB (beside the allocator's own limit) and seconds.
pub const LIMITS: [&str; 2] = ["-rss_limit_mb=512", "-timeout=5"];
/// After its seconds a target may take so much longer before it is ended.
const GRACE: Duration = Duration::from_secs(60);

/// # Errors
/// A folder cannot be made, or a target cannot be started.
pub fn run(
    targets: &Instrumented,
    chosen: &[Listed],
    seconds: u32,
    jobs: usize,
) -> Result<ExitCode, String> {
    println!(
        "{} targets, {seconds} s each, {jobs} at a time",
        chosen.len()
    );
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let one_after_the_other = || {
        let mut failed = vec![];
        while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = fuzz(targets, target, seconds);
            let time = started.elapsed().as_secs();
            match outcome {
                Ok(figures) => println!("[{time:5} s] {:<32} ok    {figures}", target.name),
                Err(why) => {
                    println!("[{time:5} s] {:<32} FAILED  {why}", target.name);
                    failed.push(target.name.clone());
                }
            }
        }
        failed
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| scope.spawn(one_after_the_other))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .flat_map(|failed| failed.expect("a worker does not panic"))
            .collect()
    });
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!(
        "{} passed, {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The folders of one target.
struct Folders {
    /// What libFuzzer found worth keeping.
    corpus: PathBuf,
    seeds: PathBuf,
    artifacts: PathBuf,
}

impl Folders {
    fn make(target: &str) -> io::Result<Folders> {
        let folders = Folders {
            corpus: home().join("corpus").join(target),
            seeds: home().join("seeds").join(target),
            artifacts: home().join("artifacts").join(target),
        };
        fs::create_dir_all(&folders.corpus)?;
        fs::create_dir_all(&folders.artifacts)?;
        Ok(folders)
    }

    fn log(&self) -> PathBuf {
        self.artifacts.join("log")
    }
}

fn fuzz(targets: &Instrumented, target: &Listed, seconds: u32) -> Result<Figures, String> {
    let folders =
        Folders::make(&target.name).map_err(|e| format!("cannot make its folders: {e}"))?;
    if !folders.seeds.is_dir() {
        return Err(format!(
            "it has no seeds: cargo xtask fuzz -- --write-seeds {}",
            target.name
        ));
    }
    let before = artifacts(&folders.artifacts);
    let log = File::create(folders.log()).map_err(|e| format!("cannot write its log: {e}"))?;
    let mut command = targets.command(&target.name);
    command
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.max_len))
        .arg(format!("-artifact_prefix={}/", folders.artifacts.display()))
        .arg("-print_final_stats=1")
        .args(dictionary(&target.name))
        .arg(&folders.corpus)
        .arg(&folders.seeds)
        .stdout(Stdio::null())
        .stderr(log);
    let status = wait(command, Duration::from_secs(seconds.into()) + GRACE)?;
    let words = fs::read(folders.log()).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    if status.is_some_and(|status| status.success()) {
        return Figures::read(&words).ok_or_else(|| "it tried nothing".to_owned());
    }
    let found = artifacts(&folders.artifacts)
        .into_iter()
        .find(|file| !before.contains(file));
    Err(describe(
        &target.name,
        status,
        &words,
        found.as_deref(),
        &folders.log(),
    ))
}

/// A dictionary is shared by the targets whose names begin with its own.
fn dictionary(target: &str) -> Option<String> {
    let mut stem = target;
    loop {
        let file = home().join("dictionaries").join(format!("{stem}.dict"));
        if file.is_file() {
            return Some(format!("-dict={}", file.display()));
        }
        stem = stem.rsplit_once('_')?.0;
    }
}

/// Its end; `None` if it had to be ended.
fn wait(mut command: Command, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let mut child: Child = command.spawn().map_err(|e| format!("cannot be run: {e}"))?;
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(100)),
            Ok(None) => {
                let _ = child.kill(); // it may have ended by itself just now
                let _ = child.wait();
                return Ok(None);
            }
            Err(e) => return Err(format!("cannot be waited for: {e}")),
        }
    }
}

fn describe(
    target: &str,
    status: Option<ExitStatus>,
    words: &str,
    found: Option<&Path>,
    log: &Path,
) -> String {
    let how = match status {
        Some(status) => format!("{status}"),
        None => "it did not end".to_owned(),
    };
    let why = words
        .lines()
        .skip_while(|line| !line.contains("panicked at"))
        .take(2);
    let why: Vec<&str> = why.collect();
    let why = match why.is_empty() {
        true => words
            .lines()
            .find(|line| line.contains("ERROR: libFuzzer"))
            .unwrap_or("")
            .to_owned(),
        false => why.join(" "),
    };
    let again = match found {
        Some(file) => format!(
            "\n    again: cargo xtask fuzz -- --target {target} --input {}",
            file.display()
        ),
        None => String::new(),
    };
    format!("{how}: {why}\n    log:   {}{again}", log.display())
}
