//! Each role's requests to the hsm's functions and back.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use hsm::{Coin, Hsm};
use ipc_messages::hsm::{Refused, gossip, invoice, noise, wallet};
use wire::ChainHash;
use wire::messages::ChannelUpdate;

use crate::serve::refused;

pub fn noise(hsm: &Hsm, request: noise::Request) -> noise::Reply {
    let noise::Request::Step { step } = request;
    match hsm.noise_step(&step) {
        Ok(keys) => noise::Reply::Step { keys },
        Err(_) => noise::Reply::BadAct,
    }
}

pub fn wallet(hsm: &mut Hsm, request: wallet::Request) -> wallet::Reply {
    match request {
        wallet::Request::GetAddress => match hsm.get_address() {
            Ok(address) => wallet::Reply::Address {
                index: address.index,
                p2wpkh: address.p2wpkh,
                p2tr: address.p2tr,
            },
            Err(why) => wallet::Reply::Refused(refused(&why)),
        },
        wallet::Request::Sign { spend } => match hsm.sign_spend(&transaction(&spend), &coins(&spend)) {
            Ok(witnesses) => {
                wallet::Reply::Signed { witnesses: witnesses.iter().map(Witness::to_vec).collect() }
            }
            Err(why) => wallet::Reply::Refused(refused(&why)),
        },
    }
}

/// Rule D1: the transaction is built here, from typed facts.
fn transaction(spend: &wallet::Spend) -> Transaction {
    let input = spend.inputs.iter().map(|input| TxIn {
        previous_output: input.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence(input.sequence),
        witness: Witness::new(),
    });
    let output = spend.outputs.iter().map(|output| TxOut {
        value: Amount::from_sat(output.value.0),
        script_pubkey: output.script.clone(),
    });
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(spend.locktime),
        input: input.collect(),
        output: output.collect(),
    }
}

fn coins(spend: &wallet::Spend) -> Vec<Coin> {
    let key = |key: wallet::WalletKey| hsm::WalletKey {
        index: key.index,
        kind: match key.kind {
            wallet::AddressKind::P2wpkh => hsm::AddressKind::P2wpkh,
            wallet::AddressKind::P2tr => hsm::AddressKind::P2tr,
        },
    };
    spend.inputs.iter().map(|input| Coin { value: input.value, key: key(input.key) }).collect()
}

pub fn gossip(hsm: &Hsm, request: gossip::Request) -> gossip::Reply {
    let gossip::Request::SignChannelUpdate { update } = request;
    match hsm.sign_channel_update(&channel_update(&update)) {
        Ok(signature) => gossip::Reply::Signed { signature },
        Err(why) => gossip::Reply::Refused(refused(&why)),
    }
}

fn channel_update(facts: &gossip::ChannelUpdateFacts) -> ChannelUpdate {
    ChannelUpdate {
        signature: placeholder(),
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp: facts.timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: u32::try_from(facts.fee_base.0).unwrap_or(u32::MAX),
        fee_proportional_millionths: facts.fee_proportional_millionths,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: Vec::new(),
    }
}

/// What stands in the signature's place while the rest is hashed; it is not part of the hash.
fn placeholder() -> secp256k1::ecdsa::Signature {
    let zero = secp256k1::ecdsa::Signature::from_compact(&[0; 64]);
    // 64 zero bytes are a well-formed (and never valid) compact signature.
    zero.unwrap_or_else(|_| std::process::abort())
}

pub fn invoice(hsm: &Hsm, request: invoice::Request) -> invoice::Reply {
    let invoice::Request::SignBolt11 { fields } = request;
    let genesis = bitcoin::constants::genesis_block(fields.network).block_hash();
    let hash = match fields.signing_hash() {
        Ok(hash) => hash,
        Err(why) => {
            let reason = format!("no invoice can be made of this: {why}");
            return invoice::Reply::Refused(Refused { rule: "I1".to_owned(), reason });
        }
    };
    match hsm.sign_bolt11(ChainHash(genesis.to_byte_array()), hash) {
        Ok((signature, recovery_id)) => invoice::Reply::Signed { signature, recovery_id },
        Err(why) => invoice::Reply::Refused(refused(&why)),
    }
}
