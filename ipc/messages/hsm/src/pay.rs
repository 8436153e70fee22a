//! PAY: what may be paid. hsmd reads the invoice itself; HTLCs to its hash may leave then, and no others.

use serde::{Deserialize, Serialize};
use wire::MilliSatoshi;

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: HTLCs to the invoice's hash may leave, up to `amount` and `max_fee` in all. Asking again for the
    /// same invoice, as before each attempt, changes nothing unless the limit is higher.
    /// `amount`: all that the invoice asks for, or a part of it where others pay the rest.
    /// Refused if: it is not valid, has expired, is for another chain, asks for less, or was approved for another
    /// payee.
    ApproveBolt11 {
        invoice: String,
        amount: MilliSatoshi,
        max_fee: MilliSatoshi,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Approved,
    Refused(Refused),
}
