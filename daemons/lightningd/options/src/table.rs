//! Every option: its name, what it takes, what holds without it, and words for people.
//!
//! Names, values and defaults are CLN's, unless the help text says otherwise.

/// What an option is about, as `--help` groups them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    General,
    Chain,
    Files,
    Logging,
    Network,
    Node,
    Channels,
    Fees,
    Developer,
}

impl Group {
    pub const ALL: [Group; 9] = [
        Group::General,
        Group::Chain,
        Group::Files,
        Group::Logging,
        Group::Network,
        Group::Node,
        Group::Channels,
        Group::Fees,
        Group::Developer,
    ];

    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Group::General => "General",
            Group::Chain => "Bitcoin network and bitcoind",
            Group::Files => "Files and folders",
            Group::Logging => "Logging",
            Group::Network => "Connections",
            Group::Node => "How the node presents itself",
            Group::Channels => "Channels",
            Group::Fees => "Fees and forwarding",
            Group::Developer => "For tests (with --developer only)",
        }
    }
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No value.
    Flag,
    Bool,
    Text,
    Path,
    Unsigned {
        min: u64,
        max: u64,
    },
    /// 32 bit, may be negative.
    Signed,
    Msat,
    /// An amount that must be whole satoshi and no dust.
    MsatWhole,
    Network,
    /// Four octal digits, the first a 0.
    Mode,
    Level,
    Address,
    /// At most 32 bytes.
    Alias,
    /// Six hex digits.
    Color,
    /// `required` or `best-effort`.
    Sandbox,
}

