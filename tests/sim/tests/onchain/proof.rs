//! What hsmd makes of the chain: which HTLCs that we offered nobody can take any more (T1, H2). It lets go of
//! what paid for one only then, so the core must not call one failed before.

use tx::ledger::HtlcKey;
use tx::limits::REASONABLE_DEPTH;
use tx::spends::{Closed, Spender};
use wire::{BlockHeight, Side};

use crate::chain::Chain;
use crate::contract::Contract;

/// Whether hsmd agrees that this HTLC of ours has ended without a preimage.
pub fn has_ended(contract: &Contract, chain: &Chain, key: HtlcKey) -> bool {
    let tip = BlockHeight(chain.height());
    let is_deep = |height: BlockHeight| tip.depth(height) >= REASONABLE_DEPTH;
    closed(contract, chain).is_some_and(|closed| closed.has_ended(key.id, is_deep))
}

fn closed(contract: &Contract, chain: &Chain) -> Option<Closed> {
    let (height, spend) = chain.spender(&contract.funding.outpoint)?;
    let remote = contract.remote_lowest..contract.ledgers.len();
    let remote = remote.map(|at| contract.commitment(Side::Remote, at));
    let local = contract.commitment(Side::Local, contract.local_newest);
    let live: Vec<_> = remote.chain([local]).collect();
    let first_live = Contract::number(contract.remote_lowest);
    let (setup, funding) = (&contract.setup, &contract.funding);
    let spender = Spender::of(setup, funding, spend, &live, first_live).unwrap()?;
    let mut closed = Closed::new(BlockHeight(height), spender);
    for (height, tx) in chain.confirmed() {
        if let Some(ids) = closed.spender.taken_back(tx) {
            closed.end(&ids, BlockHeight(height));
        }
    }
    Some(closed)
}
