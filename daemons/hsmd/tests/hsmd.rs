//! The real program over real sockets.

#[path = "hsmd/audit.rs"]
mod audit;
#[path = "hsmd/channel.rs"]
mod channel;
#[path = "hsmd/disk.rs"]
mod disk;
#[path = "hsmd/limits.rs"]
mod limits;
#[path = "hsmd/link.rs"]
mod link;
#[path = "hsmd/memory.rs"]
mod memory;
#[path = "hsmd/node.rs"]
mod node;
#[path = "hsmd/operator.rs"]
mod operator;
#[path = "hsmd/roles.rs"]
mod roles;
#[path = "hsmd/sockets.rs"]
mod sockets;
