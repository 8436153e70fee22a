//! Which outputs are taken together, what for, and by when.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use tx::claim::{Claimed, CoinKind, Sweep};
use tx::fees::htlc_weight;
use tx::htlc::HtlcKind;
use tx::keys::CommitmentKeys;
use tx::ledger::HtlcKey;
use tx::onchain::{Claim, ParentTx, Request};
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, Preimage, Satoshi, Side};

use crate::action::{ClaimId, Facts, Feerates};
use crate::feerates::share;
use crate::plan::Plan;
use crate::tree::{Output, Tree};

/// Most outputs in one claim: its transaction stays standard.
const MOST: usize = 100;
/// Bytes of the parents in one request to hsmd, whose limit is 1 MiB: of several at most the first, of a single one what
/// a block can hold.
const SOME_PARENTS: usize = 500_000;
const MOST_PARENTS: usize = 1_000_000;
/// Weight of an input without its witness.
pub(crate) const INPUT_WEIGHT: u64 = 164;
/// A P2TR output.
pub(crate) const CHANGE_WEIGHT: u64 = 172;
/// A coin and its change, at most.
pub(crate) const COIN_WEIGHT: u64 = 272 + CHANGE_WEIGHT;
/// An input that spends a coin, at least.
pub(crate) const LEAST_COIN: u64 = 230;
/// Weight of a transaction's fixed parts with up to 252 inputs, with marker and flag.
pub(crate) const FIXED_WEIGHT: u64 = 42;
/// What the destination, a P2TR output, must have at least.
pub(crate) const DUST: Satoshi = Satoshi(330);

/// How an HTLC transaction stands among others: what stands differently is not joined.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stand {
    /// Coins are asked for after all others'.
    pub last: bool,
    /// The claim that was broken up to put it apart.
    pub part: Option<ClaimId>,
    pub alone: Option<OutPoint>,
}

/// Outputs that one transaction takes.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Sweep(Vec<Output>),
    /// HTLC transactions of our commitment.
    Htlcs(Vec<Output>),
}

impl Group {
    /// Of outputs that were claimed together.
    pub(crate) fn of(outputs: Vec<Output>) -> Option<Group> {
        match outputs.first().map(|output| &output.plan)? {
            Plan::Sweep { .. } => Some(Group::Sweep(outputs)),
            Plan::HtlcTx { .. } => Some(Group::Htlcs(outputs)),
            Plan::Leave | Plan::NeedsPreimage { .. } => None,
        }
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        match self {
            Group::Sweep(outputs) | Group::Htlcs(outputs) => outputs,
        }
    }

    pub(crate) fn takes(&self) -> Vec<OutPoint> {
        self.outputs()
            .iter()
            .map(|output| output.outpoint)
            .collect()
    }

    pub(crate) fn value(&self) -> Satoshi {
        let values = self.outputs().iter().map(|output| output.value);
        values.fold(Satoshi::ZERO, Satoshi::saturating_add)
    }

    pub(crate) fn deadline(&self) -> Option<BlockHeight> {
        self.outputs()
            .iter()
            .filter_map(|o| o.plan.deadline())
            .min()
    }

    /// Two of it, each with half of the outputs: the first has those that are worth more.
    pub(crate) fn halves(&self) -> Option<(Group, Group)> {
        let mut outputs = self.outputs().to_vec();
        outputs.sort_by_key(|output| std::cmp::Reverse(output.value));
        let rest = outputs.split_off(outputs.len().div_ceil(2));
        let like = |outputs| match self {
            Group::Sweep(_) => Group::Sweep(outputs),
            Group::Htlcs(_) => Group::Htlcs(outputs),
        };
        (!rest.is_empty()).then(|| (like(outputs), like(rest)))
    }

    /// Those of `outputs` that can be in the next block, in groups: what has the same deadline is taken
    /// together, but what the peer can take too stands apart from what it cannot.
    pub(crate) fn form<'a>(
        outputs: impl Iterator<Item = &'a Output>,
        split: bool,
        stand: impl Fn(&Output) -> Stand,
        height: BlockHeight,
    ) -> Vec<Group> {
        let mut sweeps: BTreeMap<_, Vec<Output>> = BTreeMap::new();
        let mut htlcs: BTreeMap<_, Vec<Output>> = BTreeMap::new();
        for output in outputs.filter(|output| output.plan.is_ready(height)) {
            match &output.plan {
                Plan::Sweep {
                    deadline,
                    contested,
                    ..
                } => {
                    // After the deadline the peer can take what it could not before.
                    let late = deadline.is_some_and(|deadline| deadline <= height.after(1));
                    let single = split && (*contested || late);
                    let alone = single.then_some(output.outpoint);
                    let key = (*deadline, *contested, alone);
                    sweeps.entry(key).or_default().push(output.clone());
                }
                Plan::HtlcTx {
                    deadline,
                    lock_time,
                    ..
                } => {
                    let key = (stand(output), *lock_time, *deadline);
                    htlcs.entry(key).or_default().push(output.clone());
                }
                Plan::Leave | Plan::NeedsPreimage { .. } => {}
            }
        }
        let pieces = |all: Vec<Output>| {
            let chunks = all.chunks(MOST).map(<[Output]>::to_vec);
            chunks.collect::<Vec<_>>()
        };
        let sweeps = sweeps.into_values().flat_map(pieces).map(Group::Sweep);
        let htlcs = htlcs.into_values().flat_map(pieces).map(Group::Htlcs);
        sweeps.chain(htlcs).collect()
    }
}

