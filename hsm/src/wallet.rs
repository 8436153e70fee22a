//! Coins on chain: addresses by index and signatures on transactions that spend them.
//!
//! Core Lightning's derivation: of a 32-byte seed the BIP 32 path m/0/0/index below HKDF's
//! "bip32 seed"; of a mnemonic m/86h/0h/0h/0/index below BIP 39's seed. Either key serves for P2WPKH
//! and, by its tweak without script, for P2TR (BIP 86).

use std::cell::RefCell;
use std::collections::HashMap;

use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Amount, CompressedPublicKey, NetworkKind, Script, ScriptBuf, Transaction, TxOut, Witness,
};
use hsm_messages::wallet::{AddressKind, WalletKey};
use secp256k1::{Keypair, Message, PublicKey, SECP256K1};
use tx::error::{KeyError, TxError};
use wire::Satoshi;

use crate::derive::expand_until;
use crate::label::Label;
use crate::refused::Refused;
use crate::secret::Key;
use crate::seed::Seed;
use crate::uses::{DeriveChild, SpendP2tr, SpendP2wpkh, WalletBase, WalletChild};

/// The child that is the receiving chain in both derivations.
const CHAIN: ChildNumber = ChildNumber::Normal { index: 0 };

/// An address of the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub p2wpkh: ScriptBuf,
    pub p2tr: ScriptBuf,
}

/// What an input spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coin {
    pub value: Satoshi,
    pub key: WalletKey,
}

pub(crate) struct Wallet {
    /// The private parent of all addresses.
    key: Key<WalletBase>,
    /// Its public half, with its chain code.
    public: Xpub,
    /// Scripts of the indices below `next`, filled when a script is first looked for.
    scripts: RefCell<Scripts>,
}

/// A private extended key for as long as it is used; wiped on drop.
pub(crate) struct Base(pub(crate) Xpriv);

impl Drop for Base {
    fn drop(&mut self) {
        self.0.private_key.non_secure_erase();
    }
}

#[derive(Default)]
struct Scripts {
    index_of: HashMap<ScriptBuf, u32>,
    next: u32,
}

impl Wallet {
    pub(crate) fn derive(seed: &Seed) -> Result<Wallet, KeyError> {
        // The network is in the text form of extended keys alone, which nobody gets.
        let account = account(seed, NetworkKind::Main)?;
        let path: &[ChildNumber] = match seed {
            Seed::Plain(_) => &[CHAIN, CHAIN],
            Seed::Mnemonic(_) => &[CHAIN],
        };
        let base = account.0.derive_priv(SECP256K1, &path);
        let base = Base(base.map_err(|_| KeyError::OffCurve)?);
        Ok(Wallet {
            public: Xpub::from_priv(SECP256K1, &base.0),
            key: Key::new(base.0.private_key),
            scripts: RefCell::default(),
        })
    }

    pub(crate) fn address(&self, index: u32) -> Result<Address, Refused> {
        let child = child(index)?;
        let public = self.public.ckd_pub(SECP256K1, child);
        let key = public.map_err(|_| KeyError::OffCurve)?.public_key;
        Ok(Address {
            index,
            p2wpkh: p2wpkh(&key),
            p2tr: ScriptBuf::new_p2tr(SECP256K1, key.x_only_public_key().0, None),
        })
    }

    fn key(&self, index: u32) -> Result<Key<WalletChild>, Refused> {
        let base = Base(Xpriv {
            network: self.public.network,
            depth: self.public.depth,
            parent_fingerprint: self.public.parent_fingerprint,
            child_number: self.public.child_number,
            private_key: *self.key.to(DeriveChild),
            chain_code: self.public.chain_code,
        });
        let child = base.0.derive_priv(SECP256K1, &[child(index)?]);
        let child = Base(child.map_err(|_| KeyError::OffCurve)?);
        Ok(Key::new(child.0.private_key))
    }

