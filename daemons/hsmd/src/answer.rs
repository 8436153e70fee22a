//! From each role's requests to what the signer does, and back. Nothing is decided here.

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash as GenesisHash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use hsm::{Coin, Hsm, Payment, Rule, UnixTime, WalletKey};
use hsm_messages::{Refused, ctl, gossip, invoice, noise, pay, wallet};
use secp256k1::ecdsa::Signature;
use tx::signer;
use wire::{ChainHash, ChannelDbid, ChannelUpdate, MilliSatoshi, NodeId};

/// What goes back to who broke a rule, and to the log.
pub fn refused(who: &str, refused: &hsm::Refused) -> Refused {
    refused_by(who, refused.rule(), refused.to_string())
}

pub fn refused_by(who: &str, rule: Rule, reason: String) -> Refused {
    tracing::warn!("refused {who} by rule {rule}: {reason}");
    Refused {
        rule: rule.to_string(),
        reason,
    }
}

pub fn noise(hsm: &mut Hsm, request: noise::Request) -> noise::Reply {
    let noise::Request::Step { step } = request;
    match hsm.noise_step(&step) {
        Ok(keys) => noise::Reply::Step { keys },
        Err(_) => noise::Reply::BadAct,
    }
}

pub fn chan(hsm: &mut Hsm, channel: ChannelDbid, request: signer::Request) -> signer::Reply {
    let reply = hsm.chan(channel, request);
    if let signer::Reply::Refused { rule, reason } = &reply {
        tracing::warn!(%channel, "refused by rule {rule}: {reason}");
    }
    reply
}

pub fn wallet(hsm: &mut Hsm, request: wallet::Request) -> wallet::Reply {
    match request {
        wallet::Request::GetAddress => match hsm.get_address() {
            Ok(address) => wallet::Reply::Address {
                index: address.index,
                p2wpkh: address.p2wpkh,
                p2tr: address.p2tr,
            },
            Err(error) => wallet::Reply::Refused(refused("wallet", &error)),
        },
        wallet::Request::Sign { spend } => {
            let (tx, coins) = transaction(spend);
            match hsm.sign_spend(&tx, &coins) {
                Ok(witnesses) => wallet::Reply::Signed {
                    witnesses: witnesses.iter().map(Witness::to_vec).collect(),
                },
                Err(error) => wallet::Reply::Refused(refused("wallet", &error)),
            }
        }
    }
}

pub fn gossip(hsm: &mut Hsm, request: gossip::Request) -> gossip::Reply {
    let gossip::Request::SignChannelUpdate { update } = request;
    let Some(update) = channel_update(&update) else {
        let reason = "fee_base does not fit into a channel_update".to_owned();
        return gossip::Reply::Refused(refused_by("gossip", Rule::G1, reason));
    };
    match hsm.sign_channel_update(&update) {
        Ok(signature) => gossip::Reply::Signed { signature },
        Err(error) => gossip::Reply::Refused(refused("gossip", &error)),
    }
}

pub fn invoice(hsm: &mut Hsm, request: invoice::Request) -> invoice::Reply {
    let invoice::Request::SignBolt11 { fields } = request;
    let hash = match fields.signing_hash() {
        Ok(hash) => hash,
        Err(error) => {
            let reason = error.to_string();
            return invoice::Reply::Refused(refused_by("invoice", Rule::I1, reason));
        }
    };
    let genesis = GenesisHash::using_genesis_block_const(fields.network).to_bytes();
    match hsm.sign_bolt11(ChainHash(genesis), hash) {
        Ok((signature, recovery_id)) => invoice::Reply::Signed {
            signature,
            recovery_id,
        },
        Err(error) => invoice::Reply::Refused(refused("invoice", &error)),
    }
}

