//! Known thefts by a compromised lightningd or channeld, tried on the real program over its real
//! sockets. Each is refused by a rule that the reply names and that the audit log has, and hsmd goes
//! on serving the channels that nobody attacks. `thefts.rs` lists them; docs/attacks.md is that list.

#[path = "attacks/chain.rs"]
mod chain;
#[path = "attacks/claims.rs"]
mod claims;
#[path = "attacks/commitments.rs"]
mod commitments;
#[path = "attacks/forwards.rs"]
mod forwards;
#[path = "attacks/invoices.rs"]
mod invoices;
#[path = "hsmd/link.rs"]
mod link;
#[path = "hsmd/node.rs"]
#[allow(dead_code)] // hsmd.rs uses the rest
mod node;
#[path = "attacks/roles.rs"]
mod roles;
#[path = "attacks/rollback.rs"]
mod rollback;
#[path = "attacks/thefts.rs"]
mod thefts;
#[path = "attacks/tip.rs"]
mod tip;
#[path = "attacks/withdrawals.rs"]
mod withdrawals;
#[path = "attacks/world.rs"]
mod world;
