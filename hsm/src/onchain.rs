//! X1 to X4: claims of a channel whose funding output is spent, or about to be. What may be signed is
//! proved in [`proof`].

mod proof;

use bitcoin::{OutPoint, Transaction, TxOut};
use hsm_messages::wallet::WalletKey;
use tx::claim::{FeeCoin, anchor_output};
use tx::onchain::{Reply, Request};
use wire::{ChannelDbid, MilliSatoshi, Satoshi};

use crate::hsm::Hsm;
use crate::msgs::Asks;
use crate::record::{Record, Spent};
use crate::refused::Refused;
use crate::spending::Grant;
use crate::wallet::Coin;

use proof::Claimant;
pub(crate) use proof::{AnchorChild, ClaimKey, OwnHtlcs, Revealed, Taking};

impl Hsm {
    /// What a spent channel's own socket asks.
    ///
    /// # Errors
    /// D3, D4, C5, X1 to X4, W3.
    pub fn onchain(&mut self, dbid: ChannelDbid, request: Request) -> Result<Reply, Refused> {
        let keys = &*self.keys(dbid)?;
        let channel = self.channel(dbid)?;
        // D4
        request.msg().check_phase(channel.phase())?;
        let claimant = Claimant {
            channel,
            keys,
            address: self.wallet.address(channel.shutdown_index)?.p2tr,
            max_fee: self.limits().max_fee,
        };
        match request {
            Request::LocalPoint { n } => {
                let point = channel.local_point(n, keys)?;
                Ok(Reply::Point { point })
            }
            Request::RevokedPoint { n } => {
                let point = Revealed::prove(channel, n)?.point();
                Ok(Reply::Point { point })
            }
            Request::Sweep {
                parents,
                claims,
                fee,
            } => {
                let taking = claimant.taking(&parents, claims, fee)?;
                Ok(signed(&keys.sign_taking(&taking).map_err(Refused::Claim)?))
            }
            Request::HtlcTxs { htlcs, coins, fee } => {
                let htlcs = claimant.own_htlcs(&htlcs, &coins, fee)?;
                let tx = keys.sign_own_htlcs(&htlcs).map_err(Refused::Claim)?;
                let spent = htlcs.parts().0.spent();
                self.add_coins(tx, spent, &coins)
            }
            Request::Anchor {
                commitment,
                coins,
                fee,
            } => {
                let child = claimant.anchor_child(&commitment, &coins, fee)?;
                let tx = keys.sign_anchor(&child).map_err(Refused::Claim)?;
                let spent = vec![anchor_output(child.parts().1)];
                self.add_coins(tx, spent, &coins)
            }
        }
    }

    /// Signs the inputs of `tx` behind those that spend `others`. The coins are pinned and count as
    /// spent, the change as held; nothing is charged to what may leave in a day, since X2 and X4
    /// bound it.
    fn add_coins(
        &mut self,
        mut tx: Transaction,
        others: Vec<TxOut>,
        coins: &[FeeCoin],
    ) -> Result<Reply, Refused> {
        let outpoints = coins.iter().map(|coin| coin.outpoint);
        let coins: Vec<Coin> = coins.iter().map(coin).collect();
        let inputs = self.check_coins(outpoints.zip(&coins))?;
        let first = others.len();
        let witnesses = self.wallet.sign_after(&tx, others, &coins)?;
        for (input, witness) in tx.input.iter_mut().skip(first).zip(witnesses) {
            input.witness = witness;
        }
        let txid = tx.compute_txid();
        if let Some((coin, _)) = inputs.first().copied()
            && !self.state.is_signed(txid, &inputs)
        {
            let change = (0..).zip(&tx.output).last();
            let ours = change.map(|(vout, output)| {
                let value = Satoshi(output.value.to_sat());
                (OutPoint { txid, vout }, value)
            });
            self.record(Record::Spent(Box::new(Spent {
                at: self.now(),
                txid,
                inputs,
                ours: ours.into_iter().collect(),
                grant: Grant::Charge(MilliSatoshi::ZERO),
                coin,
            })));
        }
        Ok(signed(&tx))
    }
}

fn signed(tx: &Transaction) -> Reply {
    let tx = bitcoin::consensus::serialize(tx);
    Reply::Signed { tx }
}

fn coin(coin: &FeeCoin) -> Coin {
    let (index, kind) = (coin.index, coin.kind);
    Coin {
        value: coin.value,
        key: WalletKey { index, kind },
    }
}
