//! TLV streams (BOLT 1, Type-Length-Value Format).

use super::{DecodeError, Reader, TlvValue, put_bigsize};

/// One record of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvRecord<'a> {
    pub type_num: u64,
    pub value: &'a [u8],
    /// Type, length and value as they stood in the stream (BOLT 12 hashes these).
    pub raw: &'a [u8],
}

/// The records of a stream in order, checked for everything that does not depend on which types
/// are known: minimal types and lengths, lengths within the stream, strictly increasing types.
/// Ends after the first error.
#[derive(Clone, Debug)]
pub struct TlvStream<'a> {
    reader: Reader<'a>,
    /// The smallest type that may come next; `None` past 2^64-1.
    least: Option<u64>,
}

impl<'a> TlvStream<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> TlvStream<'a> {
        TlvStream {
            reader: Reader::new(bytes),
            least: Some(0),
        }
    }

    fn record(&mut self) -> Result<TlvRecord<'a>, DecodeError> {
        let whole = self.reader.peek_rest();
        let type_num = self.reader.bigsize()?;
        // BOLT 1, TLV, receiver: types must strictly increase.
        if self.least.is_none_or(|least| type_num < least) {
            return Err(DecodeError::TlvOrder(type_num));
        }
        self.least = type_num.checked_add(1);
        let len = self.reader.bigsize()?;
        let len = usize::try_from(len).map_err(|_| DecodeError::UnexpectedEnd)?;
        let value = self.reader.bytes(len)?;
        let used = whole.len().saturating_sub(self.reader.remaining());
        let raw = whole.get(..used).unwrap_or_default();
        Ok(TlvRecord {
            type_num,
            value,
            raw,
        })
    }
}

impl<'a> Iterator for TlvStream<'a> {
    type Item = Result<TlvRecord<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.reader.rest();
        }
        Some(record)
    }
}

/// Decodes a whole stream. `known` is given each record; it reads the value and answers `true`,
/// or answers `false` for a type that it does not know, without reading.
///
/// # Errors
/// All that BOLT 1 asks a receiver to fail on, and whatever `known` returns.
pub fn decode_tlvs<'a>(
    stream: &'a [u8],
    mut known: impl FnMut(u64, &mut Reader<'a>) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    for record in TlvStream::new(stream) {
        let TlvRecord {
            type_num, value, ..
        } = record?;
        let mut value = Reader::new(value);
        if known(type_num, &mut value)? {
            // BOLT 1, TLV, receiver: a known type's length must be exactly right.
            if !value.is_empty() {
                return Err(DecodeError::TlvLength(type_num));
            }
        } else if type_num % 2 == 0 {
            return Err(DecodeError::TlvUnknownEven(type_num));
        }
    }
    Ok(())
}

/// Appends one record; `value` appends the record's value. The caller keeps types increasing.
pub fn put_tlv(type_num: u64, to: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    put_bigsize(type_num, to);
    let start = to.len();
    value(to);
    let value_len = to.len().saturating_sub(start);
    put_bigsize(value_len as u64, to);
    let len_len = to.len().saturating_sub(start).saturating_sub(value_len);
    if let Some(moved) = to.get_mut(start..) {
        moved.rotate_right(len_len);
    }
}

/// A place in a message for one TLV record: an `Option` of its value, or a `bool` for a record
/// without value whose presence is its meaning.
pub trait TlvSlot: Sized {
    fn put_slot(&self, type_num: u64, to: &mut Vec<u8>);

    /// # Errors
    /// What is wrong with the value.
    fn take_slot(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

impl<T: TlvValue> TlvSlot for Option<T> {
    fn put_slot(&self, type_num: u64, to: &mut Vec<u8>) {
        if let Some(value) = self {
            put_tlv(type_num, to, |to| value.put_value(to));
        }
    }

    fn take_slot(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::take_value(from).map(Some)
    }
}

impl TlvSlot for bool {
    fn put_slot(&self, type_num: u64, to: &mut Vec<u8>) {
        if *self {
            put_tlv(type_num, to, |_| {});
        }
    }

    fn take_slot(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_gets_its_length_in_front() {
        let mut to = vec![7];
        put_tlv(1, &mut to, |to| to.extend([5; 300]));
        assert_eq!(to[..5], [7, 1, 0xfd, 1, 44]);
        assert_eq!(to.len(), 305);
        let record = TlvStream::new(&to[1..]).next().unwrap().unwrap();
        assert_eq!(
            (record.type_num, record.value, record.raw),
            (1, &[5; 300][..], &to[1..])
        );
    }

    #[test]
    fn nothing_can_follow_the_greatest_type() {
        let mut stream = vec![0xff; 9];
        stream.push(0);
        let once = stream.clone();
        stream.extend(&once);
        let results: Vec<_> = TlvStream::new(&stream).collect();
        assert_eq!(results.len(), 2);
        assert_eq!(results[1], Err(DecodeError::TlvOrder(u64::MAX)));
    }
}
