//! Three honest nodes in a line: real channel cores, each node's real signer. Whatever they do, in
//! whatever order, and however often they lose each other, no signer ever refuses.

#[path = "honest/setup.rs"]
mod setup;
#[path = "honest/world.rs"]
mod world;

use tx::setup::CommitmentFormat::{AnchorsZeroFeeHtlc, StaticRemotekey};

use world::World;

/// In each of four lives.
const OPERATIONS: u64 = 25_000;

#[test]
fn no_false_alarm_in_25000_operations_with_anchors() {
    World::new(AnchorsZeroFeeHtlc, 1).live(OPERATIONS);
}

#[test]
fn no_false_alarm_in_25000_more_with_anchors() {
    World::new(AnchorsZeroFeeHtlc, 2).live(OPERATIONS);
}

#[test]
fn no_false_alarm_in_25000_operations_where_feerates_trim() {
    World::new(StaticRemotekey, 3).live(OPERATIONS);
}

#[test]
fn no_false_alarm_in_25000_more_where_feerates_trim() {
    World::new(StaticRemotekey, 4).live(OPERATIONS);
}
