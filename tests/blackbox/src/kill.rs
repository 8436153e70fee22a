//! kill -9: who dies, in which order, and how the node comes back.

use crate::{Node, Pid, Process};
use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::fmt::Debug;

/// What of a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Every process, in one go.
    Node,
    /// The master alone; the processes below it must end by themselves.
    Lightningd,
    /// Every process in this role, if there is any.
    Role(&'static str),
    /// One of the processes in this role.
    One(&'static str, usize),
}

/// How many rounds, and what chance has to say in them: `BULKHEAD_KILL_ROUNDS` and
/// `BULKHEAD_KILL_SEED` choose another run.
pub struct Rounds {
    /// How many.
    pub count: usize,
    /// For the message of a failure.
    pub seed: u64,
    /// Seeded with it.
    pub random: StdRng,
}

impl Rounds {
    /// So many rounds, unless the environment says otherwise; prints the seed.
    pub fn new(default: usize) -> Rounds {
        Rounds::named("BULKHEAD_KILL_ROUNDS", default)
    }

    /// As [`Rounds::new`], where another variable says how many.
    pub fn named(variable: &str, default: usize) -> Rounds {
        let count = setting(variable).unwrap_or(default);
        let seed = setting("BULKHEAD_KILL_SEED").unwrap_or_else(rand::random);
        println!("{count} rounds, seed {seed}");
        Rounds {
            count,
            seed,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// The next of all, each in turn but in random order, so that a short run meets most of them too.
    pub fn next_of<T: Copy>(&mut self, order: &mut Vec<T>, all: &[T]) -> T {
        if order.is_empty() {
            order.extend_from_slice(all);
            order.shuffle(&mut self.random);
        }
        order.pop().unwrap_or(all[0])
    }

    /// Any of all.
    pub fn any_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.gen_range(0..all.len())]
    }
}

pub(crate) fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Kills, and starts the node again where it ends with its victim. Without its keys a node can promise
/// nothing: one that lost its hsmd must stop by itself, with a reason.
///
/// # Errors
/// It does not end, or does not start.
pub fn strike(node: &mut Node, victim: Victim) -> Result<()> {
    match victim {
        Victim::Node => node.kill_all()?,
        Victim::Lightningd => node.kill9()?,
        Victim::Role("hsmd") | Victim::One("hsmd", _) => {
            of_role(node, "hsmd").iter().for_each(Process::kill9);
            let status = node.wait_for_end()?;
            ensure!(!status.success(), "it lost its hsmd and ended with success");
        }
        Victim::Role(role) => {
            of_role(node, role).iter().for_each(Process::kill9);
            return Ok(());
        }
        Victim::One(role, which) => {
            of_role(node, role)
                .iter()
                .skip(which)
                .take(1)
                .for_each(Process::kill9);
            return Ok(());
        }
    }
    node.launch()
}

/// As [`strike`], for a node with so many channels; a subdaemon must be there, and lightningd must live
/// on and start another in its place.
///
/// # Errors
/// It does not.
pub fn strike_and_wait(node: &mut Node, victim: Victim, channels: usize) -> Result<()> {
    let role = match victim {
        Victim::Node | Victim::Lightningd | Victim::Role("hsmd") | Victim::One("hsmd", _) => {
            return strike(node, victim);
        }
        Victim::Role(role) | Victim::One(role, _) => role,
    };
    let count = if role == "channeld" { channels } else { 1 };
    let whole = |node: &Node, role| {
        let found = of_role(node, role);
        (found.len() == count).then_some(found)
    };
    let before = node.wait_for(&format!("it has {count} {role}"), |n| Ok(whole(n, role)))?;
    let dead: Vec<Pid> = match victim {
        Victim::One(_, which) => before.iter().skip(which).take(1).map(|p| p.pid).collect(),
        _ => before.iter().map(|process| process.pid).collect(),
    };
    let master = node.pid();
    strike(node, victim)?;
    node.wait_for(&format!("it has a new {role}"), |node| {
        let found = whole(node, role).unwrap_or_default();
        let fresh = found.iter().all(|process| !dead.contains(&process.pid));
        Ok((fresh && !found.is_empty()).then_some(()))
    })?;
    ensure!(
        node.is_running() && node.pid() == master,
        "lightningd did not outlive its {role}"
    );
    Ok(())
}

fn of_role(node: &Node, role: &str) -> Vec<Process> {
    node.processes_in_role(role)
}

/// No node of our own kind has a reason to disagree with another about a channel.
///
/// # Errors
/// One has, by its log.
pub fn no_disagreements(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let found = node.disagreements();
        ensure!(found.is_empty(), "{}: {found:#?}", node.name());
    }
    Ok(())
}

/// A round failed: what to run again.
pub fn failed(round: usize, what: impl Debug, seed: u64, error: &anyhow::Error) -> ! {
    panic!("round {round}, {what:?}, seed {seed}: {error:#}")
}
