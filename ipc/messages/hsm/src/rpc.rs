//! RPC: what lightningd's users ask of the node's keys by name.

use serde::{Deserialize, Serialize};

use super::Refused;

/// What a user calls a secret of its own: any bytes. It names none of the node's, wherever it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName(#[serde(with = "serde_bytes")] pub Vec<u8>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; the secret that belongs to `name`, below a secret that nothing else is derived from (R2).
    MakeSecret { name: SecretName },
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
