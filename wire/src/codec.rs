//! Bytes to values and back (BOLT 1, Fundamental Types and Type-Length-Value Format).
//!
//! Reading never allocates from a length that has not been compared with the bytes that are
//! there, and never panics. Writing appends to a caller's buffer.
//!
//! Two traits, because BOLT 1 codes the same type differently in two places: [`Wire`] is a field
//! of a message (byte strings carry a u16 length), [`TlvValue`] is the value of a TLV record
//! (byte strings end where the record ends).

mod bigsize;
mod fields;
mod reader;
mod tlv;

pub use bigsize::{put_bigsize, put_tu16, put_tu32, put_tu64};
pub use reader::Reader;
pub use tlv::{TlvRecord, TlvSlot, TlvStream, decode_tlvs, put_tlv};

/// Why bytes are not what they should be. Whoever sent them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("unexpected end of data")]
    UnexpectedEnd,
    /// BOLT 1: a BigSize must use the shortest of its four forms.
    #[error("bigsize is not minimally encoded")]
    NonMinimalBigSize,
    /// BOLT 1: a truncated integer has no leading zero byte.
    #[error("truncated integer is not minimally encoded")]
    NonMinimalInteger,
    /// A truncated integer with more bytes than its type has.
    #[error("truncated integer is too long")]
    IntegerTooLong,
    /// BOLT 1: TLV types strictly increase, so none occurs twice.
    #[error("TLV type {0} does not follow a smaller one")]
    TlvOrder(u64),
    /// BOLT 1: an unknown even type must be understood.
    #[error("unknown even TLV type {0}")]
    TlvUnknownEven(u64),
    /// BOLT 1: a known type's length must be exactly what its value needs.
    #[error("TLV type {0} has bytes after its value")]
    TlvLength(u64),
    /// Not a compressed point on secp256k1.
    #[error("not a point on the curve")]
    Point,
    /// R or S is not below the order of the group.
    #[error("not a signature")]
    Signature,
    /// Bytes are left after the last field.
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
    /// BOLT 1: no message is longer than 65535 bytes.
    #[error("message of {0} bytes")]
    MessageTooLong(usize),
    /// BOLT 7: only encoding type 0 (uncompressed) may be used.
    #[error("encoding type {0} is not supported")]
    EncodingType(u8),
    /// A list in an encoded field does not fill a whole number of elements.
    #[error("list ends inside an element")]
    PartialElement,
}

/// A field of a message: `put` appends, `take` consumes.
pub trait Wire: Sized {
    fn put(&self, to: &mut Vec<u8>);

    /// # Errors
    /// What is wrong with the bytes; nothing can be said about where `from` then stands.
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The value of a TLV record; `take_value` sees the record's value and nothing else.
pub trait TlvValue: Sized {
    fn put_value(&self, to: &mut Vec<u8>);

    /// # Errors
    /// What is wrong with the bytes. Bytes left over are reported by the caller.
    fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}
