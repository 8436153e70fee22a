//! Where a lightningd with these options has its socket: what lightning-cli needs to know.

use std::path::PathBuf;

use crate::collect::{Unknown, collect};
use crate::environment::Environment;
use crate::error::{OptionError, Source};
use crate::network::Network;
use crate::setting::{Raw, Value};

/// lightning-cli's own flags that lightningd has, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub conf: Option<String>,
    pub lightning_dir: Option<String>,
    /// The last one given.
    pub network: Option<String>,
    pub rpc_file: Option<String>,
}

/// Where to find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub network: Network,
    pub network_dir: PathBuf,
    /// Absolute.
    pub rpc_file: PathBuf,
}

/// Reads the configuration files as lightningd does, but for nothing else: options that only
/// lightningd understands are skipped.
pub fn locate(overrides: Overrides, environment: &Environment) -> Result<Location, OptionError> {
    let Overrides {
        conf,
        lightning_dir,
        network,
        rpc_file,
    } = overrides;
    let given = [
        ("conf", conf),
        ("lightning-dir", lightning_dir),
        ("network", network),
        ("rpc-file", rpc_file),
    ];
    let raw = given.into_iter().filter_map(|(name, value)| {
        Some(Raw {
            name: name.to_owned(),
            value: Some(value?),
            source: Source::CommandLine,
        })
    });
    let collected = collect(raw.collect(), environment, Unknown::Skip)?;
    let network_dir = collected.lightning_dir.join(collected.network.name());
    let rpc_file = collected
        .settings
        .iter()
        .rev()
        .find(|s| s.row.name == "rpc-file")
        .and_then(|s| match &s.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
    Ok(Location {
        network: collected.network,
        rpc_file: network_dir.join(rpc_file.unwrap_or("lightning-rpc")),
        network_dir,
    })
}
