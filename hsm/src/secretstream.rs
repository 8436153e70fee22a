//! One message of a libsodium secretstream (XChaCha20-Poly1305), as Core Lightning seals its seed and its
//! backups: 24 bytes of header, then the hidden tag, the hidden message and the MAC.
//!
//! The header makes the stream's key (HChaCha20 of its first 16 bytes) and the rest of its nonce (the
//! other 8, after a counter that begins at 1). Block 0 of the key stream gives Poly1305's key, block 1
//! hides the message's tag, and the message follows from block 2.

use chacha20::cipher::consts::U10;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::{Secret, fill_random};

const HEADER: usize = 24;
const MAC: usize = 16;
const BLOCK: usize = 64;
/// By so many bytes what is sealed is longer than the message.
pub(crate) const OVERHEAD: usize = HEADER + 1 + MAC;

/// The message under this key, with a header of random bytes.
///
/// # Errors
/// The system has no random bytes.
pub(crate) fn seal(key: &Secret<32>, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    fill_random(&mut header)?;
    let mut stream = Stream::new(key, &header);
    let mut hidden = message.to_vec();
    stream.cipher.apply_keystream(&mut hidden);
    // The tag of a message that is neither the last nor a rekeying is 0.
    let (tag, _) = stream.tag_block.split_first_chunk().unwrap_or((&[0], &[]));
    let tag = *tag;
    let mac = stream.mac(&tag, &hidden);
    Ok([&header[..], &tag, &hidden, &mac].concat())
}

/// What was sealed under this key; `None` if this was not, or is not what it was.
pub(crate) fn open(key: &Secret<32>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (header, rest) = sealed.split_first_chunk::<HEADER>()?;
    let (tag, rest) = rest.split_first_chunk::<1>()?;
    let (hidden, mac) = rest.split_last_chunk::<MAC>()?;
    let mut stream = Stream::new(key, header);
    if !bool::from(stream.mac(tag, hidden).ct_eq(mac)) {
        return None;
    }
    let mut message = Zeroizing::new(hidden.to_vec());
    stream.cipher.apply_keystream(&mut message);
    Some(message)
}

struct Stream {
    /// At the message.
    cipher: ChaCha20,
    mac_key: Zeroizing<[u8; 32]>,
    tag_block: [u8; BLOCK],
}

impl Stream {
    fn new(key: &Secret<32>, header: &[u8; HEADER]) -> Stream {
        let (mut input, mut nonce) = ([0; 16], [0; 12]);
        let (for_key, for_nonce) = header.split_at(input.len());
        input.copy_from_slice(for_key);
        let counter = 1u32.to_le_bytes();
        for (to, from) in nonce.iter_mut().zip(counter.iter().chain(for_nonce)) {
            *to = *from;
        }
        let mut subkey = hchacha::<U10>((&**key).into(), &input.into());
        let mut cipher = ChaCha20::new(&subkey, &nonce.into());
        subkey.as_mut_slice().zeroize();
        let mut first = Zeroizing::new([0; BLOCK]);
        cipher.apply_keystream(&mut *first);
        let mut mac_key = Zeroizing::new([0; 32]);
        for (to, from) in mac_key.iter_mut().zip(first.iter()) {
            *to = *from;
        }
        let mut tag_block = [0; BLOCK];
        cipher.apply_keystream(&mut tag_block);
        Stream {
            cipher,
            mac_key,
            tag_block,
        }
    }

    /// Over the tag's whole block, the message, as many zeros as libsodium puts there (not those that
    /// would fill a block), and the two lengths (of additional data, none here, and of block and message).
    fn mac(&self, tag: &[u8; 1], hidden: &[u8]) -> [u8; MAC] {
        let rest_of_block = self.tag_block.get(1..).unwrap_or_default();
        let zeros = vec![0; hidden.len() % MAC];
        let lengths = [0, (BLOCK + hidden.len()) as u64].map(u64::to_le_bytes);
        let parts = [tag, rest_of_block, hidden, &zeros, lengths.as_flattened()];
        let key = (&*self.mac_key).into();
        Poly1305::new(key).compute_unpadded(&parts.concat()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The secret "scb secret" of Core Lightning's test node `lightning-1` (see tests/keys.rs), and what
    // libsodium's crypto_secretstream_xchacha20poly1305 (PyNaCl 1.6) made with it.
    const KEY: &str = "498a16a6c6b82b7280de7f5b0afa0478b29d3a1cbe52c376249cf46abb6c03da";
    const SEALED: [(&str, &str); 5] = [
        (
            "",
            "452fe80502acf5c0c94bfbc40e434650baf595f1ddf9d24f41cd83877240593f132edecd2e2acc2055",
        ),
        (
            "a",
            "4923c4dce43c158868efcd96f13179b58e49c5bf37cb410a864dc063c25a7b6499e6e2fb0d40ebc452fa",
        ),
        (
            "fifteen bytes!!",
            "1ac9b4534582eed3ffbeecc03aba451c91d2804c3f1f881a437d2a867637f08bc8b872edbc93771996\
             597003e23e4b403ad3b966807073bd",
        ),
        (
            "sixteen bytes!!!",
            "8d9f5dc3cd0d72901775bacf3c22bc8c525be4ef9cba87f5b59334ddf90cc944fa466f208962a12308\
             ef153bfcac05a73ec5cdd559b08fea8f",
        ),
        (
            "a text of a backup that is longer than one block of sixty-four bytes, by some",
            "d9daba054029a62123fab1eb150b57e088d322c7363360579299c44a9309c58df0b1b19b1562973269\
             55a1cbadcf84ad1b5e6ccba2221fd4dbf9c4eb42f557b694005b0597e86d82b43feaf28abaab558fd9\
             60712ae8759437a48750c3126f8eefa42a7262b60d86c5ad563f79367356591da4b42a1a",
        ),
    ];

    fn key() -> Secret<32> {
        Secret::new(hex::decode(KEY).unwrap().try_into().unwrap())
    }

    #[test]
    fn what_libsodium_has_sealed_is_opened_and_what_is_sealed_here_too() {
        for (message, sealed) in SEALED {
            let sealed = hex::decode(sealed).unwrap();
            assert_eq!(*open(&key(), &sealed).unwrap(), message.as_bytes());
            let again = seal(&key(), message.as_bytes()).unwrap();
            assert_eq!(again.len(), message.len() + OVERHEAD);
            assert_ne!(again, sealed, "the same header twice");
            assert_eq!(*open(&key(), &again).unwrap(), message.as_bytes());
        }
    }

    #[test]
    fn r2_another_key_a_cut_and_any_changed_byte_are_noticed() {
        let sealed = hex::decode(SEALED[2].1).unwrap();
        assert!(open(&Secret::new([1; 32]), &sealed).is_none());
        for len in 0..sealed.len() {
            assert!(open(&key(), &sealed[..len]).is_none(), "{len}");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(open(&key(), &damaged).is_none(), "byte {at}");
        }
    }
}
