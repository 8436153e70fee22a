//! A channeld and peers that only want our money, and that know each other: whatever they ask in
//! whatever order, what we can claim does not fall below what we have had, but for payments that were
//! approved. `cargo xtask fuzz -- signer_ledger` looks for what this does not find.

#[path = "adversary/thief.rs"]
mod thief;
#[path = "adversary/wealth.rs"]
mod wealth;

/// SplitMix64.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn what_we_can_claim_never_falls_without_a_ticket_an_approval_or_a_preimage() {
    let mut forwards = 0;
    for seed in 0..200 {
        let done = thief::run(&bytes(seed, 2000));
        forwards += done.forwards;
    }
    assert!(forwards > 100, "the thief got to forward {forwards} times");
}

#[test]
fn the_fuzz_targets_seeds_forward_an_htlc_that_is_fulfilled_or_fails() {
    let fulfilled = include_bytes!("../../tests/fuzz/seeds/signer_ledger/00");
    let failed = include_bytes!("../../tests/fuzz/seeds/signer_ledger/01");
    assert_eq!(thief::run(fulfilled).forwards, 1);
    assert_eq!(thief::run(failed).forwards, 1);
}
