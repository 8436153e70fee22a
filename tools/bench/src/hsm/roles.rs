//! The requests that are no commitment.

use std::time::Duration;

use ::invoice::{Bolt11Fields, DescriptionOrHash};
use anyhow::{Result, bail};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use hsm_messages::chan::{Reply, Request};
use hsm_messages::edges::{HsmInvoice, HsmNoise, HsmWallet};
use hsm_messages::{Role, invoice, noise, wallet};
use rand::Rng;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use wire::noise::{Initiator, Responder};
use wire::{
    BlockDelta, CommitmentNumber, Feature, Features, MilliSatoshi, PaymentHash, PaymentSecret,
    Satoshi,
};

use super::Row;
use super::peer::Channel;
use super::signer::{NETWORK, Signer};

fn key() -> Result<SecretKey> {
    Ok(SecretKey::from_slice(
        &rand::thread_rng().r#gen::<[u8; 32]>(),
    )?)
}

fn points(count: usize) -> Result<Vec<PublicKey>> {
    (0..count)
        .map(|_| Ok(key()?.public_key(SECP256K1)))
        .collect()
}

/// What a channel asks besides commitments.
pub fn channel(channels: &mut [Channel], waves: usize) -> Result<Vec<Row>> {
    let zero = CommitmentNumber::ZERO;
    let kinds = [
        ("Point", Request::Point { n: zero }),
        (
            "EcdhBatch, 1 onion",
            Request::EcdhBatch { points: points(1)? },
        ),
        (
            "EcdhBatch, 20 onions",
            Request::EcdhBatch {
                points: points(20)?,
            },
        ),
    ];
    let mut rows = Vec::new();
    for (kind, request) in kinds {
        let mut row = Row::new(kind, channels.len());
        let requests = vec![request; channels.len()];
        for _ in 0..waves {
            let mut conns: Vec<_> = channels
                .iter_mut()
                .map(|channel| &mut channel.conn)
                .collect();
            let replies = row.wave(&mut conns, &requests)?;
            if let Some(refused @ Reply::Refused { .. }) = replies.first() {
                bail!("{kind}: {refused:?}");
            }
        }
        rows.push(row.done());
    }
    Ok(rows)
}

/// What the node's own roles ask. (SignChannelUpdate is left out: rule G3 lets no channel have many.)
pub fn node(signer: &mut Signer, at_once: usize, waves: usize) -> Result<Vec<Row>> {
    Ok(vec![
        addresses(signer, at_once, waves)?,
        spends(signer, at_once, waves)?,
        invoices(signer, at_once, waves)?,
        handshakes(signer, at_once, waves)?,
    ])
}

fn addresses(signer: &mut Signer, at_once: usize, waves: usize) -> Result<Row> {
    let mut conn = signer.mint::<HsmWallet>(Role::Wallet, None)?;
    let mut row = Row::new("GetAddress", at_once);
    let requests = vec![wallet::Request::GetAddress; at_once];
    for _ in 0..waves {
        row.queue(&mut conn, &requests)?;
    }
    Ok(row.done())
}

/// Each spends a coin that it did not see before, to an address of the wallet.
fn spends(signer: &mut Signer, at_once: usize, waves: usize) -> Result<Row> {
    let mut conn = signer.mint::<HsmWallet>(Role::Wallet, None)?;
    let wallet::Reply::Address { index, p2tr, .. } = conn.call(&wallet::Request::GetAddress)?
    else {
        bail!("no address");
    };
    let spend = || wallet::Spend {
        locktime: 100,
        inputs: vec![wallet::SpendInput {
            outpoint: OutPoint {
                txid: Txid::from_byte_array(rand::thread_rng().r#gen()),
                vout: 0,
            },
            value: Satoshi(100_000),
            sequence: 0xffff_fffd,
            key: wallet::WalletKey {
                index,
                kind: wallet::AddressKind::P2tr,
            },
        }],
        outputs: vec![wallet::SpendOutput {
            value: Satoshi(99_000),
            script: p2tr.clone(),
        }],
    };
    let mut row = Row::new("wallet Sign, 1 input", at_once);
    for _ in 0..waves {
        let requests: Vec<_> = (0..at_once)
            .map(|_| wallet::Request::Sign { spend: spend() })
            .collect();
        for reply in row.queue(&mut conn, &requests)? {
            if let wallet::Reply::Refused(refused) = reply {
                bail!("{refused}");
            }
        }
    }
    Ok(row.done())
}

fn invoices(signer: &mut Signer, at_once: usize, waves: usize) -> Result<Row> {
    let mut conn = signer.mint::<HsmInvoice>(Role::Invoice, None)?;
    let request = || invoice::Request::SignBolt11 {
        fields: Box::new(Bolt11Fields {
            network: NETWORK,
            amount: Some(MilliSatoshi(1000)),
            payment_hash: PaymentHash(rand::thread_rng().r#gen()),
            payment_secret: PaymentSecret([2; 32]),
            description: DescriptionOrHash::Description("tea".to_owned()),
            timestamp: Duration::from_secs(1_700_000_000),
            expiry: Duration::from_secs(3600),
            min_final_cltv: BlockDelta(18),
            route_hints: vec![],
            fallbacks: vec![],
            features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
            metadata: None,
        }),
        holder: invoice::PreimageHolder::Lightningd,
    };
    let mut row = Row::new("SignBolt11", at_once);
    for _ in 0..waves {
        let requests: Vec<_> = (0..at_once).map(|_| request()).collect();
        for reply in row.queue(&mut conn, &requests)? {
            if let invoice::Reply::Refused(refused) = reply {
                bail!("{refused}");
            }
        }
    }
    Ok(row.done())
}

fn handshakes(signer: &mut Signer, at_once: usize, waves: usize) -> Result<Row> {
    let mut conn = signer.mint::<HsmNoise>(Role::Noise, None)?;
    let us = signer.node_id.0;
    let (_, act1) = Initiator::new(key()?, us)?;
    let (_, step) = Responder::new(key()?, us).act1(&act1)?;
    let mut row = Row::new("noise Step", at_once);
    let requests = vec![noise::Request::Step { step }; at_once];
    for _ in 0..waves {
        if row
            .queue(&mut conn, &requests)?
            .contains(&noise::Reply::BadAct)
        {
            bail!("a handshake's act is not genuine");
        }
    }
    Ok(row.done())
}
