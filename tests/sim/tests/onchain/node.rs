//! Our node: the core, what is persisted of it, its wallet, and crashes after any action.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bitcoin::{OutPoint, Transaction};
use onchain::action::{Broadcast, ClaimId, Coins, Feerates, HtlcEnd, Standing};
use onchain::{Action, Event, Facts, Notice, Onchain, State};
use rand::Rng;
use rand::rngs::StdRng;
use tx::claim::{CoinKind, FeeCoin};
use tx::ledger::HtlcKey;
use tx::onchain::Reply;
use wire::{BlockHeight, FeeratePerKw, Preimage, Satoshi};

use crate::chain::Chain;
use crate::contract::Contract;
use crate::proof::has_ended;
use crate::signer::{Wallet, answer};

/// chaind looks back so far for what is watched anew.
const RESCAN: u32 = 6;
/// So many of the wallet's coins hardly pay for themselves.
const SMALL_COINS: u8 = 20;
/// Weight of a P2WPKH coin, and of the change.
const COIN: u64 = 272;
const CHANGE: u64 = 124 + 48;
/// The least that the change has.
const DUST: u64 = 330;

pub struct Node {
    facts: Facts,
    core: Onchain,
    /// On disk.
    state: State,
    wallet: Wallet,
    /// The wallet's coins, and for which claim each is kept.
    coins: Vec<(FeeCoin, Option<ClaimId>)>,
    watched: HashSet<OutPoint>,
    /// Preimages that somebody gave us.
    pub learned: Vec<Preimage>,
    pub ends: BTreeMap<HtlcKey, HtlcEnd>,
    pub standing: Option<Standing>,
    pub over: bool,
    /// How likely it crashes after an action.
    pub crash: f64,
    pub crashes: u64,
    pub broadcasts: u64,
    /// What hsmd refused for its fee.
    pub refused: u64,
    pub rejections: HashMap<String, u64>,
}

/// It crashed: what was not persisted is gone.
struct Crashed;

impl Node {
    pub fn coins() -> Vec<FeeCoin> {
        let coin = |at: u8| FeeCoin {
            outpoint: OutPoint {
                txid: bitcoin::hashes::Hash::from_byte_array([at + 1; 32]),
                vout: 0,
            },
            value: Satoshi(match at < SMALL_COINS {
                true => 333 + 61 * u64::from(at),
                false => 400_000,
            }),
            index: 0,
            kind: CoinKind::P2wpkh,
        };
        (0..60).map(coin).collect()
    }

    pub fn new(facts: Facts, contract: &Contract, chain: &mut Chain, rng: &mut StdRng) -> Node {
        let crash = [0.0, 0.01, 0.1][rng.gen_range(0..3)];
        let funding = facts.funding.outpoint;
        let (core, actions) = Onchain::new(facts.clone(), None, estimates(chain));
        let mut node = Node {
            facts,
            core,
            state: State::default(),
            wallet: Wallet::new(),
            coins: Node::coins().into_iter().map(|coin| (coin, None)).collect(),
            watched: HashSet::from([funding]),
            learned: Vec::new(),
            ends: BTreeMap::new(),
            standing: None,
            over: false,
            crash,
            crashes: 0,
            broadcasts: 0,
            refused: 0,
            rejections: HashMap::new(),
        };
        if node.act(actions, contract, chain, rng).is_err() {
            node.restart(contract, chain, rng);
        }
        node
    }

    /// A wallet that can pay for one claim at a time.
    pub fn keep_one_coin(&mut self) {
        self.coins.drain(..self.coins.len() - 1);
    }

    pub fn give_coin(&mut self, at: usize) {
        self.coins.push((Node::coins()[at], None));
    }

    pub fn wallet_script(&self) -> bitcoin::ScriptBuf {
        self.wallet.script()
    }

    pub fn event(
        &mut self,
        event: Event,
        contract: &Contract,
        chain: &mut Chain,
        rng: &mut StdRng,
    ) {
        let actions = self.core.handle(event);
        if self.act(actions, contract, chain, rng).is_err() {
            self.restart(contract, chain, rng);
        }
    }

    /// A block: what concerns us, then that it was all.
    pub fn block(&mut self, height: u32, contract: &Contract, chain: &mut Chain, rng: &mut StdRng) {
        for tx in chain.block(height).to_vec() {
            if self.concerns(&tx) {
                let height = BlockHeight(height);
                self.event(Event::Confirmed { tx, height }, contract, chain, rng);
            }
        }
        self.event(Event::Feerates(estimates(chain)), contract, chain, rng);
        let height = BlockHeight(height);
        self.event(Event::Block { height }, contract, chain, rng);
    }

    fn concerns(&self, tx: &Transaction) -> bool {
        let watched = |input: &bitcoin::TxIn| self.watched.contains(&input.previous_output);
        tx.input.iter().any(watched)
    }

    /// From the disk; then the blocks since, and the preimages that the database has.
    pub fn restart(&mut self, contract: &Contract, chain: &mut Chain, rng: &mut StdRng) {
        self.crashes += 1;
        self.watched = HashSet::from([self.facts.funding.outpoint]);
        let known: Vec<ClaimId> = self.state.claims.keys().copied().collect();
        for (_, kept) in &mut self.coins {
            *kept = kept.filter(|claim| known.contains(claim));
        }
        let state = Some(self.state.clone());
        let (core, mut actions) = Onchain::new(self.facts.clone(), state, estimates(chain));
        self.core = core;
        let from = self.core.height().0;
        // Once is enough: a crash within the restart is another run's.
        let crash = std::mem::replace(&mut self.crash, 0.0);
        let _ = self.act(std::mem::take(&mut actions), contract, chain, rng);
        for preimage in self.learned.clone() {
            self.event(Event::Preimage { preimage }, contract, chain, rng);
        }
        let first = from.max(crate::contract::START) + 1;
        for height in first..=chain.height() {
            self.block(height, contract, chain, rng);
        }
        self.crash = crash;
    }