impl Plan {
    pub(crate) fn deadline(&self) -> Option<BlockHeight> {
        match self {
            Plan::Sweep { deadline, .. } | Plan::HtlcTx { deadline, .. } => *deadline,
            Plan::Leave | Plan::NeedsPreimage { .. } => None,
        }
    }

    /// The first block that may hold our claim.
    pub(crate) fn from(&self) -> Option<BlockHeight> {
        match self {
            Plan::Sweep { from, .. } | Plan::HtlcTx { from, .. } => Some(*from),
            Plan::Leave | Plan::NeedsPreimage { .. } => None,
        }
    }

    /// Whether the block after `height` may hold it.
    fn is_ready(&self, height: BlockHeight) -> bool {
        self.from()
            .is_some_and(|from| from.0 <= height.0.saturating_add(1))
    }
}

/// What is needed to ask for a group's transaction.
pub(crate) struct Builder<'a> {
    pub facts: &'a Facts,
    pub tree: &'a Tree,
    pub txs: &'a [(Transaction, BlockHeight)],
    /// The operator's cap, as far as it is known.
    pub max_fee: Satoshi,
}

impl Builder<'_> {
    /// Most that a claim of so much may pay.
    pub(crate) fn most(&self, value: Satoshi) -> Satoshi {
        share(value, self.facts.terms.fee_part).min(self.max_fee)
    }

    /// Weight of a group's transaction, signed; of HTLC transactions without coins and change.
    pub(crate) fn weight(&self, group: &Group) -> Option<u64> {
        match group {
            Group::Sweep(outputs) => self.sweep_weight(outputs),
            Group::Htlcs(outputs) => Some(self.htlcs_weight(outputs)),
        }
    }

    /// Weight of the sweep of these outputs, signed; `None` if one is not what was thought.
    pub(crate) fn sweep_weight(&self, outputs: &[Output]) -> Option<u64> {
        let claimed = self.claimed(outputs)?;
        let destination = p2tr_alike();
        let sweep = Sweep::build(&self.facts.setup, claimed, &destination, Satoshi::ZERO);
        sweep.ok().map(|sweep| sweep.weight())
    }

    fn claimed(&self, outputs: &[Output]) -> Option<Vec<Claimed>> {
        let setup = &self.facts.setup;
        let known = self.tree.commitment.as_ref().map(|known| known.keys);
        // to_remote has the same key in every commitment.
        let any = setup.local.basepoints.payment;
        let keys = known.or_else(|| CommitmentKeys::derive(setup, Side::Remote, &any).ok());
        let claimed = |output: &Output| {
            let Plan::Sweep { how, .. } = &output.plan else {
                return None;
            };
            let (parent, _) = self.txs.get(output.parent)?;
            let vout = usize::try_from(output.outpoint.vout).ok()?;
            let (outpoint, spent) = (output.outpoint, parent.output.get(vout)?);
            Claimed::with_keys(setup, outpoint, spent, how.clone(), keys.as_ref()?).ok()
        };
        outputs.iter().map(claimed).collect()
    }

    pub(crate) fn sweep(&self, outputs: &[Output], fee: Satoshi) -> Option<Request> {
        let mut places: BTreeMap<usize, u16> = BTreeMap::new();
        let mut parents = Vec::new();
        let mut claims = Vec::with_capacity(outputs.len());
        for output in outputs {
            let Plan::Sweep { how, .. } = &output.plan else {
                return None;
            };
            let parent = match places.get(&output.parent) {
                Some(place) => *place,
                None => {
                    let place = u16::try_from(parents.len()).ok()?;
                    let (tx, _) = self.txs.get(output.parent)?;
                    parents.push(ParentTx::of(tx));
                    places.insert(output.parent, place);
                    place
                }
            };
            claims.push(Claim {
                parent,
                vout: output.outpoint.vout,
                how: how.clone(),
            });
        }
        let size = parents.iter().map(|parent| parent.0.len()).sum::<usize>();
        (size <= MOST_PARENTS).then_some(Request::Sweep {
            parents,
            claims,
            fee,
        })
    }

    /// Whether hsmd can be shown all parents of these at once.
    pub(crate) fn can_be_shown(&self, outputs: &[Output]) -> bool {
        let parents: BTreeSet<usize> = outputs.iter().map(|output| output.parent).collect();
        let parents = parents.into_iter().filter_map(|at| self.txs.get(at));
        let size = parents.map(|(tx, _)| tx.base_size()).sum::<usize>();
        size <= SOME_PARENTS
    }

    /// Weight of the joined HTLC transactions without coins and change, signed.
    pub(crate) fn htlcs_weight(&self, outputs: &[Output]) -> u64 {
        let format = self.facts.setup.format;
        let weight = |output: &Output| {
            let kind = match &output.plan {
                Plan::HtlcTx {
                    preimage: Some(_), ..
                } => HtlcKind::Success,
                Plan::HtlcTx { .. }
                | Plan::Sweep { .. }
                | Plan::Leave
                | Plan::NeedsPreimage { .. } => HtlcKind::Timeout,
            };
            htlc_weight(format, kind).saturating_sub(FIXED_WEIGHT)
        };
        let weights = outputs.iter().map(weight);
        weights.fold(FIXED_WEIGHT, u64::saturating_add)
    }

    /// Whether taking this output alone is worth its fee at the least that is ever relayed.
    pub(crate) fn is_ever_economic(&self, output: &Output) -> bool {
        self.is_economic(output, &Feerates::default())
    }

    /// Whether taking this output alone is worth its fee, at the least that is relayed now.
    pub(crate) fn is_economic(&self, output: &Output, feerates: &Feerates) -> bool {
        let cap = self.most(output.value);
        let one = std::slice::from_ref(output);
        let (weight, left) = match &output.plan {
            Plan::Sweep { .. } => match self.sweep_weight(one) {
                Some(weight) => (weight, DUST),
                None => return false,
            },
            // Without anchors its fee is fixed and signed.
            Plan::HtlcTx { .. } if self.facts.setup.format == CommitmentFormat::StaticRemotekey => {
                return true;
            }
            Plan::HtlcTx { .. } => (
                self.htlcs_weight(one).saturating_add(COIN_WEIGHT),
                Satoshi::ZERO,
            ),
            Plan::Leave | Plan::NeedsPreimage { .. } => return false,
        };
        let fee = feerates.least().fee(weight);
        fee <= cap && output.value.saturating_sub(fee) >= left
    }

    /// Whether this output is worth its place in a claim of several.
    pub(crate) fn is_worth_its_input(&self, output: &Output, feerates: &Feerates) -> bool {
        let cap = self.most(output.value);
        match &output.plan {
            Plan::Sweep { .. } => {
                let claimed = self.claimed(std::slice::from_ref(output));
                let witness = claimed.and_then(|all| all.first().map(Claimed::witness_weight));
                witness.is_some_and(|witness| {
                    let weight = INPUT_WEIGHT.saturating_add(witness);
                    feerates.least().fee(weight) <= cap
                })
            }
            Plan::HtlcTx { .. } => self.is_economic(output, feerates),
            Plan::Leave | Plan::NeedsPreimage { .. } => false,
        }
    }
}

