//! The side that is connected to.

use secp256k1::{PublicKey, SecretKey};

use super::symmetric::{Ephemeral, Secret, Symmetric, check_version, join_act, open, split_act};
use super::{ACT_ONE_LEN, ACT_THREE_LEN, ACT_TWO_LEN};
use super::{KeyStep, KeyStepReply, NoiseError, Transport};
use crate::units::NodeId;

/// Waits for act one.
pub struct Responder {
    state: Symmetric,
    ephemeral: Ephemeral,
}

/// Waits for the answer to its [`KeyStep`].
pub struct ResponderAct1 {
    state: Symmetric,
    ephemeral: Ephemeral,
    point: PublicKey,
    tag: [u8; 16],
}

/// Waits for act three.
pub struct ResponderAct3 {
    state: Symmetric,
    ephemeral: Ephemeral,
    temp_k2: Secret,
}

impl Responder {
    /// For the node with the public key `our_static`.
    #[must_use]
    pub fn new(ephemeral: SecretKey, our_static: PublicKey) -> Responder {
        Responder {
            state: Symmetric::new(&our_static),
            ephemeral: Ephemeral::new(ephemeral),
        }
    }

    /// Takes act one. Whether its tag is right is for the holder of the key to say.
    ///
    /// # Errors
    /// `Version`, `PublicKey`: the connection must be closed.
    pub fn act1(
        mut self,
        act_one: &[u8; ACT_ONE_LEN],
    ) -> Result<(ResponderAct1, KeyStep), NoiseError> {
        let (point, tag) = split_act(act_one)?;
        self.state.mix_hash(&point.serialize());
        let step = KeyStep::ResponderAct1 {
            ck: self.state.ck.clone(),
            h: self.state.h,
            point,
            tag,
        };
        Ok((
            ResponderAct1 {
                state: self.state,
                ephemeral: self.ephemeral,
                point,
                tag,
            },
            step,
        ))
    }
}

impl ResponderAct1 {
    /// Makes act two.
    ///
    /// # Errors
    /// None that can happen (`Length`).
    pub fn finish(
        mut self,
        reply: KeyStepReply,
    ) -> Result<([u8; ACT_TWO_LEN], ResponderAct3), NoiseError> {
        self.state.ck = reply.ck;
        self.state.mix_hash(&self.tag);
        let public = self.ephemeral.public();
        self.state.mix_hash(&public);
        let temp_k2 = self.state.mix_key(&self.ephemeral.ecdh(&self.point))?;
        let tag = self.state.tag(&temp_k2)?;
        let next = ResponderAct3 {
            state: self.state,
            ephemeral: self.ephemeral,
            temp_k2,
        };
        Ok((join_act(&public, &tag), next))
    }
}

impl ResponderAct3 {
    /// Takes act three, which proves who the peer is.
    ///
    /// # Errors
    /// `Version`, `PublicKey`, `Mac`: the connection must be closed.
    pub fn act3(
        mut self,
        act_three: &[u8; ACT_THREE_LEN],
    ) -> Result<(NodeId, Transport), NoiseError> {
        let [version, c_and_tag @ ..] = act_three;
        check_version(*version)?;
        let (c, last_tag) = c_and_tag
            .split_first_chunk::<49>()
            .ok_or(NoiseError::Length)?;
        let (key, key_tag) = c.split_first_chunk::<33>().ok_or(NoiseError::Length)?;
        let key_tag = key_tag.try_into().map_err(|_| NoiseError::Length)?;
        let last_tag = last_tag.try_into().map_err(|_| NoiseError::Length)?;

        let mut key = *key;
        open(&self.temp_k2, 1, &self.state.h, &mut key, key_tag)?;
        let remote_static = PublicKey::from_slice(&key).map_err(|_| NoiseError::PublicKey)?;
        self.state.mix_hash(c);
        let temp_k3 = self.state.mix_key(&self.ephemeral.ecdh(&remote_static))?;
        self.state.check_tag(&temp_k3, last_tag)?;

        let (receive, send) = self.state.split()?;
        Ok((
            NodeId(remote_static),
            Transport::new(self.state.ck, send, receive),
        ))
    }
}