    /// Signs all inputs of `tx`, which spend `coins` in this order.
    pub(crate) fn sign(&self, tx: &Transaction, coins: &[Coin]) -> Result<Vec<Witness>, Refused> {
        self.sign_after(tx, Vec::new(), coins)
    }

    /// The same for inputs that stand behind those that spend `others`.
    pub(crate) fn sign_after(
        &self,
        tx: &Transaction,
        others: Vec<TxOut>,
        coins: &[Coin],
    ) -> Result<Vec<Witness>, Refused> {
        let (first, mut spent) = (others.len(), others);
        for coin in coins {
            let address = self.address(coin.key.index)?;
            let script_pubkey = match coin.key.kind {
                AddressKind::P2wpkh => address.p2wpkh,
                AddressKind::P2tr => address.p2tr,
            };
            let value = Amount::from_sat(coin.value.0);
            spent.push(TxOut {
                value,
                script_pubkey,
            });
        }
        let mut hashes = SighashCache::new(tx);
        let mut witnesses = Vec::with_capacity(coins.len());
        for (at, (coin, output)) in (first..).zip(coins.iter().zip(spent.iter().skip(first))) {
            let key = self.key(coin.key.index)?;
            let witness = match coin.key.kind {
                AddressKind::P2wpkh => sign_p2wpkh(&mut hashes, at, output, &key),
                AddressKind::P2tr => sign_p2tr(&mut hashes, at, &spent, &key),
            };
            witnesses.push(witness.ok_or(TxError::Sighash)?);
        }
        Ok(witnesses)
    }

    /// The wallet's scripts as far as index `next`, which has not been handed out.
    pub(crate) fn scripts(&self, next: u32) -> WalletScripts<'_> {
        WalletScripts { wallet: self, next }
    }
}

/// Answers whether a script is an address that was handed out.
pub(crate) struct WalletScripts<'a> {
    wallet: &'a Wallet,
    next: u32,
}

impl WalletScripts<'_> {
    /// `hint`: the index that it may have.
    pub(crate) fn is_ours(&self, hint: Option<u32>, script: &Script) -> bool {
        let matches = |address: &Address| *address.p2wpkh == *script || *address.p2tr == *script;
        let hinted = hint.filter(|hint| *hint < self.next);
        let hinted = hinted.and_then(|hint| self.wallet.address(hint).ok());
        if hinted.is_some_and(|address| matches(&address)) {
            return true;
        }
        let mut scripts = self.wallet.scripts.borrow_mut();
        while scripts.next < self.next {
            let index = scripts.next;
            if let Ok(address) = self.wallet.address(index) {
                scripts.index_of.insert(address.p2wpkh, index);
                scripts.index_of.insert(address.p2tr, index);
            }
            scripts.next = index.saturating_add(1);
        }
        scripts.index_of.contains_key(script)
    }
}

/// What the wallet derives from: of a 32-byte seed the root, of words the account of BIP 86.
pub(crate) fn account(seed: &Seed, network: NetworkKind) -> Result<Base, KeyError> {
    let master = |seed: &[u8]| Xpriv::new_master(network, seed).map(Base);
    match seed {
        Seed::Plain(_) => expand_until(seed.whole(), Label::Bip32Seed, |seed| {
            master(&seed[..]).ok()
        }),
        Seed::Mnemonic(_) => {
            let master = master(seed.whole()).map_err(|_| KeyError::OffCurve)?;
            let hardened = |index| ChildNumber::Hardened { index };
            let path = [hardened(86), hardened(0), hardened(0)];
            let account = master.0.derive_priv(SECP256K1, &path);
            account.map(Base).map_err(|_| KeyError::OffCurve)
        }
    }
}

fn child(index: u32) -> Result<ChildNumber, Refused> {
    ChildNumber::from_normal_idx(index).map_err(|_| Refused::NoAddress(index))
}

fn p2wpkh(key: &PublicKey) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&CompressedPublicKey(*key).wpubkey_hash())
}

