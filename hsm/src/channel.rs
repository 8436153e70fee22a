//! One channel: what was agreed, what was signed, and what may be signed next.
//!
//! [`Channel::decide`] is pure: from a request it makes a reply and, if anything is to change, the
//! change; [`Channel::apply`] makes the change. Replies are deterministic: a repetition is answered
//! from the same facts with the same bytes, so none is kept.

mod close;
mod commit;
mod limits;
mod proof;
mod setup;
mod unrevoked;

use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use tx::Shachain;
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::setup::{Funding, Setup};
use tx::signer::{EcdhSecret, NextRemote, Reply, Request};
use wire::{CommitmentNumber, MilliSatoshi, NodeId, Satoshi, Side};

use crate::derive::ChannelKeys;
use crate::node_key::NodeKey;
use crate::record::Change;
use crate::refused::{Phase, Refused};
use crate::spend::Destinations;
use crate::state::Misfit;
use crate::tickets::View;

pub(crate) use close::Settled;
pub(crate) use proof::{Admitted, Publishable, Revoked};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) peer: NodeId,
    /// Wallet address that mutual closes pay to.
    pub(crate) shutdown_index: u32,
    pub(crate) progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Progress {
    Stub,
    Agreed(Box<Setup>),
    Funded(Box<Funded>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Funded {
    pub(crate) setup: Setup,
    pub(crate) funding: Funding,
    pub(crate) local: Option<Local>,
    pub(crate) remote: Option<Remote>,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Signing,
    /// A mutual close was signed, last with this fee.
    Closing {
        fee: Satoshi,
    },
    /// Our commitment was signed.
    Onchain,
    /// The peer has shown that our newest commitment is not the newest (B3).
    Stale,
    /// As Signing, but the database was put back: the peer has to show the newest state first (B2).
    Recovering,
}

/// One side's newest commitment and the one before it, of which a repetition is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) n: CommitmentNumber,
    pub(crate) ledger: Ledger,
    /// `None` at n = 0.
    pub(crate) before: Option<Ledger>,
}

/// Our newest commitment, verified; all before it are revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Local {
    pub(crate) newest: Newest,
    /// The peer's.
    pub(crate) signature: Signature,
    /// The peer's, on our HTLC transactions in output order: what onchain claims need.
    pub(crate) htlc_signatures: Vec<Signature>,
}

/// The peer's newest commitment, which we signed, and what it has revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub(crate) newest: Newest,
    pub(crate) point: PublicKey,
    /// Point of commitment `n - 1`.
    pub(crate) point_before: Option<PublicKey>,
    pub(crate) secrets: Shachain,
}

/// What a decision is made with, besides the channel's own state.
pub(crate) struct Means<'a> {
    pub(crate) keys: &'a ChannelKeys,
    /// For EcdhBatch alone.
    pub(crate) node: &'a NodeKey,
    pub(crate) view: View<'a>,
    pub(crate) ours: &'a Destinations<'a>,
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) reply: Reply,
    /// `None`: a repetition, or a question.
    pub(crate) change: Option<Change>,
}

impl Decision {
    fn unchanged(reply: Reply) -> Decision {
        Decision {
            reply,
            change: None,
        }
    }
}

impl Newest {
    /// The ledger of commitment `n`: the next one, or the newest again. Says which.
    fn advance(
        newest: Option<&Newest>,
        setup: &Setup,
        n: CommitmentNumber,
        deltas: &[Delta],
    ) -> Result<(Ledger, Step), Refused> {
        let wrong = || Refused::WrongNumber {
            got: n,
            newest: newest.map(|newest| newest.n),
        };
        let Some(newest) = newest else {
            return match n {
                CommitmentNumber::ZERO => Ok((opening(setup, deltas)?, Step::Next)),
                _ => Err(wrong()),
            };
        };
        if n == newest.n {
            let again = match &newest.before {
                Some(before) => after(before, deltas)?,
                None => opening(setup, deltas)?,
            };
            // Different deltas may come to the same ledger, and so to the same transaction.
            return match again == newest.ledger {
                true => Ok((again, Step::Again)),
                false => Err(Refused::DeltasChanged(n)),
            };
        }
        match newest.n.next() {
            Some(next) if next == n => Ok((after(&newest.ledger, deltas)?, Step::Next)),
            Some(_) | None => Err(wrong()),
        }
    }

