//! Commands on a seed file while no node runs.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use bitcoin::address::NetworkUnchecked;
use bitcoin::constants::ChainHash;
use bitcoin::{Address, Network, NetworkKind};
use hsm::offline::{self, PaymentKeys, SeedFolder};
use hsm::{Origin, StoredSeed};
use hsm_messages::operator::{SOCKET, SeedFormat};
use tx::error::KeyError;
use tx::script::to_remote_script_pubkey;
use tx::setup::CommitmentFormat;
use wire::NodeId;

use crate::failure::Failure;
use crate::numbers::Numbers;
use crate::{Facts, descriptor, prompt};

/// The folder of a seed file that no running node uses.
fn folder(file: &Path) -> Result<SeedFolder, Failure> {
    if file.file_name().is_none_or(|name| name != "hsm_secret") {
        return Err(Failure::Name(file.to_owned()));
    }
    let path = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let opened = File::open(path).map_err(|source| Failure::Folder {
        path: path.to_owned(),
        source,
    })?;
    // A locked hsmd has no journal open yet, but it listens.
    if UnixStream::connect(path.join(SOCKET)).is_ok() {
        return Err(Failure::Answers);
    }
    let folder = SeedFolder::new(opened.into());
    folder.check_unused().map_err(Failure::Running)?;
    Ok(folder)
}

fn stored(folder: &SeedFolder, file: &Path) -> Result<StoredSeed, Failure> {
    folder
        .read()?
        .ok_or_else(|| Failure::NoFile(file.to_owned()))
}

/// What the file says; asks for the passphrase if it needs one.
fn open(stored: &StoredSeed) -> Result<Origin, Failure> {
    match stored.open() {
        Err(hsm::SeedError::Locked) => Ok(stored.unlock(&prompt::passphrase("Passphrase")?)?),
        origin => Ok(origin?),
    }
}

pub fn generate(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    if folder.read()?.is_some() {
        return Err(hsm::SeedError::Exists.into());
    }
    let origin = Origin::generate()?;
    let words = origin.mnemonic().unwrap_or_default();
    if io::stdin().is_terminal() {
        eprintln!(
            "Write these words down, in this order. They are shown this once:\n\n    {words}\n"
        );
        eprintln!("Whoever has them has the coins; without them nothing brings a lost seed back.");
        if **prompt::line("Type yes when you have them")? != *b"yes" {
            return Err(Failure::NotConfirmed);
        }
    }
    folder.create(&origin.open_file())?;
    let mut facts = vec![("node_id", offline::node_id(&origin)?.to_string())];
    if !io::stdin().is_terminal() {
        // A script asked: it gets them this once.
        facts.push(("words", words.to_owned()));
    }
    Ok(facts)
}

pub fn restore(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    if folder.read()?.is_some() {
        return Err(hsm::SeedError::Exists.into());
    }
    let origin = Origin::words(prompt::words()?.as_bytes())?;
    folder.create(&origin.open_file())?;
    done(&origin)
}

pub fn encrypt(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let stored = stored(&folder, file)?;
    if stored.format() == SeedFormat::Sealed {
        return Err(Failure::Sealed);
    }
    let origin = open(&stored)?;
    folder.replace(&stored, &origin.sealed_file(&prompt::new_passphrase()?)?)?;
    done(&origin)
}

pub fn decrypt(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let stored = stored(&folder, file)?;
    match stored.format() {
        SeedFormat::Plain | SeedFormat::Mnemonic => return Err(Failure::NotSealed),
        SeedFormat::MnemonicWithPassphrase => return Err(Failure::WordsNeedIt),
        SeedFormat::Encrypted | SeedFormat::Sealed | SeedFormat::Unknown => {}
    }
    let origin = open(&stored)?;
    folder.replace(&stored, &origin.open_file())?;
    done(&origin)
}

pub fn change_passphrase(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let stored = stored(&folder, file)?;
    match stored.format() {
        SeedFormat::Plain | SeedFormat::Mnemonic => return Err(Failure::NotSealed),
        SeedFormat::MnemonicWithPassphrase
        | SeedFormat::Encrypted
        | SeedFormat::Sealed
        | SeedFormat::Unknown => {}
    }
    let origin = open(&stored)?;
    folder.replace(&stored, &origin.sealed_file(&prompt::new_passphrase()?)?)?;
    done(&origin)
}

