//! What one hop finds in its layer of a payment onion (BOLT 4, `payload` format).

use std::fmt;

use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use wire::codec::{Reader, TlvRecord, TlvStream, TlvValue, put_tlv, put_tu32, put_tu64};
use wire::{CltvExpiry, DecodeError, MilliSatoshi, PaymentSecret, Preimage, ShortChannelId};

use crate::Failure;

const AMT_TO_FORWARD: u64 = 2;
const OUTGOING_CLTV_VALUE: u64 = 4;
const SHORT_CHANNEL_ID: u64 = 6;
const PAYMENT_DATA: u64 = 8;
const ENCRYPTED_RECIPIENT_DATA: u64 = 10;
const CURRENT_PATH_KEY: u64 = 12;
const PAYMENT_METADATA: u64 = 16;
const TOTAL_AMOUNT_MSAT: u64 = 18;
/// Preimage of a spontaneous payment (bLIP 3).
const KEYSEND_PREIMAGE: u64 = 5_482_373_484;

/// A hop's instructions. Which kind it is follows from the hop's place in the route and from
/// whether the route is blinded there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    Forward(Forward),
    Final(Final),
    BlindedForward(BlindedForward),
    BlindedFinal(BlindedFinal),
}

/// For a hop that passes the payment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// What the outgoing HTLC must carry.
    pub amt_to_forward: MilliSatoshi,
    pub outgoing_cltv_value: CltvExpiry,
    /// Leads to the next hop; another channel with the same peer will do.
    pub short_channel_id: ShortChannelId,
}

/// For the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// What this HTLC must carry at least.
    pub amt_to_forward: MilliSatoshi,
    pub outgoing_cltv_value: CltvExpiry,
    pub payment_data: Option<PaymentData>,
    #[serde(with = "serde_bytes")]
    pub payment_metadata: Option<Vec<u8>>,
    /// The payment is spontaneous: this should be the preimage of its hash.
    pub keysend_preimage: Option<Preimage>,
    /// All other records, in increasing order of type. Received ones have odd types.
    pub custom_records: Vec<CustomRecord>,
}

/// For a hop inside a blinded path that passes the payment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindedForward {
    #[serde(with = "serde_bytes")]
    pub encrypted_recipient_data: Vec<u8>,
    /// With the introduction node only.
    pub current_path_key: Option<PublicKey>,
}

/// For the recipient at the end of a blinded path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindedFinal {
    pub amt_to_forward: MilliSatoshi,
    pub outgoing_cltv_value: CltvExpiry,
    pub total_amount_msat: MilliSatoshi,
    #[serde(with = "serde_bytes")]
    pub encrypted_recipient_data: Vec<u8>,
    /// With the introduction node only.
    pub current_path_key: Option<PublicKey>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentData {
    pub payment_secret: PaymentSecret,
    /// What all HTLCs of the payment carry together.
    pub total_msat: MilliSatoshi,
}

/// A record that BOLT 4 does not define.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomRecord {
    pub type_num: u64,
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// Where the packet says we stand: [`crate::Peeled::next`] is there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    Forwarding,
    Last,
}

