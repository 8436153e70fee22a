//! The interface as Core Lightning's clients know it, spoken to real nodes: each reply against the
//! interface table, parameters in both forms, error codes, notifications, options, lightning-cli,
//! and CLN's own Python client.

#[path = "conformance/cli.rs"]
mod cli;
#[path = "conformance/errors.rs"]
mod errors;
#[path = "conformance/forwards.rs"]
mod forwards;
#[path = "conformance/funding.rs"]
mod funding;
#[path = "conformance/interface.rs"]
mod interface;
#[path = "conformance/invoices.rs"]
mod invoices;
#[path = "conformance/options.rs"]
mod options;
#[path = "conformance/params.rs"]
mod params;
#[path = "conformance/payments.rs"]
mod payments;
#[path = "conformance/protocol.rs"]
mod protocol;
#[path = "conformance/pyln.rs"]
mod pyln;
#[path = "conformance/replies.rs"]
mod replies;
#[path = "conformance/secrets.rs"]
mod secrets;
