//! What hsmd does for users by name: makesecret, signmessage, and checkmessage, which needs no key.

use std::sync::Arc;

use bitcoin::hashes::{Hash, sha256d};
use lightningd_rpc::{Args, Context, RpcError, code};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1};
use serde_json::json;
use wire::NodeId;

use super::{Outcome, error, failed};
use crate::node::Node;

/// Bytes of a text that is signed, at most.
const MAX_TEXT: usize = 65_535;
/// What the signature's first byte is above its recovery id (LND's SigRec).
const SIGREC: u8 = 31;
const PREFIX: &[u8] = b"Lightning Signed Message:";

pub async fn makesecret(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let hex: Option<Vec<u8>> = args.optional("hex")?;
    let string: Option<String> = args.optional("string")?;
    let info = match (hex, string) {
        (Some(info), None) => info,
        (None, Some(info)) => info.into_bytes(),
        (Some(_), Some(_)) => {
            return Err(RpcError::invalid_params("Cannot have both hex and string"));
        }
        (None, None) => {
            return Err(RpcError::invalid_params("Must have either hex or string"));
        }
    };
    let secret = node.hsm.make_secret(info).await.map_err(failed)?;
    Ok(json!({ "secret": hex::encode(secret) }))
}

pub async fn signmessage(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let message: String = args.required("message")?;
    if message.len() > MAX_TEXT {
        return Err(RpcError::invalid_params("Message must be < 64k"));
    }
    let signed = node.hsm.sign_message(message).await;
    let (signature, recovery_id) = signed.map_err(failed)?;
    let sigrec = [&[SIGREC.saturating_add(recovery_id)], &signature[..]].concat();
    Ok(json!({
        "signature": hex::encode(signature),
        "recid": hex::encode([recovery_id]),
        "zbase": zbase32(&sigrec),
    }))
}

pub async fn checkmessage(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let message: String = args.required("message")?;
    let zbase: String = args.required("zbase")?;
    let claimed: Option<NodeId> = args.optional("pubkey")?;
    let signature = signature(&zbase)?;
    let hash = sha256d::Hash::hash(&[PREFIX, message.as_bytes()].concat());
    let digest = Message::from_digest(hash.to_byte_array());
    let Ok(key) = SECP256K1.recover_ecdsa(&digest, &signature) else {
        return Ok(json!({ "verified": false }));
    };
    let key = NodeId(key);
    // Any key signs something: without a claim it has to be a node that we know, which is us alone
    // as long as there is no gossip.
    if claimed.is_none() && key != node.id {
        let why = error(
            code::SIGNMESSAGE_PUBKEY_NOT_FOUND,
            "pubkey not found in the graph",
        );
        return Err(why.with_data(json!({ "claimed_key": key.to_string() })));
    }
    let verified = claimed.unwrap_or(node.id) == key;
    Ok(json!({ "pubkey": key.to_string(), "verified": verified }))
}

fn signature(zbase: &str) -> Result<RecoverableSignature, RpcError> {
    let invalid = |text: &str| RpcError::invalid_params(text);
    let bytes = from_zbase32(zbase).ok_or_else(|| invalid("zbase is not valid zbase32"))?;
    let (first, compact) = match bytes.split_first() {
        Some((first, compact)) if compact.len() == 64 => (*first, compact),
        Some((_, compact)) if compact.len() > 64 => return Err(invalid("zbase is too long")),
        Some(_) | None => return Err(invalid("zbase is too short")),
    };
    let id = first.checked_sub(SIGREC).map(i32::from);
    id.and_then(|id| RecoveryId::from_i32(id).ok())
        .and_then(|id| RecoverableSignature::from_compact(compact, id).ok())
        .ok_or_else(|| invalid("cannot parse zbase signature"))
}

/// Human-oriented base 32: five bits a letter, the easy ones first.
const LETTERS: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

fn zbase32(bytes: &[u8]) -> String {
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    (0..(bytes.len() * 8).div_ceil(5))
        .map(|letter| {
            let index = (0..5).fold(0, |sum, at| sum << 1 | bit(letter * 5 + at));
            char::from(LETTERS[index])
        })
        .collect()
}

/// Whole bytes only, as they are in every text that is of use here.
fn from_zbase32(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(8) {
        return None;
    }
    let index = |letter: u8| LETTERS.iter().position(|l| *l == letter);
    let words: Vec<usize> = text.bytes().map(index).collect::<Option<_>>()?;
    let bit = |at: usize| words[at / 5] >> (4 - at % 5) & 1;
    let byte = |at: usize| (0..8).fold(0u8, |sum, i| sum << 1 | u8::from(bit(at * 8 + i) == 1));
    Some((0..text.len() / 8 * 5).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zbase32_is_read_as_it_is_written() {
        for len in [0, 5, 10, 65] {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 37 + 11) as u8).collect();
            assert_eq!(from_zbase32(&zbase32(&bytes)), Some(bytes));
        }
        assert_eq!(zbase32(&[0xff; 5]), "99999999");
        assert_eq!(from_zbase32("yyyyyyy"), None);
        assert_eq!(from_zbase32("yyyyyyyl"), None);
        assert_eq!(from_zbase32("ÿÿÿÿ"), None);
    }
}
