//! Attacks on the sandbox: what a process of the node would try once it is somebody else's. The probe
//! (`src/bin/probe.rs`) takes the same first steps as a daemon of its role and then does what the test
//! asks; without them, as the control, every attack succeeds.

#![allow(unsafe_code)] // attacks are system calls that no library makes

mod attack;

use ipc_transport::{Edge, EdgeHello};

pub use attack::{Attack, Outcome};

/// From the test to the probe.
#[derive(Debug)]
pub struct ProbeEdge;

impl Edge for ProbeEdge {
    const NAME: &'static str = "sandbox_probe";
    type Down = Attack;
    type Up = Outcome;
}

/// Both are of the same build.
pub const HELLO: EdgeHello = EdgeHello::of::<ProbeEdge>([7; 32]);

/// With this argument the probe takes no first steps; the edge's and the folder's numbers follow.
pub const CONTROL: &str = "--control";
/// With this argument it starts one of the role that follows, with the edge and the folder whose
/// numbers come next, on a kernel that seems not to have seccomp.
pub const WITHOUT_SECCOMP: &str = "--without-seccomp";
