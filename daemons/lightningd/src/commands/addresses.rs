//! Socket addresses as CLN shows them.

use std::net::SocketAddr;

use serde_json::{Value, json};

pub fn shown(address: &SocketAddr) -> Value {
    let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    json!({"type": kind, "address": address.ip().to_string(), "port": address.port()})
}
