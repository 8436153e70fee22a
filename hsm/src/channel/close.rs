//! M1: the mutual close, by closing_signed (BOLT 2, Closing Negotiation).

use bitcoin::{Script, Transaction};
use secp256k1::ecdsa::Signature;
use tx::Closing;
use tx::closing::{FinalBalances, closing_fee};
use tx::error::TxError;
use tx::signer::Reply;
use wire::{FeeratePerKw, Satoshi, Side};

use super::{Channel, Decision, Funded, Stage};
use crate::derive::ChannelKeys;
use crate::record::Change;
use crate::refused::Refused;

/// The most that we pay for a mutual close: 1,000 satoshi for each virtual byte.
const MAX_FEERATE: FeeratePerKw = FeeratePerKw(250_000);

/// S2: whether a script is an address that the wallet gave out, or on the operator's allowlist.
pub(crate) trait ShutdownScripts {
    /// `hint`: the index that an address most likely has.
    fn may_close_to(&self, hint: u32, script: &Script) -> bool;
}

/// A mutual close that pays us what the ledger says, at an address of ours, for a fee within the
/// cap. Made by [`Channel::closing`] alone, so that no other is signed.
pub(crate) struct Settled(Closing);

impl Settled {
    pub(crate) fn closing(&self) -> &Closing {
        &self.0
    }
}

impl Channel {
    pub(super) fn sign_close(
        &self,
        fee: Satoshi,
        local_script: &Script,
        remote_script: &Script,
        keys: &ChannelKeys,
        ours: &dyn ShutdownScripts,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let dust = funded.setup.local.dust_limit;
        let closing = self.closing(fee, local_script, remote_script, dust, ours)?;
        let signature = keys
            .sign_closing(&closing, funded)
            .map_err(Refused::Build)?;
        Ok(Decision {
            reply: Reply::SignedClose { signature },
            change: funded.close_change(fee),
        })
    }

    pub(super) fn complete_close(
        &self,
        fee: Satoshi,
        local_script: &Script,
        remote_script: &Script,
        theirs: &Signature,
        keys: &ChannelKeys,
        ours: &dyn ShutdownScripts,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let (setup, funding) = (&funded.setup, &funded.funding);
        let variants = self.variants(fee, local_script, remote_script, ours)?;
        let signed = |closing: &Settled| {
            closing
                .0
                .verify(setup, funding, Side::Remote, theirs)
                .is_ok()
        };
        let closing = variants.iter().find(|closing| signed(closing));
        let closing = closing.ok_or(Refused::CloseSignature)?;
        let signature = keys.sign_closing(closing, funded).map_err(Refused::Build)?;
        let tx: Transaction = closing.0.signed(setup, &signature, theirs);
        Ok(Decision {
            reply: Reply::CompletedClose {
                tx: bitcoin::consensus::serialize(&tx),
            },
            change: funded.close_change(fee),
        })
    }

    /// What the peer may have signed: outputs below its dust limit or ours are left out, and it may
    /// give up its own (BOLT 3, Legacy Closing Transaction), but never ours.
    fn variants(
        &self,
        fee: Satoshi,
        local_script: &Script,
        remote_script: &Script,
        ours: &dyn ShutdownScripts,
    ) -> Result<Vec<Settled>, Refused> {
        let funded = self.funded()?;
        let limit = |side| funded.setup.party(side).dust_limit;
        let mine = self.closing(fee, local_script, remote_script, limit(Side::Local), ours)?;
        let mut variants = Vec::with_capacity(3);
        let theirs = self.closing(fee, local_script, remote_script, limit(Side::Remote), ours);
        if let Ok(theirs) = theirs
            && theirs.0.local == mine.0.local
        {
            variants.push(theirs);
        }
        if let Ok(without) = mine.0.without(&funded.funding, Side::Remote) {
            variants.push(Settled(without));
        }
        variants.insert(0, mine);
        Ok(variants)
    }

    fn closing(
        &self,
        fee: Satoshi,
        local_script: &Script,
        remote_script: &Script,
        dust_limit: Satoshi,
        ours: &dyn ShutdownScripts,
    ) -> Result<Settled, Refused> {
        let funded = self.funded()?;
        let fixed = &funded.setup.local.upfront_shutdown_script;
        if fixed.as_ref().is_some_and(|fixed| **fixed != *local_script) {
            return Err(Refused::OtherShutdown);
        }
        if !ours.may_close_to(self.shutdown_index, local_script) {
            return Err(Refused::ForeignScript(local_script.to_owned()));
        }
        let balances = funded.final_balances()?;
        if funded.setup.opener == Side::Local {
            let most = closing_fee(MAX_FEERATE, local_script, remote_script);
            if fee > most {
                return Err(Refused::CloseFee { fee, most });
            }
        }
        let (setup, funding) = (&funded.setup, &funded.funding);
        Closing::build(
            setup,
            funding,
            balances,
            fee,
            local_script,
            remote_script,
            dust_limit,
        )
        .map(Settled)
        .map_err(|error| match error {
            TxError::ClosingFee(side, fee) => Refused::CloseFee {
                fee,
                most: balances.of(side),
            },
            other => Refused::Build(other),
        })
    }
}

trait Of {
    fn of(&self, side: Side) -> Satoshi;
}

impl Of for FinalBalances {
    fn of(&self, side: Side) -> Satoshi {
        match side {
            Side::Local => self.to_local.to_sat_floor(),
            Side::Remote => self.to_remote.to_sat_floor(),
        }
    }
}

impl Funded {
    /// The balances, once nothing is pending anywhere: no HTLC in either newest commitment, both
    /// agree, and the peer has revoked all but its newest.
    fn final_balances(&self) -> Result<FinalBalances, Refused> {
        let (Some(local), Some(remote)) = (&self.local, &self.remote) else {
            return Err(Refused::OpeningIncomplete);
        };
        let (ours, theirs) = (&local.newest.ledger, &remote.newest.ledger);
        let empty = ours.htlcs.is_empty() && theirs.htlcs.is_empty();
        let same = (ours.to_local, ours.to_remote) == (theirs.to_local, theirs.to_remote);
        if !empty || !same || remote.secrets.next() != remote.newest.n {
            return Err(Refused::NotSettled);
        }
        Ok(FinalBalances {
            to_local: ours.to_local,
            to_remote: ours.to_remote,
        })
    }

    fn close_change(&self, fee: Satoshi) -> Option<Change> {
        match self.stage {
            Stage::Closing { fee: last } if last == fee => None,
            Stage::Closing { .. }
            | Stage::Signing
            | Stage::Onchain
            | Stage::Stale
            | Stage::Recovering => Some(Change::Close { fee }),
        }
    }
}
