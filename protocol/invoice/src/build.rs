//! Encoding an invoice of ours, in two steps with the signature between them.

use std::time::Duration;

use bech32::Fe32;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Network, PubkeyHash, ScriptBuf, ScriptHash};
use lightning_invoice::constants::TAG_FEATURES;
use lightning_invoice::{
    DEFAULT_EXPIRY_TIME, Description, ExpiryTime, Fallback, MAX_LENGTH, MinFinalCltvExpiryDelta,
    PositiveTimestamp, PrivateRoute, RawBolt11Invoice, RawDataPart, RawHrp, RawTaggedField,
    RouteHint, Sha256, TaggedField,
};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, Features, MilliSatoshi, PaymentHash, PaymentSecret};

use crate::{DescriptionOrHash, HintHop, currency, words};

/// Most bytes of a field: 1023 words.
const FIELD_BYTES: usize = 639;

/// Everything that an invoice says but its payee, whom the signature names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bolt11Fields {
    pub network: Network,
    /// `None`: the payer chooses.
    pub amount: Option<MilliSatoshi>,
    pub payment_hash: PaymentHash,
    pub payment_secret: PaymentSecret,
    /// Up to 639 bytes of text.
    pub description: DescriptionOrHash,
    /// Since 1 January 1970; fractions of a second are dropped.
    pub timestamp: Duration,
    /// After the timestamp; fractions of a second are dropped.
    pub expiry: Duration,
    pub min_final_cltv: BlockDelta,
    /// The most preferred first; up to 12 hops each.
    pub route_hints: Vec<Vec<HintHop>>,
    /// P2PKH, P2SH and witness output scripts, the most preferred first.
    pub fallbacks: Vec<ScriptBuf>,
    pub features: Features,
    /// Up to 639 bytes.
    #[serde(with = "serde_bytes")]
    pub metadata: Option<Vec<u8>>,
}

/// Why fields cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("amount is zero or too large for an invoice")]
    Amount,
    #[error("timestamp does not fit into 35 bits")]
    Timestamp,
    #[error(
        "description of {0} bytes; an invoice holds {FIELD_BYTES}, or the hash of a longer one"
    )]
    Description(usize),
    #[error("payment metadata of {0} bytes; an invoice holds {FIELD_BYTES}")]
    Metadata(usize),
    #[error("route hint has no hop, more than 12, or a fee of more than 32 bits")]
    RouteHint,
    #[error("fallback script is neither P2PKH nor P2SH nor a witness program")]
    Fallback,
    #[error("feature bits need more than {FIELD_BYTES} bytes")]
    Features,
    #[error("invoice of {0} characters is too long")]
    TooLong(usize),
    #[error("not a recoverable signature")]
    Signature,
}

impl Bolt11Fields {
    /// What the node key signs, by recoverable ECDSA (BOLT 11, Data Part).
    pub fn signing_hash(&self) -> Result<[u8; 32], BuildError> {
        Ok(self.raw()?.signable_hash())
    }

    /// The invoice as text, with R and S and the recovery id (0 to 3) of the signature over
    /// [`Bolt11Fields::signing_hash`], which is not checked here.
    pub fn into_string(self, signature: &[u8; 64], recovery_id: u8) -> Result<String, BuildError> {
        let signature = RecoveryId::from_i32(recovery_id.into())
            .and_then(|id| RecoverableSignature::from_compact(signature, id))
            .map_err(|_| BuildError::Signature)?;
        let signed = self.raw()?.sign(|_| Ok::<_, BuildError>(signature))?;
        let text = signed.to_string();
        // Nobody could read it: this is where all readers end.
        if text.len() > MAX_LENGTH {
            Err(BuildError::TooLong(text.len()))
        } else {
            Ok(text)
        }
    }

    fn raw(&self) -> Result<RawBolt11Invoice, BuildError> {
        let timestamp = PositiveTimestamp::from_unix_timestamp(self.timestamp.as_secs())
            .map_err(|_| BuildError::Timestamp)?;
        Ok(RawBolt11Invoice {
            hrp: self.hrp()?,
            data: RawDataPart {
                timestamp,
                tagged_fields: self.tagged_fields()?,
            },
        })
    }

