//! The database alone.

use lightningd_db::{DbError, Record, View};
use lightningd_options::Options;

use super::report::{Check, Finding, Report};
use crate::store::channels::{ChannelRecord, ClosedChannel, HtlcRow, StoodHtlc};
use crate::store::{chain, forwards, invoices, onchain, payments, peers, wallet};

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

/// Every record of every kind; how many there are.
fn read_all(view: &View) -> Result<u64, DbError> {
    let kinds: [Count; 17] = [
        count::<ChannelRecord>,
        count::<HtlcRow>,
        count::<StoodHtlc>,
        count::<ClosedChannel>,
        count::<onchain::OnchainRecord>,
        count::<peers::Peer>,
        count::<invoices::Invoice>,
        count::<invoices::LabelOf>,
        count::<payments::Payment>,
        count::<payments::Part>,
        count::<payments::PendingPart>,
        count::<forwards::Forward>,
        count::<wallet::Coin>,
        count::<wallet::WalletTx>,
        count::<wallet::MinedWalletTx>,
        count::<wallet::Address>,
        count::<chain::Block>,
    ];
    kinds.iter().map(|count| count(view)).sum()
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
