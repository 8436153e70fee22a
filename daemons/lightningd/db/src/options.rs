//! How RocksDB is set up: little memory, few files, one flush and one compaction at a time.
//!
//! **Recovery mode.** RocksDB reuses old write-ahead logs (`recycle_log_file_num`), which makes a
//! sync cheaper because the file's size does not change, only with `PointInTime`: with
//! `TolerateCorruptedTailRecords` and `AbsoluteConsistency` it silently turns the reuse off
//! (`SanitizeOptions` in its `db_impl_open.cc`), because the end of the new data in a reused file
//! looks like a damaged record. `AbsoluteConsistency` would also refuse the torn last batch that a
//! power cut leaves. `PointInTime` reads up to the first bad record and forgets the rest, whether
//! that was acknowledged or not. That is safe only with a count of what was acknowledged: each
//! batch carries its number, and [`crate::watermark`] has the last durable one. A torn tail that
//! nobody was told about is dropped; anything more is [`crate::DbError::LostCommits`].

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, InfoLogger, LogLevel, Options,
};

const MIB: usize = 1 << 20;
/// All memtables together; the fullest is written out when this is reached.
const MEMTABLES: usize = 4 * MIB;
const MEMTABLE: usize = MIB;
const BLOCK_CACHE: usize = 2 * MIB;
/// Log that is kept for column families that have not been written out. Read through on start.
const WAL: u64 = 4 << 20;

/// Options of the database and of each column family, with one cache for all of them.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(2);
    // A log that is not the newest any more must be there and as long as it was.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL);
    options.set_db_write_buffer_size(MEMTABLES);
    options.set_write_buffer_size(MEMTABLE);
    options.set_arena_block_size(64 << 10);
    options.set_max_write_buffer_number(2);
    options.set_max_background_jobs(1);
    options.set_max_open_files(64);
    options.set_max_manifest_file_size(MIB);
    options.set_target_file_size_base(8 * MIB as u64);
    options.set_max_bytes_for_level_base(32 * MIB as u64);
    options.set_compression_type(DBCompressionType::None);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_block_based_table_factory(&table());
    // No log files of its own beside ours: what it has to say goes where ours goes.
    options.set_info_logger(InfoLogger::new_callback_logger(
        LogLevel::Warn,
        |level, text| match level {
            LogLevel::Debug | LogLevel::Info | LogLevel::Header => {
                tracing::debug!(target: "rocksdb", "{text}");
            }
            LogLevel::Warn => tracing::warn!(target: "rocksdb", "{text}"),
            LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{text}"),
        },
    ));
    options
}

fn table() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    table
}
