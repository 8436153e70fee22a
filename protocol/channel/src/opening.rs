//! Channel establishment v1 (BOLT 2), from the request or open_channel to commitment 0 on both sides.
//!
//! How it plugs in: [`crate::channel::Channel`] hands every event to `handle` while the stage lasts.
//! As everywhere, an `AskSigner` is the last of its list and its reply is the next event.
//!
//! Order of what binds us (all of it the opening's own work; `NewChannel` at hsmd came before):
//! - opener: `FundingCreated` command -> `AskSigner(Setup)` -> `AskSigner(SetFunding)` ->
//!   `Persist(live in Phase::Opening)`, `AskSigner(SignRemote 0)` -> `Send(funding_created)`;
//!   funding_signed -> `AskSigner(ValidateLocal 0)` ->
//!   `Done(live in Phase::AwaitingLockin, [Persist(live), Tell(FundingSigned)])`.
//! - accepter: funding_created -> `AskSigner(Setup)` -> `AskSigner(SetFunding)` ->
//!   `AskSigner(ValidateLocal 0)` -> `Persist(live in Phase::AwaitingLockin)`,
//!   `Tell(WatchFunding)`, `AskSigner(SignRemote 0)` -> `Done(live, [Send(funding_signed)])`.
//!
//! A `Disconnected` before `Done` ends it: `Failed([Tell(OpeningFailed)])`.
//! `live` is made by [`crate::state::Live::opened`].
//!
//! ```ignore
//! impl Opener {
//!     pub fn start(identity: Identity, policy: Policy, request: OpenRequest) -> (Opener, Vec<Action>);
//!     pub fn handle(&mut self, event: Event) -> Result<Step, PeerFault>;
//! }
//! impl Accepter {
//!     pub fn start(identity: Identity, policy: Policy, open: wire::messages::OpenChannel)
//!         -> Result<(Accepter, Vec<Action>), PeerFault>;
//!     pub fn handle(&mut self, event: Event) -> Result<Step, PeerFault>;
//! }
//! ```

use crate::action::Action;
use crate::state::Live;

/// What an event did to the opening.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Continue(Vec<Action>),
    /// Commitment 0 stands on both sides; normal operation goes on from this state.
    Done(Box<Live>, Vec<Action>),
    /// There will be no channel; the actions say so.
    Failed(Vec<Action>),
}
