//! Messages within the bytes of a connection, both ways. Encryption and decryption happen where the
//! bytes stand; an idle connection holds no buffer.

use std::io;

use tokio::net::TcpStream;
use wire::noise::{Decryptor, Encryptor, LENGTH_LEN, NoiseError, TAG_LEN};

/// What one read asks for, in bytes.
const READ: usize = 64 << 10;
/// An emptied buffer larger than this is given back.
const KEEP: usize = 64 << 10;

/// What the peer has sent.
pub struct Incoming {
    decryptor: Decryptor,
    buf: Vec<u8>,
    /// What of `buf` has been taken.
    start: usize,
    /// The length of the next message, once it is decrypted.
    length: Option<usize>,
}

impl Incoming {
    #[must_use]
    pub fn new(decryptor: Decryptor) -> Incoming {
        Incoming {
            decryptor,
            buf: Vec::new(),
            start: 0,
            length: None,
        }
    }

    /// The next message, or `None` until more is read.
    ///
    /// # Errors
    /// `Mac`: nothing more can be read from this connection.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, NoiseError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(sealed) = self
                    .buf
                    .get(self.start..)
                    .and_then(<[u8]>::first_chunk::<LENGTH_LEN>)
                else {
                    return Ok(None);
                };
                let length = usize::from(self.decryptor.decrypt_length(sealed)?);
                self.start += LENGTH_LEN;
                self.length = Some(length);
                length
            }
        };
        let end = self.start + length + TAG_LEN;
        let Some(sealed) = self.buf.get_mut(self.start..end) else {
            return Ok(None);
        };
        self.start = end;
        self.length = None;
        Ok(Some(self.decryptor.decrypt_body(sealed)?))
    }

    /// Reads once. Take all messages before. Dropped while it waits, it has lost nothing.
    ///
    /// # Errors
    /// Of the system. The other side's end is 0 bytes.
    pub async fn fill(&mut self, stream: &TcpStream) -> io::Result<usize> {
        loop {
            self.buf.drain(..self.start);
            self.start = 0;
            self.buf.reserve(READ);
            match stream.try_read_buf(&mut self.buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.buf.is_empty() {
                self.buf = Vec::new();
            }
            stream.readable().await?;
        }
    }
}

/// What waits to be written to the peer, encrypted in the order in which it was said.
pub struct Outgoing {
    encryptor: Encryptor,
    /// Gathers.
    next: Vec<u8>,
    /// Is being written.
    batch: Vec<u8>,
    written: usize,
}

impl Outgoing {
    #[must_use]
    pub fn new(encryptor: Encryptor) -> Outgoing {
        Outgoing {
            encryptor,
            next: Vec::new(),
            batch: Vec::new(),
            written: 0,
        }
    }

    /// Encrypts a message behind those that wait.
    ///
    /// # Errors
    /// `MessageTooLong`: nothing has changed.
    pub fn push(&mut self, message: &[u8]) -> Result<(), NoiseError> {
        self.encryptor.encrypt(message, &mut self.next)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.next.len() + self.batch.len() - self.written
    }

    /// Writes what the system takes. Says whether all is written.
    ///
    /// # Errors
    /// Of the system; `WriteZero`.
    pub fn write(&mut self, stream: &TcpStream) -> io::Result<bool> {
        loop {
            if self.written == self.batch.len() {
                self.written = 0;
                self.batch.clear();
                if self.batch.capacity() > KEEP {
                    self.batch = Vec::new();
                }
                std::mem::swap(&mut self.next, &mut self.batch);
                if self.batch.is_empty() {
                    return Ok(true);
                }
            }
            match stream.try_write(self.batch.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => self.written += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
