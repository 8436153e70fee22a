//! The hash that both ends of an edge compare before anything else.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The golden text: every type that crosses an edge, comments left out (`cargo xtask schema` writes it).
pub const SCHEMA_TEXT: &str = include_str!("../../schema.lock");

/// SHA-256 of [`SCHEMA_TEXT`].
pub static SCHEMA: LazyLock<[u8; 32]> =
    LazyLock::new(|| Sha256::digest(SCHEMA_TEXT.as_bytes()).into());
