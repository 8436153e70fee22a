//! The wallet's transactions: what may be signed (W1 to W7), and what may be paid over channels (A1).
//!
//! A transaction's outputs are the wallet's own (which this signer sees by itself), channels' funding
//! outputs (W6), or on the operator's allowlist. Everything else leaves, and the fee does: it is
//! charged to what may leave in a day (W4), or the operator has approved it. So of the inputs of a
//! channel's funding nothing but the funding output, change and a capped fee can come (W7).

use std::collections::{BTreeSet, HashSet, VecDeque};

use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, Witness};
use hsm_messages::limits::{Approvable, Limit, Limits, Overview, Payout, Refusal, Standing};
use hsm_messages::wallet::AddressKind;
use tx::setup::Setup;
use wire::units::MAX_SATOSHI;
use wire::{ChannelDbid, FeeratePerKw, MilliSatoshi, PaymentHash, Satoshi, Side};

use crate::channel::Channel;
use crate::hsm::Hsm;
use crate::limits::{self, Allowance};
use crate::record::{Change, Record, Spent};
use crate::refused::Refused;
use crate::rules::Rule;
use crate::spending::{Cause, Grant, Leaving, MAX_ALLOWED, Over};
use crate::state::State;
use crate::wallet::{Coin, WalletScripts};

/// Weight of marker and flag.
const SEGWIT_WEIGHT: u64 = 2;
/// Most outputs to others of one transaction, and the longest of their scripts in bytes: all standard
/// ones. The operator has to read them.
const MAX_PAYOUTS: usize = 256;
const MAX_SCRIPT: usize = 83;
/// Most refusals that are kept for the operator.
const MAX_REFUSALS: usize = 32;

/// What was refused for a limit since the start, the newest last. Not in the journal: a refusal
/// changes nothing.
#[derive(Default)]
pub(crate) struct Refusals {
    last: u32,
    list: VecDeque<Refusal>,
}

/// Where a mutual close may pay to.
pub(crate) struct Destinations<'a> {
    pub(crate) ours: WalletScripts<'a>,
    pub(crate) allowlist: &'a BTreeSet<ScriptBuf>,
}

impl Destinations<'_> {
    /// S2: whether it is an address that the wallet gave out, or on the operator's allowlist. `hint`:
    /// the index that an address most likely has.
    pub(crate) fn may_close_to(&self, hint: u32, script: &Script) -> bool {
        self.allowlist.contains(script) || self.ours.is_ours(Some(hint), script)
    }
}

/// Where the outputs of a transaction go.
struct Outputs {
    ours: Vec<(OutPoint, Satoshi)>,
    /// To neither ourselves, nor a channel, nor an allowed script.
    payouts: Vec<Payout>,
}

impl Hsm {
    /// Signs every input of `tx`, which spends `coins`, one for each input, in order.
    ///
    /// # Errors
    /// W1 to W4, W6: see [`crate::spend`].
    pub fn sign_spend(
        &mut self,
        tx: &Transaction,
        coins: &[Coin],
    ) -> Result<Vec<Witness>, Refused> {
        let fee = check_amounts(tx, coins)?;
        let outpoints = tx.input.iter().map(|input| input.previous_output);
        let inputs = self.check_coins(outpoints.zip(coins))?;
        let fundings = self.check_fundings(tx)?;
        let outputs = self.outputs(tx, &fundings)?;
        check_fee(&self.state.spending.limits, tx, coins, fee)?;
        let leaving = Leaving {
            payouts: outputs.payouts,
            fee,
        };
        let txid = tx.compute_txid();
        // What was allowed once stays allowed: there is nothing new to give.
        if self.state.is_signed(txid, &inputs) {
            return self.wallet.sign(tx, coins);
        }
        let (grant, coin) = self.allow_spend(leaving, &inputs)?;
        let witnesses = self.wallet.sign(tx, coins)?;
        self.record(Record::Spent(Box::new(Spent {
            at: self.now(),
            txid,
            inputs,
            ours: outputs.ours,
            grant,
            coin,
        })));
        Ok(witnesses)
    }

    /// W3, and that the keys were handed out.
    pub(crate) fn check_coins<'a>(
        &self,
        coins: impl Iterator<Item = (OutPoint, &'a Coin)>,
    ) -> Result<Vec<(OutPoint, Satoshi)>, Refused> {
        let mut seen = HashSet::new();
        let check = |(outpoint, coin): (OutPoint, &Coin)| {
            if !seen.insert(outpoint) {
                return Err(Refused::CoinTwice(outpoint));
            }
            self.check_coin(outpoint, coin)?;
            Ok((outpoint, coin.value))
        };
        coins.map(check).collect()
    }

