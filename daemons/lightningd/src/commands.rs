//! The RPC commands: each takes checked arguments, asks actors, and shapes the answer as CLN does.

mod addresses;
mod backup;
mod bookkeeper;
mod channels;
mod close;
mod decode;
mod forwards;
mod fundchannel;
mod hints;
mod invoices;
mod listpeerchannels;
mod live_backup;
mod node;
mod paging;
mod pay;
mod payments;
mod peers;
mod sandbox;
mod secrets;
mod standing;
mod transactions;
mod wallet;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use lightningd_rpc::commands as table;
use lightningd_rpc::{Args, Code, Command, Context, Registry, RpcError, Server, bind, code};
use serde_json::Value;

use crate::node::Node;

/// What a command comes to.
type Outcome = Result<Value, RpcError>;

/// Binds the socket and serves every command.
///
/// # Errors
/// The socket is in use or cannot be made.
pub fn serve(node: &Arc<Node>) -> anyhow::Result<Server> {
    let options = &node.options;
    let mut rows = Rows {
        node,
        registry: Registry::new(options.developer.is_some()),
    };
    rows.add(&table::GETINFO, node::getinfo)?;
    rows.add(&table::STOP, node::stop)?;
    rows.add(&table::GETLOG, node::getlog)?;
    rows.add(&table::LISTCONFIGS, node::listconfigs)?;
    rows.add(&table::LISTSANDBOX, sandbox::listsandbox)?;
    rows.add(&table::BACKUP, live_backup::backup)?;
    rows.add(&table::FEERATES, node::feerates)?;
    rows.add(&table::PING, peers::ping)?;
    rows.add(&table::CONNECT, peers::connect)?;
    rows.add(&table::DISCONNECT, peers::disconnect)?;
    rows.add(&table::LISTPEERS, peers::listpeers)?;
    rows.add(&table::NEWADDR, wallet::newaddr)?;
    rows.add(&table::LISTFUNDS, wallet::listfunds)?;
    rows.add(&table::WITHDRAW, wallet::withdraw)?;
    rows.add(&table::TXDISCARD, wallet::txdiscard)?;
    rows.add(&table::LISTTRANSACTIONS, transactions::listtransactions)?;
    rows.add(&table::LISTACCOUNTEVENTS, bookkeeper::listaccountevents)?;
    rows.add(&table::LISTBALANCES, bookkeeper::listbalances)?;
    rows.add(&table::LISTINCOME, bookkeeper::listincome)?;
    rows.add(&table::INSPECT, bookkeeper::inspect)?;
    rows.add(&table::CHANNELSAPY, bookkeeper::channelsapy)?;
    rows.add(&table::DUMPINCOMECSV, bookkeeper::dumpincomecsv)?;
    rows.add(&table::REPORT, bookkeeper::report)?;
    rows.add(
        &table::EDITDESCRIPTIONBYPAYMENTID,
        bookkeeper::editdescriptionbypaymentid,
    )?;
    rows.add(
        &table::EDITDESCRIPTIONBYOUTPOINT,
        bookkeeper::editdescriptionbyoutpoint,
    )?;
    rows.add(&table::FUNDCHANNEL, fundchannel::fundchannel)?;
    rows.add(&table::CLOSE, close::close)?;
    rows.add(&table::LISTPEERCHANNELS, listpeerchannels::listpeerchannels)?;
    rows.add(&table::LISTCLOSEDCHANNELS, channels::listclosedchannels)?;
    rows.add(&table::LISTFORWARDS, forwards::listforwards)?;
    rows.add(&table::INVOICE, invoices::invoice)?;
    rows.add(&table::LISTINVOICES, invoices::listinvoices)?;
    rows.add(&table::DELINVOICE, invoices::delinvoice)?;
    rows.add(&table::WAITINVOICE, invoices::waitinvoice)?;
    rows.add(&table::WAITANYINVOICE, invoices::waitanyinvoice)?;
    rows.add(&table::DECODE, decode::decode)?;
    rows.add(&table::PAY, pay::pay)?;
    rows.add(&table::LISTPAYS, payments::listpays)?;
    rows.add(&table::LISTSENDPAYS, payments::listsendpays)?;
    rows.add(&table::SIGNMESSAGE, secrets::signmessage)?;
    rows.add(&table::CHECKMESSAGE, secrets::checkmessage)?;
    rows.add(&table::MAKESECRET, secrets::makesecret)?;
    rows.add(&table::STATICBACKUP, backup::staticbackup)?;
    rows.add(&table::EMERGENCYRECOVER, backup::emergencyrecover)?;
    rows.add(&table::RECOVERCHANNEL, backup::recoverchannel)?;
    rows.add(
        &table::GETEMERGENCYRECOVERDATA,
        backup::getemergencyrecoverdata,
    )?;
    rows.add(&table::RESTOREFROMPEER, backup::restorefrompeer)?;
    let listener = bind(&options.rpc_file, options.rpc_file_mode)
        .with_context(|| format!("cannot listen on {}", options.rpc_file.display()))?;
    Ok(Server::start(listener, Arc::new(rows.registry)))
}