    fn push(
        newest: Option<Newest>,
        setup: &Setup,
        n: CommitmentNumber,
        deltas: &[Delta],
    ) -> Result<Newest, Misfit> {
        let advanced = Newest::advance(newest.as_ref(), setup, n, deltas);
        match advanced {
            Ok((ledger, Step::Next)) => Ok(Newest {
                n,
                ledger,
                before: newest.map(|newest| newest.ledger),
            }),
            Ok((_, Step::Again)) | Err(_) => Err(Misfit("a commitment out of place")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Next,
    Again,
}

fn opening(setup: &Setup, deltas: &[Delta]) -> Result<Ledger, Refused> {
    if !deltas.is_empty() {
        return Err(Refused::DeltasAtZero);
    }
    Ok(Ledger::opening(setup)?)
}

fn after(before: &Ledger, deltas: &[Delta]) -> Result<Ledger, Refused> {
    let mut ledger = before.clone();
    for delta in deltas {
        ledger.apply(delta)?;
    }
    Ok(ledger)
}

impl Progress {
    pub(crate) fn funded(setup: Setup, funding: Funding, stage: Stage) -> Progress {
        Progress::Funded(Box::new(Funded {
            setup,
            funding,
            local: None,
            remote: None,
            stage,
        }))
    }
}

impl Channel {
    pub(crate) fn new(peer: NodeId, shutdown_index: u32) -> Channel {
        Channel {
            peer,
            shutdown_index,
            progress: Progress::Stub,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        let funded = match &self.progress {
            Progress::Stub => return Phase::Stub,
            Progress::Agreed(_) => return Phase::Opening,
            Progress::Funded(funded) => funded,
        };
        match funded.stage {
            Stage::Closing { .. } => Phase::Closing,
            Stage::Onchain => Phase::Onchain,
            Stage::Stale => Phase::Stale,
            Stage::Recovering => Phase::Recovering,
            Stage::Signing if funded.local.is_some() && funded.remote.is_some() => Phase::Active,
            Stage::Signing => Phase::Opening,
        }
    }

    pub(crate) fn setup(&self) -> Option<&Setup> {
        match &self.progress {
            Progress::Stub => None,
            Progress::Agreed(setup) => Some(setup),
            Progress::Funded(funded) => Some(&funded.setup),
        }
    }

    /// Whether the funding transaction may have been broadcast and something of ours be in it. Ours
    /// is not signed before our commitment 0 is verified (W6); a peer broadcasts its own once it has
    /// our signature on its commitment 0, which gives us what it pushed.
    pub(crate) fn has_stake(&self) -> bool {
        let Progress::Funded(funded) = &self.progress else {
            return false;
        };
        match funded.setup.opener {
            Side::Local => funded.local.is_some(),
            Side::Remote if funded.stage == Stage::Stale => true,
            Side::Remote => funded.remote.as_ref().is_some_and(|remote| {
                remote.newest.n != CommitmentNumber::ZERO
                    || remote.newest.ledger.to_local != MilliSatoshi::ZERO
            }),
        }
    }

    /// Our side in our newest commitment, until a close is signed.
    pub(crate) fn our_balance(&self) -> Satoshi {
        let funded = self.funded().ok().filter(|_| self.phase() == Phase::Active);
        let ledger = funded.and_then(Funded::newest_local);
        ledger.map_or(Satoshi::ZERO, |ledger| ledger.to_local.to_sat_floor())
    }

    /// B2: the database was put back, with `copied` the journal too. What has revoked nothing has no older
    /// state, unless it may have revoked since; and what is being closed signs no new one.
    pub(crate) fn recover(&mut self, copied: bool) {
        if let Progress::Funded(funded) = &mut self.progress
            && funded.stage == Stage::Signing
            && (copied
                || (funded.local.as_ref())
                    .is_some_and(|local| local.newest.n > CommitmentNumber::ZERO))
        {
            funded.stage = Stage::Recovering;
        }
    }

    pub(crate) fn funded(&self) -> Result<&Funded, Refused> {
        match &self.progress {
            Progress::Funded(funded) => Ok(funded),
            Progress::Stub | Progress::Agreed(_) => Err(Refused::NoFunding),
        }
    }

    /// What a request comes to, which the channel's phase allows (D4).
    pub(crate) fn decide(&self, request: Request, means: &Means<'_>) -> Result<Decision, Refused> {
        match request {
            Request::Setup { setup } => self.fix_setup(setup, means),
            Request::SetFunding { funding } => self.fix_funding(funding),
            Request::SignRemote(next) => self.sign_remote(next, means),
            Request::ValidateLocal(next) => self.validate_local(next, means),
            Request::RemoteRevoked { n, secret } => self.remote_revoked(n, secret),
            Request::Point { n } => self.point(n, means.keys),
            Request::RevokedSecret { n } => self.revoked_secret(n, means.keys),
            Request::ReestablishProof { n, secret } => {
                self.reestablish_proof(n, secret, means.keys)
            }
            Request::SignClose(terms) => self.sign_close(&terms, means),
            Request::CompleteClose { terms, signature } => {
                self.complete_close(&terms, &signature, means)
            }
            Request::EcdhBatch { points } => {
                let secrets = points
                    .iter()
                    .map(|point| EcdhSecret(means.node.ecdh(point)));
                let secrets = secrets.collect();
                Ok(Decision::unchanged(Reply::SharedSecrets { secrets }))
            }
        }
    }

    /// Makes the change. Says which HTLCs no commitment that is not revoked has any more.
    pub(crate) fn apply(&mut self, change: Change) -> Result<Vec<(HtlcKey, Htlc)>, Misfit> {
        match (&mut self.progress, change) {
            (Progress::Stub, Change::Setup(setup)) => self.progress = Progress::Agreed(setup),
            (Progress::Agreed(setup), Change::Funding(funding)) => {
                let setup = (**setup).clone();
                self.progress = Progress::funded(setup, funding, Stage::Signing);
            }
            (Progress::Funded(funded), change) => return funded.apply(change),
            (Progress::Stub | Progress::Agreed(_), _) => {
                return Err(Misfit("a change before the channel is funded"));
            }
        }
        Ok(vec![])
    }
}

impl Funded {
    fn apply(&mut self, change: Change) -> Result<Vec<(HtlcKey, Htlc)>, Misfit> {
        match change {
            Change::Setup(_) | Change::Funding(_) => return Err(Misfit("terms were fixed twice")),
            Change::Remote(next) => self.push_remote(&next)?,
            Change::Local(next) => {
                let newest = self.local.take().map(|local| local.newest);
                let newest = Newest::push(newest, &self.setup, next.n, &next.deltas)?;
                self.local = Some(Local {
                    newest,
                    signature: next.signature,
                    htlc_signatures: next.htlc_signatures,
                });
                let before = self.local.as_ref().and_then(|l| l.newest.before.as_ref());
                return Ok(self.gone(before));
            }
            Change::Revoked { n, secret } => {
                let remote = self.remote.as_mut();
                let remote = remote.ok_or(Misfit("a secret of no commitment"))?;
                let inserted = remote.secrets.insert(n, secret);
                inserted.map_err(|_| Misfit("a secret out of place"))?;
                let remote = self.remote.as_ref();
                return Ok(self.gone(remote.and_then(|remote| remote.newest.before.as_ref())));
            }
            Change::Close { fee } => match self.stage {
                Stage::Signing | Stage::Closing { .. } => self.stage = Stage::Closing { fee },
                Stage::Onchain | Stage::Stale | Stage::Recovering => {
                    return Err(Misfit("a mutual close after signing had ended"));
                }
            },
            Change::Onchain => self.stage = Stage::Onchain,
            Change::Stale => self.stage = Stage::Stale,
            Change::Shown if self.stage == Stage::Recovering => self.stage = Stage::Signing,
            Change::Shown => return Err(Misfit("a peer showed what it was not to show")),
        }
        Ok(vec![])
    }

    fn push_remote(&mut self, next: &NextRemote) -> Result<(), Misfit> {
        let (newest, point_before, secrets) = match self.remote.take() {
            Some(remote) => (Some(remote.newest), Some(remote.point), remote.secrets),
            None => (None, None, Shachain::new()),
        };
        self.remote = Some(Remote {
            newest: Newest::push(newest, &self.setup, next.n, &next.deltas)?,
            point: next.point,
            point_before,
            secrets,
        });
        Ok(())
    }
}