/// The invoice is read here, so that what is approved is what its payee has signed.
pub fn pay(hsm: &mut Hsm, request: pay::Request) -> pay::Reply {
    let pay::Request::ApproveBolt11 {
        invoice,
        amount,
        max_fee,
    } = request;
    let approved = payment(&invoice, amount, max_fee).map(|payment| hsm.approve(&payment));
    pay::Reply::Refused(match approved {
        Ok(Ok(())) => return pay::Reply::Approved,
        Ok(Err(error)) => refused("pay", &error),
        Err(reason) => refused_by("pay", Rule::A1, reason),
    })
}

fn payment(
    text: &str,
    amount: Option<MilliSatoshi>,
    max_fee: MilliSatoshi,
) -> Result<Payment, String> {
    let invoice = ::invoice::parse(text).map_err(|error| error.to_string())?;
    let amount = match (invoice.amount, amount) {
        (Some(amount), None) | (None, Some(amount)) => amount,
        (Some(_), Some(_)) => return Err("the invoice has an amount of its own".to_owned()),
        (None, None) => return Err("the invoice has no amount and none was given".to_owned()),
    };
    let genesis = GenesisHash::using_genesis_block_const(invoice.network).to_bytes();
    Ok(Payment {
        chain_hash: ChainHash(genesis),
        payment_hash: invoice.payment_hash,
        payee: invoice.payee,
        amount,
        max_fee,
        expires: invoice.expires_at().map(|end| UnixTime(end.as_secs())),
    })
}

pub fn new_channel(hsm: &mut Hsm, peer: NodeId) -> ctl::Reply {
    match hsm.new_channel(peer) {
        Ok(new) => ctl::Reply::NewChannel(ctl::NewChannel {
            channel: new.channel,
            funding_pubkey: new.funding_pubkey,
            basepoints: new.basepoints,
            first_points: new.first_points,
            shutdown_p2wpkh: new.shutdown.p2wpkh,
            shutdown_p2tr: new.shutdown.p2tr,
            shutdown_index: new.shutdown.index,
        }),
        Err(error) => ctl::Reply::Refused(refused("lightningd", &error)),
    }
}

pub fn force_close(hsm: &mut Hsm, channel: ChannelDbid) -> ctl::Reply {
    match hsm.force_close(channel) {
        Ok(tx) => ctl::Reply::ForceClose {
            tx: bitcoin::consensus::serialize(&tx),
        },
        Err(error) => ctl::Reply::Refused(refused("lightningd", &error)),
    }
}

pub fn forget(hsm: &mut Hsm, channel: ChannelDbid) -> ctl::Reply {
    match hsm.forget(channel) {
        Ok(()) => ctl::Reply::Forgotten,
        Err(error) => ctl::Reply::Refused(refused("lightningd", &error)),
    }
}

/// D1: the transaction is rebuilt from typed facts.
fn transaction(spend: wallet::Spend) -> (Transaction, Vec<Coin>) {
    let coins = spend.inputs.iter().map(|input| Coin {
        value: input.value,
        key: WalletKey {
            index: input.key.index,
            kind: match input.key.kind {
                wallet::AddressKind::P2wpkh => hsm::AddressKind::P2wpkh,
                wallet::AddressKind::P2tr => hsm::AddressKind::P2tr,
            },
        },
    });
    let coins = coins.collect();
    let inputs = spend.inputs.iter().map(|input| TxIn {
        previous_output: input.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence(input.sequence),
        witness: Witness::new(),
    });
    let input = inputs.collect();
    let outputs = spend.outputs.into_iter().map(|output| TxOut {
        value: Amount::from_sat(output.value.0),
        script_pubkey: output.script,
    });
    let tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(spend.locktime),
        input,
        output: outputs.collect(),
    };
    (tx, coins)
}

/// `None` if a field does not fit.
fn channel_update(facts: &gossip::ChannelUpdateFacts) -> Option<ChannelUpdate> {
    Some(ChannelUpdate {
        signature: Signature::from_compact(&[0; 64]).ok()?,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp: facts.timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: u32::try_from(facts.fee_base.0).ok()?,
        fee_proportional_millionths: facts.fee_proportional_millionths,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: Vec::new(),
    })
}
