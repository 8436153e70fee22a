//! From each role's requests to what the signer does, and back. Nothing is decided here.

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash as GenesisHash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use hsm::{Coin, Hsm, Payment, PreimageHolder, Rule, UnixTime, WalletKey};
use hsm_messages::{Refused, ctl, gossip, invoice, noise, onchain, pay, rpc, tip, wallet};
use secp256k1::ecdsa::Signature;
use tx::signer;
use wire::{ChainHash, ChannelDbid, ChannelUpdate, MilliSatoshi, NodeId, Satoshi};

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

/// At the first start: what may leave without anybody being asked, and how to change that.
pub fn say_limits(hsm: &Hsm) {
    let limits = hsm.limits();
    tracing::info!(
        "what may leave this node in 24 hours without an approval: {} by withdrawals and {} by \
         payments; a transaction's fee is {} and {} at most. To see and to change this: \
         lightning-hsmtool limits, lightning-hsmtool set-limits",
        limits.withdraw_per_day,
        limits.pay_per_day,
        limits.max_fee,
        limits.max_feerate
    );
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

pub fn onchain(hsm: &mut Hsm, channel: ChannelDbid, request: onchain::Request) -> onchain::Reply {
    let reply = hsm.onchain(channel, request);
    if let onchain::Reply::Refused { rule, reason } = &reply {
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
        wallet::Request::Seen { coins } => {
            let coins: Vec<_> = coins.iter().map(seen_coin).collect();
            match hsm.see_coins(&coins) {
                Ok(()) => wallet::Reply::Seen,
                Err(error) => wallet::Reply::Refused(refused("wallet", &error)),
            }
        }
        wallet::Request::CheckShutdown { script } => match hsm.check_shutdown(&script) {
            Ok(()) => wallet::Reply::ShutdownAllowed,
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
    let gossip::Request::SignChannelUpdate { channel, update } = request;
    let Some(update) = channel_update(&update) else {
        let reason = "fee_base does not fit into a channel_update".to_owned();
        return gossip::Reply::Refused(refused_by("gossip", Rule::G3, reason));
    };
    match hsm.sign_channel_update(channel, update) {
        Ok(update) => gossip::Reply::Signed {
            timestamp: update.timestamp,
            signature: update.signature,
        },
        Err(error) => gossip::Reply::Refused(refused("gossip", &error)),
    }
}

pub fn invoice(hsm: &mut Hsm, request: invoice::Request) -> invoice::Reply {
    let reply = match request {
        invoice::Request::NewPreimage => hsm
            .new_preimage()
            .map(|payment_hash| invoice::Reply::NewPreimage { payment_hash }),
        invoice::Request::SignBolt11 { fields, holder } => {
            let holder = match holder {
                invoice::PreimageHolder::Hsmd => PreimageHolder::Hsmd,
                invoice::PreimageHolder::Lightningd => PreimageHolder::Lightningd,
            };
            hsm.sign_bolt11(&fields, holder)
                .map(|(signature, recovery_id)| invoice::Reply::Signed {
                    signature,
                    recovery_id,
                })
        }
        invoice::Request::Release { payment_hash } => hsm
            .release(payment_hash)
            .map(|preimage| invoice::Reply::Released { preimage }),
    };
    reply.unwrap_or_else(|error| invoice::Reply::Refused(refused("invoice", &error)))
}

pub fn rpc(hsm: &mut Hsm, request: rpc::Request) -> rpc::Reply {
    let reply = match request {
        rpc::Request::MakeSecret { name } => hsm
            .make_secret(&name.0)
            .map(|secret| rpc::Reply::Secret { secret }),
        rpc::Request::SignMessage { message } => {
            hsm.sign_message(&message)
                .map(|(signature, recovery_id)| rpc::Reply::Signed {
                    signature,
                    recovery_id,
                })
        }
    };
    reply.unwrap_or_else(|error| rpc::Reply::Refused(refused("rpc", &error)))
}

pub fn tip(hsm: &mut Hsm, request: tip::Request) -> tip::Reply {
    let done = match request {
        tip::Request::Tip => Ok(()),
        tip::Request::Headers { height, headers } => hsm.take_headers(height, headers),
        tip::Request::Spend {
            channel,
            tx,
            height,
            index,
            branch,
        } => match hsm.see_spend(channel, &tx, height, index, &branch) {
            Ok(()) => return tip::Reply::Seen,
            Err(error) => Err(error),
        },
    };
    match (done, hsm.tip()) {
        (Err(error), _) => tip::Reply::Refused(refused("tip", &error)),
        (Ok(()), Some((height, hash))) => tip::Reply::Tip { height, hash },
        (Ok(()), None) => tip::Reply::NoTip,
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

fn seen_coin(seen: &wallet::SeenCoin) -> (OutPoint, Coin) {
    (seen.outpoint, coin(seen.value, seen.key))
}

fn coin(value: Satoshi, key: wallet::WalletKey) -> Coin {
    let kind = match key.kind {
        wallet::AddressKind::P2wpkh => hsm::AddressKind::P2wpkh,
        wallet::AddressKind::P2tr => hsm::AddressKind::P2tr,
    };
    let index = key.index;
    Coin {
        value,
        key: WalletKey { index, kind },
    }
}

/// D1: the transaction is rebuilt from typed facts.
fn transaction(spend: wallet::Spend) -> (Transaction, Vec<Coin>) {
    let coins = spend
        .inputs
        .iter()
        .map(|input| coin(input.value, input.key));
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

/// `None` if a field does not fit. Timestamp and signature are the signer's.
fn channel_update(facts: &gossip::ChannelUpdateFacts) -> Option<ChannelUpdate> {
    Some(ChannelUpdate {
        signature: Signature::from_compact(&[0; 64]).ok()?,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp: 0,
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