/// The HTLC transactions to be asked for.
pub(crate) fn htlc_list(outputs: &[Output]) -> Vec<(HtlcKey, Option<Preimage>)> {
    let of = |output: &Output| match &output.plan {
        Plan::HtlcTx { key, preimage, .. } => Some((*key, *preimage)),
        Plan::Sweep { .. } | Plan::Leave | Plan::NeedsPreimage { .. } => None,
    };
    outputs.iter().filter_map(of).collect()
}

/// Weight of an input that spends a wallet coin, as the wallet counts it.
pub(crate) fn coin_weight(kind: CoinKind) -> u64 {
    match kind {
        CoinKind::P2wpkh => 272,
        CoinKind::P2tr => LEAST_COIN,
    }
}

/// By when a commitment has to be in a block: the first of its HTLCs whose end hangs on it.
pub(crate) fn commitment_deadline(tree: &Tree) -> Option<BlockHeight> {
    let deadlines = tree.outputs.iter().filter_map(|o| o.plan.deadline());
    deadlines.min()
}

/// What a commitment of ours gives us, at best.
pub(crate) fn at_stake(tree: &Tree) -> Satoshi {
    let ours = |output: &&Output| match &output.plan {
        Plan::Sweep { .. } | Plan::HtlcTx { .. } | Plan::NeedsPreimage { .. } => true,
        Plan::Leave => false,
    };
    let values = tree.outputs.iter().filter(ours).map(|output| output.value);
    values.fold(Satoshi::ZERO, Satoshi::saturating_add)
}

/// A script as long as the wallet's address.
fn p2tr_alike() -> ScriptBuf {
    let mut bytes = vec![0x51, 0x20];
    bytes.extend([1; 32]);
    ScriptBuf::from(bytes)
}
