//! `index`, `start` and `limit`, which the lists of invoices and payments have in common.

use lightningd_rpc::{Args, RpcError};

/// Which page of a list a client asked for.
pub struct Paging {
    updated: bool,
    start: u64,
    limit: usize,
}

impl Paging {
    /// # Errors
    /// `start` or `limit` without `index`.
    pub fn read(args: &Args) -> Result<Paging, RpcError> {
        let index: Option<String> = args.optional("index")?;
        let start: u64 = args.optional("start")?.unwrap_or(0);
        let limit: Option<u64> = args.optional("limit")?;
        if index.is_none() {
            if start != 0 {
                return Err(needs_index("start"));
            }
            if limit.is_some() {
                return Err(needs_index("limit"));
            }
        }
        Ok(Paging {
            updated: index.as_deref() == Some("updated"),
            start,
            limit: limit
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(usize::MAX),
        })
    }

    /// Whether the page begins further on than the list does.
    pub fn has_start(&self) -> bool {
        self.start != 0
    }

    /// The place of an entry in the order asked for; what was never updated comes first.
    pub fn key(&self, created: u64, updated: Option<u64>) -> u64 {
        if self.updated {
            updated.unwrap_or(0)
        } else {
            created
        }
    }

    /// The entries of the page in their order.
    pub fn page<T>(&self, mut all: Vec<T>, key: impl Fn(&T) -> u64) -> Vec<T> {
        all.retain(|entry| key(entry) >= self.start);
        all.sort_by_key(key);
        all.truncate(self.limit);
        all
    }
}

fn needs_index(name: &str) -> RpcError {
    RpcError::invalid_params(format!("Can only specify {{{name}}} with {{index}}"))
}
