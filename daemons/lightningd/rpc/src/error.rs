//! What a command answers when it cannot do what it was asked.

use serde::Serialize;
use serde_json::Value;

/// The number of an error, as CLN numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Code(pub i32);

macro_rules! codes {
    ($($name:ident = $value:literal),* $(,)?) => {
        /// CLN's error codes by CLN's names.
        pub mod code {
            use super::Code;
            $(pub const $name: Code = Code($value);)*

            /// Every code with its name, for the table test and for `lightning-cli`'s messages.
            pub const ALL: &[(&str, Code)] = &[$((stringify!($name), $name)),*];
        }
    };
}

codes! {
    JSONRPC2_INVALID_REQUEST = -32600,
    JSONRPC2_METHOD_NOT_FOUND = -32601,
    JSONRPC2_INVALID_PARAMS = -32602,
    LIGHTNINGD = -1,
    PARAM_DEV_ERROR = -2,
    PLUGIN_ERROR = -3,
    PLUGIN_TERMINATED = -4,
    LIGHTNINGD_SHUTDOWN = -5,
    PAY_IN_PROGRESS = 200,
    PAY_RHASH_ALREADY_USED = 201,
    PAY_UNPARSEABLE_ONION = 202,
    PAY_DESTINATION_PERM_FAIL = 203,
    PAY_TRY_OTHER_ROUTE = 204,
    PAY_ROUTE_NOT_FOUND = 205,
    PAY_ROUTE_TOO_EXPENSIVE = 206,
    PAY_INVOICE_EXPIRED = 207,
    PAY_NO_SUCH_PAYMENT = 208,
    PAY_UNSPECIFIED_ERROR = 209,
    PAY_STOPPED_RETRYING = 210,
    PAY_STATUS_UNEXPECTED = 211,
    PAY_INVOICE_REQUEST_INVALID = 212,
    PAY_INVOICE_PREAPPROVAL_DECLINED = 213,
    PAY_KEYSEND_PREAPPROVAL_DECLINED = 214,
    PAY_INSUFFICIENT_FUNDS = 215,
    PAY_UNREACHABLE = 216,
    PAY_USER_ERROR = 217,
    PAY_INJECTPAYMENTONION_FAILED = 218,
    PAY_INJECTPAYMENTONION_ALREADY_PAID = 219,
    PAY_DESTINATION_INSUFFICIENT_CAPACITY = 220,
    FUND_MAX_EXCEEDED = 300,
    FUND_CANNOT_AFFORD = 301,
    FUND_OUTPUT_IS_DUST = 302,
    FUNDING_BROADCAST_FAIL = 303,
    FUNDING_STILL_SYNCING_BITCOIN = 304,
    FUNDING_PEER_NOT_CONNECTED = 305,
    FUNDING_UNKNOWN_PEER = 306,
    FUNDING_NOTHING_TO_CANCEL = 307,
    FUNDING_CANCEL_NOT_SAFE = 308,
    FUNDING_PSBT_INVALID = 309,
    FUNDING_V2_NOT_SUPPORTED = 310,
    FUNDING_UNKNOWN_CHANNEL = 311,
    FUNDING_STATE_INVALID = 312,
    FUND_CANNOT_AFFORD_WITH_EMERGENCY = 313,
    FUND_INPUT_IS_ZERO = 314,
    SPLICE_BROADCAST_FAIL = 350,
    SPLICE_WRONG_OWNER = 351,
    SPLICE_UNKNOWN_CHANNEL = 352,
    SPLICE_INVALID_CHANNEL_STATE = 353,
    SPLICE_NOT_SUPPORTED = 354,
    SPLICE_BUSY_ERROR = 355,
    SPLICE_INPUT_ERROR = 356,
    SPLICE_FUNDING_LOW = 357,
    SPLICE_STATE_ERROR = 358,
    SPLICE_LOW_FEE = 359,
    SPLICE_HIGH_FEE = 360,
    SPLICE_ABORT = 362,
    SPLICE_CHANNEL_ERROR = 363,
    CONNECT_NO_KNOWN_ADDRESS = 400,
    CONNECT_ALL_ADDRESSES_FAILED = 401,
    CONNECT_DISCONNECTED_DURING = 402,
    BCLI_ERROR = 500,
    BCLI_NO_FEE_ESTIMATES = 501,
    HSM_ECDH_FAILED = 800,
    INVOICE_LABEL_ALREADY_EXISTS = 900,
    INVOICE_PREIMAGE_ALREADY_EXISTS = 901,
    INVOICE_HINTS_GAVE_NO_ROUTES = 902,
    INVOICE_EXPIRED_DURING_WAIT = 903,
    INVOICE_WAIT_TIMED_OUT = 904,
    INVOICE_NOT_FOUND = 905,
    INVOICE_STATUS_UNEXPECTED = 906,
    INVOICE_OFFER_INACTIVE = 907,
    INVOICE_NO_DESCRIPTION = 908,
    OFFER_ALREADY_EXISTS = 1000,
    OFFER_ALREADY_DISABLED = 1001,
    OFFER_EXPIRED = 1002,
    OFFER_ROUTE_NOT_FOUND = 1003,
    OFFER_BAD_INVREQ_REPLY = 1004,
    OFFER_TIMEOUT = 1005,
    OFFER_ALREADY_ENABLED = 1006,
    OFFER_USED_SINGLE_USE = 1007,
    DATASTORE_DEL_DOES_NOT_EXIST = 1200,
    DATASTORE_DEL_WRONG_GENERATION = 1201,
    DATASTORE_UPDATE_ALREADY_EXISTS = 1202,
    DATASTORE_UPDATE_DOES_NOT_EXIST = 1203,
    DATASTORE_UPDATE_WRONG_GENERATION = 1204,
    DATASTORE_UPDATE_HAS_CHILDREN = 1205,
    DATASTORE_UPDATE_NO_CHILDREN = 1206,
    SIGNMESSAGE_PUBKEY_NOT_FOUND = 1301,
    DELFORWARD_NOT_FOUND = 1401,
    DELNETWORKEVENT_NOT_FOUND = 1402,
    RUNE_NOT_AUTHORIZED = 1501,
    RUNE_NOT_PERMITTED = 1502,
    RUNE_BLACKLISTED = 1503,
    RECOVER_NODE_IN_USE = 1600,
    CREATEPROOF_NO_PAYMENT = 1700,
    WAIT_TIMEOUT = 2000,
    COMMANDO_ERROR_LOCAL = 19535,
    COMMANDO_ERROR_REMOTE = 19536,
    COMMANDO_ERROR_REMOTE_AUTH = 19537,
}

