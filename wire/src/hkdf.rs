//! HKDF with SHA-256 (RFC 5869): what BOLT 8 mixes keys with and Core Lightning derives them by.
//!
//! Few lines over bitcoin's hashes, instead of crates of their own.

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use zeroize::Zeroizing;

const HASH: usize = 32;

/// More was asked for than 255 hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HKDF gives at most 8160 bytes")]
pub struct TooLong;

/// Fills `out` with what follows from `secret`, `salt` (empty: none) and `info`.
///
/// # Errors
/// `out` is longer than 8160 bytes.
pub fn hkdf(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), TooLong> {
    let key = hmac(salt, &[secret]);
    // Empty before the first.
    let mut block = None::<Zeroizing<[u8; HASH]>>;
    for (number, part) in (1u16..).zip(out.chunks_mut(HASH)) {
        let number = u8::try_from(number).map_err(|_| TooLong)?;
        let before = block.as_ref().map_or(&[][..], |block| block.as_slice());
        let next = hmac(key.as_slice(), &[before, info, &[number]]);
        for (to, from) in part.iter_mut().zip(next.iter()) {
            *to = *from;
        }
        block = Some(next);
    }
    Ok(())
}

/// HMAC-SHA256 of these bytes, one after the other.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; HASH]> {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for part in parts {
        engine.input(part);
    }
    Zeroizing::new(Hmac::<sha256::Hash>::from_engine(engine).to_byte_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secret: &[u8], salt: &str, info: &str, expected: &str) {
        let bytes = |hex: &str| hex::decode(hex).unwrap();
        let mut out = vec![0; expected.len() / 2];
        hkdf(&bytes(salt), secret, &bytes(info), &mut out).unwrap();
        assert_eq!(hex::encode(out), expected);
    }

    // RFC 5869, A.1 and A.3.
    #[test]
    fn the_rfcs_vectors_come_out() {
        check(
            &[0x0b; 22],
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        );
        check(
            &[0x0b; 22],
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        );
    }

    #[test]
    fn no_more_than_255_hashes_come_out() {
        assert_eq!(hkdf(&[], &[1], &[], &mut [0; 8160]), Ok(()));
        assert_eq!(hkdf(&[], &[1], &[], &mut [0; 8161]), Err(TooLong));
    }
}