    fn hrp(&self) -> Result<RawHrp, BuildError> {
        currency::hrp(currency::of_network(self.network), self.amount).ok_or(BuildError::Amount)
    }

    fn tagged_fields(&self) -> Result<Vec<RawTaggedField>, BuildError> {
        let sha256 = |bytes| Sha256(sha256::Hash::from_byte_array(bytes));
        let mut fields = vec![
            TaggedField::PaymentHash(sha256(self.payment_hash.0)),
            match &self.description {
                DescriptionOrHash::Description(text) => TaggedField::Description(
                    Description::new(text.clone())
                        .map_err(|_| BuildError::Description(text.len()))?,
                ),
                DescriptionOrHash::Hash(hash) => TaggedField::DescriptionHash(sha256(*hash)),
            },
        ];
        if let Some(metadata) = &self.metadata {
            if metadata.len() > FIELD_BYTES {
                return Err(BuildError::Metadata(metadata.len()));
            }
            fields.push(TaggedField::PaymentMetadata(metadata.clone()));
        }
        let secret = lightning_invoice::PaymentSecret(self.payment_secret.0);
        fields.push(TaggedField::PaymentSecret(secret));
        // The default needs no field.
        if self.expiry.as_secs() != DEFAULT_EXPIRY_TIME {
            fields.push(TaggedField::ExpiryTime(ExpiryTime::from_duration(
                self.expiry,
            )));
        }
        // Always there: the default was once another one.
        let delta = MinFinalCltvExpiryDelta(self.min_final_cltv.0.into());
        fields.push(TaggedField::MinFinalCltvExpiryDelta(delta));
        for script in &self.fallbacks {
            fields.push(TaggedField::Fallback(
                fallback(script).ok_or(BuildError::Fallback)?,
            ));
        }
        for hint in &self.route_hints {
            fields.push(TaggedField::PrivateRoute(private_route(hint)?));
        }
        let fields = fields.into_iter().map(RawTaggedField::KnownSemantics);
        Ok(fields.chain(features(&self.features)?).collect())
    }
}

fn private_route(hops: &[HintHop]) -> Result<PrivateRoute, BuildError> {
    let hint = hops
        .iter()
        .map(|hop| hop.to_lightning())
        .collect::<Option<Vec<_>>>();
    let hint = hint
        .filter(|hops| !hops.is_empty())
        .ok_or(BuildError::RouteHint)?;
    PrivateRoute::new(RouteHint(hint)).map_err(|_| BuildError::RouteHint)
}

fn fallback(script: &ScriptBuf) -> Option<Fallback> {
    let bytes = script.as_bytes();
    if script.is_p2pkh() {
        let hash = PubkeyHash::from_slice(bytes.get(3..23)?).ok()?;
        Some(Fallback::PubKeyHash(hash))
    } else if script.is_p2sh() {
        let hash = ScriptHash::from_slice(bytes.get(2..22)?).ok()?;
        Some(Fallback::ScriptHash(hash))
    } else {
        let version = script.witness_version()?;
        Some(Fallback::SegWitProgram {
            version,
            program: bytes.get(2..)?.to_vec(),
        })
    }
}

/// BOLT 11, `9`, writer: no field where no bit is set. Written as words, because the crate has no
/// way to name its type for them.
fn features(features: &Features) -> Result<Option<RawTaggedField>, BuildError> {
    let words = words::of_features(features);
    if words.is_empty() {
        return Ok(None);
    }
    let word = |n: usize| u8::try_from(n).ok().and_then(|n| Fe32::try_from(n).ok());
    let tag = word(TAG_FEATURES.into());
    let header = [tag, word(words.len() / 32), word(words.len() % 32)];
    let header = header
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(BuildError::Features)?;
    Ok(Some(RawTaggedField::UnknownSemantics(
        header.into_iter().chain(words).collect(),
    )))
}

#[cfg(test)]
mod tests;