/// A payload that we must refuse with `invalid_onion_payload` (or, inside a blinded path,
/// `invalid_onion_blinding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("onion payload: {problem} (type {type_num}, offset {offset})")]
pub struct InvalidPayload {
    /// 0 where no single record is at fault.
    pub type_num: u64,
    /// Of the record in the payload, counted after the payload's length. 0 for a missing record.
    pub offset: u16,
    pub problem: PayloadProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadProblem {
    #[error("bad length")]
    Length,
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    #[error("missing record")]
    Missing,
    #[error("record that may not be here")]
    Unexpected,
    #[error("record given twice")]
    Repeated,
}

impl Payload {
    /// Reads the payload of an HTLC. `path_key` is the one that came in `update_add_htlc`, if any.
    ///
    /// Unknown odd records are kept for the recipient and dropped elsewhere.
    pub fn decode(
        payload: &[u8],
        position: Position,
        path_key: Option<&PublicKey>,
    ) -> Result<Payload, InvalidPayload> {
        let mut records = Records::read(payload)?;
        let Some(encrypted_recipient_data) = records.encrypted_recipient_data.take() else {
            // BOLT 4, payload, reader outside a blinded route: no path key in either place.
            if path_key.is_some() {
                return Err(InvalidPayload::missing(ENCRYPTED_RECIPIENT_DATA));
            }
            records.refuse(&[CURRENT_PATH_KEY])?;
            return records.unblinded(position);
        };
        // BOLT 4, payload, reader inside a blinded route: exactly one path key.
        match path_key {
            Some(_) => records.refuse(&[CURRENT_PATH_KEY])?,
            None if records.current_path_key.is_none() => {
                return Err(InvalidPayload::missing(CURRENT_PATH_KEY));
            }
            None => {}
        }
        records.blinded(position, encrypted_recipient_data)
    }

    /// The payload without its length, as [`crate::build`] takes it.
    ///
    /// Fails only where a custom record has a type of ours, or a type twice.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidPayload> {
        let mut records = Vec::new();
        match self {
            Payload::Forward(p) => {
                records.push(amount(AMT_TO_FORWARD, p.amt_to_forward));
                records.push(expiry(p.outgoing_cltv_value));
                records.push(record(SHORT_CHANNEL_ID, &p.short_channel_id));
            }
            Payload::Final(p) => p.records(&mut records),
            Payload::BlindedForward(p) => {
                records.push(record(
                    ENCRYPTED_RECIPIENT_DATA,
                    &p.encrypted_recipient_data,
                ));
                records.extend(p.current_path_key.map(|key| record(CURRENT_PATH_KEY, &key)));
            }
            Payload::BlindedFinal(p) => {
                records.push(amount(AMT_TO_FORWARD, p.amt_to_forward));
                records.push(expiry(p.outgoing_cltv_value));
                records.push(record(
                    ENCRYPTED_RECIPIENT_DATA,
                    &p.encrypted_recipient_data,
                ));
                records.extend(p.current_path_key.map(|key| record(CURRENT_PATH_KEY, &key)));
                records.push(amount(TOTAL_AMOUNT_MSAT, p.total_amount_msat));
            }
        }
        records.sort_by_key(|record| record.type_num);
        let mut payload = Vec::new();
        let mut previous = None;
        for CustomRecord { type_num, value } in records {
            if previous.replace(type_num) == Some(type_num) {
                return Err(InvalidPayload::at(
                    type_num,
                    payload.len(),
                    PayloadProblem::Repeated,
                ));
            }
            put_tlv(type_num, &mut payload, |to| to.extend(value));
        }
        Ok(payload)
    }
}

impl Final {
    /// BOLT 4, payload, final node: without `payment_data` this HTLC is the whole payment.
    #[must_use]
    pub fn total_msat(&self) -> MilliSatoshi {
        self.payment_data
            .as_ref()
            .map_or(self.amt_to_forward, |data| data.total_msat)
    }

    fn records(&self, to: &mut Vec<CustomRecord>) {
        to.push(amount(AMT_TO_FORWARD, self.amt_to_forward));
        to.push(expiry(self.outgoing_cltv_value));
        to.extend(self.payment_data.as_ref().map(|data| {
            let mut value = data.payment_secret.0.to_vec();
            put_tu64(data.total_msat.0, &mut value);
            CustomRecord {
                type_num: PAYMENT_DATA,
                value,
            }
        }));
        to.extend(
            self.payment_metadata
                .as_ref()
                .map(|m| record(PAYMENT_METADATA, m)),
        );
        to.extend(
            self.keysend_preimage
                .map(|preimage| record(KEYSEND_PREIMAGE, &preimage)),
        );
        to.extend(self.custom_records.iter().cloned());
    }
}

impl InvalidPayload {
    pub(crate) fn whole(problem: PayloadProblem) -> InvalidPayload {
        InvalidPayload {
            type_num: 0,
            offset: 0,
            problem,
        }
    }

