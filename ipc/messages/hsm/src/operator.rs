//! OPERATOR: the owner, past lightningd, over the socket `hsm-operator` in hsmd's folder. It is the
//! one socket that hsmd listens on: a connection is taken if the kernel says that its other end is
//! the folder's owner or root.
//!
//! A passphrase is in no message: it comes in a pipe whose descriptor goes along, so that no buffer
//! of an edge ever holds it. The words of the seed go the same way.

use bitcoin::ScriptBuf;
use ipc_transport::Hardening;
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, NodeId};

use super::Refused;
use super::limits::{Approvable, Limits, Overview, Refusal};

/// The socket's name in hsmd's folder.
pub const SOCKET: &str = "hsm-operator";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; what hsmd is and whether it can sign.
    Status,
    /// Effect: opens the seed with the passphrase in the pipe that comes along, written whole, and goes
    /// on with lightningd's Init.
    /// Refused if: the seed is not locked, or the passphrase is wrong; soon after a wrong one, unread.
    Unlock,
    /// Effect: none; what may leave, and what has.
    Limits,
    /// Effect: these hold from now on.
    /// Refused if: a cap on fees is out of its bounds.
    SetLimits { limits: Limits },
    /// Effect: none; the scripts that everything may be paid to.
    Allowlist,
    /// Effect: everything may be paid to this script, and channels closed to it.
    /// Refused if: it has no address, or there are 1,000 already.
    AllowlistAdd { script: ScriptBuf },
    /// Effect: no more, as far as it was so.
    AllowlistRemove { script: ScriptBuf },
    /// Effect: none; what was refused for a limit since the start, oldest first, the last 32.
    Refusals,
    /// Effect: it may be done once, within 24 hours, whatever the limits are.
    Approve { what: Approvable },
    /// Effect: none; number and hash of the audit log's last line.
    AuditHead,
    /// Effect: none; lines of the audit log's present file from this number on, 500 at most.
    /// Refused if: the file cannot be read.
    AuditTail { from: LineNumber },
    /// Effect: hsmd opens beside a database that was put back from an older copy, and goes on with
    /// lightningd's Init. Nothing is signed of a channel that has revoked anything, until its peer shows the
    /// newest state.
    /// Refused if: lightningd has not said so of its database, or the journal is the older of the two.
    ConfirmRecovery,
    /// Effect: hsmd's newest commitment of this channel, whose peer does not come back to show it, may be
    /// published; nothing else of it is ever signed.
    /// Refused if: the channel does not wait for its peer since a recovery.
    EndRecovery { channel: ChannelDbid },
    /// Effect: writes the words of the seed into the pipe whose descriptor comes along, once and never again.
    /// Refused if: they were shown, the seed is not of words, or they are under a passphrase.
    ShowMnemonic,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Status(Box<Status>),
    Unlocked {
        node_id: NodeId,
    },
    /// The passphrase is not the seed's. The next one is read in so many seconds, not before.
    WrongPassphrase {
        wait: Seconds,
    },
    /// Too soon after a wrong passphrase: this one was not read.
    TooSoon {
        wait: Seconds,
    },
    Limits(Overview),
    Allowlist {
        scripts: Vec<ScriptBuf>,
    },
    Refusals {
        refusals: Vec<Refusal>,
    },
    Done,
    /// Number 0 before the first line.
    AuditHead {
        number: LineNumber,
        #[serde(with = "serde_bytes")]
        hash: [u8; 32],
    },
    AuditTail {
        lines: Vec<String>,
    },
    Refused(Refused),
}

/// Of the audit log; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineNumber(pub u64);

/// A time to wait, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seconds(pub u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub lock: Lock,
    /// `None` if there is no seed file.
    pub seed: Option<SeedFile>,
    /// SHA-256 of the program that runs.
    #[serde(with = "serde_bytes")]
    pub program: [u8; 32],
    /// SHA-256 of hsm/src/msgs.rs, hsm/src/rules.rs, daemons/subd/src/policy/every.rs and
    /// daemons/subd/src/policy/hsmd.rs, one behind the other, as they were when it was built.
    #[serde(with = "serde_bytes")]
    pub policy: [u8; 32],
    /// The sandbox, as the kernel reported it after the first steps.
    pub hardening: Hardening,
}

/// Whether hsmd can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// lightningd has not asked for anything yet, or what it asked for was refused.
    NotStarted,
    /// It waits for the seed's passphrase.
    Locked,
    Unlocked {
        node_id: NodeId,
        /// Channels with a funding output.
        channels: u64,
    },
    /// It waits for the owner's ConfirmRecovery.
    Unconfirmed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    pub format: SeedFormat,
    /// Permission bits, as of chmod.
    pub mode: u32,
}

/// What the seed file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeedFormat {
    /// 32 bytes as they are.
    Plain,
    /// Words without a passphrase.
    Mnemonic,
    /// Words that need their BIP 39 passphrase.
    MnemonicWithPassphrase,
    /// Core Lightning's 73 bytes.
    Encrypted,
    /// Our own, any seed under a passphrase.
    Sealed,
    /// None of these: damaged, or of another program.
    Unknown,
}
