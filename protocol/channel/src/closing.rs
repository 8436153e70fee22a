//! Legacy closing negotiation (BOLT 2, closing_signed): the fee of the mutual close.
//!
//! How it plugs in: when no HTLC is left, or a reestablish in `Phase::Closing` is done, the
//! channel makes a [`Negotiation`] (kept in memory only: BOLT 2 restarts it on each connection)
//! and hands it `Event::Peer(ClosingSigned)` and the replies to its own `AskSigner`s, nothing else.
//! It reads scripts and fee bounds from `Phase::Closing`, writes `last_fee` there (Persist stands
//! before each `Send(closing_signed)`), and ends with
//! `live.phase = Phase::Closed`, `[Persist, (Send(closing_signed)), Tell(MutualClose)]`.
//!
//! ```ignore
//! impl Negotiation {
//!     /// The opener begins (`AskSigner(SignClose)`), the accepter waits (no action).
//!     pub fn start(live: &mut Live) -> Result<(Negotiation, Vec<Action>), PeerFault>;
//!     pub fn handle(&mut self, live: &mut Live, event: Event) -> Result<Vec<Action>, PeerFault>;
//! }
//! ```
