//! Everything that can be asked of hsmd: by whom, when, with which key it is answered, which rules are
//! checked, and what the journal holds before the reply leaves.
//!
//! This table is what hsmd's dispatcher obeys (D4): it answers nothing that has no row here, nothing on
//! a socket of another role, and nothing in another phase. docs/hsm-boundary.md is written from it.
//!
//! A new message: a row here, under its role, named as the variant of the role's `Request`. Neither
//! compiles without the other. Then `cargo xtask docs` writes the page anew.

use hsm_messages::{
    backup, chan, ctl, gossip, invoice, noise, onchain, operator, pay, rpc, tip, wallet,
};
use wire::ChannelDbid;

use crate::Hsm;
use crate::refused::Phase::{Active, Closing, Onchain, Opening, Recovering, Stale, Stub};
use crate::refused::{Phase, Refused};
use crate::rules::Rule::{self, *};
use When::{Always, BeforeInit, Open, Phases};

macro_rules! roles {
    ($($role:ident $name:literal: $who:literal;)*) => {
        /// Whose socket it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role { $($role,)* }

        impl Role {
            /// As hsmd's page has them.
            pub const ALL: [Role; [$(stringify!($role)),*].len()] = [$(Role::$role),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Role::$role => $name,)*
                }
            }

            /// Who is at the other end.
            #[must_use]
            pub fn who(self) -> &'static str {
                match self {
                    $(Role::$role => $who,)*
                }
            }
        }
    };
}

roles! {
    Ctl "CTL": "lightningd: starts the signer and hands out the sockets of the other roles";
    Noise "NOISE": "connectd: the handshakes of BOLT 8";
    Chan "CHAN": "one channel's channeld; the socket names the channel";
    Wallet "WALLET": "lightningd's wallet: coins on chain";
    Gossip "GOSSIP": "lightningd: announcements";
    Invoice "INVOICE": "lightningd: invoices";
    Rpc "RPC": "lightningd: what its users ask by name";
    Operator "OPERATOR": "the owner, past lightningd: a socket that hsmd itself listens on";
    Pay "PAY": "lightningd: what may be paid";
    Onchain "ONCHAIN": "a spent channel's onchaind; the socket names the channel";
    Tip "TIP": "lightningd: what is on chain, with proofs";
    Backup "BACKUP": "lightningd: backups, wherever they are kept";
}

/// When it may be asked (D4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only while no keys are open.
    BeforeInit,
    /// Once the keys are open.
    Open,
    /// While the channel that it is about is in one of these.
    Phases(&'static [Phase]),
}

/// What the table says of a message.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub role: Role,
    pub name: &'static str,
    pub reply: &'static str,
    pub when: When,
    /// Which keys the answer is made with.
    pub key: &'static str,
    /// What is checked first.
    pub rules: &'static [Rule],
    /// What the journal holds before the reply leaves; empty if nothing changes.
    pub journal: &'static str,
}

/// What comes from a role's socket. The table makes it of each role's requests: one without a row does
/// not compile.
pub trait Asks {
    const ROLE: Role;

    fn msg(&self) -> Msg;

    /// The channel that it names itself.
    fn channel(&self) -> Option<ChannelDbid>;
}

macro_rules! msgs {
    ($($role:ident $module:ident {
        $($msg:ident $name:literal $(of $channel:ident)? -> $reply:literal, $when:expr,
            key $key:literal, rules [$($rule:ident),*], journal $journal:literal;)*
    })*) => {
        /// A message that has a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Msg { $($($msg,)*)* }

        /// The table's rows, role by role.
        pub const MSGS: &[Msg] = &[$($(Msg::$msg,)*)*];

        impl Msg {
            #[must_use]
            pub fn row(self) -> Row {
                match self {
                    $($(Msg::$msg => Row {
                        role: Role::$role,
                        name: $name,
                        reply: $reply,
                        when: $when,
                        key: $key,
                        rules: &[$($rule),*],
                        journal: $journal,
                    },)*)*
                }
            }
        }

        $(impl Asks for $module::Request {
            const ROLE: Role = Role::$role;

            fn msg(&self) -> Msg {
                match self {
                    $($module::Request::$msg { .. } => Msg::$msg,)*
                }
            }

            fn channel(&self) -> Option<ChannelDbid> {
                match self {
                    $($module::Request::$msg { $($channel,)? .. } => msgs!(@named $($channel)?),)*
                }
            }
        })*
    };
    (@named) => { None };
    (@named $channel:ident) => { Option::from(*$channel) };
}

