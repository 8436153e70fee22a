//! hsmd's edges as types: requests go down, replies come up.

use ipc_transport::edge::EdgeHello;

use crate::{
    SCHEMA, backup, chan, ctl, gossip, invoice, noise, onchain, operator, pay, rpc, tip, wallet,
};

ipc_transport::edges! {
    HsmCtl = "hsm_ctl", ctl::Request, ctl::Reply;
    HsmNoise = "hsm_noise", noise::Request, noise::Reply;
    HsmChan = "hsm_chan", chan::Request, chan::Reply;
    HsmWallet = "hsm_wallet", wallet::Request, wallet::Reply;
    HsmGossip = "hsm_gossip", gossip::Request, gossip::Reply;
    HsmInvoice = "hsm_invoice", invoice::Request, invoice::Reply;
    HsmRpc = "hsm_rpc", rpc::Request, rpc::Reply;
    HsmOperator = "hsm_operator", operator::Request, operator::Reply;
    HsmOnchain = "hsm_onchain", onchain::Request, onchain::Reply;
    HsmTip = "hsm_tip", tip::Request, tip::Reply;
    HsmPay = "hsm_pay", pay::Request, pay::Reply;
    HsmBackup = "hsm_backup", backup::Request, backup::Reply;
}

/// What an end of edge `E` says first.
#[must_use]
pub fn hello<E: ipc_transport::Edge>() -> EdgeHello {
    EdgeHello::of::<E>(*SCHEMA)
}
