//! The command line, with Core Lightning's names where it has the command.

use std::path::PathBuf;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::{generate, shells};
use wire::NodeId;

use crate::spending::Spending;

const NAME: &str = "lightning-hsmtool";

/// Looks after the seed of a node: the file hsm_secret while no node runs, and a running hsmd.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
pub struct Flags {
    /// Print what was found as one JSON object.
    #[arg(long, global = true)]
    pub json: bool,
    /// The network's folder, for what is asked about limits [default: ~/.lightning/bitcoin]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub network_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new seed of twelve words, show them once, and write the file.
    Generatehsm { file: PathBuf },
    /// Ask for the words of a seed and write the file that they make, where there is none.
    Restorehsm { file: PathBuf },
    /// Put the seed under a passphrase.
    Encrypt { file: PathBuf },
    /// Write the seed without a passphrase, as Core Lightning has it.
    Decrypt { file: PathBuf },
    /// Put the seed under another passphrase.
    ChangePassphrase { file: PathBuf },
    /// Ask for the words and say whether the file's seed is made of them.
    Checkhsm { file: PathBuf },
    /// Print the words that the seed is made of. Whoever sees them has the coins.
    Getsecret { file: PathBuf },
    /// Print the node id that the seed gives.
    Getnodeid { file: PathBuf },
    /// Print descriptors of the wallet's addresses, without private keys.
    Dumponchaindescriptors {
        file: PathBuf,
        #[arg(default_value_t = Network::Bitcoin)]
        network: Network,
    },
    /// Look for the key of our balance in a commitment that a peer has published.
    ///
    /// Tries the channels 1 to MAX_CHANNEL_DBID with this peer: an address that starts with bc1 and is that of a
    /// static remote key (P2WPKH) or of a channel with anchors (P2WSH). Prints a descriptor without a private key.
    /// Channels of a node that was begun anew have numbers far up: of each there are 2^20 to try, on all cores.
    Guesstoremote {
        address: Address<NetworkUnchecked>,
        node_id: NodeId,
        max_channel_dbid: u64,
        file: PathBuf,
        /// How often the node was first started with a seed that was there (Core Lightning's file, or made with this
        /// tool), or without its journal, or on a backup. More of them only take longer; 0 takes no time
        #[arg(long, value_name = "TIMES", default_value_t = 1)]
        begun_anew: u16,
        /// Print the private key too: whoever sees it has these coins.
        #[arg(long)]
        private_key: bool,
    },
    /// hsmd's journal, of a node that does not run.
    #[command(subcommand)]
    Journal(Journal),
    /// Say what a running hsmd is and whether its seed is unlocked.
    Status {
        /// The network's folder, such as ~/.lightning/bitcoin.
        folder: PathBuf,
    },
    /// Unlock the seed of a running hsmd with its passphrase.
    Unlock {
        /// The network's folder, such as ~/.lightning/bitcoin.
        folder: PathBuf,
    },
    /// Show the words of a running node's new seed. hsmd shows them once and never again.
    ///
    /// Whoever sees them has the coins. They go from hsmd to here and nowhere else.
    ShowMnemonic {
        /// The network's folder, such as ~/.lightning/bitcoin.
        folder: PathBuf,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Confirm that the database was put back from an older copy, to a node that waits for that.
    ///
    /// The node was started with --await-recovery. hsm-journal has to be the newest. Channels that have changed
    /// since that copy are closed by their peers; the others go on once their peers have shown their state.
    ConfirmRecovery {
        /// The network's folder, such as ~/.lightning/bitcoin.
        folder: PathBuf,
        /// Of this channel, by its number in hsmd, the peer never comes back: let it be closed by our side.
        #[arg(long, value_name = "NUMBER")]
        channel: Option<u64>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    #[command(flatten)]
    Spending(Spending),
    /// The audit log of a node's hsmd: what was asked of it, and what it decided.
    #[command(subcommand)]
    Audit(Audit),
    /// Say in words what a line of the audit log is about, and why it was refused.
    Why {
        number: u64,
        /// The network's folder, or files of the log.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Print completions for a shell.
    Completion { shell: Shell },
}

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Check every record's hash and MAC, and print how far the journal has come.
    Verify {
        /// The seed file beside it.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check that each line follows from the one before, over all files.
    Verify {
        /// The network's folder, or files of the log, oldest first.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Say where two copies of a log part: each a folder or a file.
    Diff { a: PathBuf, b: PathBuf },
    /// Print the last lines, as the running hsmd has them.
    Tail {
        /// The network's folder, such as ~/.lightning/bitcoin.
        folder: PathBuf,
        /// From this line on; without it the last 20.
        #[arg(long)]
        from: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub fn script(shell: Shell) -> Vec<u8> {
    let (mut command, mut out) = (Flags::command(), Vec::new());
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, NAME, &mut out),
        Shell::Zsh => generate(shells::Zsh, &mut command, NAME, &mut out),
        Shell::Fish => generate(shells::Fish, &mut command, NAME, &mut out),
    }
    out
}