    fn check_coin(&self, outpoint: OutPoint, coin: &Coin) -> Result<(), Refused> {
        if coin.key.index >= self.state.next_address {
            return Err(Refused::NoAddress(coin.key.index));
        }
        self.state.coins.check(outpoint, coin.value)
    }

    /// W6: what pays to a channel's funding script is its funding output, and our commitment 0 can
    /// bring the money back. Gives those outputs' numbers.
    fn check_fundings(&self, tx: &Transaction) -> Result<HashSet<u32>, Refused> {
        let mut fundings = HashSet::new();
        let txid = tx.compute_txid();
        let outputs = (0u32..).zip(&tx.output);
        for (vout, output) in outputs.filter(|(_, output)| output.script_pubkey.is_p2wsh()) {
            let is_its = |(_, channel): &(&ChannelDbid, &Channel)| {
                let script = channel.setup().map(Setup::funding_script_pubkey);
                script.as_ref() == Some(&output.script_pubkey)
            };
            for (dbid, channel) in self.state.channels.iter().filter(is_its) {
                let ready = channel.funded().is_ok_and(|funded| {
                    funded.local.is_some()
                        && funded.funding.outpoint == (OutPoint { txid, vout })
                        && output.value.to_sat() == funded.funding.value.0
                });
                if !ready {
                    return Err(Refused::FundingTooEarly(*dbid));
                }
                fundings.insert(vout);
            }
        }
        Ok(fundings)
    }

    /// W1.
    fn outputs(&self, tx: &Transaction, fundings: &HashSet<u32>) -> Result<Outputs, Refused> {
        let scripts = self.wallet.scripts(self.state.next_address);
        let allowlist = &self.state.spending.allowlist;
        let txid = tx.compute_txid();
        let (mut ours, mut payouts) = (Vec::new(), Vec::new());
        for (vout, output) in (0u32..).zip(&tx.output) {
            let (script, value) = (&output.script_pubkey, Satoshi(output.value.to_sat()));
            if scripts.is_ours(None, script) {
                ours.push((OutPoint { txid, vout }, value));
            } else if !fundings.contains(&vout) && !allowlist.contains(script) {
                if script.len() > MAX_SCRIPT || payouts.len() >= MAX_PAYOUTS {
                    return Err(Refused::OddOutputs);
                }
                let script = script.clone();
                payouts.push(Payout { script, value });
            }
        }
        Ok(Outputs { ours, payouts })
    }

    /// W4. Gives the coin too that the grant stands with.
    fn allow_spend(
        &mut self,
        leaving: Leaving,
        inputs: &[(OutPoint, Satoshi)],
    ) -> Result<(Grant, OutPoint), Refused> {
        let outpoints: Vec<OutPoint> = inputs.iter().map(|(outpoint, _)| *outpoint).collect();
        let state = &self.state;
        let (coin, _) = state.coins.charged(&outpoints).ok_or(Refused::EmptySpend)?;
        let unseen = inputs.iter().filter(|(o, _)| state.coins.get(o).is_none());
        let unseen = unseen.fold(Satoshi::ZERO, |sum, (_, value)| sum.saturating_add(*value));
        let holds = || state.holds().saturating_add(unseen);
        let spending = &state.spending;
        let allowed = spending.allow_spend(&leaving, &state.coins, &outpoints, self.now(), holds);
        let over = match allowed {
            Ok(grant) => return Ok((grant, coin)),
            Err(over) => over,
        };
        let nothing_may = spending.limits.withdraw_per_day == Limit::Exactly(Satoshi::ZERO);
        let rule = match nothing_may && !leaving.payouts.is_empty() {
            true => Rule::W1,
            false => Rule::W4,
        };
        let amount = leaving.sum();
        let what = Approvable::Spend {
            payouts: leaving.payouts,
            // Other coins may serve when it is asked for again.
            fee: leaving.fee.saturating_add(leaving.fee),
        };
        Err(self.over(rule, Allowance::Withdrawals, amount, over, what))
    }

    /// A1: `amount`, its fees included, may be paid for `hash` in all. Asking again for the same
    /// hash charges only what is more than before.
    pub(crate) fn charge_payment(
        &mut self,
        hash: PaymentHash,
        amount: MilliSatoshi,
    ) -> Result<(), Refused> {
        let what = Approvable::Payment { hash, amount };
        self.charge(Cause::Payment(hash), amount, what)
    }

