//! The one step of a handshake that needs the node's private key, as a message to its holder.
//!
//! The holder answers with keys derived from the ECDH result, never with the result itself, which
//! is what onions are decrypted with. As a responder it answers only if the initiator's tag is
//! right, that is, to nobody who does not already know the result: the step cannot be used to
//! learn anything about a point whose private key the asker lacks. As an initiator there is no
//! tag to check, but the answer has gone through HKDF's expansion, which no other protocol of the
//! node's uses on an ECDH result.

use std::fmt;

use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::NoiseError;
use super::symmetric::{Secret, derive, open};

/// What the holder of the node key must do.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStep {
    /// `es` and the check of act one's tag (BOLT 8, Act One, receiver, 5 to 7).
    ResponderAct1 {
        ck: Secret,
        /// With the initiator's ephemeral key mixed in.
        h: [u8; 32],
        /// The initiator's ephemeral key.
        point: PublicKey,
        tag: [u8; 16],
    },
    /// `se` (BOLT 8, Act Three, sender, 3 and 4).
    InitiatorAct3 {
        ck: Secret,
        /// The responder's ephemeral key.
        point: PublicKey,
    },
}

impl fmt::Debug for KeyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyStep::ResponderAct1 { .. } => "ResponderAct1",
            KeyStep::InitiatorAct3 { .. } => "InitiatorAct3",
        })
    }
}

/// `ck` and the temporary key after the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStepReply {
    pub ck: Secret,
    pub temp_key: Secret,
}

/// Does the step. `ecdh` multiplies a point with the node's private key and gives the SHA-256 of
/// the compressed result (BOLT 8, `ECDH`).
///
/// # Errors
/// `Mac`: act one's tag was not made by somebody who knows our public key and the private key
/// of `point`.
pub fn key_step(
    step: &KeyStep,
    ecdh: impl Fn(&PublicKey) -> [u8; 32],
) -> Result<KeyStepReply, NoiseError> {
    let (KeyStep::ResponderAct1 { ck, point, .. } | KeyStep::InitiatorAct3 { ck, point }) = step;
    let shared = Zeroizing::new(ecdh(point));
    let (ck, temp_key) = derive(ck, shared.as_slice())?;
    match step {
        KeyStep::ResponderAct1 { h, tag, .. } => open(&temp_key, 0, h, &mut [], tag)?,
        KeyStep::InitiatorAct3 { .. } => {}
    }
    Ok(KeyStepReply { ck, temp_key })
}
