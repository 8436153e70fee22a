//! From each role's requests to what the signer does, and back. Nothing is decided here.

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash as GenesisHash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use hsm::{Coin, Hsm, Payment, Rule, UnixTime};
use hsm_messages::wallet::Spend;
use hsm_messages::{Refused, backup, gossip, invoice, noise, pay, rpc, tip, wallet};
use secp256k1::ecdsa::Signature;
use wire::{ChainHash, ChannelDbid, ChannelUpdate, MilliSatoshi};

/// What becomes of a request.
pub type Answer<T> = Result<T, hsm::Refused>;

/// What goes back to who broke a rule, and to the log.
pub fn refused(who: &str, channel: Option<ChannelDbid>, refused: &hsm::Refused) -> Refused {
    let _channel = channel.map(|channel| tracing::warn_span!("of", %channel).entered());
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
         lightning-hsmtool limits, lightning-hsmtool set-limits. The words of a new seed are shown once, \
         by lightning-hsmtool show-mnemonic: write them down",
        limits.withdraw_per_day,
        limits.pay_per_day,
        limits.max_fee,
        limits.max_feerate
    );
}

pub fn noise(hsm: &mut Hsm, request: noise::Request) -> Answer<noise::Reply> {
    let noise::Request::Step { step } = request;
    Ok(match hsm.noise_step(&step) {
        Ok(keys) => noise::Reply::Step { keys },
        Err(_) => noise::Reply::BadAct,
    })
}

pub fn wallet(hsm: &mut Hsm, request: wallet::Request) -> Answer<wallet::Reply> {
    Ok(match request {
        wallet::Request::GetAddress => {
            let address = hsm.get_address()?;
            wallet::Reply::Address {
                index: address.index,
                p2wpkh: address.p2wpkh,
                p2tr: address.p2tr,
            }
        }
        wallet::Request::Seen { coins } => {
            let coins = coins.iter().map(|seen| {
                let (value, key) = (seen.value, seen.key);
                (seen.outpoint, Coin { value, key })
            });
            hsm.see_coins(&coins.collect::<Vec<(OutPoint, Coin)>>())?;
            wallet::Reply::Seen
        }
        wallet::Request::CheckShutdown { script } => {
            hsm.check_shutdown(&script)?;
            wallet::Reply::ShutdownAllowed
        }
        wallet::Request::Sign { spend } => {
            let (tx, coins) = transaction(spend);
            let witnesses = hsm.sign_spend(&tx, &coins)?;
            wallet::Reply::Signed {
                witnesses: witnesses.iter().map(Witness::to_vec).collect(),
            }
        }
    })
}

pub fn gossip(hsm: &mut Hsm, request: gossip::Request) -> Answer<gossip::Reply> {
    let gossip::Request::SignChannelUpdate { channel, update } = request;
    let Some(update) = channel_update(&update) else {
        let reason = "fee_base does not fit into a channel_update".to_owned();
        return Ok(gossip::Reply::Refused(refused_by(
            "GOSSIP",
            Rule::G3,
            reason,
        )));
    };
    let update = hsm.sign_channel_update(channel, update)?;
    Ok(gossip::Reply::Signed {
        timestamp: update.timestamp,
        signature: update.signature,
    })
}

pub fn invoice(hsm: &mut Hsm, request: invoice::Request) -> Answer<invoice::Reply> {
    Ok(match request {
        invoice::Request::NewPreimage => invoice::Reply::NewPreimage {
            payment_hash: hsm.new_preimage()?,
        },
        invoice::Request::SignBolt11 { fields, holder } => {
            let (signature, recovery_id) = hsm.sign_bolt11(&fields, holder)?;
            invoice::Reply::Signed {
                signature,
                recovery_id,
            }
        }
        invoice::Request::Release { payment_hash } => invoice::Reply::Released {
            preimage: hsm.release(payment_hash)?,
        },
    })
}

pub fn rpc(hsm: &mut Hsm, request: rpc::Request) -> Answer<rpc::Reply> {
    Ok(match request {
        rpc::Request::MakeSecret { name } => rpc::Reply::Secret {
            secret: hsm.make_secret(&name.0)?,
        },
        rpc::Request::SignMessage { message } => {
            let (signature, recovery_id) = hsm.sign_message(&message)?;
            rpc::Reply::Signed {
                signature,
                recovery_id,
            }
        }
    })
}

pub fn backup(hsm: &mut Hsm, request: backup::Request) -> Answer<backup::Reply> {
    Ok(match request {
        backup::Request::Seal(plain) => backup::Reply::Sealed(hsm.seal_backup(&plain)?),
        backup::Request::Open(sealed) => backup::Reply::Opened(hsm.open_backup(&sealed)?),
    })
}

pub fn tip(hsm: &mut Hsm, request: tip::Request) -> Answer<tip::Reply> {
    match request {
        tip::Request::Tip => {}
        tip::Request::Headers { height, headers } => hsm.take_headers(height, headers)?,
        tip::Request::Spend {
            channel,
            tx,
            height,
            index,
            branch,
        } => {
            hsm.see_spend(channel, &tx, height, index, &branch)?;
            return Ok(tip::Reply::Seen);
        }
    }
    Ok(match hsm.tip() {
        Some((height, hash)) => tip::Reply::Tip { height, hash },
        None => tip::Reply::NoTip,
    })
}

/// The invoice is read here, so that what is approved is what its payee has signed.
pub fn pay(hsm: &mut Hsm, request: pay::Request) -> Answer<pay::Reply> {
    let pay::Request::ApproveBolt11 {
        invoice,
        amount,
        max_fee,
    } = request;
    match payment(&invoice, amount, max_fee) {
        Ok(payment) => hsm.approve(&payment).map(|()| pay::Reply::Approved),
        Err(reason) => Ok(pay::Reply::Refused(refused_by("PAY", Rule::A1, reason))),
    }
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

/// D1: the transaction is rebuilt from typed facts.
fn transaction(spend: Spend) -> (Transaction, Vec<Coin>) {
    let coins = spend.inputs.iter().map(|input| Coin {
        value: input.value,
        key: input.key,
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
