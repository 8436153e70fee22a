//! The JSON-RPC room of lightningd: a Unix socket that speaks CLN's dialect of JSON-RPC 2.0.
//!
//! Here are framing, parameters, `help`, `check`, `notifications`, result filters and error codes.
//! What a command does is not here: lightningd hands in one async function for each entry of
//! [`commands`]. Nothing here knows the rest of the node.
//!
//! Invariants: a request gets exactly one reply unless its client hangs up; a reply is one line of
//! compact JSON and two newlines; a command that has started runs to its end even when the client
//! is gone; every buffer and queue has a named limit.

pub mod amount;
pub mod args;
pub mod commands;
pub mod conform;
pub mod context;
pub mod error;
pub mod feerate;
pub mod filter;
pub mod framing;
pub mod param;
pub mod registry;
pub mod request;
pub mod server;
pub mod socket;
pub mod token;

pub use amount::{AnyOrMsat, SatOrAll};
pub use args::Args;
pub use commands::{Category, Command};
pub use context::{Context, Level, Progress};
pub use error::{Code, RpcError, code};
pub use feerate::Feerate;
pub use param::{Param, Type};
pub use registry::Registry;
pub use server::Server;
pub use socket::bind;
