//! The side that connects.

use secp256k1::{PublicKey, SecretKey};

use super::symmetric::{Ephemeral, Secret, Symmetric, join_act, seal, split_act};
use super::{ACT_ONE_LEN, ACT_THREE_LEN, ACT_TWO_LEN};
use super::{KeyStep, KeyStepReply, NoiseError, Transport};

/// Waits for act two.
pub struct Initiator {
    state: Symmetric,
    ephemeral: Ephemeral,
}

/// Waits for the answer to its [`KeyStep`].
pub struct InitiatorAct3 {
    state: Symmetric,
    temp_k2: Secret,
}

impl Initiator {
    /// Makes act one for the node with key `remote_static`.
    ///
    /// # Errors
    /// None that can happen (`Length`).
    pub fn new(
        ephemeral: SecretKey,
        remote_static: PublicKey,
    ) -> Result<(Initiator, [u8; ACT_ONE_LEN]), NoiseError> {
        let ephemeral = Ephemeral::new(ephemeral);
        let mut state = Symmetric::new(&remote_static);
        let public = ephemeral.public();
        state.mix_hash(&public);
        let temp_k1 = state.mix_key(&ephemeral.ecdh(&remote_static))?;
        let tag = state.tag(&temp_k1)?;
        Ok((Initiator { state, ephemeral }, join_act(&public, &tag)))
    }

    /// Takes act two.
    ///
    /// # Errors
    /// `Version`, `PublicKey`, `Mac`: the connection must be closed.
    pub fn act2(
        mut self,
        act_two: &[u8; ACT_TWO_LEN],
    ) -> Result<(InitiatorAct3, KeyStep), NoiseError> {
        let (point, tag) = split_act(act_two)?;
        self.state.mix_hash(&point.serialize());
        let temp_k2 = self.state.mix_key(&self.ephemeral.ecdh(&point))?;
        self.state.check_tag(&temp_k2, &tag)?;
        let step = KeyStep::InitiatorAct3 {
            ck: self.state.ck.clone(),
            point,
        };
        Ok((
            InitiatorAct3 {
                state: self.state,
                temp_k2,
            },
            step,
        ))
    }
}

impl InitiatorAct3 {
    /// Makes act three. `our_static` belongs to the private key that answered the step.
    ///
    /// # Errors
    /// None that can happen (`Length`).
    pub fn finish(
        mut self,
        reply: KeyStepReply,
        our_static: PublicKey,
    ) -> Result<([u8; ACT_THREE_LEN], Transport), NoiseError> {
        let mut act = [0; ACT_THREE_LEN];
        let [_version, sealed @ ..] = &mut act;
        let (key, tags) = sealed
            .split_first_chunk_mut::<33>()
            .ok_or(NoiseError::Length)?;
        let (key_tag, last_tag) = tags
            .split_first_chunk_mut::<16>()
            .ok_or(NoiseError::Length)?;

        *key = our_static.serialize();
        *key_tag = seal(&self.temp_k2, 1, &self.state.h, key)?;
        let mut c = [0; 49];
        c.iter_mut()
            .zip(key.iter().chain(key_tag.iter()))
            .for_each(|(to, from)| *to = *from);
        self.state.mix_hash(&c);
        self.state.ck = reply.ck;
        last_tag.copy_from_slice(&self.state.tag(&reply.temp_key)?);

        let (send, receive) = self.state.split()?;
        Ok((act, Transport::new(self.state.ck, send, receive)))
    }
}
