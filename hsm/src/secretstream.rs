//! One message of a libsodium secretstream (XChaCha20-Poly1305), as Core Lightning seals its seed and its
//! backups: 24 bytes of header, then the hidden tag, the hidden message and the MAC.
//!
//! The header makes the stream's key (HChaCha20 of its first 16 bytes) and the rest of its nonce (the
//! other 8, after a counter that begins at 1). Block 0 of the key stream gives Poly1305's key, block 1
//! hides the message's tag, and the message follows from block 2.

use chacha20::cipher::consts::U10;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, Nonce, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::{Secret, fill_random};

const MAC: usize = 16;
const BLOCK: usize = 64;
/// By so many bytes what is sealed is longer than the message.
pub(crate) const OVERHEAD: usize = 24 + 1 + MAC;

/// The message under this key, with a header of random bytes.
///
/// # Errors
/// The system has no random bytes.
pub(crate) fn seal(key: &Secret<32>, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut for_key, mut for_nonce) = ([0; 16], [0; 8]);
    fill_random(&mut for_key)?;
    fill_random(&mut for_nonce)?;
    let mut stream = Stream::new(key, &for_key, &for_nonce);
    let mut hidden = message.to_vec();
    stream.cipher.apply_keystream(&mut hidden);
    // The tag of a message that is neither the last nor a rekeying is 0.
    let mac = stream.mac(&stream.tag, &hidden);
    Ok([&for_key[..], &for_nonce, &stream.tag, &hidden, &mac].concat())
}

/// What was sealed under this key; `None` if this was not, or is not what it was.
pub(crate) fn open(key: &Secret<32>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (for_key, rest) = sealed.split_first_chunk()?;
    let (for_nonce, rest) = rest.split_first_chunk()?;
    let (tag, rest) = rest.split_first_chunk::<1>()?;
    let (hidden, mac) = rest.split_last_chunk::<MAC>()?;
    let mut stream = Stream::new(key, for_key, for_nonce);
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
    /// The key stream's block 1: what hides the tag, and the rest.
    tag: [u8; 1],
    rest: [u8; BLOCK - 1],
}

impl Stream {
    fn new(key: &Secret<32>, for_key: &[u8; 16], for_nonce: &[u8; 8]) -> Stream {
        let mut subkey = hchacha::<U10>((&**key).into(), for_key.into());
        let nonce = [&[1, 0, 0, 0], for_nonce.as_slice()].concat();
        let mut cipher = ChaCha20::new(&subkey, Nonce::from_slice(&nonce));
        subkey.as_mut_slice().zeroize();
        let mut mac_key = Zeroizing::new([0; 32]);
        let (mut unused, mut tag, mut rest) = ([0; 32], [0], [0; BLOCK - 1]);
        for part in [&mut mac_key[..], &mut unused, &mut tag, &mut rest] {
            cipher.apply_keystream(part);
        }
        Stream {
            cipher,
            mac_key,
            tag,
            rest,
        }
    }

    /// Over the tag's whole block, the message, as many zeros as libsodium puts there (not those that
    /// would fill a block), and the two lengths (of additional data, none here, and of block and message).
    fn mac(&self, tag: &[u8; 1], hidden: &[u8]) -> [u8; MAC] {
        let zeros = vec![0; hidden.len() % MAC];
        let lengths = [0, (BLOCK + hidden.len()) as u64].map(u64::to_le_bytes);
        let parts = [tag, &self.rest[..], hidden, &zeros, lengths.as_flattened()].concat();
        let key = (&*self.mac_key).into();
        Poly1305::new(key).compute_unpadded(&parts).into()
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
