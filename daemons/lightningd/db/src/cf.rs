//! The column families: one for each kind of record.

/// A column family. `docs/database.md` says what is in each.
///
/// To add one: add it here, in [`Cf::ALL`], with the next [`crate::SCHEMA`] in [`Cf::since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cf {
    Meta,
    Channels,
    Htlcs,
    EndedHtlcs,
    Onchain,
    ClosedChannels,
    Peers,
    PeerStorage,
    Invoices,
    InvoiceByHash,
    Payments,
    PaymentParts,
    PendingParts,
    Forwards,
    WalletUtxos,
    WalletTxs,
    MinedWalletTxs,
    WalletAddresses,
    Transactions,
    ChainMoves,
    ChannelMoves,
    Chain,
    Config,
    Datastore,
}

impl Cf {
    pub const ALL: [Cf; 24] = [
        Cf::Meta,
        Cf::Channels,
        Cf::Htlcs,
        Cf::EndedHtlcs,
        Cf::Onchain,
        Cf::ClosedChannels,
        Cf::Peers,
        Cf::PeerStorage,
        Cf::Invoices,
        Cf::InvoiceByHash,
        Cf::Payments,
        Cf::PaymentParts,
        Cf::PendingParts,
        Cf::Forwards,
        Cf::WalletUtxos,
        Cf::WalletTxs,
        Cf::MinedWalletTxs,
        Cf::WalletAddresses,
        Cf::Transactions,
        Cf::ChainMoves,
        Cf::ChannelMoves,
        Cf::Chain,
        Cf::Config,
        Cf::Datastore,
    ];

    /// Its name in RocksDB.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cf::Meta => "meta",
            Cf::Channels => "channels",
            Cf::Htlcs => "htlcs",
            Cf::EndedHtlcs => "ended_htlcs",
            Cf::Onchain => "onchain",
            Cf::ClosedChannels => "closed_channels",
            Cf::Peers => "peers",
            Cf::PeerStorage => "peer_storage",
            Cf::Invoices => "invoices",
            Cf::InvoiceByHash => "invoice_by_hash",
            Cf::Payments => "payments",
            Cf::PaymentParts => "payment_parts",
            Cf::PendingParts => "pending_parts",
            Cf::Forwards => "forwards",
            Cf::WalletUtxos => "wallet_utxos",
            Cf::WalletTxs => "wallet_txs",
            Cf::MinedWalletTxs => "mined_wallet_txs",
            Cf::WalletAddresses => "wallet_addresses",
            Cf::Transactions => "transactions",
            Cf::ChainMoves => "chain_moves",
            Cf::ChannelMoves => "channel_moves",
            Cf::Chain => "chain",
            Cf::Config => "config",
            Cf::Datastore => "datastore",
        }
    }

    /// The schema that brought it. A database of that schema or a later one must have it.
    #[must_use]
    pub(crate) fn since(self) -> u32 {
        match self {
            Cf::Meta
            | Cf::Channels
            | Cf::Htlcs
            | Cf::ClosedChannels
            | Cf::Peers
            | Cf::Invoices
            | Cf::InvoiceByHash
            | Cf::Payments
            | Cf::PaymentParts
            | Cf::Forwards
            | Cf::WalletUtxos
            | Cf::WalletTxs
            | Cf::WalletAddresses
            | Cf::Chain
            | Cf::Config
            | Cf::Datastore => 1,
            Cf::EndedHtlcs | Cf::Onchain => 2,
            Cf::Transactions | Cf::ChainMoves | Cf::ChannelMoves | Cf::PeerStorage => 3,
            Cf::PendingParts | Cf::MinedWalletTxs => 4,
        }
    }

    /// Whether the node cannot run safely without every record of it. These are read through on
    /// every start, before anything is written; the others grow without bound and are read when
    /// they are needed.
    #[must_use]
    pub(crate) fn checked_on_start(self) -> bool {
        match self {
            Cf::Meta
            | Cf::Channels
            | Cf::Htlcs
            | Cf::Onchain
            | Cf::Peers
            | Cf::PendingParts
            | Cf::WalletUtxos
            | Cf::WalletAddresses
            | Cf::Chain
            | Cf::Config => true,
            Cf::EndedHtlcs
            | Cf::ClosedChannels
            | Cf::PeerStorage
            | Cf::Invoices
            | Cf::InvoiceByHash
            | Cf::Payments
            | Cf::PaymentParts
            | Cf::Forwards
            | Cf::WalletTxs
            | Cf::MinedWalletTxs
            | Cf::Transactions
            | Cf::ChainMoves
            | Cf::ChannelMoves
            | Cf::Datastore => false,
        }
    }
}
