//! Which row of [`hsm::msgs`] a request is, role by role, and how a reply of each role refuses.
//!
//! A variant without an arm here does not compile, and an arm needs a row: there is no message that
//! is answered without standing in the table.

use hsm::msgs::{Msg, Role};
use hsm_files::audit::Decision;
use hsm_messages::{
    Refused, chan, ctl, gossip, invoice, noise, onchain, operator, pay, rpc, tip, wallet,
};
use wire::ChannelDbid;

/// What comes from a role's socket.
pub trait Request {
    const ROLE: Role;

    fn msg(&self) -> Msg;

    /// The channel that the request itself names: only CTL's, GOSSIP's and TIP's do.
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

fn broke(refused: &Refused) -> Decision<'_> {
    Decision::Refused {
        rule: &refused.rule,
        reason: &refused.reason,
    }
}

impl Request for ctl::Request {
    const ROLE: Role = Role::Ctl;

    fn msg(&self) -> Msg {
        match self {
            ctl::Request::Init { .. } => Msg::Init,
            ctl::Request::Unlocked => Msg::Unlocked,
            ctl::Request::NewChannel { .. } => Msg::NewChannel,
            ctl::Request::Mint { .. } => Msg::Mint,
            ctl::Request::ForceClose { .. } => Msg::ForceClose,
            ctl::Request::Forget { .. } => Msg::Forget,
            ctl::Request::Stop => Msg::Stop,
        }
    }

    fn channel(&self) -> Option<ChannelDbid> {
        match self {
            ctl::Request::ForceClose { channel } | ctl::Request::Forget { channel } => {
                Some(*channel)
            }
            ctl::Request::Mint { channel, .. } => *channel,
            ctl::Request::Init { .. }
            | ctl::Request::Unlocked
            | ctl::Request::NewChannel { .. }
            | ctl::Request::Stop => None,
        }
    }
}

impl Request for noise::Request {
    const ROLE: Role = Role::Noise;

    fn msg(&self) -> Msg {
        match self {
            noise::Request::Step { .. } => Msg::NoiseStep,
        }
    }
}

impl Request for chan::Request {
    const ROLE: Role = Role::Chan;

    fn msg(&self) -> Msg {
        Msg::of_chan(self)
    }

    // K2: how many onions were looked into is what an auditor counts.
    fn count(&self) -> usize {
        if let chan::Request::EcdhBatch { points } = self {
            points.len()
        } else {
            1
        }
    }
}

impl Request for onchain::Request {
    const ROLE: Role = Role::Onchain;

    fn msg(&self) -> Msg {
        Msg::of_onchain(self)
    }
}

impl Request for wallet::Request {
    const ROLE: Role = Role::Wallet;

    fn msg(&self) -> Msg {
        match self {
            wallet::Request::GetAddress => Msg::GetAddress,
            wallet::Request::Seen { .. } => Msg::SeenCoins,
            wallet::Request::Sign { .. } => Msg::SignSpend,
            wallet::Request::CheckShutdown { .. } => Msg::CheckShutdown,
        }
    }
}

impl Request for gossip::Request {
    const ROLE: Role = Role::Gossip;

    fn msg(&self) -> Msg {
        match self {
            gossip::Request::SignChannelUpdate { .. } => Msg::SignChannelUpdate,
        }
    }

    fn channel(&self) -> Option<ChannelDbid> {
        match self {
            gossip::Request::SignChannelUpdate { channel, .. } => Some(*channel),
        }
    }
}

impl Request for invoice::Request {
    const ROLE: Role = Role::Invoice;

    fn msg(&self) -> Msg {
        match self {
            invoice::Request::NewPreimage => Msg::NewPreimage,
            invoice::Request::SignBolt11 { .. } => Msg::SignBolt11,
            invoice::Request::Release { .. } => Msg::Release,
        }
    }
}

impl Request for rpc::Request {
    const ROLE: Role = Role::Rpc;

    fn msg(&self) -> Msg {
        match self {
            rpc::Request::MakeSecret { .. } => Msg::MakeSecret,
            rpc::Request::SignMessage { .. } => Msg::SignMessage,
        }
    }
}

impl Request for operator::Request {
    const ROLE: Role = Role::Operator;

    fn msg(&self) -> Msg {
        match self {
            operator::Request::Status => Msg::Status,
            operator::Request::Unlock => Msg::Unlock,
            operator::Request::Limits => Msg::Limits,
            operator::Request::SetLimits { .. } => Msg::SetLimits,
            operator::Request::Allowlist => Msg::Allowlist,
            operator::Request::AllowlistAdd { .. } => Msg::AllowlistAdd,
            operator::Request::AllowlistRemove { .. } => Msg::AllowlistRemove,
            operator::Request::Refusals => Msg::Refusals,
            operator::Request::Approve { .. } => Msg::Approve,
            operator::Request::AuditHead => Msg::AuditHead,
            operator::Request::AuditTail { .. } => Msg::AuditTail,
        }
    }
}

impl Request for pay::Request {
    const ROLE: Role = Role::Pay;

    fn msg(&self) -> Msg {
        match self {
            pay::Request::ApproveBolt11 { .. } => Msg::ApproveBolt11,
        }
    }
}

impl Request for tip::Request {
    const ROLE: Role = Role::Tip;

    fn msg(&self) -> Msg {
        match self {
            tip::Request::Tip => Msg::Tip,
            tip::Request::Headers { .. } => Msg::Headers,
            tip::Request::Spend { .. } => Msg::Spend,
        }
    }

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

refuses! { ctl wallet gossip invoice rpc pay tip }

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

impl Reply for operator::Reply {
    fn refuse(refused: Refused) -> Self {
        operator::Reply::Refused(refused)
    }

    fn decision(&self) -> Decision<'_> {
        match self {
            operator::Reply::Refused(refused) => broke(refused),
            // No rule: the passphrase itself.
            operator::Reply::WrongPassphrase { .. } => Decision::Refused {
                rule: "passphrase",
                reason: "it is not the seed's",
            },
            operator::Reply::TooSoon { .. } => Decision::Refused {
                rule: "passphrase",
                reason: "too soon after a wrong one",
            },
            operator::Reply::Status(_)
            | operator::Reply::Unlocked { .. }
            | operator::Reply::Limits(_)
            | operator::Reply::Allowlist { .. }
            | operator::Reply::Refusals { .. }
            | operator::Reply::Done
            | operator::Reply::AuditHead { .. }
            | operator::Reply::AuditTail { .. } => Decision::Ok,
        }
    }
}
