//! What a request of each role says of itself besides its row in [`hsm::msgs`], and how a reply of each
//! role refuses.

use hsm::msgs::Asks;
use hsm_files::audit::Decision;
use hsm_messages::{
    Refused, backup, chan, ctl, gossip, invoice, noise, onchain, operator, pay, rpc, tip, wallet,
};

/// What comes from a role's socket.
pub trait Request: Asks {
    /// How many things it asks for at once, for the audit log.
    fn count(&self) -> usize {
        1
    }
}

/// What goes back.
pub trait Reply {
    fn refuse(refused: Refused) -> Self;

    fn decision(&self) -> Decision<'_>;
}

impl Request for chan::Request {
    // K2: how many onions were looked into is what an auditor counts.
    fn count(&self) -> usize {
        if let chan::Request::EcdhBatch { points } = self {
            points.len()
        } else {
            1
        }
    }
}

impl Request for ctl::Request {}
impl Request for noise::Request {}
impl Request for wallet::Request {}
impl Request for gossip::Request {}
impl Request for invoice::Request {}
impl Request for rpc::Request {}
impl Request for operator::Request {}
impl Request for pay::Request {}
impl Request for backup::Request {}
impl Request for onchain::Request {}
impl Request for tip::Request {}

/// Replies that say a refusal in the usual way, and those of the cores of `protocol`, which do not know
/// [`Refused`].
macro_rules! refuses {
    ($rule:ident, $reason:ident in $fields:tt: $($role:ident)*) => {$(
        impl Reply for $role::Reply {
            fn refuse(Refused { rule: $rule, reason: $reason }: Refused) -> Self {
                $role::Reply::Refused $fields
            }

            fn decision(&self) -> Decision<'_> {
                if let $role::Reply::Refused $fields = self {
                    Decision::Refused { rule: $rule, reason: $reason }
                } else {
                    Decision::Ok
                }
            }
        }
    )*};
}

refuses! { rule, reason in (Refused { rule, reason }): ctl wallet gossip invoice rpc pay tip backup }
refuses! { rule, reason in { rule, reason }: chan onchain }

impl Reply for operator::Reply {
    fn refuse(refused: Refused) -> Self {
        operator::Reply::Refused(refused)
    }

    fn decision(&self) -> Decision<'_> {
        let (rule, reason) = if let operator::Reply::Refused(refused) = self {
            (refused.rule.as_str(), refused.reason.as_str())
        } else if let operator::Reply::WrongPassphrase { .. } = self {
            // No rule: the passphrase itself.
            ("passphrase", "it is not the seed's")
        } else if let operator::Reply::TooSoon { .. } = self {
            ("passphrase", "too soon after a wrong one")
        } else {
            return Decision::Ok;
        };
        Decision::Refused { rule, reason }
    }
}

impl Reply for noise::Reply {
    fn refuse(_: Refused) -> Self {
        noise::Reply::BadAct
    }

    fn decision(&self) -> Decision<'_> {
        match self {
            noise::Reply::BadAct => Decision::Refused {
                rule: "K1",
                reason: "the act is not genuine",
            },
            noise::Reply::Step { .. } => Decision::Ok,
        }
    }
}
