//! Core Lightning's own Python client, `pyln-client` from PyPI. Where Python or PyPI cannot be
//! reached, the test says so and proves nothing.

use blackbox::Network;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "pyln-client==26.6.9";

/// A Python with the package: in the cache of `cargo xtask setup`, made there if need be.
fn python() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").ok_or("there is no $HOME")?;
    let cache = Path::new(&home).join(".cache/bulkhead");
    let folder = cache.join(PACKAGE);
    let python = folder.join("bin/python");
    let done = folder.join("installed");
    if done.is_file() {
        return Ok(python);
    }
    fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let _ = fs::remove_dir_all(&folder); // what an interrupted run left
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--retries=1", PACKAGE];
    run(Command::new(&python).args(pip))?;
    fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    let failed = || format!("{command:?}: {}: {error}", output.status);
    output.status.success().then_some(()).ok_or_else(failed)
}

#[test]
fn cln_s_python_client_pays_and_lists() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return eprintln!("SKIPPED, {PACKAGE} cannot be had: {why}"),
    };
    let (network, _) = Network::pair(1_000_000).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/pyln_client.py");
    let sockets = network.nodes.iter().map(|node| node.rpc_socket());
    run(Command::new(python).arg(script).args(sockets)).unwrap();
}
