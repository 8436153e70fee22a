//! Core Lightning's bookkeeper: bkpr-listaccountevents and bkpr-listbalances here, one file each for the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::OutPoint;
use lightningd_rpc::{Args, Context, RpcError, code};
use onchain::action::{Fate, Standing};
use serde_json::{Map, Value, json};
use wire::{ChannelId, MilliSatoshi, PaymentHash};

use super::{Outcome, channel_views, error, failed};
use crate::books::ledger::{Fee, Ledger, Owner};
use crate::node::Node;
use crate::store::channels::{ChannelRecord, ClosedChannel};
use crate::store::descriptions::{Descriptions, Of};
use crate::store::moves::{self, Account, ChainKey, ChainMove, ChannelMove, WALLET};
use crate::store::{invoices, payments};

mod apy;
mod describe;
mod income;
mod inspect;

pub use apy::channelsapy;
pub use describe::{editdescriptionbyoutpoint, editdescriptionbypaymentid};
pub use income::{dumpincomecsv, listincome, report};
pub use inspect::inspect;

const WALLET_NAME: &str = "wallet";
const EXTERNAL_NAME: &str = "external";

/// All books, with whose they are.
async fn ledger(node: &Node) -> Result<Ledger, RpcError> {
    let mut owners = BTreeMap::new();
    let of = |record: &ChannelRecord, resolved| Owner {
        channel_id: record.live.channel_id,
        peer: record.live.peer,
        we_opened: record.live.is_opener(),
        funding: record.live.funding.outpoint,
        resolved,
    };
    for view in channel_views(node).await {
        if let Some(open) = &view.open {
            let resolved = open.standing.as_ref().is_some_and(is_resolved);
            owners.insert(open.record.live.dbid.0, of(&open.record, resolved));
        }
    }
    for (books, ClosedChannel(record)) in node.db.scan::<ClosedChannel>().map_err(failed)? {
        owners.insert(books, of(&record, true));
    }
    let chain = moves::all_chain(&node.db).map_err(failed)?;
    let channel = moves::all_channel(&node.db).map_err(failed)?.into_iter();
    let channel = channel.map(|(dbid, moved)| (dbid.0, moved)).collect();
    Ok(Ledger::new(owners, chain, channel))
}

/// Nothing of it is waited for any more.
fn is_resolved(standing: &Standing) -> bool {
    let ended = |fate| match fate {
        Fate::Left | Fate::Spent { .. } => true,
        Fate::Waits { .. }
        | Fate::NeedsPreimage { .. }
        | Fate::NeedsCoins { .. }
        | Fate::NeedsLowerFees
        | Fate::Claimed { .. }
        | Fate::Uneconomic => false,
    };
    standing.spender.is_some() && standing.outputs.iter().all(|output| ended(output.fate))
}

/// Core Lightning's name for an account: the channel's id.
fn name(ledger: &Ledger, books: u64) -> String {
    match ledger.owners.get(&books) {
        Some(owner) => owner.channel_id.to_string(),
        None if books == WALLET => WALLET_NAME.to_owned(),
        None => format!("channel {books}"),
    }
}

/// What amounts are in, by the human-readable part of the network's invoices.
fn currency(node: &Node) -> &'static str {
    match node.network {
        bitcoin::Network::Bitcoin => "bc",
        bitcoin::Network::Signet => "tbs",
        bitcoin::Network::Regtest => "bcrt",
        _ => "tb",
    }
}

/// Which accounts' events are asked for.
enum Wanted {
    All,
    Books(u64),
    External,
    /// A payment hash, or a transaction's id.
    Id(PaymentHash),
}

impl Wanted {
    fn read(ledger: &Ledger, args: &Args) -> Result<Wanted, RpcError> {
        let account: Option<String> = args.optional("account")?;
        let id: Option<String> = args.optional("payment_id")?;
        match (account, id) {
            (Some(_), Some(_)) => Err(RpcError::invalid_params(
                "Can only specify one of {account} or {payment_id}",
            )),
            (None, Some(text)) => text
                .parse()
                .map(Wanted::Id)
                .map_err(|_| RpcError::invalid_params("payment_id: should be 32 bytes in hex")),
            (None, None) => Ok(Wanted::All),
            (Some(name), None) if name == EXTERNAL_NAME => Ok(Wanted::External),
            (Some(name), None) => match account_of(ledger, &name) {
                Some(books) => Ok(Wanted::Books(books)),
                None => {
                    let text = format!("Account '{name}' not found");
                    Err(RpcError::invalid_params(text))
                }
            },
        }
    }

