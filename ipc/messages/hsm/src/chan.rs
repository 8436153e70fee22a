//! CHAN: one channel's channeld. The channel core speaks it, so its words are in `tx::signer`.

pub use tx::signer::{EcdhSecret, Reply, Request, RevocationSecret};