/// An error reply: `{"code": .., "message": .., "data": ..}`, `data` only where there is some.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{message} ({})", code.0)]
pub struct RpcError {
    pub code: Code,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<Value>>,
}

impl RpcError {
    pub fn new(code: Code, message: impl Into<String>) -> RpcError {
        RpcError {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The catch-all code that CLN names LIGHTNINGD (-1).
    pub fn general(message: impl Into<String>) -> RpcError {
        RpcError::new(code::LIGHTNINGD, message)
    }

    /// The caller's parameters are wrong (-32602).
    pub fn invalid_params(message: impl Into<String>) -> RpcError {
        RpcError::new(code::JSONRPC2_INVALID_PARAMS, message)
    }

    #[must_use]
    pub fn with_data(mut self, data: Value) -> RpcError {
        self.data = Some(Box::new(data));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_data_has_no_data_member() {
        let plain = serde_json::to_string(&RpcError::general("no")).unwrap();
        assert_eq!(plain, r#"{"code":-1,"message":"no"}"#);
        let full = RpcError::new(code::PAY_ROUTE_NOT_FOUND, "no route")
            .with_data(serde_json::json!({"tried": 2}));
        assert_eq!(
            serde_json::to_string(&full).unwrap(),
            r#"{"code":205,"message":"no route","data":{"tried":2}}"#
        );
    }

    #[test]
    fn codes_are_distinct() {
        let mut seen: Vec<i32> = code::ALL.iter().map(|(_, c)| c.0).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), code::ALL.len());
    }
}
