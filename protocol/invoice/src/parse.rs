//! Reading an invoice that somebody wants us to pay.

use std::time::Duration;

use bech32::primitives::decode::{CheckedHrpstring, CheckedHrpstringError};
use bech32::{Fe32, Fe32IterExt};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Network, ScriptBuf, WitnessProgram};
use lightning_invoice::constants::{
    TAG_DESCRIPTION_HASH, TAG_EXPIRY_TIME, TAG_FALLBACK, TAG_FEATURES,
    TAG_MIN_FINAL_CLTV_EXPIRY_DELTA, TAG_PAYEE_PUB_KEY, TAG_PAYMENT_HASH, TAG_PAYMENT_SECRET,
    TAG_PRIVATE_ROUTE,
};
use lightning_invoice::{
    Bolt11Bech32, Bolt11ParseError, DEFAULT_EXPIRY_TIME, DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA,
    Fallback, RawBolt11Invoice, RawHrp, RawTaggedField, TaggedField,
};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SECP256K1};
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, Feature, Features, MilliSatoshi, NodeId, PaymentHash, PaymentSecret};

use crate::words::{self, Field};
use crate::{DescriptionOrHash, HintHop, currency};

/// Number of words of the timestamp.
const TIMESTAMP_WORDS: usize = 7;
/// Number of words of the signature: 65 bytes.
const SIGNATURE_WORDS: usize = 104;

/// The features that may be required of a payer (BOLT 9).
const KNOWN_FEATURES: [Feature; 5] = [
    Feature::VarOnionOptin,
    Feature::PaymentSecret,
    Feature::BasicMpp,
    Feature::RouteBlinding,
    Feature::PaymentMetadata,
];

/// An invoice whose signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Testnet 3 and 4 cannot be told apart, see [`Invoice::is_for`].
    pub network: Network,
    /// `None`: the payer chooses.
    pub amount: Option<MilliSatoshi>,
    pub payment_hash: PaymentHash,
    pub payment_secret: PaymentSecret,
    pub payee: NodeId,
    pub description: DescriptionOrHash,
    /// Since 1 January 1970, in whole seconds.
    pub timestamp: Duration,
    /// After the timestamp, in whole seconds; an hour where the invoice does not say.
    pub expiry: Duration,
    /// 18 where the invoice does not say.
    pub min_final_cltv: BlockDelta,
    /// The most preferred first. None of them is empty.
    pub route_hints: Vec<Vec<HintHop>>,
    /// Output scripts that may be paid on chain instead, the most preferred first.
    pub fallbacks: Vec<ScriptBuf>,
    pub features: Features,
    #[serde(with = "serde_bytes")]
    pub metadata: Option<Vec<u8>>,
    /// R and S.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// 0 to 3.
    pub recovery_id: u8,
    /// What was signed.
    pub signing_hash: [u8; 32],
}

/// Why a string is not an invoice that may be paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("not bech32: {0}")]
    Bech32(CheckedHrpstringError),
    #[error("too short for an invoice")]
    TooShort,
    #[error("unknown prefix or malformed amount: {0}")]
    Prefix(Bolt11ParseError),
    #[error("invoice for an unsupported network")]
    Network,
    #[error("amount is zero, too large or not a whole number of millisatoshi")]
    Amount,
    #[error("the last field is cut off")]
    CutOff,
    #[error("a route hint without hops")]
    EmptyRouteHint,
    #[error("field '{0}' starts with a zero")]
    NotMinimal(char),
    #[error("field '{0}': {1}")]
    Field(char, Bolt11ParseError),
    #[error("field '{0}' is out of range")]
    OutOfRange(char),
    #[error("required field '{0}' is missing")]
    Missing(char),
    #[error("neither a description nor its hash")]
    NoDescription,
    #[error("both a description and a description hash")]
    TwoDescriptions,
    #[error("unknown required feature {0}")]
    UnknownFeature(u32),
    #[error("the signature is not valid")]
    Signature,
}

