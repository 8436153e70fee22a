//! The assigned features (BOLT 9), and those outside of it that Core Lightning names.

use Context::*;

/// A field that carries features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// `features` of `init`.
    Init,
    /// `globalfeatures` of `init`: historical, for bits below 13.
    GlobalInit,
    NodeAnnouncement,
    ChannelAnnouncement,
    /// `channel_type` of `open_channel` and its kin.
    ChannelType,
    /// BOLT 11 invoices.
    Bolt11,
    /// BOLT 12 invoices.
    Bolt12Invoice,
}

macro_rules! features {
    ($($(#[$doc:meta])* $feature:ident = $bit:literal $name:literal
        in [$($context:ident)*] $(needs $dependency:ident)?,)*) => {
        /// A pair of bits: even, the sender requires it; odd, the sender supports it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature {
            $($(#[$doc])* $feature,)*
        }

        impl Feature {
            /// All, by rising bit.
            pub const ALL: &[Feature] = &[$(Feature::$feature,)*];

            /// The even bit of the pair.
            #[must_use]
            pub const fn bit(self) -> u32 {
                match self {
                    $(Feature::$feature => $bit,)*
                }
            }

            /// The name that BOLT 9 or Core Lightning gives it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Feature::$feature => $name,)*
                }
            }

            /// Where it may be presented. BOLT 9 leaves this out for features that it assumes
            /// everybody to have; for these it is what Core Lightning does.
            #[must_use]
            pub const fn contexts(self) -> &'static [Context] {
                match self {
                    $(Feature::$feature => &[$($context),*],)*
                }
            }

            /// The feature that must be set with this one (BOLT 9, Dependencies).
            #[must_use]
            pub const fn dependency(self) -> Option<Feature> {
                match self {
                    $(Feature::$feature => features!(@needs $($dependency)?),)*
                }
            }
        }
    };
    (@needs) => { None };
    (@needs $dependency:ident) => { Some(Feature::$dependency) };
}

features! {
    /// Assumed.
    DataLossProtect = 0 "option_data_loss_protect" in [Init NodeAnnouncement],
    /// Not in BOLT 9 any more.
    InitialRoutingSync = 2 "option_initial_routing_sync" in [],
    UpfrontShutdownScript = 4 "option_upfront_shutdown_script" in [Init NodeAnnouncement],
    GossipQueries = 6 "gossip_queries" in [Init NodeAnnouncement],
    /// Assumed.
    VarOnionOptin = 8 "var_onion_optin" in [Init GlobalInit NodeAnnouncement Bolt11],
    GossipQueriesEx = 10 "gossip_queries_ex" in [Init NodeAnnouncement],
    /// Assumed.
    StaticRemotekey = 12 "option_static_remotekey" in [Init GlobalInit NodeAnnouncement ChannelType],
    /// Assumed.
    PaymentSecret = 14 "payment_secret" in [Init NodeAnnouncement Bolt11],
    BasicMpp = 16 "basic_mpp" in [Init NodeAnnouncement Bolt11 Bolt12Invoice] needs PaymentSecret,
    SupportLargeChannel = 18 "option_support_large_channel" in [Init NodeAnnouncement],
    /// Not in BOLT 9: anchors whose HTLC transactions pay fees.
    AnchorOutputs = 20 "option_anchor_outputs" in [],
    /// Anchors and HTLC transactions without fee.
    Anchors = 22 "option_anchors" in [Init NodeAnnouncement ChannelType],
    RouteBlinding = 24 "option_route_blinding" in [Init NodeAnnouncement Bolt11],
    ShutdownAnysegwit = 26 "option_shutdown_anysegwit" in [Init NodeAnnouncement],
    DualFund = 28 "option_dual_fund" in [Init NodeAnnouncement],
    /// Not in BOLT 9.
    Amp = 30 "option_amp" in [],
    Quiesce = 34 "option_quiesce" in [Init NodeAnnouncement],
    AttributionData = 36 "option_attribution_data" in [Init NodeAnnouncement Bolt11],
    OnionMessages = 38 "option_onion_messages" in [Init NodeAnnouncement],
    ProvideStorage = 42 "option_provide_storage" in [Init NodeAnnouncement],
    /// Assumed.
    ChannelType = 44 "option_channel_type" in [Init NodeAnnouncement],
    ScidAlias = 46 "option_scid_alias" in [Init NodeAnnouncement ChannelType],
    PaymentMetadata = 48 "option_payment_metadata" in [Bolt11],
    Zeroconf = 50 "option_zeroconf" in [Init NodeAnnouncement ChannelType] needs ScidAlias,
    /// Not in BOLT 9.
    Keysend = 54 "option_keysend" in [NodeAnnouncement],
    /// Not in BOLT 9.
    TrampolineRouting = 56 "option_trampoline_routing" in [],
    SimpleClose = 60 "option_simple_close" in [Init NodeAnnouncement] needs ShutdownAnysegwit,
    Splice = 62 "option_splice" in [Init NodeAnnouncement],
    /// Not in BOLT 9.
    ShutdownWrongFunding = 104 "option_shutdown_wrong_funding" in [Init NodeAnnouncement],
    /// Not in BOLT 9.
    ExperimentalSplice = 162 "option_experimental_splice" in [],
}

impl Feature {
    /// The feature that a bit, even or odd, belongs to.
    #[must_use]
    pub fn of_bit(bit: u32) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|f| f.bit() == bit & !1)
    }

    #[must_use]
    pub fn is_in(self, context: Context) -> bool {
        self.contexts().contains(&context)
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_in_rising_order_of_even_bits() {
        assert!(Feature::ALL.windows(2).all(|w| w[0].bit() < w[1].bit()));
        assert!(Feature::ALL.iter().all(|f| f.bit() % 2 == 0));
    }

    #[test]
    fn both_bits_of_a_pair_name_the_feature() {
        assert_eq!(Feature::of_bit(22), Some(Feature::Anchors));
        assert_eq!(Feature::of_bit(23), Some(Feature::Anchors));
        assert_eq!(Feature::of_bit(32), None);
    }
}
