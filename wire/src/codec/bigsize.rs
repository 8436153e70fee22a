//! BigSize and truncated integers (BOLT 1, Fundamental Types and Appendix A).

use super::{DecodeError, Reader};

/// Appends `n` in the shortest of its forms of 1, 3, 5 or 9 bytes, big-endian.
pub fn put_bigsize(n: u64, to: &mut Vec<u8>) {
    if n < 0xfd {
        to.push(n as u8);
    } else if let Ok(n) = u16::try_from(n) {
        to.push(0xfd);
        to.extend(n.to_be_bytes());
    } else if let Ok(n) = u32::try_from(n) {
        to.push(0xfe);
        to.extend(n.to_be_bytes());
    } else {
        to.push(0xff);
        to.extend(n.to_be_bytes());
    }
}

/// Appends `n` big-endian without leading zero bytes; 0 is no byte at all.
pub fn put_tu64(n: u64, to: &mut Vec<u8>) {
    to.extend(
        n.to_be_bytes()
            .into_iter()
            .skip(n.leading_zeros() as usize / 8),
    );
}

/// See [`put_tu64`].
pub fn put_tu32(n: u32, to: &mut Vec<u8>) {
    put_tu64(n.into(), to);
}

/// See [`put_tu64`].
pub fn put_tu16(n: u16, to: &mut Vec<u8>) {
    put_tu64(n.into(), to);
}

impl Reader<'_> {
    /// A BigSize.
    ///
    /// # Errors
    /// `UnexpectedEnd`; `NonMinimalBigSize` where a shorter form exists (BOLT 1, Appendix A).
    pub fn bigsize(&mut self) -> Result<u64, DecodeError> {
        let (value, least) = match self.u8()? {
            0xff => (self.u64()?, 1 << 32),
            0xfe => (self.u32()?.into(), 1 << 16),
            0xfd => (self.u16()?.into(), 0xfd),
            small => (small.into(), 0),
        };
        if value < least {
            Err(DecodeError::NonMinimalBigSize)
        } else {
            Ok(value)
        }
    }

    /// A truncated integer of up to 8 bytes that fills all that is left.
    ///
    /// # Errors
    /// `NonMinimalInteger` with a leading zero byte, `IntegerTooLong`.
    pub fn tu64(&mut self) -> Result<u64, DecodeError> {
        self.truncated(8)
    }

    /// A truncated integer of up to 4 bytes that fills all that is left.
    ///
    /// # Errors
    /// `NonMinimalInteger` with a leading zero byte, `IntegerTooLong`.
    pub fn tu32(&mut self) -> Result<u32, DecodeError> {
        self.truncated(4).map(|n| n as u32)
    }

    /// A truncated integer of up to 2 bytes that fills all that is left.
    ///
    /// # Errors
    /// `NonMinimalInteger` with a leading zero byte, `IntegerTooLong`.
    pub fn tu16(&mut self) -> Result<u16, DecodeError> {
        self.truncated(2).map(|n| n as u16)
    }

    fn truncated(&mut self, width: usize) -> Result<u64, DecodeError> {
        let bytes = self.rest();
        if bytes.len() > width {
            return Err(DecodeError::IntegerTooLong);
        }
        if bytes.first() == Some(&0) {
            return Err(DecodeError::NonMinimalInteger);
        }
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_zero_has_no_bytes() {
        let mut to = vec![];
        put_tu64(0, &mut to);
        assert!(to.is_empty());
        assert_eq!(Reader::new(&[]).tu64(), Ok(0));
        assert_eq!(
            Reader::new(&[0]).tu64(),
            Err(DecodeError::NonMinimalInteger)
        );
    }

    #[test]
    fn a_truncated_integer_may_not_exceed_its_width() {
        assert_eq!(Reader::new(&[1, 0]).tu16(), Ok(256));
        assert_eq!(
            Reader::new(&[1, 0, 0]).tu16(),
            Err(DecodeError::IntegerTooLong)
        );
        assert_eq!(
            Reader::new(&[1; 5]).tu32(),
            Err(DecodeError::IntegerTooLong)
        );
        assert_eq!(
            Reader::new(&[1; 9]).tu64(),
            Err(DecodeError::IntegerTooLong)
        );
    }
}