    /// What was charged for payments that are over and was not paid flows back.
    pub(crate) fn end_payments(&mut self) {
        let (flows, now) = (&self.state.flows, self.now);
        let over = |(hash, charged): (PaymentHash, MilliSatoshi)| {
            let paid = match flows.get(hash) {
                Some(flow) if flow.is_over(now) => flow.budget.as_ref().map(|budget| budget.paid),
                Some(_) => return None,
                None => None,
            };
            // Nobody knows any more what was paid of it: all, then.
            let unspent = charged.saturating_sub(paid.unwrap_or(charged));
            Some(Record::PaymentEnded { hash, unspent })
        };
        let charged = self.state.spending.charged_payments();
        let ended: Vec<Record> = charged.filter_map(over).collect();
        for record in ended {
            self.record(record);
        }
    }

    /// A1: what the opening of a channel gives the peer is paid. Recorded ahead of the terms.
    pub(crate) fn charge_push(
        &mut self,
        dbid: ChannelDbid,
        change: &Change,
    ) -> Result<(), Refused> {
        let Change::Setup(setup) = change else {
            return Ok(());
        };
        if setup.opener != Side::Local || setup.push == MilliSatoshi::ZERO {
            return Ok(());
        }
        let (peer, amount) = (self.channel(dbid)?.peer, setup.push);
        self.charge(Cause::Push(dbid), amount, Approvable::Push { peer, amount })
    }

    fn charge(
        &mut self,
        cause: Cause,
        amount: MilliSatoshi,
        what: Approvable,
    ) -> Result<(), Refused> {
        let at = self.now();
        let allowed = |state: &State| {
            let holds = || state.holds();
            state.spending.allow_payment(cause, &what, at, holds)
        };
        let outcome = allowed(&self.state).or_else(|_| {
            self.end_payments();
            allowed(&self.state)
        });
        match outcome {
            Ok(Grant::Charge(MilliSatoshi::ZERO)) => {}
            Ok(grant) => self.record(Record::Paid { at, cause, grant }),
            Err(over) => return Err(self.over(Rule::A1, Allowance::Payments, amount, over, what)),
        }
        Ok(())
    }

    /// Notes what was refused, so that the operator can approve it.
    fn over(
        &mut self,
        rule: Rule,
        which: Allowance,
        amount: MilliSatoshi,
        Over(standing): Over,
        what: Approvable,
    ) -> Refused {
        let refusals = &mut self.refusals;
        let before = refusals.list.iter().position(|one| one.what == what);
        let again = before.and_then(|at| refusals.list.remove(at));
        let number = again.map_or(refusals.last.saturating_add(1), |refusal| refusal.number);
        refusals.last = refusals.last.max(number);
        if refusals.list.len() >= MAX_REFUSALS {
            refusals.list.pop_front();
        }
        refusals.list.push_back(Refusal {
            number,
            at: self.now.0,
            what,
        });
        Refused::OverLimit {
            rule,
            which,
            amount,
            standing,
            number,
        }
    }

    /// Coins that lightningd has seen, so that what the node holds is known. What it says of their
    /// amounts now is what they are worth for ever (W3).
    ///
    /// # Errors
    /// W3.
    pub fn see_coins(&mut self, coins: &[(OutPoint, Coin)]) -> Result<(), Refused> {
        let mut news = Vec::with_capacity(coins.len());
        for (outpoint, coin) in coins {
            self.check_coin(*outpoint, coin)?;
            if coin.value.0 > MAX_SATOSHI {
                return Err(Refused::EmptySpend);
            }
            if self.state.coins.is_news(outpoint) {
                news.push((*outpoint, coin.value));
            }
        }
        if !news.is_empty() {
            self.record(Record::Coins(news));
        }
        Ok(())
    }

    /// Whether a channel of ours may be closed to this script.
    ///
    /// # Errors
    /// S2.
    pub fn check_shutdown(&self, script: &Script) -> Result<(), Refused> {
        match self.destinations().may_close_to(0, script) {
            true => Ok(()),
            false => Err(Refused::ForeignScript(script.to_owned())),
        }
    }

    pub(crate) fn destinations(&self) -> Destinations<'_> {
        Destinations {
            ours: self.wallet.scripts(self.state.next_address),
            allowlist: &self.state.spending.allowlist,
        }
    }
}