struct Rows<'a> {
    node: &'a Arc<Node>,
    registry: Registry,
}

impl Rows<'_> {
    fn add<F, Fut>(&mut self, command: &'static Command, run: F) -> anyhow::Result<()>
    where
        F: Fn(Arc<Node>, Context, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let node = self.node.clone();
        self.registry.add(command, move |context, args| {
            run(node.clone(), context, args)
        })?;
        Ok(())
    }
}

/// A failure of ours that no code of CLN's names.
fn failed(why: impl std::fmt::Display) -> RpcError {
    RpcError::general(why.to_string())
}

/// hsmd does not sign this. The text says what the owner can do about it, the data by which rule.
fn refused(refused: &ipc_messages::hsm::Refused) -> RpcError {
    failed(refused).with_data(serde_json::json!({ "rule": refused.rule }))
}

fn error(code: Code, why: impl std::fmt::Display) -> RpcError {
    RpcError::new(code, why.to_string())
}

/// Every channel's state, in the order of their numbers.
async fn channel_views(node: &Node) -> Vec<crate::channel::ChannelView> {
    let asked: Vec<_> = node
        .channels
        .mailboxes()
        .into_iter()
        .filter_map(|(_, _, mailbox)| {
            let (reply, view) = tokio::sync::oneshot::channel();
            mailbox
                .send(crate::channel::Mail::View(reply))
                .ok()
                .map(|()| view)
        })
        .collect();
    let mut views = Vec::with_capacity(asked.len());
    for view in asked {
        // A channel that ended meanwhile has no view.
        if let Ok(view) = view.await {
            views.push(view);
        }
    }
    views
}

/// The feerate that a client asked for, or why there is none.
fn feerate(node: &Node, asked: lightningd_rpc::Feerate) -> Result<wire::FeeratePerKw, RpcError> {
    use lightningd_rpc::feerate::Feerate;
    use lightningd_wallet::FeerateSpec;
    let estimates = crate::feerates::estimates(node);
    let spec = match asked {
        Feerate::PerKw(rate) => return Ok(rate.max(wire::FeeratePerKw::FLOOR)),
        Feerate::Blocks(blocks) => FeerateSpec::Blocks(blocks),
        Feerate::Minimum => FeerateSpec::Minimum,
        Feerate::For(purpose) => FeerateSpec::For(wallet_purpose(purpose)),
    };
    match spec.resolve(&estimates) {
        Ok(rate) => Ok(rate.max(wire::FeeratePerKw::FLOOR)),
        // A regtest chain has no estimates to speak of: the floor will do there, where CLN refuses.
        Err(_) if node.network == bitcoin::Network::Regtest => Ok(wire::FeeratePerKw::FLOOR),
        Err(why) => Err(error(code::BCLI_NO_FEE_ESTIMATES, why)),
    }
}

fn wallet_purpose(purpose: lightningd_rpc::feerate::Purpose) -> lightningd_wallet::Purpose {
    use lightningd_rpc::feerate::Purpose as Rpc;
    use lightningd_wallet::Purpose;
    match purpose {
        Rpc::Opening => Purpose::Opening,
        Rpc::MutualClose => Purpose::MutualClose,
        Rpc::UnilateralClose => Purpose::UnilateralClose,
        Rpc::UnilateralAnchorClose => Purpose::UnilateralAnchorClose,
        Rpc::Penalty => Purpose::Penalty,
    }
}
