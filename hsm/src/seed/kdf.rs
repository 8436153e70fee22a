//! From a passphrase to a key: Argon2id, version 1.3, one lane.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::{Passphrase, SeedError};
use crate::secret::Secret;

/// What a passphrase costs to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// KiB.
    pub(crate) memory: u32,
    pub(crate) passes: u32,
}

impl Cost {
    /// Core Lightning's, and that of new seeds: 256 MiB, most of a second.
    pub(crate) const USUAL: Cost = Cost {
        memory: 256 << 10,
        passes: 3,
    };
    /// No seed is sealed with less, and none that says so is opened.
    pub(crate) const LEAST: Cost = Cost {
        memory: 19 << 10,
        passes: 2,
    };
    /// What a file may ask of us: 1 GiB, and some ten seconds.
    const MOST: Cost = Cost {
        memory: 1 << 20,
        passes: 16,
    };

    /// `None` outside the bounds.
    pub(crate) fn new(memory: u32, passes: u32) -> Option<Cost> {
        let within = (Self::LEAST.memory..=Self::MOST.memory).contains(&memory)
            && (Self::LEAST.passes..=Self::MOST.passes).contains(&passes);
        within.then_some(Cost { memory, passes })
    }
}

/// The key that this passphrase gives.
pub(crate) fn key(
    passphrase: &Passphrase,
    salt: &[u8; 16],
    cost: Cost,
) -> Result<Secret<32>, SeedError> {
    let params = Params::new(cost.memory, cost.passes, 1, Some(32));
    let params = params.map_err(|_| SeedError::Damaged("its cost"))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut blocks = Blocks(Vec::new());
    let len = cost.memory as usize;
    blocks
        .0
        .try_reserve_exact(len)
        .map_err(|_| SeedError::Memory)?;
    blocks.0.resize(len, Block::default());
    let mut key = Secret::new([0; 32]);
    let derived =
        argon.hash_password_into_with_memory(passphrase.bytes(), salt, &mut *key, &mut blocks.0);
    derived.map_err(|_| SeedError::Memory)?;
    Ok(key)
}

/// What Argon2 works in; wiped, since the passphrase could be tried against it.
struct Blocks(Vec<Block>);

impl Drop for Blocks {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::passphrase;
    use super::*;

    // libsodium 1.0.20, crypto_pwhash with its moderate limits.
    #[test]
    fn the_key_is_that_of_libsodium() {
        let salt = *b"c-lightning\0\0\0\0\0";
        let key = key(&passphrase("reckless"), &salt, Cost::USUAL).unwrap();
        assert_eq!(
            hex::encode(&key[..]),
            "2c5ff233591ac4b50512b93544c24a6428d49ba5a76b621430cd6e5441c1b880"
        );
    }

    #[test]
    fn a_cost_out_of_bounds_is_none() {
        assert!(Cost::new(19 << 10, 2).is_some() && Cost::new(1 << 20, 16).is_some());
        for (memory, passes) in [
            ((19 << 10) - 1, 2),
            (19 << 10, 1),
            ((1 << 20) + 1, 2),
            (1 << 20, 17),
            (u32::MAX, u32::MAX),
            (0, 0),
        ] {
            assert_eq!(Cost::new(memory, passes), None, "{memory} KiB, {passes}");
        }
    }
}
