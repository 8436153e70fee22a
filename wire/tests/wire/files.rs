//! Where vectors are.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A table of the project's own.
pub fn own(path: &str) -> Value {
    read(&root().join("tests/vectors").join(path))
}

/// A file of the collection that may lie beside the project; `None` where it does not.
pub fn shared(path: &str) -> Option<Value> {
    let path = root().join("../shared").join(path);
    path.exists().then(|| read(&path))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().expect("a string")).expect("hex")
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
