//! Real processes on a real chain, for tests, the demo and the benches: a bitcoind on regtest, nodes
//! that are the built `lightningd` and its subdaemons, and what a test does to them (RPC, mine, kill -9,
//! restart, read memory). Everything listens on loopback, on free ports, in folders of its own, and
//! ends with the value that holds it: each `Drop` ends exactly the processes that it started.
//!
//! Not here: knowledge of Bulkhead's insides. A node is what Core Lightning's interface shows of it,
//! plus what /proc shows of its processes.

pub mod bitcoind;
pub mod confinement;
pub mod demo;
pub mod folder;
mod http;
pub mod kill;
pub mod line;
pub mod middle;
pub mod network;
pub mod node;
pub mod onchain;
pub mod payments;
pub mod ports;
pub mod process;
pub mod raw_peer;
pub mod rounds;
pub mod rpc;
pub mod steps;
pub mod tally;
pub mod wait;

pub use bitcoind::Bitcoind;
pub use network::Network;
pub use node::{Node, Options};
pub use process::{Pid, Process};
pub use rpc::{Client, RpcError};
pub use tally::Tally;
pub use wait::{patience, until};