/// Reads a BOLT 11 string, in lower or upper case, with or without a `lightning:` before it.
pub fn parse(invoice: &str) -> Result<Invoice, ParseError> {
    let invoice = invoice.trim();
    let invoice = match invoice.split_at_checked(10) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("lightning:") => rest,
        Some(_) | None => invoice,
    };
    let bech32 = CheckedHrpstring::new::<Bolt11Bech32>(invoice).map_err(ParseError::Bech32)?;
    let prefix = bech32.hrp().to_lowercase();
    // The type argument names an iterator that this method does not use.
    let words: Vec<Fe32> = bech32.fe32_iter::<std::iter::Empty<u8>>().collect();
    let signed = words
        .len()
        .checked_sub(SIGNATURE_WORDS)
        .ok_or(ParseError::TooShort)?;
    let (signed, signature) = words.split_at_checked(signed).ok_or(ParseError::TooShort)?;
    let (timestamp, tagged) = signed
        .split_at_checked(TIMESTAMP_WORDS)
        .ok_or(ParseError::TooShort)?;

    let hrp: RawHrp = prefix.parse().map_err(ParseError::Prefix)?;
    let network = currency::to_network(&hrp.currency).ok_or(ParseError::Network)?;
    let amount = currency::amount(&hrp).map_err(|_| ParseError::Amount)?;
    let timestamp = timestamp
        .iter()
        .fold(0, |time, word| time << 5 | u64::from(word.to_u8()));
    let mut fields = Fields::default();
    for field in words::fields(tagged).ok_or(ParseError::CutOff)? {
        fields.take(&field)?;
    }
    let description = fields.description()?;
    let signing_hash = words::signing_hash(&prefix, signed);
    let (signature, recovery_id) = split_signature(signature)?;
    let payee = payee(fields.payee, signing_hash, &signature, recovery_id)?;
    Ok(Invoice {
        network,
        amount,
        payment_hash: fields.payment_hash.ok_or(ParseError::Missing('p'))?,
        // BOLT 11, reader: without a payment secret the payment must fail.
        payment_secret: fields.payment_secret.ok_or(ParseError::Missing('s'))?,
        payee,
        description,
        timestamp: Duration::from_secs(timestamp),
        expiry: fields
            .expiry
            .unwrap_or(Duration::from_secs(DEFAULT_EXPIRY_TIME)),
        min_final_cltv: fields
            .min_final_cltv
            .unwrap_or(BlockDelta(DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA as u16)),
        route_hints: fields.route_hints,
        fallbacks: fields.fallbacks,
        features: fields.features.unwrap_or_default(),
        metadata: fields.metadata,
        signature,
        recovery_id,
        signing_hash,
    })
}

impl std::str::FromStr for Invoice {
    type Err = ParseError;

    fn from_str(invoice: &str) -> Result<Invoice, ParseError> {
        parse(invoice)
    }
}

impl Invoice {
    /// Whether a node on `network` can pay it.
    #[must_use]
    pub fn is_for(&self, network: Network) -> bool {
        currency::of_network(network) == currency::of_network(self.network)
    }

    /// Since 1 January 1970. `None`: never.
    #[must_use]
    pub fn expires_at(&self) -> Option<Duration> {
        self.timestamp.checked_add(self.expiry)
    }

    /// `now` is the time since 1 January 1970.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.expires_at().is_some_and(|end| now > end)
    }

    /// Whether `description` is the one that the invoice gives or commits to.
    #[must_use]
    pub fn is_about(&self, description: &str) -> bool {
        match &self.description {
            DescriptionOrHash::Description(own) => own == description,
            DescriptionOrHash::Hash(hash) => {
                sha256::Hash::hash(description.as_bytes()).as_byte_array() == hash
            }
        }
    }
}

/// What the tagged fields say. Of each tag but `f` and `r` the first counts.
#[derive(Default)]
struct Fields {
    /// Bit n: a field with tag n has been seen.
    seen: u32,
    payment_hash: Option<PaymentHash>,
    payment_secret: Option<PaymentSecret>,
    payee: Option<PublicKey>,
    description: Option<String>,
    description_hash: Option<[u8; 32]>,
    expiry: Option<Duration>,
    min_final_cltv: Option<BlockDelta>,
    features: Option<Features>,
    metadata: Option<Vec<u8>>,
    route_hints: Vec<Vec<HintHop>>,
    fallbacks: Vec<ScriptBuf>,
}

impl Fields {
    fn take(&mut self, field: &Field<'_>) -> Result<(), ParseError> {
        let fixed = match field.tag {
            TAG_PAYMENT_HASH | TAG_PAYMENT_SECRET | TAG_DESCRIPTION_HASH => Some(52),
            TAG_PAYEE_PUB_KEY => Some(53),
            _ => None,
        };
        // BOLT 11, examples: one with another length is skipped. The text would refuse it, but
        // Core Lightning and LDK skip it too, and without a good one the invoice is refused.
        if fixed.is_some_and(|len| field.data.len() != len) {
            return Ok(());
        }
        let repeatable = matches!(field.tag, TAG_FALLBACK | TAG_PRIVATE_ROUTE);
        if !self.is_first(field.tag) && !repeatable {
            return Ok(());
        }
        match field.tag {
            // BOLT 11, reader: these should have no leading zero.
            TAG_EXPIRY_TIME | TAG_MIN_FINAL_CLTV_EXPIRY_DELTA | TAG_FEATURES
                if field.data.first() == Some(&Fe32::Q) =>
            {
                return Err(ParseError::NotMinimal(field.letter));
            }
            TAG_FEATURES => return self.take_features(field),
            _ => {}
        }
        match decode(field).map_err(|error| ParseError::Field(field.letter, error))? {
            Some(RawTaggedField::KnownSemantics(value)) => self.take_value(value, field.letter),
            // An unknown tag or version of fallback address.
            Some(RawTaggedField::UnknownSemantics(_)) | None => Ok(()),
        }
    }

    fn is_first(&mut self, tag: u8) -> bool {
        let before = self.seen;
        self.seen |= 1 << u32::from(tag % 32);
        self.seen != before
    }

