//! Messages after the handshake (BOLT 8, Lightning Message Specification).

use super::NoiseError;
use super::symmetric::{Secret, derive, open, seal};
use crate::messages::MAX_MESSAGE;

/// Bytes of a tag, which follows whatever is encrypted.
pub const TAG_LEN: usize = 16;
/// Bytes of an encrypted length with its tag.
pub const LENGTH_LEN: usize = 18;
/// BOLT 8, Lightning Message Key Rotation: how often a key is used.
const ROTATE_AFTER: u64 = 1000;

/// Both directions of a connection.
pub struct Transport {
    encryptor: Encryptor,
    decryptor: Decryptor,
}

/// The direction in which we send.
pub struct Encryptor(Direction);

/// The direction in which we receive.
pub struct Decryptor(Direction);

struct Direction {
    ck: Secret,
    key: Secret,
    nonce: u64,
}

impl Transport {
    pub(super) fn new(ck: Secret, send: Secret, receive: Secret) -> Transport {
        Transport {
            encryptor: Encryptor(Direction {
                ck: ck.clone(),
                key: send,
                nonce: 0,
            }),
            decryptor: Decryptor(Direction {
                ck,
                key: receive,
                nonce: 0,
            }),
        }
    }

    /// See [`Encryptor::encrypt`].
    ///
    /// # Errors
    /// `MessageTooLong`
    pub fn encrypt(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        self.encryptor.encrypt(message, out)
    }

    /// See [`Decryptor::decrypt_length`].
    ///
    /// # Errors
    /// `Mac`
    pub fn decrypt_length(&mut self, sealed: &[u8; LENGTH_LEN]) -> Result<u16, NoiseError> {
        self.decryptor.decrypt_length(sealed)
    }

    /// See [`Decryptor::decrypt_body`].
    ///
    /// # Errors
    /// `Mac`
    pub fn decrypt_body<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NoiseError> {
        self.decryptor.decrypt_body(sealed)
    }

    /// The two directions, for a reader and a writer that work apart.
    #[must_use]
    pub fn split(self) -> (Encryptor, Decryptor) {
        (self.encryptor, self.decryptor)
    }
}

impl Encryptor {
    /// Appends `message` encrypted: 18 bytes of length, the message, 16 bytes of tag. `message`
    /// is copied once and encrypted where it then stands.
    ///
    /// # Errors
    /// `MessageTooLong` above 65535 bytes; nothing is appended and no nonce used then.
    pub fn encrypt(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let too_long = |_| NoiseError::MessageTooLong(message.len());
        let mut length = u16::try_from(message.len())
            .map_err(too_long)?
            .to_be_bytes();
        let length_tag = self.0.seal(&mut length)?;
        out.reserve(LENGTH_LEN + message.len() + TAG_LEN);
        out.extend(length);
        out.extend(length_tag);
        let start = out.len();
        out.extend_from_slice(message);
        let tag = self.0.seal(out.get_mut(start..).unwrap_or_default())?;
        out.extend(tag);
        Ok(())
    }
}

impl Decryptor {
    /// The length of the next message; [`Decryptor::decrypt_body`] must follow with that many
    /// bytes and [`TAG_LEN`] more.
    ///
    /// # Errors
    /// `Mac`: the connection must be closed.
    pub fn decrypt_length(&mut self, sealed: &[u8; LENGTH_LEN]) -> Result<u16, NoiseError> {
        let [a, b, tag @ ..] = sealed;
        let mut length = [*a, *b];
        self.0.open(&mut length, tag)?;
        Ok(u16::from_be_bytes(length))
    }

    /// Decrypts a message and its tag where they stand; gives the message.
    ///
    /// # Errors
    /// `Mac`: the connection must be closed, and `sealed` be thrown away.
    pub fn decrypt_body<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NoiseError> {
        let (text, tag) = sealed
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(NoiseError::Mac)?;
        self.0.open(text, tag)?;
        Ok(text)
    }
}

#[cfg(test)]
impl Encryptor {
    pub(super) fn key(&self) -> [u8; 32] {
        self.0.key.0
    }
}

#[cfg(test)]
impl Decryptor {
    pub(super) fn key(&self) -> [u8; 32] {
        self.0.key.0
    }
}

impl Direction {
    fn seal(&mut self, text: &mut [u8]) -> Result<[u8; TAG_LEN], NoiseError> {
        let tag = seal(&self.key, self.nonce, &[], text)?;
        self.used()?;
        Ok(tag)
    }

    fn open(&mut self, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), NoiseError> {
        open(&self.key, self.nonce, &[], text, tag)?;
        self.used()
    }

    /// BOLT 8, Lightning Message Key Rotation: the 1000th use of a key is its last.
    fn used(&mut self) -> Result<(), NoiseError> {
        self.nonce = self.nonce.saturating_add(1);
        if self.nonce == ROTATE_AFTER {
            (self.ck, self.key) = derive(&self.ck, &self.key.0)?;
            self.nonce = 0;
        }
        Ok(())
    }
}

const _: () = assert!(MAX_MESSAGE == u16::MAX as usize);
