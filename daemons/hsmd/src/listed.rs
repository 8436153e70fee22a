//! Which row of [`hsm::msgs`] a request is, role by role, and how a reply of each role refuses.
//!
//! A variant without an arm here does not compile, and an arm needs a row: there is no message that
//! is answered without standing in the table.

use hsm::msgs::{Msg, Role};
use hsm_messages::{Refused, chan, ctl, gossip, invoice, noise, operator, pay, wallet};
use wire::ChannelDbid;

/// What comes from a role's socket.
pub trait Request {
    const ROLE: Role;

    fn msg(&self) -> Msg;

    /// The channel that the request itself names: only CTL's do.
    fn channel(&self) -> Option<ChannelDbid> {
        None
    }
}

/// What goes back.
pub trait Reply {
    fn refuse(refused: Refused) -> Self;
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
}

impl Request for wallet::Request {
    const ROLE: Role = Role::Wallet;

    fn msg(&self) -> Msg {
        match self {
            wallet::Request::GetAddress => Msg::GetAddress,
            wallet::Request::Sign { .. } => Msg::SignSpend,
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
}

impl Request for invoice::Request {
    const ROLE: Role = Role::Invoice;

    fn msg(&self) -> Msg {
        match self {
            invoice::Request::SignBolt11 { .. } => Msg::SignBolt11,
        }
    }
}

impl Request for operator::Request {
    const ROLE: Role = Role::Operator;

    fn msg(&self) -> Msg {
        match self {
            operator::Request::Status => Msg::Status,
            operator::Request::Unlock => Msg::Unlock,
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

impl Reply for ctl::Reply {
    fn refuse(refused: Refused) -> Self {
        ctl::Reply::Refused(refused)
    }
}

impl Reply for noise::Reply {
    fn refuse(_: Refused) -> Self {
        noise::Reply::BadAct
    }
}

impl Reply for chan::Reply {
    fn refuse(Refused { rule, reason }: Refused) -> Self {
        chan::Reply::Refused { rule, reason }
    }
}

impl Reply for wallet::Reply {
    fn refuse(refused: Refused) -> Self {
        wallet::Reply::Refused(refused)
    }
}

impl Reply for gossip::Reply {
    fn refuse(refused: Refused) -> Self {
        gossip::Reply::Refused(refused)
    }
}

impl Reply for invoice::Reply {
    fn refuse(refused: Refused) -> Self {
        invoice::Reply::Refused(refused)
    }
}

impl Reply for operator::Reply {
    fn refuse(refused: Refused) -> Self {
        operator::Reply::Refused(refused)
    }
}

impl Reply for pay::Reply {
    fn refuse(refused: Refused) -> Self {
        pay::Reply::Refused(refused)
    }
}
