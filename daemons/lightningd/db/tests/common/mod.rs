#![allow(dead_code)] // each test file uses some of it

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lightningd_db::{Batch, Cf, Db, Identity, Record, SCHEMA};
use serde::{Deserialize, Serialize};
use wire::ChannelId;

/// What a test keeps under (writer, number).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub number: u64,
    pub filler: Vec<u8>,
}

impl Record for Entry {
    const CF: Cf = Cf::Htlcs;
    const VERSION: u8 = 1;
    type Key = (u32, u64);
}

/// The same in a column family that is not read through on start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    pub number: u64,
    pub filler: Vec<u8>,
}

impl Record for Old {
    const CF: Cf = Cf::Forwards;
    const VERSION: u8 = 1;
    type Key = u64;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub state: u64,
}

impl Record for Channel {
    const CF: Cf = Cf::Channels;
    const VERSION: u8 = 1;
    type Key = ChannelId;
}

pub fn identity() -> Identity {
    Identity {
        node_id: [2; 33],
        network: "regtest".into(),
        schema: SCHEMA,
    }
}

/// Depends on every input bit, so that a wrong one shows.
pub fn filler(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}

pub fn entry(writer: u32, number: u64, len: usize) -> Entry {
    Entry {
        number,
        filler: filler(number ^ u64::from(writer) << 32, len),
    }
}

pub fn put(batch: &mut Batch, writer: u32, number: u64, len: usize) {
    batch.put(&(writer, number), &entry(writer, number, len));
}

/// All that is in a folder: names, lengths and contents.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            (
                file.file_name().into_string().unwrap(),
                fs::read(file.path()).unwrap(),
            )
        })
        .collect()
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (name, bytes) in contents(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

pub fn reopen(path: &Path) -> Db {
    Db::open(path, &identity()).unwrap_or_else(|e| panic!("{e}"))
}
