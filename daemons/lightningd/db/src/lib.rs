//! The node's storage: RocksDB behind an interface of three verbs, get, scan and commit. Only this
//! crate names RocksDB, so that another engine can stand behind it later. It knows no record:
//! lightningd defines them as [`Record`]s. `docs/database.md` lists what is kept where.
//!
//! Invariants:
//! - **Persist before you promise.** When a [`Committed`] has resolved to `Ok`, its batch and every
//!   batch given before it survive a `kill -9` and a power cut.
//! - **Order.** Batches take effect in the order of the calls to [`Db::write`] and [`Db::commit`],
//!   on disk as in memory: what survives a crash is a prefix of the calls.
//! - **Read your writes.** After the call, [`Db::get`] and [`Db::scan`] see the batch, durable or
//!   not.
//! - **Never start empty.** [`Db::open`] creates nothing. What is missing, unreadable, lost or of
//!   another node is a distinct [`DbError`], and the folder stays as it was. [`Db::create`] creates
//!   only where nothing stands.
//! - **A failed sync is final.** After it every write is refused: what the disk then holds is not
//!   known, and a second sync may report success without having written anything.

mod backup;
mod batch;
mod cf;
mod create;
mod db;
mod error;
mod identity;
mod key;
mod manifest;
mod open;
mod options;
mod queue;
mod read;
mod record;
mod view;
mod watermark;

pub use backup::Copied;
pub use batch::Batch;
pub use cf::Cf;
pub use db::{Db, Found, Stats};
pub use error::DbError;
pub use identity::{Identity, SCHEMA};
pub use key::{Key, Path, Prefix};
pub use open::Loss;
pub use queue::{Committed, Stamp};
pub use read::Scan;
pub use record::{NotReadable, Record};
pub use view::View;