    fn has_chain(&self, key: &ChainKey, moved: &ChainMove) -> bool {
        let own = key.account == Account::Own;
        match self {
            Wanted::All => true,
            Wanted::Books(books) => own && key.books == *books,
            Wanted::External => !own,
            Wanted::Id(id) => {
                let txid = moved.spending_txid.unwrap_or(key.outpoint.txid);
                moved.payment_hash == Some(*id) || txid.to_string() == id.to_string()
            }
        }
    }

    fn has_channel(&self, books: u64, moved: &ChannelMove) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Books(wanted) => books == *wanted,
            Wanted::External => false,
            Wanted::Id(id) => moved.payment_hash == Some(*id),
        }
    }

    fn has_fee(&self, fee: &Fee) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Books(books) => fee.books == *books,
            Wanted::External => false,
            Wanted::Id(id) => fee.txid.to_string() == id.to_string(),
        }
    }
}

fn account_of(ledger: &Ledger, name: &str) -> Option<u64> {
    if name == WALLET_NAME {
        return Some(WALLET);
    }
    let id: ChannelId = name.parse().ok()?;
    let mut owners = ledger.owners.iter();
    owners
        .find(|(_, owner)| owner.channel_id == id)
        .map(|(books, _)| *books)
}

pub async fn listaccountevents(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let ledger = ledger(&node).await?;
    let wanted = Wanted::read(&ledger, &args)?;
    let show = Show::new(&node, &ledger)?;
    let chain = ledger.chain.iter().filter(|(k, m)| wanted.has_chain(k, m));
    let channel = (ledger.channel.iter()).filter(|(books, m)| wanted.has_channel(*books, m));
    let fees = ledger.fees.iter().filter(|fee| wanted.has_fee(fee));
    let events = show.events(chain, channel, fees)?;
    Ok(json!({ "events": events }))
}

/// Events as CLN writes them.
struct Show<'a> {
    node: &'a Node,
    ledger: &'a Ledger,
    currency: &'static str,
    descriptions: Descriptions,
}

