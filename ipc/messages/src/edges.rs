//! The edges as types: which enum goes down, which comes up.

use ipc_transport::edge::{Edge, EdgeHello};

use crate::{
    SCHEMA, channeld_connectd, hsm, lightningd_chaind, lightningd_channeld, lightningd_connectd,
    lightningd_payd,
};

macro_rules! edges {
    ($($(#[$doc:meta])* $edge:ident = $name:literal, $down:ty, $up:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $edge;

        impl Edge for $edge {
            const NAME: &'static str = $name;
            type Down = $down;
            type Up = $up;
        }
    )*};
}

edges! {
    LightningdChanneld = "lightningd_channeld",
        lightningd_channeld::ToChanneld, lightningd_channeld::ToLightningd;
    LightningdConnectd = "lightningd_connectd",
        lightningd_connectd::ToConnectd, lightningd_connectd::ToLightningd;
    LightningdChaind = "lightningd_chaind",
        lightningd_chaind::ToChaind, lightningd_chaind::ToLightningd;
    LightningdPayd = "lightningd_payd", lightningd_payd::ToPayd, lightningd_payd::ToLightningd;
    /// Down is connectd to channeld.
    ConnectdChanneld = "connectd_channeld",
        channeld_connectd::ToChanneld, channeld_connectd::ToConnectd;
    /// On hsmd's edges, requests go down and replies come up.
    HsmCtl = "hsm_ctl", hsm::ctl::Request, hsm::ctl::Reply;
    HsmNoise = "hsm_noise", hsm::noise::Request, hsm::noise::Reply;
    HsmChan = "hsm_chan", hsm::chan::Request, hsm::chan::Reply;
    HsmWallet = "hsm_wallet", hsm::wallet::Request, hsm::wallet::Reply;
    HsmGossip = "hsm_gossip", hsm::gossip::Request, hsm::gossip::Reply;
    HsmInvoice = "hsm_invoice", hsm::invoice::Request, hsm::invoice::Reply;
}

/// What an end of edge `E` says first.
#[must_use]
pub fn hello<E: Edge>() -> EdgeHello {
    EdgeHello::of::<E>(*SCHEMA)
}
