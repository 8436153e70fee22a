//! Payments that LDK holds: their HTLCs stay pending until the test claims them, if it does.

use anyhow::{Result, anyhow};
use ldk_node::lightning_invoice::{Bolt11InvoiceDescription, Description};
use ldk_node::lightning_types::payment::{PaymentHash, PaymentPreimage};
use sha2::{Digest, Sha256};

use crate::{Ldk, lock};
use blackbox::until;

/// A payment to an LDK node that waits for its preimage.
#[derive(Clone, Debug)]
pub struct Held {
    pub msat: u64,
    pub bolt11: String,
    pub hash: [u8; 32],
    preimage: [u8; 32],
}

impl Held {
    #[must_use]
    pub fn payment_hash(&self) -> String {
        hex::encode(self.hash)
    }
}

impl Ldk {
    /// An invoice whose HTLCs are held.
    ///
    /// # Errors
    /// LDK refuses.
    pub fn hold(&self, msat: u64) -> Result<Held> {
        let preimage: [u8; 32] = rand::random();
        let hash: [u8; 32] = Sha256::digest(preimage).into();
        let text = Description::new("held".to_owned()).map_err(|e| anyhow!("{e}"))?;
        let text = Bolt11InvoiceDescription::Direct(text);
        let payment = self.node().bolt11_payment();
        let invoice = payment
            .receive_for_hash(msat, &text, 3600, PaymentHash(hash))
            .map_err(|e| anyhow!("{e}"))?;
        Ok(Held {
            msat,
            bolt11: invoice.to_string(),
            hash,
            preimage,
        })
    }

    /// Waits until all of its HTLCs are here, irrevocably.
    ///
    /// # Errors
    /// They do not come.
    pub fn wait_claimable(&self, held: &Held) -> Result<()> {
        until("LDK holds a payment", || {
            let here = lock(&self.hears).claimable.contains(&held.hash);
            Ok(here.then_some(()))
        })
    }

    /// Claims it, off chain or on chain.
    ///
    /// # Errors
    /// LDK refuses.
    pub fn claim(&self, held: &Held) -> Result<()> {
        let (hash, preimage) = (PaymentHash(held.hash), PaymentPreimage(held.preimage));
        self.node()
            .bolt11_payment()
            .claim_for_hash(hash, held.msat, preimage)
            .map_err(|e| anyhow!("{e}"))
    }

    /// Fails it back off chain.
    ///
    /// # Errors
    /// LDK refuses.
    pub fn fail(&self, held: &Held) -> Result<()> {
        let hash = PaymentHash(held.hash);
        let payment = self.node().bolt11_payment();
        payment.fail_for_hash(hash).map_err(|e| anyhow!("{e}"))
    }
}