impl<'a> Show<'a> {
    fn new(node: &'a Node, ledger: &'a Ledger) -> Result<Show<'a>, RpcError> {
        Ok(Show {
            node,
            ledger,
            currency: currency(node),
            descriptions: Descriptions::load(&node.db).map_err(failed)?,
        })
    }

    /// In the order in which they were recorded: on chain, in channels, fees.
    fn events<'b>(
        &self,
        chain: impl Iterator<Item = &'b (ChainKey, ChainMove)>,
        channel: impl Iterator<Item = &'b (u64, ChannelMove)>,
        fees: impl Iterator<Item = &'b Fee>,
    ) -> Result<Vec<Value>, RpcError> {
        let mut events = Vec::new();
        for (key, moved) in chain {
            events.push((moved.recorded_at, self.chain(key, moved)));
        }
        for (books, moved) in channel {
            events.push((moved.recorded_at, self.channel(*books, moved)?));
        }
        events.extend(fees.map(|fee| (fee.at, self.fee(fee))));
        events.sort_by_key(|(at, _)| *at);
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    /// As CLN, where an output comes.
    fn of_output(&self, key: &ChainKey) -> Option<String> {
        match key.debit {
            true => None,
            false => self.of_outpoint(key.outpoint),
        }
    }

    fn of_outpoint(&self, outpoint: OutPoint) -> Option<String> {
        self.descriptions.of(Of::Output(outpoint))
    }

    /// The owner's words, or those of the invoice of ours or of the one that we paid.
    fn of_payment(&self, hash: PaymentHash) -> Result<Option<String>, RpcError> {
        if let Some(said) = self.descriptions.of(Of::Payment(hash)) {
            return Ok(Some(said));
        }
        let db = &self.node.db;
        if let Some(invoice) = invoices::by_hash(db, hash).map_err(failed)? {
            return Ok(invoice.description);
        }
        let paid = payments::groups_of(db, hash).map_err(failed)?;
        Ok(paid.into_iter().find_map(|payment| payment.description))
    }

    fn chain(&self, key: &ChainKey, moved: &ChainMove) -> Value {
        let books = name(self.ledger, key.books);
        let (account, origin) = match key.account {
            Account::Own => (books, None),
            Account::External => (EXTERNAL_NAME.to_owned(), Some(books)),
        };
        let (credit, debit) = sides(key.debit, moved.amount);
        let mut event = json!({
            "account": account,
            "type": "chain",
            "tag": moved.tag.word(),
            "credit_msat": credit.0,
            "debit_msat": debit.0,
            "currency": self.currency,
            "timestamp": moved.recorded_at,
            "outpoint": key.outpoint.to_string(),
            "blockheight": moved.height.0,
        });
        let more = [
            ("origin", origin),
            ("txid", moved.spending_txid.map(|txid| txid.to_string())),
            ("payment_id", moved.payment_hash.map(|id| id.to_string())),
            ("description", self.of_output(key)),
        ];
        add(&mut event, more);
        event
    }

    fn channel(&self, books: u64, moved: &ChannelMove) -> Outcome {
        let (credit, debit) = sides(moved.debit, moved.amount);
        let mut event = json!({
            "account": name(self.ledger, books),
            "type": "channel",
            "tag": moved.tag.word(),
            "credit_msat": credit.0,
            "debit_msat": debit.0,
            "fees_msat": moved.fees.0,
            "currency": self.currency,
            "timestamp": moved.recorded_at,
            "is_rebalance": false,
        });
        let description = match moved.payment_hash {
            Some(hash) => self.of_payment(hash)?,
            None => None,
        };
        let more = [
            ("payment_id", moved.payment_hash.map(|id| id.to_string())),
            ("description", description),
        ];
        add(&mut event, more);
        let part = moved.part.and_then(|part| u32::try_from(part).ok());
        if let (Some(part), Some(object)) = (part, event.as_object_mut()) {
            object.insert("part_id".to_owned(), json!(part));
        }
        Ok(event)
    }

    /// CLN's fees are credits of what was paid.
    fn fee(&self, fee: &Fee) -> Value {
        json!({
            "account": name(self.ledger, fee.books),
            "type": "onchain_fee",
            "tag": "onchain_fee",
            "credit_msat": fee.amount.0,
            "debit_msat": 0,
            "currency": self.currency,
            "timestamp": fee.at,
            "txid": fee.txid.to_string(),
        })
    }
}

fn sides(debit: bool, amount: MilliSatoshi) -> (MilliSatoshi, MilliSatoshi) {
    match debit {
        true => (MilliSatoshi::ZERO, amount),
        false => (amount, MilliSatoshi::ZERO),
    }
}

/// Members that are there.
fn add<const N: usize>(to: &mut Value, members: [(&str, Option<String>); N]) {
    let Some(object) = to.as_object_mut() else {
        return;
    };
    for (name, value) in members {
        if let Some(value) = value {
            object.insert(name.to_owned(), json!(value));
        }
    }
}

pub async fn listbalances(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let ledger = ledger(&node).await?;
    let of = |books: u64| {
        let coin = currency(&node);
        let sum = ledger.balances.get(&books).into_iter();
        let shown = sum.map(|sum| json!({"balance_msat": sum.0, "coin_type": coin}));
        shown.collect::<Vec<_>>()
    };
    let mut accounts = vec![json!({"account": WALLET_NAME, "balances": of(WALLET)})];
    for (books, owner) in &ledger.owners {
        if !ledger.balances.contains_key(books) {
            continue;
        }
        let closed = ledger.closes.contains_key(books);
        let mut account = json!({
            "account": name(&ledger, *books),
            "peer_id": owner.peer.to_string(),
            "we_opened": owner.we_opened,
            "account_closed": closed,
            "account_resolved": closed && owner.resolved,
            "balances": of(*books),
        });
        let last = ledger.last_blocks.get(books);
        let last = last.filter(|_| closed && owner.resolved);
        if let (Some(last), Some(object)) = (last, account.as_object_mut()) {
            object.insert("resolved_at_block".to_owned(), json!(last));
        }
        accounts.push(account);
    }
    Ok(json!({ "accounts": accounts }))
}

/// A failure of what is a plugin of its own in CLN.
fn plugin_error(why: impl std::fmt::Display) -> RpcError {
    error(code::PLUGIN_ERROR, why)
}

type Members = Map<String, Value>;
