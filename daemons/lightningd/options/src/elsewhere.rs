//! Options of CLN that this node does not have, and what becomes of a configuration that sets them.
//!
//! Where going on without it costs comfort only, the node warns and goes on, so that a CLN
//! configuration can be taken over. Where it would put money, keys or privacy at risk, or the user
//! plainly relies on it, the node refuses to start.

/// What happens to one of CLN's options here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Warn,
    Refuse,
}

pub(crate) struct Elsewhere {
    pub name: &'static str,
    pub takes_value: bool,
    pub fate: Fate,
    pub why: &'static str,
}

macro_rules! elsewhere {
    ($($why:literal => $fate:ident { $($name:literal $($takes:ident)?),* $(,)? })*) => {
        pub(crate) static ELSEWHERE: &[Elsewhere] = &[
            $($(Elsewhere { name: $name, takes_value: elsewhere!(@ $($takes)?), fate: Fate::$fate, why: $why },)*)*
        ];
    };
    (@ flag) => { false };
    (@) => { true };
}

elsewhere! {
    "old records are not removed by themselves" => Warn {
        "autoclean-cycle", "autoclean-expiredinvoices-age", "autoclean-failedforwards-age", "autoclean-failedpays-age",
        "autoclean-networkevents-age", "autoclean-paidinvoices-age", "autoclean-succeededforwards-age",
        "autoclean-succeededpays-age",
    }
    "bitcoind is asked directly, without bitcoin-cli" => Warn { "bitcoin-cli" }
    "this node has no such feature yet" => Warn {
        "accept-htlc-tlv-type", "require-confirmed-inputs", "experimental-bwatch" flag, "experimental-dual-fund" flag,
        "experimental-lsps-client" flag, "experimental-lsps2-promise-secret", "experimental-lsps2-service" flag,
        "experimental-peer-storage" flag, "experimental-shutdown-wrong-funding" flag, "experimental-simple-close" flag,
        "experimental-splicing" flag, "fetchinvoice-noconnect" flag, "announce-addr-discovered",
        "announce-addr-discovered-port", "announce-addr-dns", "autoconnect-seeker-peers", "bwatch-poll-interval",
        "invoices-onchain-fallback" flag, "currencyrate-add-source", "currencyrate-disable-source",
        "exposesecret-passphrase", "bkpr-currency", "bookkeeper-db", "bookkeeper-dir", "i-promise-to-fix-broken-api-user",
    }
    "liquidity is not advertised or leased" => Warn {
        "channel-fee-max-base-msat", "channel-fee-max-proportional-thousandths", "funder-fund-probability",
        "funder-fuzz-percent", "funder-lease-requests-only", "funder-max-their-funding", "funder-min-their-funding",
        "funder-per-channel-max", "funder-per-channel-min", "funder-policy", "funder-policy-mod", "funder-reserve-tank",
        "lease-fee-base-sat", "lease-fee-basis", "lease-funding-weight",
    }
    "there is no REST, gRPC or websocket interface yet" => Warn {
        "clnrest-certs", "clnrest-cors-origins", "clnrest-csp", "clnrest-host", "clnrest-port", "clnrest-protocol",
        "clnrest-swagger-root", "grpc-host", "grpc-msg-buffer-size", "grpc-port", "wss-bind-addr", "wss-certs",
    }
    "payments are planned by payd, which has no such setting" => Warn {
        "askrene-max-threads", "askrene-timeout", "disable-mpp" flag, "renepay-debug-mcf" flag,
        "renepay-debug-payflow" flag, "xpay-handle-pay", "xpay-slow-mode", "xpay-user-layer",
    }
    "commitments go out as soon as the one before is answered" => Warn { "commit-time" }
    "the database upgrades itself" => Warn { "database-upgrade" }
    "there are no plugins to turn off" => Warn { "clear-plugins" flag, "disable-plugin" }
    "plugins are not run yet; remove it to start without" => Refuse { "plugin", "plugin-dir", "important-plugin" }
    "connections through a proxy or Tor are not supported yet; without it, your address would show" => Refuse {
        "proxy", "always-use-proxy", "tor-service-password",
    }
    "name lookups cannot be turned off yet" => Refuse { "disable-dns" flag }
    "messages are not padded yet" => Refuse { "message-padding" }
    "invoices cannot hide this node behind another yet" => Refuse { "payment-fronting-node" }
    "subdaemons cannot be replaced" => Refuse { "subdaemon" }
    "the database is this node's own, in the network's folder" => Refuse { "wallet" }
    "a seed with a passphrase waits for `lightning-hsmtool unlock`, and is made with its generatehsm and encrypt; start without it" => Refuse { "encrypted-hsm" flag, "hsm-passphrase" flag }
    "feerates cannot be forced" => Refuse { "force-feerates" }
    "a seed is restored with the hsm tools, before the first start" => Refuse { "recover" }
    "CLN has it for its own tests" => Refuse { "list-features-only" flag, "test-daemons-only" flag }
}

pub(crate) fn find(name: &str) -> Option<&'static Elsewhere> {
    ELSEWHERE.iter().find(|e| e.name == name)
}
