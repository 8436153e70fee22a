//! A1: what may be paid, before the first HTLC of it leaves.

use wire::{ChainHash, MilliSatoshi, NodeId, PaymentHash};

use crate::flows::Budget;
use crate::hsm::Hsm;
use crate::record::Record;
use crate::refused::Refused;
use hsm_files::UnixTime;

/// Most budgets of payments that are under way or may begin any time. With 65,536 of them the
/// signer's state is below 20 MB, and as many HTLCs need 136 full channels.
pub(crate) const MAX_BUDGETS: usize = 65_536;

/// What an invoice asks for, verified, and what the payer adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub chain_hash: ChainHash,
    pub payment_hash: PaymentHash,
    /// Whose signature the invoice has.
    pub payee: NodeId,
    pub amount: MilliSatoshi,
    pub max_fee: MilliSatoshi,
    /// The last second of the invoice; `None`: it never expires.
    pub expires: Option<UnixTime>,
}

impl Hsm {
    /// Allows HTLCs to this payment's hash, up to its amount and fee in all. What was allowed before
    /// is allowed again; a higher amount or fee raises the limit.
    ///
    /// # Errors
    /// I1: another chain. A1: it has expired, another payee has the same hash, or there are too many.
    pub fn approve(&mut self, payment: &Payment) -> Result<(), Refused> {
        if payment.chain_hash != self.chain_hash() {
            return Err(Refused::OtherChainInvoice);
        }
        if self.state.flows.len() >= MAX_BUDGETS {
            self.end_payments();
        }
        let (hash, now) = (payment.payment_hash, self.now());
        // A fee without bound is bounded by what there is.
        let limit = payment.amount.saturating_add(payment.max_fee);
        let flow = self.state.flows.get(hash);
        let before = flow.and_then(|flow| flow.budget.as_ref());
        if before.is_some_and(|budget| budget.payee != payment.payee) {
            return Err(Refused::OtherPayee(hash));
        }
        if before.is_some_and(|budget| limit <= budget.limit && budget.is_fresh(now)) {
            return Ok(());
        }
        if payment.expires.is_some_and(|end| now > end) {
            return Err(Refused::InvoiceExpired);
        }
        let limit = before.map_or(limit, |budget| limit.max(budget.limit));
        let full = self.state.flows.len() >= MAX_BUDGETS;
        if before.is_none() && full && self.state.flows.open_budgets(now) >= MAX_BUDGETS {
            return Err(Refused::TooManyPayments(MAX_BUDGETS));
        }
        self.charge_payment(hash, limit)?;
        self.record(Record::Approved {
            hash,
            budget: Budget {
                payee: payment.payee,
                limit,
                paid: MilliSatoshi::ZERO,
                approved: now,
            },
        });
        Ok(())
    }
}
