//! Spent channels, thousands of them: a chain with reorgs, fee spikes and replacement, a peer with a miner of
//! its own who closes with any commitment that it has or had, and a node that crashes after any action.
//! Whatever happens, what is due to us is ours in the end, less fees within the cap, and each HTLC's end
//! is told as the chain has it.
//!
//! Scripts are Bitcoin's own (libbitcoinconsensus). `SIM_RUNS` and `SIM_SEED` choose how many runs and
//! where they begin: `SIM_RUNS=1 SIM_SEED=n` repeats the run that failed.

mod additions;
mod chain;
mod child;
mod contract;
mod fees;
mod node;
mod peer;
mod proof;
mod run;
mod signer;
mod standing;
mod twins;
mod world;

/// In CI, always the same ones.
const RUNS: u64 = 10_000;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// Every second one, so that two tests share the work.
fn runs(parity: u64) {
    let (first, runs) = (setting("SIM_SEED", 0), setting("SIM_RUNS", RUNS));
    let mut seen = run::Seen::default();
    for seed in (first..first + runs).filter(|seed| seed % 2 == parity) {
        seen.add(&run::run(seed));
    }
    println!("{seen:?}");
    // What the runs are for did happen.
    if runs >= 1000 {
        seen.check();
    }
}

#[test]
fn whatever_happens_on_chain_what_is_due_to_us_is_ours() {
    runs(0);
}

#[test]
fn whatever_happens_on_chain_what_is_due_to_us_is_ours_in_the_other_half_of_the_runs() {
    runs(1);
}
