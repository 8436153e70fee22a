//! The hash that both ends of an edge compare before anything else.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The golden text: every type that crosses an edge, comments left out (`cargo xtask schema` writes it).
pub const SCHEMA_TEXT: &str = include_str!("../../../schema.lock");

/// SHA-256 of [`SCHEMA_TEXT`].
pub static SCHEMA: LazyLock<[u8; 32]> =
    LazyLock::new(|| Sha256::digest(SCHEMA_TEXT.as_bytes()).into());

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo xtask schema --check` compares the text with the sources; this shows that it is there.
    #[test]
    fn the_golden_text_names_every_edge() {
        let edges = [
            "lightningd_channeld",
            "lightningd_connectd",
            "lightningd_chaind",
            "lightningd_onchaind",
            "lightningd_payd",
            "connectd_channeld",
            "hsm_ctl",
            "hsm_noise",
            "hsm_chan",
            "hsm_wallet",
            "hsm_gossip",
            "hsm_invoice",
            "hsm_operator",
            "hsm_onchain",
            "hsm_pay",
            "hsm_rpc",
            "hsm_tip",
            "hsm_backup",
        ];
        for edge in edges {
            assert!(SCHEMA_TEXT.contains(&format!("=\"{edge}\"")), "{edge}");
        }
        // One list for hsmd's edges, one for the others.
        let lists = SCHEMA_TEXT.split("edges!{").skip(1);
        let named = lists.map(|list| list.split_once('}').unwrap().0);
        assert_eq!(
            named.map(|list| list.matches('"').count()).sum::<usize>(),
            2 * edges.len(),
            "an edge is missing in this test"
        );
    }

    /// All that can be asked of hsmd, from the golden text: one enum for each role, and what CHAN's are made of.
    fn requests() -> Vec<&'static str> {
        let ours = |part: &&str| {
            part.starts_with("ipc/messages/hsm/src/")
                || part.starts_with("protocol/tx/src/signer.rs")
                || part.starts_with("protocol/tx/src/onchain.rs")
                || part.starts_with("protocol/tx/src/closing.rs")
        };
        let parts = SCHEMA_TEXT.split("\n== ").filter(ours);
        let items = [
            "pub enum Request{",
            "pub struct NextRemote{",
            "pub struct NextLocal{",
            "pub struct CloseTerms{",
        ];
        let in_part = |part: &'static str| {
            items.into_iter().filter_map(move |item| {
                let (_, rest) = part.split_once(item)?;
                Some(rest.split_once("\n}")?.0)
            })
        };
        parts.flat_map(in_part).collect()
    }

    // D1: what is signed is made here from typed facts. Raw bytes would be a way in for anything.
    #[test]
    fn d1_no_request_carries_a_digest_a_transaction_or_a_path() {
        let requests = requests();
        let has = |what: &str| requests.iter().any(|item| item.contains(what));
        // The requests themselves, and what three of them are made of.
        assert!(has("SignRemote(NextRemote)") && has("tickets:"));
        assert!(has("htlc_signatures:") && has("remote_script:"));
        assert!(
            requests
                .iter()
                .any(|item| item.contains("SignChannelUpdate{"))
        );
        let forbidden = [
            "digest",
            "sighash",
            "merkle",
            "Psbt",
            "Transaction",
            "DerivationPath",
            "ChildNumber",
            "label",
            "[u8;",
            "Vec<u8>",
        ];
        for item in requests {
            for word in forbidden {
                assert!(!item.contains(word), "{word} in {item}");
            }
        }
    }

    #[test]
    fn the_hash_is_that_of_the_text() {
        let hash: [u8; 32] = Sha256::digest(SCHEMA_TEXT).into();
        assert_eq!(*SCHEMA, hash);
        assert_ne!(hash, <[u8; 32]>::from(Sha256::digest("")));
    }
}