msgs! {
    Ctl ctl {
        Init "Init" -> "node id, channels, the block for marks; or what an inspection found", BeforeInit,
            key "", rules [B2], journal "the start (its header, on a first one)";
        Unlocked "Unlocked" -> "as Init, once the owner has unlocked the seed or confirmed a recovery", Always,
            key "", rules [D4], journal "";
        NewChannel "NewChannel" -> "channel, basepoints, points 0 and 1, closing address", Open,
            key "channel, wallet", rules [D3], journal "the channel's number, peer and address";
        RecoverChannel "RecoverChannel" -> "as NewChannel", Open,
            key "channel, wallet", rules [B3, S1], journal "the channel's number, peer, address and what the backup has of its terms; phase Stale";
        Mint "Mint" of channel -> "number and point of our newest commitment of the channel", Open,
            key "", rules [D3, D4], journal "";
        ForceClose "ForceClose" of channel -> "our newest commitment, signed by both", Phases(&[Opening, Active, Closing, Onchain]),
            key "funding", rules [B3, C1, C6], journal "phase Onchain";
        Forget "Forget" of channel -> "done", Phases(&[Stub, Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "", rules [D4, H2], journal "that the channel is gone";
        Stop "Stop" -> "", Always,
            key "", rules [], journal "all of it";
    }
    Noise noise {
        Step "Step" -> "derived keys", Open,
            key "node", rules [K1], journal "";
    }
    Chan chan {
        Setup "Setup" -> "done", Phases(&[Stub, Opening, Active, Closing]),
            key "", rules [S1, S2, A1, A2], journal "the terms, what is pushed";
        SetFunding "SetFunding" -> "done", Phases(&[Opening, Active, Closing]),
            key "", rules [S1], journal "the funding output";
        SignRemote "SignRemote" -> "signatures of the peer's commitment and its HTLC transactions",
            Phases(&[Opening, Active, Closing]),
            key "funding, htlc", rules [B3, C1, C2, C3, C4, C6, C7, H1, H2, H3], journal "number, point, deltas, tickets";
        ValidateLocal "ValidateLocal" -> "our secret before, our point of it and of the next", Phases(&[Opening, Active, Closing]),
            key "revocation seed", rules [B3, C1, C2, C3, C4, C5, C6, C7, H1, H2, H3], journal "number, deltas, the peer's signatures";
        RemoteRevoked "RemoteRevoked" -> "done", Phases(&[Active, Closing, Onchain, Stale, Recovering]),
            key "", rules [C4], journal "the peer's secret (written; on disk with the next record that is waited for)";
        Point "Point" -> "our point", Phases(&[Stub, Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "revocation seed", rules [C5], journal "";
        RevokedSecret "RevokedSecret" -> "our revoked secret", Phases(&[Active, Closing, Onchain, Stale]),
            key "revocation seed", rules [C5], journal "";
        ReestablishProof "ReestablishProof" -> "whose secret it is", Phases(&[Active, Closing, Onchain, Stale, Recovering]),
            key "revocation seed", rules [B2, B3], journal "phase Stale, if the secret is not given yet; the phase from before a recovery, if it shows our newest";
        SignClose "SignClose" -> "signature of the mutual close", Phases(&[Active, Closing]),
            key "funding", rules [C1, M1, S2], journal "phase Closing, fee";
        CompleteClose "CompleteClose" -> "the mutual close, signed by both", Phases(&[Active, Closing]),
            key "funding", rules [C1, M1, S2], journal "phase Closing, fee";
        EcdhBatch "EcdhBatch" -> "shared secrets of onions", Phases(&[Active, Closing, Onchain, Stale, Recovering]),
            key "node", rules [K2], journal "";
    }
    Wallet wallet {
        GetAddress "GetAddress" -> "index, scripts", Open,
            key "wallet", rules [W3], journal "the index";
        Sign "Sign" -> "witnesses of all inputs", Open,
            key "wallet", rules [W1, W2, W3, W4, W5, W6, W7, A2], journal "coins, what leaves";
        Seen "Seen" -> "done", Open,
            key "", rules [W3], journal "amounts of coins seen first";
        CheckShutdown "CheckShutdown" -> "done", Open,
            key "", rules [S2], journal "";
    }
    Gossip gossip {
        SignChannelUpdate "SignChannelUpdate" of channel -> "timestamp, signature", Phases(&[Active, Closing]),
            key "node", rules [G1, G2, G3], journal "timestamp (written; on disk with the next record that is waited for)";
    }
    Invoice invoice {
        NewPreimage "NewPreimage" -> "payment hash", Open,
            key "preimages", rules [H4], journal "its number (written; on disk before an invoice is signed for it)";
        SignBolt11 "SignBolt11" -> "signature", Open,
            key "node", rules [I1], journal "payment hash, amount, expiry";
        Release "Release" -> "preimage", Open,
            key "preimages", rules [H4], journal "";
    }
    Rpc rpc {
        MakeSecret "MakeSecret" -> "a user's secret", Open,
            key "derived secrets", rules [R2], journal "";
        SignMessage "SignMessage" -> "signature", Open,
            key "node", rules [D2], journal "";
    }
    Operator operator {
        Status "Status" -> "locked or not, node id, seed file, program, policy, sandbox", Always,
            key "", rules [], journal "";
        Unlock "Unlock" -> "node id", BeforeInit,
            key "", rules [B2, D4], journal "its header, on a first start";
        Limits "Limits" -> "settings, what is used and left", Open,
            key "", rules [], journal "payments that are over";
        SetLimits "SetLimits" -> "done", Open,
            key "", rules [W2], journal "the settings";
        Allowlist "Allowlist" -> "scripts", Open,
            key "", rules [], journal "";
        AllowlistAdd "AllowlistAdd" -> "done", Open,
            key "", rules [W1], journal "the script";
        AllowlistRemove "AllowlistRemove" -> "done", Open,
            key "", rules [], journal "the script";
        Refusals "Refusals" -> "what was refused for a limit", Open,
            key "", rules [], journal "";
        Approve "Approve" -> "done", Open,
            key "", rules [], journal "what is approved";
        AuditHead "AuditHead" -> "number and hash of the audit log's last line", Always,
            key "", rules [], journal "";
        AuditTail "AuditTail" -> "lines of the audit log", Always,
            key "", rules [], journal "";
        ConfirmRecovery "ConfirmRecovery" -> "done", BeforeInit,
            key "", rules [B2, D4], journal "the start; phase Recovering of channels that have revoked anything";
        ShowMnemonic "ShowMnemonic" -> "the seed's words, in a pipe", Open,
            key "seed", rules [R2], journal "that they were shown";
        EndRecovery "EndRecovery" of channel -> "done", Phases(&[Recovering]),
            key "", rules [D4], journal "phase Onchain";
    }
    Pay pay {
        ApproveBolt11 "ApproveBolt11" -> "done", Open,
            key "", rules [A1, A2, I1], journal "hash, payee, limit, what is charged (written; on disk with the HTLC that follows)";
    }
    Onchain onchain {
        LocalPoint "LocalPoint" -> "our point", Phases(&[Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "revocation seed", rules [C5], journal "";
        RevokedPoint "RevokedPoint" -> "the peer's point", Phases(&[Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "", rules [X3], journal "";
        Sweep "Sweep" -> "the transaction, signed", Phases(&[Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "delayed, payment, htlc, revocation", rules [C5, X1, X2, X3], journal "";
        HtlcTxs "HtlcTxs" -> "the transaction, signed", Phases(&[Onchain, Stale]),
            key "htlc, wallet", rules [W3, X1, X2], journal "coins";
        Anchor "Anchor" -> "the transaction, signed", Phases(&[Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "funding, wallet", rules [W3, X1, X4], journal "coins";
    }
    Tip tip {
        Tip "Tip" -> "the newest block that is known", Open,
            key "", rules [], journal "";
        Headers "Headers" -> "the newest block", Open,
            key "", rules [T1], journal "headers (written; on disk with the next record that is waited for)";
        Spend "Spend" of channel -> "done", Phases(&[Opening, Active, Closing, Onchain, Stale, Recovering]),
            key "revocation seed", rules [T1], journal "what is spent (written; on disk with the next record that is waited for)";
    }
    Backup backup {
        Seal "Seal" -> "the sealed backup", Open,
            key "static backups", rules [R2], journal "";
        Open "Open" -> "what was sealed", Open,
            key "static backups", rules [R2], journal "";
    }
}

impl Msg {
    /// Whether this may be asked by `role` now, of `channel` if it is about one. `hsm` is `None`
    /// before its keys are open.
    ///
    /// # Errors
    /// D4; D3: there is no such channel.
    pub fn check(
        self,
        role: Role,
        hsm: Option<&Hsm>,
        channel: Option<ChannelDbid>,
    ) -> Result<(), Refused> {
        let row = self.row();
        if row.role != role {
            return Err(Refused::OtherRole {
                request: row.name,
                role: role.name(),
            });
        }
        let open = hsm.ok_or(Refused::NotOpen(row.name));
        match row.when {
            Always => Ok(()),
            BeforeInit => match hsm {
                None => Ok(()),
                Some(_) => Err(Refused::AlreadyOpen(row.name)),
            },
            Open => open.map(drop),
            Phases(_) => {
                let hsm = open?;
                let dbid = channel.ok_or(Refused::NoChannelNamed(row.name))?;
                self.check_phase(hsm.phase(dbid)?)
            }
        }
    }

    pub(crate) fn check_phase(self, phase: Phase) -> Result<(), Refused> {
        let row = self.row();
        match row.when {
            Always | Open => Ok(()),
            BeforeInit => Err(Refused::AlreadyOpen(row.name)),
            Phases(phases) if phases.contains(&phase) => Ok(()),
            Phases(_) if phase == Stale => Err(Refused::Stale),
            Phases(_) if phase == Recovering => Err(Refused::NotShown),
            Phases(_) => Err(Refused::Phase {
                request: row.name,
                phase,
            }),
        }
    }
}
