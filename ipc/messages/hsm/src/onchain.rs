//! ONCHAIN: one spent channel's onchaind. The onchain core speaks it, so its words are in `tx::onchain`.

pub use tx::onchain::{Claim, ParentTx, Reply, Request};