    fn missing(type_num: u64) -> InvalidPayload {
        InvalidPayload {
            type_num,
            offset: 0,
            problem: PayloadProblem::Missing,
        }
    }

    fn at(type_num: u64, offset: usize, problem: PayloadProblem) -> InvalidPayload {
        InvalidPayload {
            type_num,
            offset: offset.try_into().unwrap_or(u16::MAX),
            problem,
        }
    }

    /// What to tell the origin, outside a blinded path.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::InvalidOnionPayload {
            type_num: self.type_num,
            offset: self.offset,
        }
    }
}

impl fmt::Debug for PaymentData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentData")
            .field("total_msat", &self.total_msat)
            .finish_non_exhaustive()
    }
}

/// Everything that may stand in a payload, before we know which kind it is.
#[derive(Default)]
struct Records {
    amt_to_forward: Option<MilliSatoshi>,
    outgoing_cltv_value: Option<CltvExpiry>,
    short_channel_id: Option<ShortChannelId>,
    payment_data: Option<PaymentData>,
    encrypted_recipient_data: Option<Vec<u8>>,
    current_path_key: Option<PublicKey>,
    payment_metadata: Option<Vec<u8>>,
    total_amount_msat: Option<MilliSatoshi>,
    keysend_preimage: Option<Preimage>,
    unknown: Vec<CustomRecord>,
    /// Type and offset of all records.
    seen: Vec<(u64, usize)>,
}

impl Records {
    fn read(payload: &[u8]) -> Result<Records, InvalidPayload> {
        let mut records = Records::default();
        let mut offset = 0;
        for record in TlvStream::new(payload) {
            let record = record.map_err(|error| {
                let rest = payload.get(offset..).unwrap_or_default();
                let type_num = Reader::new(rest).bigsize().unwrap_or_default();
                InvalidPayload::at(type_num, offset, error.into())
            })?;
            records
                .take(&record)
                .map_err(|error| InvalidPayload::at(record.type_num, offset, error.into()))?;
            records.seen.push((record.type_num, offset));
            offset += record.raw.len();
        }
        Ok(records)
    }

