//! On-chain addresses of this network, and of no other.

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network, Script, ScriptBuf};

/// An address that we do not pay to. Code -32602.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("'{address}' is not an address: {why}")]
    NotAnAddress { address: String, why: String },
    #[error("{address} is an address of another network than {network}")]
    OtherNetwork { address: String, network: Network },
    #[error(
        "{address} is of witness version {version}, which has no meaning yet: anybody could take it"
    )]
    UnknownWitness { address: String, version: u8 },
}

/// Whether it was meant to be a segwit address of some network.
fn is_like_bech32(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["bc1", "tb1", "bcrt1"]
        .iter()
        .any(|hrp| lower.starts_with(hrp))
}

/// The script that an address of `network` stands for.
///
/// # Errors
/// Not an address, an address of another network, or a witness version without meaning yet.
pub fn parse_address(text: &str, network: Network) -> Result<ScriptBuf, AddressError> {
    let shown: String = text.chars().take(120).collect();
    let address: Address<NetworkUnchecked> =
        text.parse().map_err(|e| AddressError::NotAnAddress {
            address: shown.clone(),
            why: match is_like_bech32(text) {
                true => "it is mistyped, as its checksum or one of its characters shows".to_owned(),
                false => format!("{e}"),
            },
        })?;
    let address = address
        .require_network(network)
        .map_err(|_| AddressError::OtherNetwork {
            address: shown.clone(),
            network,
        })?;
    let script = address.script_pubkey();
    match script.witness_version().map(|v| v.to_num()) {
        Some(version) if version > 1 => Err(AddressError::UnknownWitness {
            address: shown,
            version,
        }),
        Some(_) | None => Ok(script),
    }
}

/// The address of a script on `network`, if it has one.
#[must_use]
pub fn describe_script(script: &Script, network: Network) -> Option<String> {
    Address::from_script(script, network)
        .ok()
        .map(|a| a.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGTEST: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    const MAINNET: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";

    #[test]
    fn an_address_of_our_network_becomes_its_script_and_back() {
        let script = parse_address(REGTEST, Network::Regtest).unwrap();
        assert!(script.is_p2wpkh());
        assert_eq!(
            describe_script(&script, Network::Regtest).as_deref(),
            Some(REGTEST)
        );
        assert!(parse_address("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", Network::Bitcoin).is_ok());
    }

    #[test]
    fn an_address_of_another_network_is_named_as_such() {
        let error = parse_address(MAINNET, Network::Regtest).unwrap_err();
        assert!(matches!(error, AddressError::OtherNetwork { .. }));
        assert!(error.to_string().contains("another network than regtest"));
        assert!(parse_address(REGTEST, Network::Bitcoin).is_err());
    }

    #[test]
    fn a_typing_error_is_not_an_address() {
        let broken = REGTEST.replace("kyg", "kgy");
        assert!(matches!(
            parse_address(&broken, Network::Regtest),
            Err(AddressError::NotAnAddress { .. })
        ));
    }

    #[test]
    fn a_witness_version_from_the_future_is_refused() {
        // BIP 350's example of version 2.
        let future = "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs";
        assert!(matches!(
            parse_address(future, Network::Bitcoin),
            Err(AddressError::UnknownWitness { version: 2, .. })
        ));
    }
}
