//! Why a command was not done, and the exit code for it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::numbers::Numbers;

pub const NO: u8 = 1;
pub const UNREACHABLE: u8 = 2;
pub const USAGE: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0} is not called hsm_secret: the node would not find it")]
    Name(PathBuf),
    #[error("cannot open the folder {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no {0}")]
    NoFile(PathBuf),
    #[error("{0}")]
    Seed(#[from] hsm::SeedError),
    #[error("{0}: stop the node first")]
    Running(hsm::JournalError),
    #[error("hsmd runs in this folder: stop the node first")]
    Answers,
    #[error("{0}")]
    Key(#[from] tx::error::KeyError),
    #[error("the seed has no passphrase: use encrypt")]
    NotSealed,
    #[error("the seed has a passphrase already: use change-passphrase")]
    Sealed,
    #[error("the words need their BIP 39 passphrase itself: it cannot be taken away")]
    WordsNeedIt,
    #[error("the two passphrases differ: nothing was changed")]
    Differ,
    #[error("an empty passphrase protects nothing: nothing was changed")]
    Empty,
    #[error(
        "of none of the channels 1 to {} with this peer, with --begun-anew {}: try more channels, \
         a higher --begun-anew, or another peer",
        .0.last, .0.begun_anew
    )]
    NotToRemote(Numbers),
    #[error("{0}")]
    Journal(#[from] hsm::OpenError),
    #[error("not text, or longer than {} bytes", hsm::Passphrase::MAX)]
    NotText,
    #[error("the file's seed is not made of these words")]
    OtherWords,
    #[error("the seed is 32 bytes and was not made of words: keep a copy of the file itself")]
    NoWords,
    #[error("not confirmed: nothing was done")]
    NotConfirmed,
    #[error("this is to be confirmed on a terminal, or with --yes")]
    NoTerminal,
    #[error("reading what is typed: {0}")]
    Typed(#[source] io::Error),
    #[error("writing: {0}")]
    Output(#[from] io::Error),
    #[error("hsmd does not answer in {path}: {source}. Is the node running?")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("talking to hsmd: {0}")]
    Talk(#[from] ipc_transport::Error),
    #[error("hsmd answered something else than it was asked")]
    Confused,
    #[error("{0}")]
    Refused(#[from] hsm_messages::Refused),
    #[error(transparent)]
    Spending(#[from] crate::spending::SpendingError),
    #[error(transparent)]
    Log(#[from] crate::audit::LogError),
    #[error("the passphrase is wrong; the next may be tried in {0} s")]
    Wrong(u64),
    #[error("too soon after a wrong passphrase: try again in {0} s")]
    TooSoon(u64),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match matches!(self, Failure::Unreachable { .. } | Failure::Talk(_)) {
            true => UNREACHABLE.into(),
            false => NO.into(),
        }
    }
}
