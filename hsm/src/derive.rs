//! Keys from the seed, exactly as Core Lightning derives them, so that its seeds give the same node
//! id, the same coins and the same channels (hsmd/libhsmd.c, common/derive_basepoints.c).

mod claims;

use secp256k1::ecdsa::Signature;
use secp256k1::{PublicKey, SecretKey};
use tx::error::{KeyError, TxError};
use tx::keys::derive_privkey;
use tx::setup::Basepoints;
use tx::signer::RevocationSecret;
use wire::hkdf::hkdf;
use wire::{ChannelDbid, CommitmentNumber, NodeId, Preimage, Side};
use zeroize::Zeroizing;

use crate::channel::{Admitted, Funded, Publishable, Revoked, Settled};
use crate::invoices::PreimageNumber;
use crate::label::Label;
use crate::node_key::NodeKey;
use crate::secret::{Key, Secret};
use crate::seed::Seed;
use crate::uses::{
    DelayedPayment, DeriveHtlcKey, Funding, Htlc, HtlcBase, Payment, Revocation, SignClose,
    SignCommitment, SignHtlc,
};

/// How many salts are tried: the first always serves but for a chance of 2^-127.
const SALTS: u32 = 4;

/// HKDF-SHA256.
pub(crate) fn expand<const N: usize>(
    salt: Option<&[u8]>,
    secret: &[u8],
    label: Label<'_>,
) -> Result<Secret<N>, KeyError> {
    let mut out = Secret::new([0; N]);
    hkdf(salt.unwrap_or_default(), secret, label.info(), &mut *out)
        .map_err(|_| KeyError::OffCurve)?;
    Ok(out)
}

/// The same with a counter as salt, until `accept` takes the result.
pub(crate) fn expand_until<T>(
    secret: &[u8],
    label: Label<'_>,
    accept: impl Fn(&Secret<32>) -> Option<T>,
) -> Result<T, KeyError> {
    for salt in 0..SALTS {
        let out = expand::<32>(Some(&salt.to_le_bytes()), secret, label)?;
        if let Some(taken) = accept(&out) {
            return Ok(taken);
        }
    }
    Err(KeyError::OffCurve)
}

/// The keys of the node itself; the wallet's are in [`crate::wallet`].
pub(crate) struct NodeKeys {
    pub(crate) key: NodeKey,
    pub(crate) node_id: NodeId,
    channels: Secret<32>,
    /// Authenticates the journal.
    pub(crate) journal: Secret<32>,
    preimages: Secret<32>,
    users: Secret<32>,
    /// Seals what is to be recovered from (R2).
    pub(crate) backup: Secret<32>,
}

impl NodeKeys {
    pub(crate) fn derive(seed: &Seed) -> Result<NodeKeys, KeyError> {
        let half = seed.first_half();
        let node = expand_until(half.as_slice(), Label::NodeId, |half| key(Some(half)).ok());
        let node = node.map(NodeKey::new)?;
        let users = expand(None, seed.whole(), Label::DerivedSecrets)?;
        Ok(NodeKeys {
            node_id: NodeId(node.public()),
            key: node,
            channels: expand(None, half.as_slice(), Label::PeerSeed)?,
            journal: expand(None, half.as_slice(), Label::Journal)?,
            preimages: expand(None, half.as_slice(), Label::Preimages)?,
            backup: expand(None, &users[..], Label::StaticBackup)?,
            users,
        })
    }

    /// The preimage of an invoice of ours: H4 says when it may leave.
    pub(crate) fn preimage(&self, number: PreimageNumber) -> Result<Preimage, KeyError> {
        let salt = number.0.to_le_bytes();
        let secret = expand::<32>(Some(&salt), &self.preimages[..], Label::Preimage)?;
        Ok(Preimage(*secret))
    }

    /// What `makesecret` gives for a user's label.
    pub(crate) fn user_secret(&self, info: &[u8]) -> Result<Secret<32>, KeyError> {
        expand(None, &self.users[..], Label::User(info))
    }

