//! The encrypted transport of BOLT 8: `Noise_XK_secp256k1_ChaChaPoly_SHA256` and the messages
//! after it.
//!
//! The node's private key is not here. Each side needs it for one step, and that step goes as a
//! [`KeyStep`] to whoever holds the key, which answers with [`key_step`]:
//!
//! - initiator: [`Initiator::new`] gives act one; [`Initiator::act2`] takes act two and gives the
//!   key step; [`InitiatorAct3::finish`] gives act three and the [`Transport`].
//! - responder: [`Responder::act1`] takes act one and gives the key step; [`ResponderAct1::finish`]
//!   gives act two; [`ResponderAct3::act3`] takes act three and gives the peer's id and the
//!   [`Transport`].
//!
//! Each state is used up by the step that leaves it. Ephemeral keys come in as arguments, and a
//! fresh one must be used for each handshake. Keys are wiped on drop and have no `Debug`.

mod initiator;
mod key_step;
mod responder;
mod symmetric;
#[cfg(test)]
mod tests;
mod transport;

pub use initiator::{Initiator, InitiatorAct3};
pub use key_step::{KeyStep, KeyStepReply, key_step};
pub use responder::{Responder, ResponderAct1, ResponderAct3};
pub use symmetric::Secret;
pub use transport::{Decryptor, Encryptor, LENGTH_LEN, TAG_LEN, Transport};

/// Bytes in act one (BOLT 8).
pub const ACT_ONE_LEN: usize = 50;
/// Bytes in act two (BOLT 8).
pub const ACT_TWO_LEN: usize = 50;
/// Bytes in act three (BOLT 8).
pub const ACT_THREE_LEN: usize = 66;

/// Why a handshake or a connection is over. Nothing may be sent on it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// BOLT 8, Handshake Versioning: only version 0 is known.
    #[error("unknown handshake version {0}")]
    Version(u8),
    /// A key of the peer's is no point on the curve.
    #[error("not a valid public key")]
    PublicKey,
    /// Bytes were changed on the way, or the other side does not have the key that it should.
    #[error("authentication failed")]
    Mac,
    /// We wanted to send more than 65535 bytes.
    #[error("message of {0} bytes is too long to send")]
    MessageTooLong(usize),
    /// Our bug: the cipher or the key derivation was given a length that it cannot take.
    #[error("impossible length")]
    Length,
}
