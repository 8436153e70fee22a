//! The signer's ledger against a channeld and peers that only want our money: see `thief`.

use crate::Target;
use crate::thief;

pub fn targets() -> Vec<Target> {
    vec![Target::new(
        "signer_ledger",
        |data| drop(thief::run(data)),
        2048,
        seeds,
    )]
}

/// An HTLC that comes in on channel 1.
const COMES_IN: [&[u8]; 3] = [
    &[1, 12, 0, 1, 0, 0, 31],
    &[1, 0, 0, 1, 0, 0, 31, 1],
    &[1, 21, 1],
];
/// It goes out on channel 0.
const GOES_OUT: [&[u8]; 3] = [
    &[0, 0, 0, 0, 0, 0, 31, 7, 1],
    &[0, 12, 0, 0, 0, 0, 31],
    &[0, 21, 1],
];
/// Both are fulfilled, or fail.
const FULFILLED: [&[u8]; 6] = [
    &[0, 12, 0, 0, 0, 5, 1],
    &[0, 0, 0, 0, 0, 5, 1, 1],
    &[0, 21, 1],
    &[1, 0, 0, 1, 0, 5, 1, 1],
    &[1, 21, 1],
    &[1, 12, 0, 1, 0, 5, 1],
];
const FAILED: [&[u8]; 6] = [
    &[0, 12, 0, 0, 0, 7],
    &[0, 0, 0, 0, 0, 7, 1],
    &[0, 21, 1],
    &[1, 0, 0, 1, 0, 7, 1],
    &[1, 21, 1],
    &[1, 12, 0, 1, 0, 7],
];

fn seeds() -> Vec<Vec<u8>> {
    let forwarded = [COMES_IN.concat(), GOES_OUT.concat()].concat();
    vec![
        [forwarded.clone(), FULFILLED.concat()].concat(),
        [forwarded.clone(), FAILED.concat()].concat(),
        [COMES_IN.concat(), FAILED[3..].concat()].concat(),
        forwarded,
    ]
}
