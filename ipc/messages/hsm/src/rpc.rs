//! RPC: what lightningd's users ask of the node's keys by name.

use serde::{Deserialize, Serialize};

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; the secret that belongs to `info`, below a secret that nothing else is derived from (R2).
    MakeSecret {
        #[serde(with = "serde_bytes")]
        info: Vec<u8>,
    },
    /// Effect: signs the text with the node key in its own domain, "Lightning Signed Message:" (D2).
    SignMessage { message: String },
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Secret {
        #[serde(with = "serde_bytes")]
        secret: [u8; 32],
    },
    /// Compact signature and its recovery id (0 to 3).
    Signed {
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
        recovery_id: u8,
    },
    Refused(Refused),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::Secret { .. } => f.write_str("Secret(32 bytes)"),
            Reply::Signed { recovery_id, .. } => write!(f, "Signed(64 bytes, {recovery_id})"),
            Reply::Refused(refused) => write!(f, "Refused({refused})"),
        }
    }
}
