//! INVOICE: BOLT 11 invoices. hsmd encodes and hashes the fields itself.

use serde::{Deserialize, Serialize};

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: signs the invoice with the node key.
    SignBolt11 { fields: Box<invoice::Bolt11Fields> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Compact signature and its recovery id (0 to 3).
    Signed {
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
        recovery_id: u8,
    },
    Refused(Refused),
}
