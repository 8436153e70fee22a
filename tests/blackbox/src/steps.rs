//! A node that dies at every step to the disk of a script, one step in each round: before it, after it, and
//! with what was not synced lost. A script asks again for whatever the death kept it from.

use crate::kill::setting;
use crate::node::Node;
use crate::process::Process;
use crate::wait::{patience, until};
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// What becomes of the step at which a node dies.
const MOMENTS: [&str; 3] = ["before", "after", "power"];
/// A script has no fixed number of steps: some come together or not. After so many rounds without a death it
/// has no further one.
const ENOUGH: u64 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Plays the script until it has no further step, with another death in each round: at every step and moment
/// with `BULKHEAD_KILL_STEPS=all`, from `BULKHEAD_KILL_FIRST`, else at every so many with a moment of each in turn,
/// beginning anywhere. `BULKHEAD_KILL_MOMENTS` chooses moments, such as `before,after`.
/// `play` is given the round and the moment for [`Node::launch_to_die`], and says at which file it came.
///
/// # Panics
/// A round fails.
pub fn at_each(every: u64, mut play: impl FnMut(u64, &str) -> Result<Option<String>>) {
    let all = setting::<String>("BULKHEAD_KILL_STEPS").is_some_and(|text| text == "all");
    let seed = setting("BULKHEAD_KILL_SEED").unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let (every, first) = match all {
        true => (1, setting("BULKHEAD_KILL_FIRST").unwrap_or(1)),
        false => (every, random.gen_range(1..=every)),
    };
    println!("every {every} steps from {first}, seed {seed}");
    let chosen = setting::<String>("BULKHEAD_KILL_MOMENTS");
    let is_chosen = |moment: &&str| match &chosen {
        Some(chosen) => chosen.split(',').any(|word| word == *moment),
        None => true,
    };
    let mut rotation = random.gen_range(0..MOMENTS.len());
    let (mut round, mut deaths, mut without) = (0, 0, 0);
    for step in (first..).step_by(every as usize) {
        let moments = match all {
            true => &MOMENTS[..],
            false => {
                rotation = (rotation + 1) % MOMENTS.len();
                &MOMENTS[rotation..=rotation]
            }
        };
        let mut died = false;
        for moment in moments.iter().filter(|moment| is_chosen(moment)) {
            let (start, moment) = (Instant::now(), format!("{step}:{moment}"));
            let file = play(round, &moment)
                .unwrap_or_else(|error| panic!("{moment}, seed {seed}: {error:#}"));
            let seconds = start.elapsed().as_secs_f64();
            println!("{moment}: {file:?}, {seconds:.1} s");
            round += 1;
            deaths += u64::from(file.is_some());
            died |= file.is_some();
        }
        without = if died { 0 } else { without + every };
        if without >= ENOUGH {
            break;
        }
    }
    println!("{deaths} deaths in {round} rounds");
    assert!(deaths > 0, "nobody died");
}

impl Node {
    /// Ends a round: a node whose moment has not come is stopped, which may bring it. Says at which file it came;
    /// the node runs only if it came.
    ///
    /// # Errors
    /// It neither ends nor comes back.
    pub fn end_round(&mut self) -> Result<Option<String>> {
        if self.has_died().is_none() {
            let _ = self.rpc("stop", json!({})); // it may die of it
        }
        until("it ends or is back", || {
            if !self.is_running() {
                return Ok(Some(()));
            }
            // The power supply becomes the node again once all are dead.
            let own = self.pid().map(Process::get).transpose()?;
            let again = own.is_some_and(|own| own.role == "lightningd");
            let answers = again && self.rpc("getinfo", json!({})).is_ok();
            Ok(answers.then_some(()))
        })
        .with_context(|| self.last_words())?;
        Ok(self.has_died())
    }

    /// Begins a round: the node, which may run, is started anew to die at this moment.
    ///
    /// # Errors
    /// Those of both.
    pub fn begin_round(&mut self, power: &Path, moment: &str) -> Result<()> {
        if self.is_running() {
            let status = self.stop()?;
            ensure!(status.success(), "it stops with {status}");
        }
        self.launch_to_die(power, moment)
    }
}

/// Tries until there is something: an error is no reason to give up, as a node may just now be dead.
///
/// # Errors
/// [`patience`] ran out; the last error.
pub fn keep_trying<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < patience() {
        match attempt() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        std::thread::sleep(LOOK_EVERY);
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("tried in vain: {what}")),
        None => bail!("tried in vain: {what}"),
    }
}