    pub(crate) fn channel(
        &self,
        peer: &NodeId,
        dbid: ChannelDbid,
    ) -> Result<ChannelKeys, KeyError> {
        ChannelKeys::derive(&self.channel_seed(peer, dbid)?)
    }

    /// For its owner, while no node runs: our balance in a commitment of the peer's. Alone, since millions are tried.
    pub(crate) fn payment(
        &self,
        peer: &NodeId,
        dbid: ChannelDbid,
    ) -> Result<Key<Payment>, KeyError> {
        let seed = self.channel_seed(peer, dbid)?;
        let first = expand::<128>(None, &seed[..], Label::ChannelKeys)?;
        key(first.as_chunks().0.last())
    }

    fn channel_seed(&self, peer: &NodeId, dbid: ChannelDbid) -> Result<Secret<32>, KeyError> {
        let salt = [&peer.0.serialize()[..], &dbid.0.to_le_bytes()].concat();
        expand(Some(&salt), &self.channels[..], Label::PerPeerSeed)
    }
}

fn key<K>(bytes: Option<&[u8; 32]>) -> Result<Key<K>, KeyError> {
    let key = bytes.and_then(|bytes| SecretKey::from_slice(bytes).ok());
    key.map(Key::new).ok_or(KeyError::OffCurve)
}

/// The private half of one channel.
pub(crate) struct ChannelKeys {
    funding: Key<Funding>,
    revocation: Key<Revocation>,
    payment: Key<Payment>,
    htlc: Key<HtlcBase>,
    delayed_payment: Key<DelayedPayment>,
    /// Where our per-commitment secrets come from (BOLT 3).
    shachain: Secret<32>,
}

impl ChannelKeys {
    fn derive(seed: &Secret<32>) -> Result<ChannelKeys, KeyError> {
        let all = expand::<192>(None, &seed[..], Label::ChannelKeys)?;
        let mut parts = all.as_chunks().0.iter();
        Ok(ChannelKeys {
            funding: key(parts.next())?,
            revocation: key(parts.next())?,
            htlc: key(parts.next())?,
            payment: key(parts.next())?,
            delayed_payment: key(parts.next())?,
            shachain: Secret::new(*parts.next().ok_or(KeyError::OffCurve)?),
        })
    }

    /// Of the commitment with this point.
    fn htlc_key(&self, point: &PublicKey) -> Result<Key<Htlc>, KeyError> {
        let key = derive_privkey(self.htlc.to(DeriveHtlcKey), point)?;
        Ok(Key::new(key))
    }

    pub(crate) fn basepoints(&self) -> Basepoints {
        Basepoints {
            revocation: self.revocation.public(),
            payment: self.payment.public(),
            delayed_payment: self.delayed_payment.public(),
            htlc: self.htlc.public(),
        }
    }

    pub(crate) fn funding_pubkey(&self) -> PublicKey {
        self.funding.public()
    }

    fn secret(&self, n: CommitmentNumber) -> Result<RevocationSecret, KeyError> {
        tx::keys::per_commitment_secret(&self.shachain, n)
    }

    /// The secret of a commitment of ours that is revoked (C5).
    pub(crate) fn revoked_secret(&self, revoked: Revoked) -> Result<RevocationSecret, KeyError> {
        self.secret(revoked.n())
    }

    /// Whether this is the secret of our commitment `n`.
    pub(crate) fn is_secret(
        &self,
        n: CommitmentNumber,
        secret: &RevocationSecret,
    ) -> Result<bool, KeyError> {
        Ok(self.secret(n)? == *secret)
    }

    /// Our signatures on a commitment of the peer's and on its HTLC transactions.
    pub(crate) fn sign_theirs(
        &self,
        admitted: &Admitted<'_>,
    ) -> Result<(Signature, Vec<Signature>), TxError> {
        let (setup, funding) = admitted.terms();
        let commitment = admitted.commitment();
        let signature = commitment.sign(setup, funding, self.funding.to(SignCommitment))?;
        let htlc_signatures = match commitment.htlcs.is_empty() {
            true => Vec::new(),
            false => {
                let key = self.htlc_key(admitted.point())?;
                commitment.sign_htlcs(Side::Local, key.to(SignHtlc))?
            }
        };
        Ok((signature, htlc_signatures))
    }

