//! What a request of each role says of itself besides its row in [`hsm::msgs`], and how a reply of each
//! role refuses.

use hsm::msgs::Asks;
use hsm_files::audit::Decision;
use hsm_messages::{
    Refused, backup, chan, ctl, gossip, invoice, noise, onchain, operator, pay, rpc, tip, wallet,
};
use wire::ChannelDbid;

/// What comes from a role's socket.
pub trait Request: Asks {
    /// The channel that the request itself names: CTL's, GOSSIP's, TIP's and OPERATOR's may.
    fn channel(&self) -> Option<ChannelDbid> {
        None
    }

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

impl Request for ctl::Request {
    fn channel(&self) -> Option<ChannelDbid> {
        match self {
            ctl::Request::ForceClose { channel } | ctl::Request::Forget { channel } => {
                Some(*channel)
            }
            ctl::Request::Mint { channel, .. } => *channel,
            ctl::Request::Init { .. }
            | ctl::Request::Unlocked
            | ctl::Request::NewChannel { .. }
            | ctl::Request::RecoverChannel(_)
            | ctl::Request::Stop => None,
        }
    }
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

impl Request for onchain::Request {}

impl Request for gossip::Request {
    fn channel(&self) -> Option<ChannelDbid> {
        let gossip::Request::SignChannelUpdate { channel, .. } = self;
        Some(*channel)
    }
}

impl Request for operator::Request {
    fn channel(&self) -> Option<ChannelDbid> {
        if let operator::Request::EndRecovery { channel } = self {
            Some(*channel)
        } else {
            None
        }
    }
}

impl Request for noise::Request {}
impl Request for wallet::Request {}
impl Request for invoice::Request {}
impl Request for rpc::Request {}
impl Request for pay::Request {}
impl Request for backup::Request {}

fn broke(refused: &Refused) -> Decision<'_> {
    Decision::Refused {
        rule: &refused.rule,
        reason: &refused.reason,
    }
}

impl Request for tip::Request {
    fn channel(&self) -> Option<ChannelDbid> {
        match self {
            tip::Request::Spend { channel, .. } => Some(*channel),
            tip::Request::Tip | tip::Request::Headers { .. } => None,
        }
    }
}

/// Replies that say a refusal in the one usual way.
macro_rules! refuses {
    ($($role:ident)*) => {$(
        impl Reply for $role::Reply {
            fn refuse(refused: Refused) -> Self {
                $role::Reply::Refused(refused)
            }

            fn decision(&self) -> Decision<'_> {
                if let $role::Reply::Refused(refused) = self {
                    broke(refused)
                } else {
                    Decision::Ok
                }
            }
        }
    )*};
}

refuses! { ctl wallet gossip invoice rpc pay tip backup }

impl Reply for operator::Reply {
    fn refuse(refused: Refused) -> Self {
        operator::Reply::Refused(refused)
    }

    fn decision(&self) -> Decision<'_> {
        // No rule: the passphrase itself.
        let passphrase = |reason| Decision::Refused {
            rule: "passphrase",
            reason,
        };
        if let operator::Reply::Refused(refused) = self {
            broke(refused)
        } else if let operator::Reply::WrongPassphrase { .. } = self {
            passphrase("it is not the seed's")
        } else if let operator::Reply::TooSoon { .. } = self {
            passphrase("too soon after a wrong one")
        } else {
            Decision::Ok
        }
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

/// The same for cores of `protocol`, which do not know [`Refused`].
macro_rules! refuses_in_words {
    ($($role:ident)*) => {$(
        impl Reply for $role::Reply {
            fn refuse(Refused { rule, reason }: Refused) -> Self {
                $role::Reply::Refused { rule, reason }
            }

            fn decision(&self) -> Decision<'_> {
                if let $role::Reply::Refused { rule, reason } = self {
                    Decision::Refused { rule, reason }
                } else {
                    Decision::Ok
                }
            }
        }
    )*};
}

refuses_in_words! { chan onchain }