/// What only the operator asks. None of it is on a socket that lightningd can have.
impl Hsm {
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state.spending.limits
    }

    pub(crate) fn standing(&self, which: Allowance) -> Standing {
        let holds = || self.state.holds();
        self.state.spending.standing(which, self.now(), holds)
    }

    /// The limits, and where they stand; what the node holds is our side of the channels that are open,
    /// and the wallet's coins that this signer has been told of and has not spent.
    pub fn overview(&mut self) -> Overview {
        self.end_payments();
        Overview {
            chain_hash: self.chain_hash(),
            limits: self.limits(),
            holds: self.state.holds(),
            withdrawals: self.standing(Allowance::Withdrawals),
            payments: self.standing(Allowance::Payments),
        }
    }

    /// # Errors
    /// W2: a cap is out of bounds.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), Refused> {
        limits::check(&limits)?;
        if limits != self.limits() {
            self.record(Record::Limits(limits));
        }
        Ok(())
    }

    #[must_use]
    pub fn allowlist(&self) -> &BTreeSet<ScriptBuf> {
        &self.state.spending.allowlist
    }

    /// # Errors
    /// W1: not a script that has an address, or too many.
    pub fn allow(&mut self, script: ScriptBuf) -> Result<(), Refused> {
        if !has_address(&script) {
            return Err(Refused::NotAllowable("a script without an address"));
        }
        let allowlist = &self.state.spending.allowlist;
        if allowlist.contains(&script) {
            return Ok(());
        }
        if allowlist.len() >= MAX_ALLOWED {
            return Err(Refused::NotAllowable("a script beyond the 1000th"));
        }
        self.record(Record::Allowed(script));
        Ok(())
    }

    /// As far as it is there.
    pub fn disallow(&mut self, script: ScriptBuf) {
        if self.state.spending.allowlist.contains(&script) {
            self.record(Record::Disallowed(script));
        }
    }

    /// What was refused for a limit since the start, oldest first.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.list.iter()
    }

    /// Allows it once, within a day. Caps on fees hold all the same.
    pub fn allow_once(&mut self, what: Approvable) {
        self.refusals.list.retain(|refusal| refusal.what != what);
        let at = self.now();
        self.record(Record::OperatorApproved { at, what });
    }
}

fn has_address(script: &Script) -> bool {
    script.is_p2pkh() || script.is_p2sh() || script.is_witness_program()
}

/// Inputs less outputs, which must not be negative; there is one coin for each input (W2).
fn check_amounts(tx: &Transaction, coins: &[Coin]) -> Result<Satoshi, Refused> {
    let add = |sum: Satoshi, value| sum.checked_add(value).filter(|sum| sum.0 <= MAX_SATOSHI);
    let mut inputs = coins.iter().map(|coin| coin.value);
    let mut outputs = tx.output.iter().map(|out| Satoshi(out.value.to_sat()));
    let inputs = inputs.try_fold(Satoshi::ZERO, add);
    let outputs = outputs.try_fold(Satoshi::ZERO, add);
    let (Some(inputs), Some(outputs)) = (inputs, outputs) else {
        return Err(Refused::EmptySpend);
    };
    if coins.is_empty() || coins.len() != tx.input.len() || tx.output.is_empty() {
        return Err(Refused::EmptySpend);
    }
    let fee = inputs.checked_sub(outputs);
    fee.ok_or(Refused::OutputsExceedInputs { inputs, outputs })
}

/// W2: an absolute cap, and one in proportion to the weight.
fn check_fee(
    limits: &Limits,
    tx: &Transaction,
    coins: &[Coin],
    fee: Satoshi,
) -> Result<(), Refused> {
    let most = limits.max_fee;
    if fee > most {
        return Err(Refused::SpendFee { fee, most });
    }
    // Of a P2WPKH coin: count, length, 71 bytes of signature, length, key; of a P2TR coin: count,
    // length, 64 bytes of signature.
    let witness = |coin: &Coin| match coin.key.kind {
        AddressKind::P2wpkh => 1 + 1 + 71 + 1 + 33,
        AddressKind::P2tr => 1 + 1 + 64,
    };
    let witnesses: u64 = coins.iter().map(witness).sum();
    let weight = tx.weight().to_wu() + SEGWIT_WEIGHT + witnesses;
    let most = limits.max_feerate;
    // By a virtual byte more, as builders round up.
    if fee > most.fee(weight.saturating_add(4)) {
        let feerate = fee.0.saturating_mul(1000) / weight.max(1);
        let feerate = FeeratePerKw(u32::try_from(feerate).unwrap_or(u32::MAX));
        return Err(Refused::SpendFeerate { feerate, most });
    }
    Ok(())
}