    fn take_features(&mut self, field: &Field<'_>) -> Result<(), ParseError> {
        let features = words::to_features(field.data);
        // BOLT 11, `9`, reader: an unknown even bit must fail the payment.
        if let Some(bit) = features.unknown_required(&Features::of(&KNOWN_FEATURES, &[])) {
            return Err(ParseError::UnknownFeature(bit));
        }
        self.features = Some(features);
        Ok(())
    }

    fn take_value(&mut self, value: TaggedField, letter: char) -> Result<(), ParseError> {
        match value {
            TaggedField::PaymentHash(hash) => {
                self.payment_hash = Some(PaymentHash(hash.0.to_byte_array()));
            }
            TaggedField::PaymentSecret(secret) => {
                self.payment_secret = Some(PaymentSecret(secret.0));
            }
            TaggedField::PayeePubKey(key) => self.payee = Some(key.0),
            TaggedField::Description(text) => self.description = Some(text.into_inner().0),
            TaggedField::DescriptionHash(hash) => {
                self.description_hash = Some(hash.0.to_byte_array());
            }
            TaggedField::ExpiryTime(time) => self.expiry = Some(*time.as_duration()),
            TaggedField::MinFinalCltvExpiryDelta(delta) => {
                let delta = delta
                    .0
                    .try_into()
                    .map_err(|_| ParseError::OutOfRange(letter))?;
                self.min_final_cltv = Some(BlockDelta(delta));
            }
            TaggedField::PaymentMetadata(metadata) => self.metadata = Some(metadata),
            TaggedField::Fallback(fallback) => {
                self.fallbacks
                    .push(script(&fallback).ok_or(ParseError::OutOfRange(letter))?);
            }
            TaggedField::PrivateRoute(route) => {
                let hops: Vec<HintHop> = route.into_inner().0.iter().map(HintHop::from).collect();
                if hops.is_empty() {
                    return Err(ParseError::EmptyRouteHint);
                }
                self.route_hints.push(hops);
            }
            // Read by `take_features`, which keeps the bits that this crate does not name.
            TaggedField::Features(_) => {}
        }
        Ok(())
    }

    /// BOLT 11, reader: exactly one of the two.
    fn description(&mut self) -> Result<DescriptionOrHash, ParseError> {
        match (self.description.take(), self.description_hash.take()) {
            (Some(text), None) => Ok(DescriptionOrHash::Description(text)),
            (None, Some(hash)) => Ok(DescriptionOrHash::Hash(hash)),
            (None, None) => Err(ParseError::NoDescription),
            (Some(_), Some(_)) => Err(ParseError::TwoDescriptions),
        }
    }
}

/// The crate reads whole invoices only: this one has a timestamp of 0 and no other field.
fn decode(field: &Field<'_>) -> Result<Option<RawTaggedField>, Bolt11ParseError> {
    let words: Vec<Fe32> = std::iter::repeat_n(Fe32::Q, TIMESTAMP_WORDS)
        .chain(field.whole.iter().copied())
        .collect();
    Ok(RawBolt11Invoice::from_raw("lnbc", &words)?
        .data
        .tagged_fields
        .pop())
}

fn script(fallback: &Fallback) -> Option<ScriptBuf> {
    Some(match fallback {
        Fallback::SegWitProgram { version, program } => {
            ScriptBuf::new_witness_program(&WitnessProgram::new(*version, program).ok()?)
        }
        Fallback::PubKeyHash(hash) => ScriptBuf::new_p2pkh(hash),
        Fallback::ScriptHash(hash) => ScriptBuf::new_p2sh(hash),
    })
}

fn split_signature(words: &[Fe32]) -> Result<([u8; 64], u8), ParseError> {
    let bytes: Vec<u8> = words.iter().copied().fes_to_bytes().collect();
    let (signature, recovery_id) = bytes.split_first_chunk().ok_or(ParseError::Signature)?;
    Ok((
        *signature,
        recovery_id.first().copied().ok_or(ParseError::Signature)?,
    ))
}

/// BOLT 11, reader: a given key must verify the signature, which must then have a low S; without
/// one the key is recovered, from either S.
fn payee(
    given: Option<PublicKey>,
    hash: [u8; 32],
    signature: &[u8; 64],
    recovery_id: u8,
) -> Result<NodeId, ParseError> {
    let recovery_id = RecoveryId::from_i32(recovery_id.into());
    let signature = recovery_id
        .and_then(|id| RecoverableSignature::from_compact(signature, id))
        .map_err(|_| ParseError::Signature)?;
    let message = Message::from_digest(hash);
    let key = match given {
        Some(key) => SECP256K1
            .verify_ecdsa(&message, &signature.to_standard(), &key)
            .map(|()| key)
            .map_err(|_| ParseError::Signature)?,
        None => SECP256K1
            .recover_ecdsa(&message, &signature)
            .map_err(|_| ParseError::Signature)?,
    };
    Ok(NodeId(key))
}

#[cfg(test)]
mod tests;
