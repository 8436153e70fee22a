//! Core Lightning's own Python client, `pyln-client` from PyPI, in the Python that `cargo xtask
//! setup` made for it.

use blackbox::Network;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `$PYLN_PYTHON`, or where setup puts it.
fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("PYLN_PYTHON") {
        return named.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    let python = Path::new(&home).join(".cache/bulkhead/pyln-client==26.6.9/bin/python");
    assert!(
        python.exists(),
        "run `cargo xtask setup`, or name a Python with pyln-client in $PYLN_PYTHON"
    );
    python
}

#[test]
fn cln_s_python_client_pays_and_lists() {
    let python = python();
    let (network, _) = Network::pair(1_000_000).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/pyln_client.py");
    let sockets = network.nodes.iter().map(|node| node.rpc_socket());
    let output = Command::new(python)
        .arg(script)
        .args(sockets)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
}
