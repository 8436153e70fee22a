//! The command line, with Core Lightning's names where it has the command.

use std::path::PathBuf;

use bitcoin::Network;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::{generate, shells};

const NAME: &str = "lightning-hsmtool";

/// Looks after the seed of a node: the file hsm_secret while no node runs, and a running hsmd.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
pub struct Flags {
    /// Print what was found as one JSON object.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new seed of twelve words, show them once, and write the file.
    Generatehsm { file: PathBuf },
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
    /// Print completions for a shell.
    Completion { shell: Shell },
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