    fn act(
        &mut self,
        actions: Vec<Action>,
        contract: &Contract,
        chain: &mut Chain,
        rng: &mut StdRng,
    ) -> Result<(), Crashed> {
        // What follows from one comes after the rest: answers come in the order of asking.
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if self.crash > 0.0 && rng.gen_bool(self.crash) {
                return Err(Crashed);
            }
            match action {
                Action::Persist(state) | Action::Record(state) => self.state = *state,
                Action::AskSigner(request) => {
                    let reply = answer(contract, &self.wallet, &request);
                    let fee_rules = ["X2", "X4"];
                    if let Reply::Refused { rule, .. } = &reply
                        && fee_rules.contains(&rule.as_str())
                    {
                        self.refused += 1;
                    }
                    queue.extend(self.core.handle(Event::Signer(reply)));
                }
                Action::Watch(outpoints) => {
                    self.watched.extend(outpoints.iter().copied());
                    let first = chain
                        .height()
                        .saturating_sub(RESCAN)
                        .max(crate::contract::START);
                    for height in first + 1..=chain.height() {
                        for tx in chain.block(height).to_vec() {
                            let spends =
                                |input: &bitcoin::TxIn| outpoints.contains(&input.previous_output);
                            if tx.input.iter().any(spends) {
                                let height = BlockHeight(height);
                                let event = Event::Confirmed { tx, height };
                                queue.extend(self.core.handle(event));
                            }
                        }
                    }
                }
                Action::Broadcast(Broadcast { tx, parent }) => {
                    self.broadcasts += 1;
                    let txid = tx.compute_txid();
                    if let Err(reason) = chain.submit(&tx, parent.as_ref()) {
                        *self.rejections.entry(reason.clone()).or_default() += 1;
                        let first = parent.as_ref().unwrap_or(&tx).input[0].previous_output;
                        let spends = |other: &&Transaction| {
                            let mut inputs = other.input.iter();
                            inputs.any(|input| input.previous_output == first)
                        };
                        let rival = chain.mempool.iter().find(spends).cloned();
                        let event = Event::Rejected {
                            txid,
                            reason,
                            rival,
                        };
                        queue.extend(self.core.handle(event));
                    } else {
                        queue.extend(self.core.handle(Event::Taken { txid }));
                    }
                }
                Action::NeedCoins {
                    claim,
                    weight,
                    value,
                    feerate,
                    most,
                } => {
                    let coins = self.pick(claim, weight, value, feerate, most, chain);
                    queue.extend(self.core.handle(Event::Coins { claim, coins }));
                }
                Action::FreeCoins { claim } => {
                    for (_, kept) in &mut self.coins {
                        *kept = kept.filter(|kept| *kept != claim);
                    }
                }
                Action::Tell(notice) => self.hear(notice, contract, chain),
            }
        }
        Ok(())
    }

    fn hear(&mut self, notice: Notice, contract: &Contract, chain: &Chain) {
        match notice {
            Notice::HtlcEnded { key, end } => {
                assert!(
                    end != HtlcEnd::Failed || has_ended(contract, chain, key),
                    "{key:?} is called failed, and hsmd would not agree: {:#?}",
                    self.standing
                );
                // What was told first is in the database; a repetition changes nothing.
                self.ends.entry(key).or_insert(end);
            }
            Notice::Standing(standing) => self.standing = Some(standing),
            Notice::Over => self.over = true,
        }
    }

    fn pick(
        &mut self,
        claim: ClaimId,
        weight: u64,
        value: Satoshi,
        feerate: FeeratePerKw,
        most: Satoshi,
        chain: &Chain,
    ) -> Option<Coins> {
        let open = |coin: &FeeCoin| chain.spender(&coin.outpoint).is_none();
        let paid_by = |coins: &[FeeCoin]| {
            let count = u64::try_from(coins.len()).unwrap();
            let fee = feerate.fee(weight + count * COIN + CHANGE).min(most);
            let sum: u64 = coins.iter().map(|coin| coin.value.0).sum();
            (count > 0 && sum + value.0 >= fee.0 + DUST).then_some(fee)
        };
        let of = |kept: Option<ClaimId>| {
            let coins = self.coins.iter().filter(move |(_, known)| *known == kept);
            coins.map(|(coin, _)| *coin).filter(open)
        };
        let mut picked: Vec<FeeCoin> = of(Some(claim)).collect();
        // As our wallet: the smallest that is enough, else the largest until it is.
        let mut free: Vec<FeeCoin> = of(None)
            .filter(|coin| coin.value > feerate.fee(COIN))
            .collect();
        free.sort_by_key(|coin| coin.value);
        if paid_by(&picked).is_none() {
            let with = |coin: &FeeCoin| [picked.as_slice(), &[*coin]].concat();
            match free.iter().map(with).find(|with| paid_by(with).is_some()) {
                Some(with) => picked = with,
                None => picked.extend(free.iter().rev()),
            }
        }
        let fee = paid_by(&picked)?;
        for (coin, kept) in &mut self.coins {
            if picked.iter().any(|picked| picked.outpoint == coin.outpoint) {
                *kept = Some(claim);
            }
        }
        Some(Coins { coins: picked, fee })
    }
}

/// What the backend would say.
pub fn estimates(chain: &Chain) -> Feerates {
    let market = chain.market.0;
    Feerates {
        estimates: vec![
            (2, FeeratePerKw(market.saturating_mul(6) / 5)),
            (6, chain.market),
            (100, FeeratePerKw((market / 2).max(253))),
        ],
        floor: chain.floor(),
    }
}
