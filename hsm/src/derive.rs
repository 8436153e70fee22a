//! Keys from the seed, exactly as Core Lightning derives them, so that its seeds give the same node
//! id, the same coins and the same channels (hsmd/libhsmd.c, common/derive_basepoints.c).

use hkdf::Hkdf;
use secp256k1::{PublicKey, SecretKey};
use sha2::Sha256;
use tx::error::KeyError;
use tx::setup::Basepoints;
use wire::{ChannelDbid, CommitmentNumber, NodeId};
use zeroize::Zeroizing;

use crate::secret::{Key, Secret};
use crate::seed::Seed;

/// How many salts are tried: the first always serves but for a chance of 2^-127.
const SALTS: u32 = 4;

/// HKDF-SHA256.
pub(crate) fn expand<const N: usize>(
    salt: Option<&[u8]>,
    secret: &[u8],
    info: &[u8],
) -> Result<Secret<N>, KeyError> {
    let mut out = Secret([0; N]);
    Hkdf::<Sha256>::new(salt, secret)
        .expand(info, &mut out.0)
        .map_err(|_| KeyError::OffCurve)?;
    Ok(out)
}

/// The same with a counter as salt, until `accept` takes the result.
pub(crate) fn expand_until<T>(
    secret: &[u8],
    info: &[u8],
    accept: impl Fn(&Secret<32>) -> Option<T>,
) -> Result<T, KeyError> {
    for salt in 0..SALTS {
        let out = expand::<32>(Some(&salt.to_le_bytes()), secret, info)?;
        if let Some(taken) = accept(&out) {
            return Ok(taken);
        }
    }
    Err(KeyError::OffCurve)
}

/// The keys of the node itself; the wallet's are in [`crate::wallet`].
pub(crate) struct NodeKeys {
    pub(crate) node: Key,
    pub(crate) node_id: NodeId,
    channels: Secret<32>,
    /// Authenticates the journal.
    pub(crate) journal: Secret<32>,
}

impl NodeKeys {
    pub(crate) fn derive(seed: &Seed) -> Result<NodeKeys, KeyError> {
        let half = seed.first_half();
        let node = expand_until(half.as_slice(), b"nodeid", key)?;
        Ok(NodeKeys {
            node_id: NodeId(node.public()),
            node,
            channels: expand(None, half.as_slice(), b"peer seed")?,
            journal: expand(None, half.as_slice(), b"bulkhead hsm-journal")?,
        })
    }

    pub(crate) fn channel(
        &self,
        peer: &NodeId,
        dbid: ChannelDbid,
    ) -> Result<ChannelKeys, KeyError> {
        let mut salt = [0; 41];
        let bytes = peer.0.serialize().into_iter().chain(dbid.0.to_le_bytes());
        for (to, from) in salt.iter_mut().zip(bytes) {
            *to = from;
        }
        let seed = expand::<32>(Some(&salt), &self.channels.0, b"per-peer seed")?;
        ChannelKeys::derive(&seed)
    }
}

fn key(bytes: &Secret<32>) -> Option<Key> {
    SecretKey::from_slice(&bytes.0).ok().map(Key::new)
}

/// The private half of one channel.
pub(crate) struct ChannelKeys {
    pub(crate) funding: Key,
    revocation: Key,
    payment: Key,
    pub(crate) htlc: Key,
    delayed_payment: Key,
    /// Where our per-commitment secrets come from (BOLT 3).
    shachain: Secret<32>,
}

impl ChannelKeys {
    fn derive(seed: &Secret<32>) -> Result<ChannelKeys, KeyError> {
        let all = expand::<192>(None, &seed.0, b"c-lightning")?;
        let mut parts = all.0.chunks_exact(32).map(|chunk| {
            let mut part = Secret([0; 32]);
            part.0.copy_from_slice(chunk);
            part
        });
        let mut next = || parts.next().ok_or(KeyError::OffCurve);
        let as_key = |part: Secret<32>| key(&part).ok_or(KeyError::OffCurve);
        Ok(ChannelKeys {
            funding: as_key(next()?)?,
            revocation: as_key(next()?)?,
            htlc: as_key(next()?)?,
            payment: as_key(next()?)?,
            delayed_payment: as_key(next()?)?,
            shachain: next()?,
        })
    }

    pub(crate) fn basepoints(&self) -> Basepoints {
        Basepoints {
            revocation: self.revocation.public(),
            payment: self.payment.public(),
            delayed_payment: self.delayed_payment.public(),
            htlc: self.htlc.public(),
        }
    }

    /// The secret of our commitment `n`: C5 says when it may leave.
    pub(crate) fn secret(
        &self,
        n: CommitmentNumber,
    ) -> Result<tx::signer::RevocationSecret, KeyError> {
        tx::keys::per_commitment_secret(&self.shachain.0, n)
    }

    pub(crate) fn point(&self, n: CommitmentNumber) -> Result<PublicKey, KeyError> {
        let secret = Zeroizing::new(self.secret(n)?.0);
        tx::keys::per_commitment_point(&tx::signer::RevocationSecret(*secret))
    }
}
