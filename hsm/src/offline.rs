//! What the owner's tool does with a seed file while no node runs. hsmd has no use for it.

use std::os::fd::OwnedFd;

use bitcoin::NetworkKind;
use bitcoin::bip32::Xpub;
use hsm_messages::mark::Mark;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::error::KeyError;
use wire::{ChainHash, ChannelDbid, NodeId};

use crate::derive::NodeKeys;
use crate::hsm::OpenError;
use crate::journal::{self, Journal, JournalError};
use crate::seed::{self, Origin, SeedError, StoredSeed};
pub use crate::state::{LONGEST_SKIP, RUN};
use crate::uses::ToOwner;
use crate::wallet;
use hsm_files::folder::Folder;

/// Of new seed files.
pub const NEW_MODE: u32 = seed::MODE;
/// Of files that are sealed or opened, but for those that were read-only already.
pub const MODE: u32 = 0o600;

/// A folder with a seed file, or for one.
pub struct SeedFolder(Folder);

impl SeedFolder {
    #[must_use]
    pub fn new(folder: OwnedFd) -> SeedFolder {
        SeedFolder(Folder::new(folder))
    }

    /// # Errors
    /// A running hsmd has the journal of this folder.
    pub fn check_unused(&self) -> Result<(), JournalError> {
        Journal::check_unused(&self.0)
    }

    /// The seed file; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self) -> Result<Option<StoredSeed>, SeedError> {
        StoredSeed::read(&self.0)
    }

    /// A seed file where there is none, durably.
    ///
    /// # Errors
    /// [`SeedError::Exists`]; it cannot be written.
    pub fn create(&self, bytes: &[u8]) -> Result<(), SeedError> {
        match self.read()? {
            Some(_) => Err(SeedError::Exists),
            None => seed::replace(&self.0, bytes, NEW_MODE),
        }
    }

    /// Another file in the place of `old`, at once and durably: at no moment is there no whole one.
    ///
    /// # Errors
    /// It cannot be written; then the old one is there.
    pub fn replace(&self, old: &StoredSeed, bytes: &[u8]) -> Result<(), SeedError> {
        let mode = match old.mode() & 0o222 {
            0 => NEW_MODE,
            _ => MODE,
        };
        seed::replace(&self.0, bytes, mode)
    }
}

/// Who the seed makes us.
///
/// # Errors
/// The seed gives no key, which happens to nobody.
pub fn node_id(origin: &Origin) -> Result<NodeId, KeyError> {
    Ok(NodeKeys::derive(&origin.seed())?.node_id)
}

/// The wallet's extended public key and the path below it that its addresses have, such as `/0/*`.
///
/// # Errors
/// As [`node_id`].
pub fn wallet_xpub(
    origin: &Origin,
    network: NetworkKind,
) -> Result<(Xpub, &'static str), KeyError> {
    let seed = origin.seed();
    let account = wallet::account(&seed, network)?;
    let path = match seed {
        seed::Seed::Plain(_) => "/0/0/*",
        seed::Seed::Mnemonic(_) => "/0/*",
    };
    Ok((Xpub::from_priv(SECP256K1, &account.0), path))
}

/// The keys that commitments of peers pay us with, channel by channel.
pub struct PaymentKeys(NodeKeys);

impl PaymentKeys {
    /// # Errors
    /// As [`node_id`].
    pub fn new(origin: &Origin) -> Result<PaymentKeys, KeyError> {
        NodeKeys::derive(&origin.seed()).map(PaymentKeys)
    }

    /// # Errors
    /// As [`node_id`].
    pub fn public(&self, peer: &NodeId, channel: ChannelDbid) -> Result<PublicKey, KeyError> {
        Ok(self.0.payment(peer, channel)?.public())
    }

    /// For the owner's eyes.
    ///
    /// # Errors
    /// As [`node_id`].
    pub fn secret(&self, peer: &NodeId, channel: ChannelDbid) -> Result<SecretKey, KeyError> {
        Ok(*self.0.payment(peer, channel)?.to(ToOwner))
    }
}

/// What a journal amounts to.
pub struct Facts {
    pub chain_hash: ChainHash,
    pub newest: Mark,
    /// Channels with a funding output.
    pub channels: usize,
    /// Bytes at its end that a crash left half-written, and that nobody has heard of.
    pub torn: u64,
}

impl SeedFolder {
    /// Checks the whole journal in the folder, hash by hash, and each MAC.
    ///
    /// # Errors
    /// There is none; it belongs to another seed; it is damaged, and where.
    pub fn verify_journal(&self, origin: &Origin) -> Result<Facts, OpenError> {
        let bytes = Journal::read(&self.0)?;
        let chain_hash = ChainHash(journal::chain_of(&bytes)?);
        let key = NodeKeys::derive(&origin.seed())?.journal;
        let replayed = journal::replay(&bytes, chain_hash, key)?;
        let channels = replayed.state.channels.values();
        Ok(Facts {
            chain_hash,
            newest: replayed.heads.newest(),
            channels: channels.filter(|channel| channel.funded().is_ok()).count(),
            torn: (bytes.len() as u64).saturating_sub(replayed.len),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_wallet.py.
    #[test]
    fn node_id_and_xpub_are_those_of_core_lightning() {
        let words = format!("{}about", "abandon ".repeat(11));
        let origin = Origin::words(words.as_bytes()).unwrap();
        assert_eq!(
            node_id(&origin).unwrap().to_string(),
            "03653e90c1ce4660fd8505dd6d643356e93cfe202af109d382787639dd5890e87d"
        );
        let (xpub, path) = wallet_xpub(&origin, NetworkKind::Main).unwrap();
        assert_eq!(
            xpub.to_string(),
            "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCE\
             CoY49yfdDEHGCtMMj92pReUsQ"
        );
        assert_eq!(path, "/0/*");
    }

    #[test]
    fn a_seed_file_is_created_once_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SeedFolder::new(File::open(dir.path()).unwrap().into());
        let path = dir.path().join("hsm_secret");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert!(folder.read().unwrap().is_none());
        folder.create(&[1; 32]).unwrap();
        assert!(matches!(folder.create(&[2; 32]), Err(SeedError::Exists)));
        assert_eq!((fs::read(&path).unwrap(), mode()), (vec![1; 32], 0o400));
        let old = folder.read().unwrap().unwrap();
        // A file that an interrupted attempt left is in nobody's way.
        fs::write(dir.path().join("hsm_secret.new"), "half").unwrap();
        folder.replace(&old, &[3; 32]).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (vec![3; 32], 0o400));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let old = folder.read().unwrap().unwrap();
        folder.replace(&old, &[4; 32]).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (vec![4; 32], 0o600));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
