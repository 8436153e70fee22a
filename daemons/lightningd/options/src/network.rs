//! The chains that a node can run on.

use std::fmt;
use std::str::FromStr;

/// A Bitcoin network by CLN's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    Bitcoin,
    Testnet,
    Testnet4,
    Signet,
    Regtest,
}

impl Network {
    pub const ALL: [Network; 5] = [
        Network::Bitcoin,
        Network::Testnet,
        Network::Testnet4,
        Network::Signet,
        Network::Regtest,
    ];

    /// As in `--network`, and the name of the folder below the lightning-dir.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Network::Bitcoin => "bitcoin",
            Network::Testnet => "testnet",
            Network::Testnet4 => "testnet4",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }

    /// Whether its coins are worth nothing; such networks have laxer defaults.
    #[must_use]
    pub const fn is_test(self) -> bool {
        !matches!(self, Network::Bitcoin)
    }

    /// Port that nodes listen on unless told otherwise.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Network::Bitcoin => 9735,
            Network::Testnet => 19735,
            Network::Testnet4 => 49735,
            Network::Signet => 39735,
            Network::Regtest => 19846,
        }
    }

    /// Port of bitcoind's RPC unless told otherwise.
    #[must_use]
    pub const fn bitcoind_port(self) -> u16 {
        match self {
            Network::Bitcoin => 8332,
            Network::Testnet => 18332,
            Network::Testnet4 => 48332,
            Network::Signet => 38332,
            Network::Regtest => 18443,
        }
    }

    /// bitcoind's folder for the network below its datadir; empty for the main one.
    #[must_use]
    pub const fn bitcoind_folder(self) -> &'static str {
        match self {
            Network::Bitcoin => "",
            Network::Testnet => "testnet3",
            Network::Testnet4 => "testnet4",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }

    #[must_use]
    pub const fn bitcoin(self) -> bitcoin::Network {
        match self {
            Network::Bitcoin => bitcoin::Network::Bitcoin,
            Network::Testnet => bitcoin::Network::Testnet,
            Network::Testnet4 => bitcoin::Network::Testnet4,
            Network::Signet => bitcoin::Network::Signet,
            Network::Regtest => bitcoin::Network::Regtest,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A network name that we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown network name '{0}' (one of bitcoin, testnet, testnet4, signet, regtest)")]
pub struct UnknownNetwork(pub String);

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(name: &str) -> Result<Network, UnknownNetwork> {
        Network::ALL
            .into_iter()
            .find(|n| n.name() == name)
            .ok_or_else(|| UnknownNetwork(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_found_by_its_own_name() {
        for network in Network::ALL {
            assert_eq!(network.name().parse(), Ok(network));
        }
        assert!("mainnet".parse::<Network>().is_err()); // CLN's word is bitcoin; mainnet is a flag
    }
}