// W5: SIGHASH_ALL and SIGHASH_DEFAULT alone.
fn sign_p2wpkh(
    hashes: &mut SighashCache<&Transaction>,
    at: usize,
    output: &TxOut,
    key: &Key<WalletChild>,
) -> Option<Witness> {
    let all = EcdsaSighashType::All;
    let hash = hashes
        .p2wpkh_signature_hash(at, &output.script_pubkey, output.value, all)
        .ok()?;
    let message = Message::from_digest(hash.to_byte_array());
    // With a low R it is 71 bytes at most, as the wallet's fees assume.
    let signature = SECP256K1.sign_ecdsa_low_r(&message, key.to(SpendP2wpkh));
    let signature = bitcoin::ecdsa::Signature {
        signature,
        sighash_type: all,
    };
    Some(Witness::p2wpkh(&signature, &key.public()))
}

fn sign_p2tr(
    hashes: &mut SighashCache<&Transaction>,
    at: usize,
    spent: &[TxOut],
    key: &Key<WalletChild>,
) -> Option<Witness> {
    let default = TapSighashType::Default;
    let hash = hashes
        .taproot_key_spend_signature_hash(at, &Prevouts::All(spent), default)
        .ok()?;
    let message = Message::from_digest(hash.to_byte_array());
    let mut pair = Keypair::from_secret_key(SECP256K1, key.to(SpendP2tr));
    let mut tweaked = pair.tap_tweak(SECP256K1, None).to_keypair();
    let signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &tweaked);
    pair.non_secure_erase();
    tweaked.non_secure_erase();
    let signature = bitcoin::taproot::Signature {
        signature,
        sighash_type: default,
    };
    Some(Witness::p2tr_key_spend(&signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn addresses(seed: &Seed, indices: &[u32]) -> Vec<(String, String)> {
        let wallet = Wallet::derive(seed).unwrap();
        let text =
            |address: Address| (address.p2wpkh.to_hex_string(), address.p2tr.to_hex_string());
        indices
            .iter()
            .map(|index| text(wallet.address(*index).unwrap()))
            .collect()
    }

    // Computed from RFC 5869, BIP 32, BIP 341 by a program that shares no code with this one.
    #[test]
    fn addresses_of_a_plain_seed_are_those_of_core_lightning() {
        let seed = Seed::Plain(Secret::new(std::array::from_fn(|at| at as u8 + 1)));
        let expected = [
            (
                "0014b2dabd33a3937fbafaadff590da385982c92c1a7",
                "51200a47f7bb36a7a47cfe76cec29770291db642a7bce59fd7badf49f1f18893e2fc",
            ),
            (
                "00142b193ae05eaca9df90691ae30719e080a56f9cac",
                "5120d44ad0df477f10426490b62c1ea33de04df07e8c6daa8c61685cb4462c366c5f",
            ),
            (
                "0014986e48909f2c7e2efa35176c991ef5846944b42c",
                "51204420f931fc069eb3570f7d5c1c7c403779e7a6e2ee0b463ccf37ff593743f870",
            ),
        ];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(addresses(&seed, &[0, 1, 9]), expected);
    }

    // Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_wallet.py: the xpub of
    // the mnemonic's descriptors; and BIP 86's own first address of the same mnemonic.
    #[test]
    fn addresses_of_a_mnemonic_are_those_of_its_descriptors() {
        use bitcoin::secp256k1::SECP256K1;
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";
        let seed = Seed::parse(&[&[0; 32], words.as_bytes()].concat()).unwrap();
        let xpub: Xpub = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3U\
                          KDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
            .parse()
            .unwrap();
        let key = |index| {
            let path = [CHAIN, ChildNumber::Normal { index }];
            xpub.derive_pub(SECP256K1, &path).unwrap().public_key
        };
        let ours = addresses(&seed, &[0, 1, 2]);
        for (index, (wpkh, _)) in (0..).zip(&ours) {
            assert_eq!(*wpkh, p2wpkh(&key(index)).to_hex_string());
        }
        assert_eq!(
            ours[0].1,
            "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
        );
    }
}