    fn take(&mut self, record: &TlvRecord<'_>) -> Result<(), DecodeError> {
        let TlvRecord { type_num, .. } = *record;
        let mut value = Reader::new(record.value);
        match type_num {
            AMT_TO_FORWARD => self.amt_to_forward = Some(MilliSatoshi(value.tu64()?)),
            OUTGOING_CLTV_VALUE => self.outgoing_cltv_value = Some(CltvExpiry(value.tu32()?)),
            SHORT_CHANNEL_ID => self.short_channel_id = Some(TlvValue::take_value(&mut value)?),
            PAYMENT_DATA => {
                let payment_secret = PaymentSecret(*value.array()?);
                let total_msat = MilliSatoshi(value.tu64()?);
                self.payment_data = Some(PaymentData {
                    payment_secret,
                    total_msat,
                });
            }
            ENCRYPTED_RECIPIENT_DATA => self.encrypted_recipient_data = Some(value.rest().to_vec()),
            CURRENT_PATH_KEY => self.current_path_key = Some(TlvValue::take_value(&mut value)?),
            PAYMENT_METADATA => self.payment_metadata = Some(value.rest().to_vec()),
            TOTAL_AMOUNT_MSAT => self.total_amount_msat = Some(MilliSatoshi(value.tu64()?)),
            KEYSEND_PREIMAGE => self.keysend_preimage = Some(Preimage(*value.array()?)),
            // BOLT 1, TLV, receiver: an unknown even type must be refused, an odd one ignored.
            even if even % 2 == 0 => return Err(DecodeError::TlvUnknownEven(even)),
            odd => {
                let value = value.rest().to_vec();
                self.unknown.push(CustomRecord {
                    type_num: odd,
                    value,
                });
            }
        }
        if value.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TlvLength(type_num))
        }
    }

    /// An error if one of `types` is there.
    fn refuse(&self, types: &[u64]) -> Result<(), InvalidPayload> {
        self.refuse_if(|type_num| types.contains(&type_num))
    }

    fn refuse_all_but(&self, types: &[u64]) -> Result<(), InvalidPayload> {
        self.refuse_if(|type_num| !types.contains(&type_num))
    }

    fn refuse_if(&self, refuse: impl Fn(u64) -> bool) -> Result<(), InvalidPayload> {
        self.seen
            .iter()
            .find(|(type_num, _)| refuse(*type_num))
            .map_or(Ok(()), |&(t, offset)| {
                Err(InvalidPayload::at(t, offset, PayloadProblem::Unexpected))
            })
    }

    fn unblinded(self, position: Position) -> Result<Payload, InvalidPayload> {
        // BOLT 4, payload, reader: amount and expiry are required from everybody.
        let amt_to_forward = required(self.amt_to_forward, AMT_TO_FORWARD)?;
        let outgoing_cltv_value = required(self.outgoing_cltv_value, OUTGOING_CLTV_VALUE)?;
        Ok(match position {
            Position::Forwarding => Payload::Forward(Forward {
                amt_to_forward,
                outgoing_cltv_value,
                short_channel_id: required(self.short_channel_id, SHORT_CHANNEL_ID)?,
            }),
            Position::Last => Payload::Final(Final {
                amt_to_forward,
                outgoing_cltv_value,
                payment_data: self.payment_data,
                payment_metadata: self.payment_metadata,
                keysend_preimage: self.keysend_preimage,
                custom_records: self.unknown,
            }),
        })
    }

    fn blinded(
        self,
        position: Position,
        encrypted_recipient_data: Vec<u8>,
    ) -> Result<Payload, InvalidPayload> {
        Ok(match position {
            Position::Forwarding => {
                // BOLT 4, payload, reader inside a blinded route: nothing but these two.
                self.refuse_all_but(&[ENCRYPTED_RECIPIENT_DATA, CURRENT_PATH_KEY])?;
                Payload::BlindedForward(BlindedForward {
                    encrypted_recipient_data,
                    current_path_key: self.current_path_key,
                })
            }
            Position::Last => {
                // BOLT 4, payload, recipient of a blinded route: nothing but these five.
                self.refuse_all_but(&[
                    AMT_TO_FORWARD,
                    OUTGOING_CLTV_VALUE,
                    ENCRYPTED_RECIPIENT_DATA,
                    CURRENT_PATH_KEY,
                    TOTAL_AMOUNT_MSAT,
                ])?;
                Payload::BlindedFinal(BlindedFinal {
                    amt_to_forward: required(self.amt_to_forward, AMT_TO_FORWARD)?,
                    outgoing_cltv_value: required(self.outgoing_cltv_value, OUTGOING_CLTV_VALUE)?,
                    total_amount_msat: required(self.total_amount_msat, TOTAL_AMOUNT_MSAT)?,
                    encrypted_recipient_data,
                    current_path_key: self.current_path_key,
                })
            }
        })
    }
}

fn required<T>(value: Option<T>, type_num: u64) -> Result<T, InvalidPayload> {
    value.ok_or_else(|| InvalidPayload::missing(type_num))
}

fn record(type_num: u64, value: &impl TlvValue) -> CustomRecord {
    let mut bytes = Vec::new();
    value.put_value(&mut bytes);
    CustomRecord {
        type_num,
        value: bytes,
    }
}

fn amount(type_num: u64, amount: MilliSatoshi) -> CustomRecord {
    let mut value = Vec::new();
    put_tu64(amount.0, &mut value);
    CustomRecord { type_num, value }
}

fn expiry(expiry: CltvExpiry) -> CustomRecord {
    let mut value = Vec::new();
    put_tu32(expiry.0, &mut value);
    CustomRecord {
        type_num: OUTGOING_CLTV_VALUE,
        value,
    }
}

#[cfg(test)]
mod tests;
