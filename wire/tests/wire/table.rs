//! Builds encoded messages from the table of all messages, without the crate's own structs.

use serde_json::{Map, Value, json};

use crate::files::{list, own, shared};

/// One field of a message or of a TLV record.
#[derive(Clone)]
pub struct Field {
    pub name: String,
    kind: String,
    /// Empty for a single value.
    count: String,
}

pub struct Record {
    type_num: u64,
    pub name: String,
    pub fields: Vec<Field>,
}

pub struct Layout {
    pub num: u16,
    pub name: String,
    pub fields: Vec<Field>,
    pub tlvs: Vec<Record>,
}

/// An encoded message and the numbers in it, by field name.
pub struct Instance {
    pub bytes: Vec<u8>,
    pub numbers: Map<String, Value>,
    pub tlvs: Vec<String>,
}

/// The project's own table.
pub fn own_table() -> Vec<Layout> {
    let file = own("wire/messages.json");
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let field = |v: &Value| {
        let text = text(v);
        let mut parts = text.split(' ').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Field {
            name: next(),
            kind: next(),
            count: next(),
        }
    };
    let layout = |m: &Value| Layout {
        num: m["num"].as_u64().unwrap() as u16,
        name: text(&m["name"]),
        fields: list(&m["fields"]).iter().map(field).collect(),
        tlvs: (m["tlvs"].as_array().into_iter().flatten())
            .map(|r| Record {
                type_num: r[0].as_u64().unwrap(),
                name: text(&r[1]),
                fields: list(r)[2..].iter().map(field).collect(),
            })
            .collect(),
    };
    list(&file["messages"]).iter().map(layout).collect()
}

/// The collection's table, where it lies beside the project.
pub fn shared_table() -> Vec<Layout> {
    let Some(file) = shared("api/bolts.json") else {
        return vec![];
    };
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let field = |f: &Value| Field {
        name: text(&f[0]),
        kind: text(&f[1]),
        count: f.get(2).map(text).unwrap_or_default(),
    };
    let record = |r: &Value| Record {
        type_num: r["type"].as_u64().unwrap(),
        name: text(&r["name"]),
        fields: list(&r["fields"]).iter().map(field).collect(),
    };
    let stream = |name: &Value| {
        let streams = list(&file["tlv_streams"]);
        let stream = streams
            .iter()
            .find(|s| s["stream"] == *name)
            .expect("the stream");
        list(&stream["records"]).iter().map(record).collect()
    };
    (list(&file["messages"]).iter())
        .map(|m| Layout {
            num: m["num"].as_u64().unwrap() as u16,
            name: text(&m["name"]),
            fields: list(&m["fields"]).iter().map(field).collect(),
            tlvs: m.get("tlvs").map(stream).unwrap_or_default(),
        })
        .collect()
}

/// A stream of numbers that is the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

impl Layout {
    /// A message with the TLV records whose bits are set in `tlvs`; lists have `len` elements.
    pub fn build(&self, numbers: &mut Numbers, len: usize, tlvs: u32) -> Instance {
        let mut found = Map::new();
        let mut bytes = self.num.to_be_bytes().to_vec();
        bytes.extend(build(&self.fields, numbers, len, &mut found));
        let chosen = self
            .tlvs
            .iter()
            .zip(0..)
            .filter(|(_, i)| tlvs >> i & 1 == 1);
        let mut names = vec![];
        for (record, _) in chosen {
            let value = build(&record.fields, numbers, len, &mut Map::new());
            bigsize(record.type_num, &mut bytes);
            bigsize(value.len() as u64, &mut bytes);
            bytes.extend(value);
            names.push(record.name.clone());
        }
        Instance {
            bytes,
            numbers: found,
            tlvs: names,
        }
    }

    /// The fields that a struct must have: all but lengths, then the TLV records.
    pub fn struct_fields(&self) -> Vec<String> {
        let is_length = |f: &Field| self.fields.iter().any(|other| other.count == f.name);
        let fields = self
            .fields
            .iter()
            .filter(|f| !is_length(f))
            .map(|f| f.name.clone());
        fields
            .chain(self.tlvs.iter().map(|r| r.name.clone()))
            .collect()
    }
}

fn build(
    fields: &[Field],
    numbers: &mut Numbers,
    len: usize,
    found: &mut Map<String, Value>,
) -> Vec<u8> {
    let mut bytes = vec![];
    for field in fields {
        if fields.iter().any(|other| other.count == field.name) {
            assert_eq!(field.kind, "u16");
            bytes.extend((len as u16).to_be_bytes());
            continue;
        }
        let count = match field.count.as_str() {
            "" => {
                let one = value(&field.kind, numbers);
                if let Some(number) = number(&field.kind, &one) {
                    found.insert(field.name.clone(), number);
                }
                bytes.extend(one);
                continue;
            }
            "..." => len,
            fixed_or_field => fixed_or_field.parse().unwrap_or(len),
        };
        (0..count).for_each(|_| bytes.extend(value(&field.kind, numbers)));
    }
    bytes
}

fn number(kind: &str, bytes: &[u8]) -> Option<Value> {
    let unsigned = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    match kind {
        "byte" | "u8" | "u16" | "u32" | "u64" | "short_channel_id" => Some(json!(unsigned)),
        "s64" => Some(json!(unsigned as i64)),
        _ => None,
    }
}

/// One value of a type of the BOLTs.
fn value(kind: &str, numbers: &mut Numbers) -> Vec<u8> {
    match kind {
        "byte" | "u8" => numbers.bytes(1),
        "u16" => numbers.bytes(2),
        "u32" | "sha256[..4]" => numbers.bytes(4),
        "u64" | "s64" | "short_channel_id" | "channel_update_checksums" => numbers.bytes(8),
        "chain_hash" | "channel_id" | "sha256" => numbers.bytes(32),
        "signature" => {
            let mut bytes = numbers.bytes(64);
            (bytes[0], bytes[32]) = (0, 0); // below the order
            bytes
        }
        "point" => {
            let mut secret = numbers.bytes(32);
            secret[0] = 1;
            let key = secp256k1::SecretKey::from_slice(&secret).unwrap();
            key.public_key(secp256k1::SECP256K1).serialize().to_vec()
        }
        "witness" => {
            let len = numbers.next() % 300;
            [
                &(len as u16).to_be_bytes()[..],
                &numbers.bytes(len as usize),
            ]
            .concat()
        }
        "bigsize" => {
            let mut bytes = vec![];
            let shift = numbers.next() % 64;
            bigsize(numbers.next() >> shift, &mut bytes);
            bytes
        }
        other => panic!("the table has a new type: {other}"),
    }
}

/// Written again, so that the crate's own is not what checks it.
fn bigsize(n: u64, to: &mut Vec<u8>) {
    let all = n.to_be_bytes();
    match n {
        0..=0xfc => to.push(all[7]),
        0xfd..=0xffff => to.extend([&[0xfd], &all[6..]].concat()),
        0x1_0000..=0xffff_ffff => to.extend([&[0xfe], &all[4..]].concat()),
        _ => to.extend([&[0xff], &all[..]].concat()),
    }
}
