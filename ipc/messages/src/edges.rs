//! The edges as types: which enum goes down, which comes up. Those of hsmd are in hsm-messages.

use crate::{
    channeld_connectd, lightningd_chaind, lightningd_channeld, lightningd_connectd,
    lightningd_onchaind, lightningd_payd,
};

pub use hsm_messages::edges::*;

/// Visits every edge between processes.
pub fn all(visitor: &mut impl ipc_transport::edge::EachEdge) {
    hsm_messages::edges::each(visitor);
    each(visitor);
}

ipc_transport::edges! {
    LightningdChanneld = "lightningd_channeld",
        lightningd_channeld::ToChanneld, lightningd_channeld::ToLightningd;
    LightningdConnectd = "lightningd_connectd",
        lightningd_connectd::ToConnectd, lightningd_connectd::ToLightningd;
    LightningdChaind = "lightningd_chaind",
        lightningd_chaind::ToChaind, lightningd_chaind::ToLightningd;
    LightningdOnchaind = "lightningd_onchaind",
        lightningd_onchaind::ToOnchaind, lightningd_onchaind::ToLightningd;
    LightningdPayd = "lightningd_payd", lightningd_payd::ToPayd, lightningd_payd::ToLightningd;
    /// Down is connectd to channeld.
    ConnectdChanneld = "connectd_channeld",
        channeld_connectd::ToChanneld, channeld_connectd::ToConnectd;
}