pub fn check(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let origin = open(&stored(&folder, file)?)?;
    match origin.mnemonic() {
        Some(words) if *words == **prompt::words()? => done(&origin),
        Some(_) | None => Err(Failure::OtherWords),
    }
}

pub fn words(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let origin = open(&stored(&folder, file)?)?;
    let words = origin.mnemonic().ok_or(Failure::NoWords)?;
    Ok(vec![("words", words.to_owned())])
}

pub fn node_id(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    done(&open(&stored(&folder, file)?)?)
}

pub fn descriptors(file: &Path, network: Network) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let origin = open(&stored(&folder, file)?)?;
    let (xpub, path) = offline::wallet_xpub(&origin, NetworkKind::from(network))?;
    let key = format!("{xpub}{path}");
    Ok(vec![
        ("wpkh", descriptor::with_checksum(&format!("wpkh({key})"))),
        ("tr", descriptor::with_checksum(&format!("tr({key})"))),
    ])
}

/// An output of a peer's commitment that may be ours.
pub struct ToRemote<'a> {
    pub address: &'a Address<NetworkUnchecked>,
    pub peer: NodeId,
    pub numbers: Numbers,
}

pub fn guess_to_remote(
    file: &Path,
    wanted: &ToRemote<'_>,
    private_key: bool,
) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let origin = open(&stored(&folder, file)?)?;
    let script = &wanted.address.assume_checked_ref().script_pubkey();
    let format = match script.is_p2wpkh() {
        true => CommitmentFormat::StaticRemotekey,
        false => CommitmentFormat::AnchorsZeroFeeHtlc,
    };
    // To each thread its own: secrets are not shared.
    let tries = (0..thread::available_parallelism().map_or(1, NonZero::get)).map(|_| {
        let keys = PaymentKeys::new(&origin)?;
        Ok(move |channel| {
            let key = keys.public(&wanted.peer, channel)?;
            let pays = to_remote_script_pubkey(format, &key) == *script;
            Ok(pays.then_some((channel, key)))
        })
    });
    let tries = tries.collect::<Result<Vec<_>, KeyError>>()?;
    let found = wanted.numbers.search::<_, KeyError>(tries)?;
    let (channel, key) = found.ok_or(Failure::NotToRemote(wanted.numbers))?;
    let descriptor = match format {
        CommitmentFormat::StaticRemotekey => format!("wpkh({key})"),
        // BOLT 3, to_remote Output: after one block.
        CommitmentFormat::AnchorsZeroFeeHtlc => format!("wsh(and_v(v:pk({key}),older(1)))"),
    };
    let mut facts = vec![
        ("channel", channel.0.to_string()),
        ("pubkey", key.to_string()),
        ("descriptor", descriptor::with_checksum(&descriptor)),
    ];
    if private_key {
        let mut secret = PaymentKeys::new(&origin)?.secret(&wanted.peer, channel)?;
        facts.push(("privkey", secret.display_secret().to_string()));
        secret.non_secure_erase();
    }
    Ok(facts)
}

pub fn verify_journal(file: &Path) -> Result<Facts, Failure> {
    let folder = folder(file)?;
    let found = folder.verify_journal(&open(&stored(&folder, file)?)?)?;
    let chain = ChainHash::from(found.chain_hash.0);
    let network = Network::from_chain_hash(chain).map_or("unknown".to_owned(), |n| n.to_string());
    Ok(vec![
        ("records", found.newest.sequence.to_string()),
        ("epoch", found.newest.epoch.to_string()),
        ("head", hex::encode(found.newest.head)),
        ("channels", found.channels.to_string()),
        ("network", network),
        ("torn_bytes", found.torn.to_string()),
    ])
}

fn done(origin: &Origin) -> Result<Facts, Failure> {
    Ok(vec![("node_id", offline::node_id(origin)?.to_string())])
}