    /// Our signature on our own newest commitment.
    pub(crate) fn sign_ours(&self, newest: &Publishable<'_>) -> Result<Signature, TxError> {
        let (setup, funding) = newest.terms();
        let commitment = newest.commitment();
        commitment.sign(setup, funding, self.funding.to(SignCommitment))
    }

    /// Our signature on a mutual close.
    pub(crate) fn sign_closing(
        &self,
        closing: &Settled,
        funded: &Funded,
    ) -> Result<Signature, TxError> {
        let closing = closing.closing();
        closing.sign(&funded.setup, &funded.funding, self.funding.to(SignClose))
    }

    pub(crate) fn point(&self, n: CommitmentNumber) -> Result<PublicKey, KeyError> {
        let secret = Zeroizing::new(self.secret(n)?.0);
        tx::keys::per_commitment_point(&RevocationSecret(*secret))
    }
}

/// What only a thief has, for tests that act as one.
#[cfg(test)]
impl ChannelKeys {
    pub(crate) fn any_secret(&self, n: CommitmentNumber) -> RevocationSecret {
        self.secret(n).unwrap()
    }

    pub(crate) fn funding_secret(&self) -> &SecretKey {
        self.funding.to(SignCommitment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed from RFC 5869, BIP 32 and BOLT 3 by a program that shares no code with this one.
    #[test]
    fn node_and_channel_keys_are_those_of_core_lightning() {
        let seed = Seed::Plain(Secret::new(std::array::from_fn(|at| at as u8 + 1)));
        let keys = NodeKeys::derive(&seed).unwrap();
        assert_eq!(
            keys.node_id.to_string(),
            "037d8d1109836a88daf2b86d6e52e12351f9c274f597b78eca941525b309096ca8"
        );
        let peer = "0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c";
        let peer = peer.parse().unwrap();
        let channel = keys.channel(&peer, ChannelDbid(7)).unwrap();
        let basepoints = channel.basepoints();
        let point = |n| channel.point(CommitmentNumber(n)).unwrap();
        let ours = [
            channel.funding_pubkey(),
            basepoints.revocation,
            basepoints.htlc,
            basepoints.payment,
            basepoints.delayed_payment,
            point(0),
            point(1),
            point(5),
        ];
        let expected = [
            "03b531640044d605a73e7fed99884dd732c237cc2ce9c5055b6718aa0c8a95f09b",
            "0208222f4e6481aa76f46f54759b22fba151540954418e1d73e748877694dbddbd",
            "025af286006e7d3267cf87348fbce8b766b7c5b57377a0c755b4b3ec8e731e2876",
            "034d969508f242301c92dabfa3bbf2ea55e2db7019e6760d5845414f2e4fceaff0",
            "03a63de09a9ac3568b5df7f2f09c86e0bb5b07d6a3c49fd3efc6e83430c4122505",
            "0312ad2bb8e884a15d6f5431a267432e2f822ef70b9089a2f209dfd04a5d35ff97",
            "039bb31d6681c871a7ac2f479e5351f1c2a2389c3253caa832a87e61b9665bccb7",
            "02bad076ccb96967f28b12bc8698049e39e4678eb22e9c03571e1d7a7c16da07af",
        ];
        assert_eq!(ours.map(|key| key.to_string()), expected);
        let payment = keys.payment(&peer, ChannelDbid(7)).unwrap();
        assert_eq!(payment.public(), basepoints.payment);
    }

    // Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_wallet.py: the mnemonic
    // without passphrase and the node id that it gives.
    #[test]
    fn a_mnemonic_gives_the_node_id_of_core_lightning() {
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";
        let file = [&[0; 32], words.as_bytes()].concat();
        let seed = Seed::parse(&file).unwrap();
        assert_eq!(
            hex::encode(seed.whole()),
            "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1\
             9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
        );
        assert_eq!(
            NodeKeys::derive(&seed).unwrap().node_id.to_string(),
            "03653e90c1ce4660fd8505dd6d643356e93cfe202af109d382787639dd5890e87d"
        );
    }
}
