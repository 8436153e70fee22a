//! The data part as 5-bit words, where `lightning-invoice` does not tell enough: the borders of
//! the tagged fields, the hash that is signed, and the feature bits.

use bech32::{Fe32, Fe32IterExt};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use wire::Features;

/// A tagged field, still coded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Numeric, see `lightning_invoice::constants`.
    pub(crate) tag: u8,
    /// As it is written.
    pub(crate) letter: char,
    pub(crate) data: &'a [Fe32],
    /// Tag, length and data.
    pub(crate) whole: &'a [Fe32],
}

/// The fields in order. `None` where the last is cut off.
pub(crate) fn fields(mut words: &[Fe32]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while let Some((header, rest)) = words.split_first_chunk::<3>() {
        let [tag, high, low] = header;
        let len = usize::from(high.to_u8()) * 32 + usize::from(low.to_u8());
        let (data, after) = rest.split_at_checked(len)?;
        let whole = words.get(..3 + len)?;
        fields.push(Field {
            tag: tag.to_u8(),
            letter: tag.to_char(),
            data,
            whole,
        });
        words = after;
    }
    words.is_empty().then_some(fields)
}

/// BOLT 11, signature: SHA-256 of prefix and data part, with 0 bits up to a whole byte.
pub(crate) fn signing_hash(prefix: &str, words: &[Fe32]) -> [u8; 32] {
    let mut engine = sha256::Hash::engine();
    engine.input(prefix.as_bytes());
    // The converter drops an incomplete last byte: complete it. A word more gives no byte more.
    let bits = words.len() * 5;
    let padding = (bits.div_ceil(8) * 8 - bits).div_ceil(5);
    let padded = words
        .iter()
        .copied()
        .chain(std::iter::repeat_n(Fe32::Q, padding));
    padded.fes_to_bytes().for_each(|byte| engine.input(&[byte]));
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// The words of a `9` field are one big-endian number; bit 0 is the lowest of the last word.
pub(crate) fn to_features(words: &[Fe32]) -> Features {
    let mut bytes = vec![0u8; (words.len() * 5).div_ceil(8)];
    let bits = words
        .iter()
        .rev()
        .flat_map(|word| (0..5).map(|i| word.to_u8() >> i & 1));
    for (number, bit) in bits.enumerate() {
        if let Some(byte) = bytes.iter_mut().rev().nth(number / 8) {
            *byte |= bit << (number % 8);
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Features::from_bytes(bytes.get(zeros..).unwrap_or_default())
}

/// BOLT 11, `9`, writer: no zero word at the start.
pub(crate) fn of_features(features: &Features) -> Vec<Fe32> {
    let bits: Vec<u8> = features
        .as_bytes()
        .iter()
        .rev()
        .flat_map(|byte| (0..8).map(move |i| byte >> i & 1))
        .collect();
    let word = |bits: &[u8]| bits.iter().rev().fold(0, |word, bit| word << 1 | bit);
    let words = bits.chunks(5).rev().map(word).skip_while(|word| *word == 0);
    words.filter_map(|word| Fe32::try_from(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_survive_the_way_to_words_and_back() {
        for bytes in [&[][..], &[0x41, 0], &[1], &[0x80, 0, 0, 0, 0], &[0xff; 13]] {
            let features = Features::from_bytes(bytes);
            let words = of_features(&features);
            assert_ne!(words.first(), Some(&Fe32::Q));
            assert_eq!(to_features(&words), features);
        }
    }

    #[test]
    fn bits_are_numbered_from_the_end() {
        let words = [Fe32::J, Fe32::Q, Fe32::P]; // 18, 0, 1
        assert_eq!(to_features(&words).bits().collect::<Vec<_>>(), [0, 11, 14]);
    }

    #[test]
    fn a_field_that_is_cut_off_is_no_field() {
        assert!(fields(&[Fe32::P, Fe32::Q, Fe32::P]).is_none());
        assert!(fields(&[Fe32::P, Fe32::Q]).is_none());
        assert_eq!(fields(&[Fe32::P, Fe32::Q, Fe32::Q]).unwrap().len(), 1);
    }
}
