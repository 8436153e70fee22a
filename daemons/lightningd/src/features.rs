//! What we say that we can (BOLT 9).

use wire::features::{Context, Feature, Features};

const REQUIRED: [Feature; 5] = [
    Feature::DataLossProtect,
    Feature::VarOnionOptin,
    Feature::StaticRemotekey,
    Feature::PaymentSecret,
    Feature::ChannelType,
];
const OPTIONAL: [Feature; 5] = [
    Feature::UpfrontShutdownScript,
    Feature::BasicMpp,
    Feature::Anchors,
    Feature::ShutdownAnysegwit,
    Feature::ProvideStorage,
];

fn ours(context: Context) -> Features {
    Features::of(&REQUIRED, &OPTIONAL).for_context(context)
}

/// Bits of our init message, big endian.
#[must_use]
pub fn init() -> Vec<u8> {
    ours(Context::Init).as_bytes().to_vec()
}

/// Bits that a node_announcement of ours would have.
#[must_use]
pub fn node() -> Vec<u8> {
    ours(Context::NodeAnnouncement).as_bytes().to_vec()
}

/// Features of our invoices; what others' may require of us.
#[must_use]
pub fn invoice_features() -> Features {
    ours(Context::Bolt11)
}

/// Bits of our invoices.
#[must_use]
pub fn invoice() -> Vec<u8> {
    invoice_features().as_bytes().to_vec()
}
