//! The fuzz targets: one function for each decoder and core, in one binary, driven by libFuzzer.
//!
//! Which one runs is said by the environment, as the command line belongs to libFuzzer. A target
//! fails by panicking, by asking for more memory than [`MEMORY`], or by taking longer than the
//! runner allows. None of them may find a key, a file or a socket outside of its own folder.
#![no_main]

mod backup;
mod bolt11;
mod channel_events;
mod choices;
#[path = "../../../protocol/channel/tests/channel/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod ipc;
mod json_rpc;
mod noise;
mod onions;
mod options;
mod sample;
#[path = "../../../protocol/channel/tests/channel/signer.rs"]
#[allow(dead_code)]
mod signer;
mod signer_ledger;
#[path = "../../../hsm/tests/adversary/thief.rs"]
mod thief;
#[path = "../../../hsm/tests/adversary/wealth.rs"]
mod wealth;
mod wire_codec;

use std::alloc::System;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cap::Cap;

/// More than what any decoder here may need: the ipc codec may claim 64 MiB for one value.
const MEMORY: usize = 160 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

/// What is tried.
pub struct Target {
    pub name: String,
    pub run: fn(&[u8]),
    /// Longest input, in bytes.
    pub max_len: usize,
    /// Valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    fn new(name: &str, run: fn(&[u8]), max_len: usize, seeds: fn() -> Vec<Vec<u8>>) -> Target {
        Target {
            name: name.to_owned(),
            run,
            max_len,
            seeds,
        }
    }
}

fn all() -> Vec<Target> {
    let parts = [
        wire_codec::targets(),
        noise::targets(),
        onions::targets(),
        backup::targets(),
        bolt11::targets(),
        json_rpc::targets(),
        options::targets(),
        ipc::targets(),
        channel_events::targets(),
        signer_ledger::targets(),
    ];
    parts.into_iter().flatten().collect()
}

static TARGET: OnceLock<Target> = OnceLock::new();
static TOLD: OnceLock<bool> = OnceLock::new();

/// Whether somebody looks at one input and wants to see what happens.
pub fn is_told() -> bool {
    *TOLD.get_or_init(|| std::env::var_os("FUZZ_TELL").is_some())
}

/// `list` prints every target and its longest input; `seeds:DIR` writes all seeds below a folder;
/// anything else is the target to run.
fn begin() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if wanted == "list" {
        for target in all() {
            println!("{} {}", target.name, target.max_len);
        }
        std::process::exit(0);
    }
    if let Some(dir) = wanted.strip_prefix("seeds:") {
        write_seeds(Path::new(dir));
        std::process::exit(0);
    }
    match all().into_iter().find(|target| target.name == wanted) {
        Some(target) => drop(TARGET.set(target)),
        None => {
            eprintln!("FUZZ_TARGET must name a target, not {wanted:?}");
            std::process::exit(2);
        }
    }
}

fn write_seeds(dir: &Path) {
    for target in all() {
        let folder: PathBuf = dir.join(&target.name);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for (i, seed) in (target.seeds)().iter().enumerate() {
            assert!(seed.len() <= target.max_len, "{}: seed {i}", target.name);
            (target.run)(seed);
            std::fs::write(folder.join(format!("{i:02}")), seed).expect("a seed");
        }
    }
}

libfuzzer_sys::fuzz_target!(init: begin(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