/// What holds where the option is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Unset,
    Is(&'static str),
    /// Coins of value need other care than test coins.
    ByNetwork {
        bitcoin: &'static str,
        test: &'static str,
    },
    /// Found out at start; these words say how.
    Computed(&'static str),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub alias: Option<&'static str>,
    pub short: Option<char>,
    pub kind: Kind,
    pub group: Group,
    pub default: Fallback,
    /// May be given more than once; the values add up.
    pub multi: bool,
    /// Neither in `--help` nor, unset, in `listconfigs`.
    pub hidden: bool,
    /// Only with `--developer`.
    pub developer: bool,
    /// Shown as `...` and never repeated in a message.
    pub conceal: bool,
    /// Trailing white space is part of the value.
    pub keeps_space: bool,
    /// Makes lightningd print something and exit.
    pub exits: bool,
    /// Stands for the value in `--help`.
    pub argument: &'static str,
    pub help: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    group: Group,
    default: Fallback,
    argument: &'static str,
    help: &'static str,
) -> Row {
    Row {
        name,
        alias: None,
        short: None,
        kind,
        group,
        default,
        multi: false,
        hidden: false,
        developer: matches!(group, Group::Developer),
        conceal: false,
        keeps_space: false,
        exits: false,
        argument,
        help,
    }
}

const fn flag(name: &'static str, group: Group, help: &'static str) -> Row {
    row(name, Kind::Flag, group, Fallback::Unset, "", help)
}

const fn up_to(max: u64) -> Kind {
    Kind::Unsigned { min: 0, max }
}

const U16: Kind = up_to(u16::MAX as u64);
const U32: Kind = up_to(u32::MAX as u64);
const U64: Kind = up_to(u64::MAX);

use Fallback::{ByNetwork, Computed, Is, Unset};
use Group::{Chain, Channels, Developer, Fees, Files, General, Logging, Network, Node};

const fn multi(row: Row) -> Row {
    Row { multi: true, ..row }
}

const fn exits(short: Option<char>, row: Row) -> Row {
    Row {
        exits: true,
        short,
        ..row
    }
}

pub static ROWS: &[Row] = &[
    exits(Some('h'), flag("help", General, "Show this page and exit.")),
    exits(
        Some('V'),
        flag("version", General, "Show the version and exit."),
    ),
    Row {
        hidden: true,
        ..exits(
            None,
            row(
                "completion",
                Kind::Text,
                General,
                Unset,
                "SHELL",
                "Print completions for bash, zsh or fish and exit.",
            ),
        )
    },
    flag(
        "daemon",
        General,
        "Run in the background. Needs --log-file.",
    ),
    row(
        "sandbox",
        Kind::Sandbox,
        General,
        Computed("required where the host gives all of it"),
        "MODE",
        "How much of the subdaemons' sandbox must be there: 'required' refuses to start without all of it, 'best-effort' goes on and names what is missing (see listsandbox).",
    ),
    flag(
        "await-recovery",
        General,
        "The database was put back from an older copy and the newest is lost: wait until `lightning-hsmtool confirm-recovery` has confirmed that, then ask the peers to close what has changed since. Where database and journal are both lost, it lets the node begin anew.",
    ),
    flag(
        "check",
        General,
        "Check database, journal, seed and chain of a node that does not run against each other, say what is wrong and what to do, and exit: with success only if all is well. Changes nothing (command line only).",
    ),
    flag(
        "json",
        General,
        "With --check: print what was found as JSON (command line only).",
    ),
    row(
        "conf",
        Kind::Path,
        General,
        Unset,
        "FILE",
        "Read this configuration file instead of both usual ones (command line only).",
    ),
    row(
        "allow-deprecated-apis",
        Kind::Bool,
        General,
        Computed("true, or false with --developer"),
        "BOOL",
        "Allow what CLN calls deprecated.",
    ),
    flag(
        "developer",
        General,
        "Allow developer options and commands, and show clients what was wrong with their parameters.",
    ),
    row(
        "network",
        Kind::Network,
        Chain,
        Is("bitcoin"),
        "NETWORK",
        "The chain: bitcoin, testnet, testnet4, signet or regtest (not in a network's own configuration file).",
    ),
    flag("mainnet", Chain, "The same as --network=bitcoin."),
    flag("testnet", Chain, "The same as --network=testnet."),
    flag("testnet4", Chain, "The same as --network=testnet4."),
    flag("signet", Chain, "The same as --network=signet."),
    flag("regtest", Chain, "The same as --network=regtest."),
    row(
        "bitcoin-datadir",
        Kind::Path,
        Chain,
        Unset,
        "DIR",
        "bitcoind's data folder, to find its .cookie in [~/.bitcoin].",
    ),
    row(
        "bitcoin-rpcconnect",
        Kind::Text,
        Chain,
        Unset,
        "HOST",
        "Where bitcoind answers RPC [127.0.0.1].",
    ),
    row(
        "bitcoin-rpcport",
        Kind::Unsigned { min: 1, max: 65535 },
        Chain,
        Unset,
        "PORT",
        "bitcoind's RPC port [its usual one for the network].",
    ),
    row(
        "bitcoin-rpcuser",
        Kind::Text,
        Chain,
        Unset,
        "NAME",
        "User for bitcoind's RPC [its .cookie].",
    ),
    Row {
        conceal: true,
        ..row(
            "bitcoin-rpcpassword",
            Kind::Text,
            Chain,
            Unset,
            "PASSWORD",
            "Password for bitcoind's RPC. Better in a configuration file than on the command line, where other users of this machine can read it.",
        )
    },
    row(
        "bitcoin-rpcclienttimeout",
        U32,
        Chain,
        Is("60"),
        "SECONDS",
        "How long to wait for bitcoind to answer a request.",
    ),
    row(
        "bitcoin-retry-timeout",
        U32,
        Chain,
        Is("60"),
        "SECONDS",
        "How long bitcoind may keep failing before the log says so, each time; nobody gives up.",
    ),
    row(
        "rescan",
        Kind::Signed,
        Chain,
        ByNetwork {
            bitcoin: "15",
            test: "30",
        },
        "BLOCKS",
        "Blocks to look at again at start; if negative, the height to start from.",
    ),
    row(
        "lightning-dir",
        Kind::Path,
        Files,
        Computed("~/.lightning"),
        "DIR",
        "Folder for everything; each network has its own below it (command line or --conf only).",
    ),
    row(
        "rpc-file",
        Kind::Path,
        Files,
        Is("lightning-rpc"),
        "FILE",
        "The RPC socket, relative to the network's folder.",
    ),
    row(
        "rpc-file-mode",
        Kind::Mode,
        Files,
        Is("0600"),
        "MODE",
        "File mode of the RPC socket. Whoever can open it can spend the node's money.",
    ),
    row(
        "pid-file",
        Kind::Path,
        Files,
        Computed("lightningd-NETWORK.pid in the lightning-dir"),
        "FILE",
        "Holds lightningd's process id.",
    ),
    row(
        "log-level",
        Kind::Level,
        Logging,
        Is("info"),
        "LEVEL[:SUBSYSTEM[:FILE]]",
        "Log this and what is more important: io, trace, debug, info, unusual or broken. Give it again with a subsystem for another level there, and with one of the log files to have that only in it.",
    ),
    multi(row(
        "log-file",
        Kind::Path,
        Logging,
        Unset,
        "FILE",
        "Log to a file, relative to the network's folder; - is stdout [-].",
    )),
    Row {
        keeps_space: true,
        ..row(
            "log-prefix",
            Kind::Text,
            Logging,
            Is(""),
            "TEXT",
            "Put this before every line of the log.",
        )
    },
    row(
        "log-timestamps",
        Kind::Bool,
        Logging,
        Is("true"),
        "BOOL",
        "Put the time before every line of the log.",
    ),
    multi(row(
        "addr",
        Kind::Address,
        Network,
        Unset,
        "ADDRESS[:PORT]",
        "Listen here, and announce it.",
    )),
    multi(row(
        "bind-addr",
        Kind::Address,
        Network,
        Unset,
        "ADDRESS[:PORT]",
        "Listen here, and do not announce it.",
    )),
    multi(row(
        "announce-addr",
        Kind::Address,
        Network,
        Unset,
        "ADDRESS[:PORT]",
        "Announce this, and do not listen on it; dns:HOST announces a name.",
    )),
    row(
        "autolisten",
        Kind::Bool,
        Network,
        Is("true"),
        "BOOL",
        "Listen on the network's usual port where no address is given.",
    ),
    flag(
        "offline",
        Network,
        "Neither listen nor connect to peers by ourselves.",
    ),
    Row {
        keeps_space: true,
        ..row(
            "alias",
            Kind::Alias,
            Node,
            Computed("two words made from the node id"),
            "TEXT",
            "The node's name, at most 32 bytes.",
        )
    },
    row(
        "rgb",
        Kind::Color,
        Node,
        Computed("the node id's first three bytes"),
        "RRGGBB",
        "The node's color.",
    ),
    row(
        "cltv-delta",
        U16,
        Channels,
        ByNetwork {
            bitcoin: "34",
            test: "6",
        },
        "BLOCKS",
        "Blocks between the timeouts of an incoming and an outgoing HTLC that we forward.",
    ),
    row(
        "cltv-final",
        U16,
        Channels,
        ByNetwork {
            bitcoin: "18",
            test: "10",
        },
        "BLOCKS",
        "Blocks that our invoices ask for before an HTLC's timeout.",
    ),
    row(
        "watchtime-blocks",
        U16,
        Channels,
        ByNetwork {
            bitcoin: "144",
            test: "6",
        },
        "BLOCKS",
        "Blocks that a peer's own funds wait after it closes alone, in which we can punish a fraud.",
    ),
    row(
        "funding-confirms",
        Kind::Unsigned { min: 1, max: 65535 },
        Channels,
        ByNetwork {
            bitcoin: "3",
            test: "1",
        },
        "BLOCKS",
        "Confirmations that a channel which a peer funds needs before use.",
    ),
    row(
        "max-concurrent-htlcs",
        Kind::Unsigned { min: 1, max: 483 },
        Channels,
        ByNetwork {
            bitcoin: "30",
            test: "483",
        },
        "COUNT",
        "HTLCs that one channel may carry at a time in one direction.",
    ),
    row(
        "max-dust-htlc-exposure-msat",
        Kind::Msat,
        Channels,
        Is("50000000"),
        "MSAT",
        "What a channel's HTLCs that are too small for the chain may add up to.",
    ),
    row(
        "min-capacity-sat",
        U64,
        Channels,
        Is("10000"),
        "SAT",
        "Refuse channels that are smaller.",
    ),
    row(
        "min-emergency-msat",
        Kind::MsatWhole,
        Channels,
        Is("25000000"),
        "MSAT",
        "Keep this in the wallet to pay the fees of closes, as long as there are channels.",
    ),
    Row {
        alias: Some("wumbo"),
        hidden: true,
        ..flag(
            "large-channels",
            Channels,
            "Always on: channels may be larger than 2^24 satoshi.",
        )
    },
    row(
        "fee-base",
        U32,
        Fees,
        ByNetwork {
            bitcoin: "1000",
            test: "1",
        },
        "MSAT",
        "What we ask for forwarding an HTLC of any size.",
    ),
    row(
        "fee-per-satoshi",
        U32,
        Fees,
        Is("10"),
        "MILLIONTHS",
        "What we ask besides for each satoshi that we forward.",
    ),
    row(
        "htlc-minimum-msat",
        Kind::Msat,
        Fees,
        Is("0"),
        "MSAT",
        "Forward nothing smaller, on new channels.",
    ),
    row(
        "htlc-maximum-msat",
        Kind::Msat,
        Fees,
        Is("18446744073709551615"),
        "MSAT",
        "Forward nothing larger, on new channels.",
    ),
    row(
        "ignore-fee-limits",
        Kind::Bool,
        Fees,
        ByNetwork {
            bitcoin: "false",
            test: "true",
        },
        "BOOL",
        "Let peers set any feerate for our shared transactions. Dangerous with real money.",
    ),
    row(
        "commit-fee",
        U64,
        Fees,
        Is("100"),
        "PERCENT",
        "Share of the estimated feerate that we put on commitment transactions.",
    ),
    row(
        "commit-feerate-offset",
        U32,
        Fees,
        Is("5"),
        "PERKW",
        "Put so much more per 1000 weight on a feerate that we propose.",
    ),
    row(
        "dev-bitcoind-poll",
        Kind::Unsigned { min: 1, max: 86400 },
        Developer,
        Is("30"),
        "SECONDS",
        "How often to ask bitcoind for blocks.",
    ),
    flag(
        "dev-fast-reconnect",
        Developer,
        "Reconnect to a lost peer at once.",
    ),
    flag(
        "dev-no-reconnect",
        Developer,
        "Never reconnect to a lost peer by ourselves.",
    ),
    flag(
        "dev-allow-localhost",
        Developer,
        "Announce and connect to addresses on this machine.",
    ),
];

impl Row {
    /// By name or alias.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Row> {
        ROWS.iter()
            .find(|r| r.name == name || r.alias == Some(name))
    }

    #[must_use]
    pub fn find_short(short: char) -> Option<&'static Row> {
        ROWS.iter().find(|r| r.short == Some(short))
    }

    #[must_use]
    pub const fn takes_value(&self) -> bool {
        !matches!(self.kind, Kind::Flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<&str> = ROWS
            .iter()
            .flat_map(|r| [Some(r.name), r.alias])
            .flatten()
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_row_has_help_and_every_value_a_placeholder() {
        for row in ROWS {
            assert!(
                row.help.ends_with('.') || row.help.contains('['),
                "{}",
                row.name
            );
            assert_eq!(row.argument.is_empty(), !row.takes_value(), "{}", row.name);
        }
    }
}
