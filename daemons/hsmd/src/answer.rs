//! From each role's requests to what the signer does, and back. Nothing is decided here.

use bitcoin::constants::ChainHash as GenesisHash;
use bitcoin::{OutPoint, Witness};
use hsm::{Coin, Hsm, Payment, Rule, UnixTime};
use hsm_messages::{Refused, backup, gossip, invoice, noise, pay, rpc, tip, wallet};
use secp256k1::ecdsa::Signature;
use wire::{ChainHash, ChannelDbid};

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
            // D1: the transaction is rebuilt from typed facts.
            let coins = spend.inputs.iter().map(|input| Coin {
                value: input.value,
                key: input.key,
            });
            let coins: Vec<Coin> = coins.collect();
            let witnesses = hsm.sign_spend(&spend.transaction(), &coins)?;
            wallet::Reply::Signed {
                witnesses: witnesses.iter().map(Witness::to_vec).collect(),
            }
        }
    })
}

pub fn gossip(hsm: &mut Hsm, request: gossip::Request) -> Answer<gossip::Reply> {
    let gossip::Request::SignChannelUpdate { channel, update } = request;
    // Timestamp and signature are set when it is signed.
    let none = Signature::from_compact(&[0; 64]).ok();
    let update = none.and_then(|none| update.with(0, none));
    let update = update.ok_or(hsm::Refused::UpdateFees)?;
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
    let bad = |why: &str| hsm::Refused::BadInvoice(why.to_owned());
    let invoice = ::invoice::parse(&invoice).map_err(|error| bad(&error.to_string()))?;
    if invoice.amount.is_some_and(|all| all < amount) {
        return Err(bad("it asks for less"));
    }
    let genesis = GenesisHash::using_genesis_block_const(invoice.network).to_bytes();
    hsm.approve(&Payment {
        chain_hash: ChainHash(genesis),
        payment_hash: invoice.payment_hash,
        payee: invoice.payee,
        amount,
        max_fee,
        expires: invoice.expires_at().map(|end| UnixTime(end.as_secs())),
    })?;
    Ok(pay::Reply::Approved)
}
