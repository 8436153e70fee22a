//! The database alone.

use lightningd_db::{Cf, DbError, Record, View};
use lightningd_options::Options;

use super::report::{Check, Finding, Report};
use crate::store::channels::{ChannelRecord, ClosedChannel, HtlcRow, StoodHtlc};
use crate::store::forwards::Totals;
use crate::store::invoices::Highest;
use crate::store::payments::Indexes;
use crate::store::{
    chain, descriptions, forwards, invoices, moves, onchain, payments, peer_storage, peers,
    transactions, wallet,
};

const RESTORE: &str = "Put the folder db back, the newest copy that was made after the node last ran; \
                       never start with an empty or a thinned-out one";

/// The database, if it can be read.
pub fn look(options: &Options, report: &mut Report) -> Option<View> {
    let path = options.network_dir.join("db");
    let view = View::open(&path, options.network.name());
    let read = view.and_then(|view| read_all(&view).map(|records| (view, records)));
    match read {
        Ok((view, records)) => {
            let (schema, batches) = (view.identity().schema, view.batches());
            let copy = match view.copied() {
                Some(_) => "; it is of a backup, and starts only with --await-recovery",
                None => "",
            };
            report.add(
                Check::Database,
                Finding::Well(format!(
                    "schema {schema}, {records} records after {batches} batches{copy}"
                )),
            );
            Some(view)
        }
        Err(error) => {
            report.add(Check::Database, Finding::wrong(&error, advice(&error)));
            None
        }
    }
}

/// Reads the records of one kind, and counts them.
type Count = fn(&View) -> Result<u64, DbError>;

/// What is in a column family.
fn kind(cf: Cf) -> Count {
    match cf {
        Cf::Meta => singles,
        Cf::Channels => count::<ChannelRecord>,
        Cf::Htlcs => count::<HtlcRow>,
        Cf::EndedHtlcs => count::<StoodHtlc>,
        Cf::Onchain => count::<onchain::OnchainRecord>,
        Cf::ClosedChannels => count::<ClosedChannel>,
        Cf::Peers => count::<peers::Peer>,
        Cf::PeerStorage => count::<peer_storage::PeerStorage>,
        Cf::Invoices => count::<invoices::Invoice>,
        Cf::InvoiceByHash => count::<invoices::LabelOf>,
        Cf::Payments => count::<payments::Payment>,
        Cf::PaymentParts => count::<payments::Part>,
        Cf::PendingParts => count::<payments::PendingPart>,
        Cf::Forwards => count::<forwards::Forward>,
        Cf::WalletUtxos => count::<wallet::Coin>,
        Cf::WalletTxs => count::<wallet::WalletTx>,
        Cf::MinedWalletTxs => count::<wallet::MinedWalletTx>,
        Cf::WalletAddresses => count::<wallet::Address>,
        Cf::Transactions => count::<transactions::Mined>,
        Cf::ChainMoves => count::<moves::ChainMove>,
        Cf::ChannelMoves => count::<moves::ChannelMove>,
        Cf::Chain => count::<chain::Block>,
        Cf::Datastore => count::<descriptions::Entry>,
        // Nothing is kept there yet.
        Cf::Config => |_| Ok(0),
    }
}

/// Every record of every kind; how many there are.
fn read_all(view: &View) -> Result<u64, DbError> {
    Cf::ALL.into_iter().map(|cf| kind(cf)(view)).sum()
}

/// Those of which there is one.
fn singles(view: &View) -> Result<u64, DbError> {
    let found = [
        view.get::<Highest>(&Highest::key())?.is_some(),
        view.get::<Indexes>(&Indexes::key())?.is_some(),
        view.get::<Totals>(&Totals::key())?.is_some(),
    ];
    Ok(found.into_iter().map(u64::from).sum())
}

fn count<R: Record>(view: &View) -> Result<u64, DbError> {
    view.read_through::<R>()
}

fn advice(error: &DbError) -> &'static str {
    match error {
        DbError::InUse { .. } => "Stop the process that has it open",
        DbError::UnknownColumnFamilies { .. }
        | DbError::NewerSchema { .. }
        | DbError::NewerRecord { .. } => {
            "Use the version that wrote it, or a newer one; an older one cannot go on with it"
        }
        DbError::OtherNode { .. } | DbError::OtherNetwork { .. } => {
            "Check --lightning-dir and --network, or put back the folder that belongs here"
        }
        DbError::Io { .. } | DbError::NotOpened { .. } => {
            "See why the disk or its permissions refuse that"
        }
        DbError::Missing { .. }
        | DbError::AlreadyThere { .. }
        | DbError::MissingFile { .. }
        | DbError::MissingColumnFamilies { .. }
        | DbError::Damaged { .. }
        | DbError::LostCommits { .. }
        | DbError::Watermark { .. }
        | DbError::NotOurs { .. }
        | DbError::Unreadable { .. }
        | DbError::Unwritable { .. }
        | DbError::Failed { .. }
        | DbError::Closed => RESTORE,
    }
}
