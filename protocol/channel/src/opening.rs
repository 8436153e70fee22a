//! Channel establishment v1 (BOLT 2), from the request or open_channel to commitment 0 on both sides.
//!
//! How it plugs in: [`crate::channel::Channel`] hands every event to `handle` while the stage lasts.
//! As everywhere, an `AskSigner` is the last of its list and its reply is the next event.
//!
//! Order of what binds us (`NewChannel` at hsmd came before):
//! - opener: accept_channel -> `AskSigner(Setup)` -> `Tell(NeedFunding)`; command `FundingCreated` ->
//!   `AskSigner(SetFunding)` -> `Persist(live in Phase::Opening)`, `AskSigner(SignRemote 0)` ->
//!   `Send(funding_created)`; funding_signed -> `AskSigner(ValidateLocal 0)` ->
//!   `Done(live in Phase::AwaitingLockin, [Persist(live), Tell(FundingSigned)])`.
//! - accepter: `Send(accept_channel)`; funding_created -> `AskSigner(Setup)` ->
//!   `AskSigner(SetFunding)` -> `AskSigner(ValidateLocal 0)` ->
//!   `Persist(live in Phase::AwaitingLockin)`, `Tell(WatchFunding)`, `AskSigner(SignRemote 0)` ->
//!   `Done(live, [Send(funding_signed)])`.
//!
//! Why in this order: with funding_created the peer holds a commitment that it can publish, so our
//! state is durable before hsmd even signs it; the accepter's state is durable, and the funding
//! output watched, before the opener may broadcast. hsmd runs ahead of the database only with
//! Setup, SetFunding and, for the accepter, ValidateLocal: these bind nobody, and hsmd takes their
//! repetition.
//!
//! Ways to end without a channel:
//! - `Disconnected` before `Done`, `CancelOpening`, or an error of the peer:
//!   `Step::Failed` with `Tell(OpeningFailed)`. **The opener may have persisted `Phase::Opening` by
//!   then**: BOLT 2 (Message Retransmission) lets a funder forget a channel for which it has not
//!   broadcast, and it has not before `FundingSigned`. The node drops the stored record on
//!   `OpeningFailed`, whenever it comes.
//! - [`PeerFault::Error`]: the peer broke a requirement; what is stored is dropped in the same way.
//! - A request of our own that cannot be: `Tell(OpeningFailed)` at once.
//!
//! `upfront_shutdown_script` is always sent, empty: BOLT 2 wants the record there when other
//! records are, allows it without the feature, and an empty one leaves `close` free to name another
//! script. What protects the script if this node is taken over is hsmd's rule S2. A script that the
//! peer fixes is kept and held against its shutdown.

mod accepter;
#[cfg(test)]
pub(crate) mod fixture;
mod opener;
mod require;
mod terms;
#[cfg(test)]
mod tests;

use tx::signer::Reply;
use wire::{ChannelId, Message};

use crate::action::{Action, AddRefusal, Command, Notice, PeerFault};
use crate::state::Live;

pub use accepter::Accepter;
pub use opener::Opener;
pub(crate) use terms::channel_type;

/// What an event did to the opening.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Continue(Vec<Action>),
    /// Commitment 0 stands on both sides; normal operation goes on from this state.
    Done(Box<Live>, Vec<Action>),
    /// There will be no channel; the actions say so.
    Failed(Vec<Action>),
}

/// BOLT 1 error: the opening fails.
fn fault(text: impl Into<String>) -> PeerFault {
    PeerFault::Error(text.into())
}

fn failed(reason: impl Into<String>) -> Step {
    Step::Failed(vec![told(reason)])
}

fn told(reason: impl Into<String>) -> Action {
    Action::Tell(Notice::OpeningFailed {
        reason: reason.into(),
    })
}

/// We give up: the peer is told why.
fn cancelled(channel_id: ChannelId, reason: String) -> Step {
    let data = reason.clone().into_bytes();
    let error = wire::Error { channel_id, data };
    Step::Failed(vec![Action::Send(Message::Error(error)), told(reason)])
}

/// What a command means while there is no channel yet.
enum Heard {
    GiveUp {
        reason: String,
    },
    Actions(Vec<Action>),
    /// The opener's next step, if it waits for it.
    Funding(bitcoin::OutPoint),
}

fn hear(command: Command) -> Heard {
    match command {
        Command::FundingCreated { outpoint } => Heard::Funding(outpoint),
        Command::CancelOpening { reason } => Heard::GiveUp { reason },
        // Nothing is at stake yet, so it needs no shutdown.
        Command::Shutdown { .. } => Heard::GiveUp {
            reason: "closed before it was opened".to_owned(),
        },
        Command::Add { origin, .. } => {
            let refused = Notice::AddRefused {
                origin,
                reason: AddRefusal::NotReady,
            };
            Heard::Actions(vec![Action::Tell(refused)])
        }
        Command::FundingDepth { .. }
        | Command::Remove { .. }
        | Command::Feerate { .. }
        | Command::Block { .. }
        | Command::FundingSpent
        | Command::Relay { .. } => Heard::Actions(vec![]),
    }
}

/// A message that is not the one that the opening waits for.
fn out_of_place(message: &Message, warned: &mut Option<String>) -> Result<Step, PeerFault> {
    match message {
        // BOLT 1, error: the channel that it names fails.
        Message::Error(error) => Ok(failed(format!("the peer says: {}", error.text()))),
        // BOLT 1, warning: nothing has failed; but if the peer leaves now, this is why.
        Message::Warning(warning) => {
            *warned = Some(warning.text());
            Ok(Step::Continue(vec![]))
        }
        // BOLT 1: unknown odd messages are ignored.
        Message::Unknown { .. } if !message.is_even() => Ok(Step::Continue(vec![])),
        other => Err(fault(format!(
            "{} has no place in this opening",
            other.name()
        ))),
    }
}

fn peer_left(warned: Option<&String>) -> Step {
    failed(match warned {
        Some(text) => format!("the peer disconnected after a warning: {text}"),
        None => "the peer disconnected".to_owned(),
    })
}

/// The same before the peer has signed anything. What hsmd then refuses may be what the owner lets
/// nobody pay: lightningd hears the reason from the shell, the peer does not.
fn not_ours_to_tell(reply: Reply) -> PeerFault {
    match reply {
        Reply::Refused { rule, .. } => fault(format!("opening: refused by the signer ({rule})")),
        other => unexpected("opening", other),
    }
}

/// A reply that does not fit the request `what`: hsmd refused (its rule is in the text), or a bug.
fn unexpected(what: &str, reply: Reply) -> PeerFault {
    match reply {
        Reply::Refused { rule, reason } => {
            fault(format!("{what}: refused by the signer ({rule}): {reason}"))
        }
        Reply::Done
        | Reply::SignedRemote { .. }
        | Reply::ValidatedLocal { .. }
        | Reply::Point { .. }
        | Reply::Proof { .. }
        | Reply::RevokedSecret { .. }
        | Reply::SignedClose { .. }
        | Reply::CompletedClose { .. }
        | Reply::SharedSecrets { .. } => fault(format!("{what}: the signer's reply does not fit")),
    }
}
