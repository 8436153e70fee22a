//! A command's parameters as its function gets them: checked against the table, typed, by name.

use bitcoin::{OutPoint, Txid};
use serde_json::Value;
use wire::{ChannelId, MilliSatoshi, NodeId, PaymentHash, Satoshi, ShortChannelId};

use crate::amount::{AnyOrMsat, SatOrAll};
use crate::error::{RpcError, code};
use crate::feerate::Feerate;
use crate::param::{Param, Parsed};
use crate::token::Token;

/// The parameters of one call. Asking for a name or type that the command's table does not have is a
/// bug of ours, answered with PARAM_DEV_ERROR instead of a panic.
#[derive(Debug)]
pub struct Args {
    values: Vec<(Param, Option<Parsed>)>,
}

/// The `params` member of a request.
#[derive(Debug)]
pub(crate) enum Given<'a> {
    Positions(Vec<Token<'a>>),
    Names(Vec<(String, Token<'a>)>),
}

impl<'a> Given<'a> {
    pub(crate) fn new(params: Token<'a>) -> Result<Given<'a>, RpcError> {
        let positions = params.elements().map(Given::Positions);
        positions
            .or_else(|| params.members().map(Given::Names))
            .ok_or_else(|| RpcError::invalid_params("Expected array or object for params"))
    }
}

/// Who is told what about a malformed parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strictness {
    pub developer: bool,
    /// Repeat the offending text in the error. Else only the log has it: a client may show our error
    /// to somebody who must not see what it sent.
    pub echo: bool,
}

impl Args {
    /// The parameter, or its table default.
    pub fn required<T: FromParsed>(&self, name: &str) -> Result<T, RpcError> {
        self.optional(name)?
            .ok_or_else(|| RpcError::invalid_params(format!("missing required parameter: {name}")))
    }

    /// `None` where it was omitted and its table has no default.
    pub fn optional<T: FromParsed>(&self, name: &str) -> Result<Option<T>, RpcError> {
        let Some((_, value)) = self.values.iter().find(|(p, _)| p.is_named(name)) else {
            return Err(bug(format!(
                "no parameter named {name} in the command's table"
            )));
        };
        match value {
            None => Ok(None),
            Some(value) => match T::from_parsed(value) {
                Some(value) => Ok(Some(value)),
                None => Err(bug(format!(
                    "parameter {name} is not of the type asked for"
                ))),
            },
        }
    }

    /// Whether the client gave it, or it has a default.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values
            .iter()
            .any(|(p, value)| p.is_named(name) && value.is_some())
    }

    pub(crate) fn read(
        params: &[Param],
        given: &Given<'_>,
        how: Strictness,
    ) -> Result<Args, RpcError> {
        let mut args = Args {
            values: params.iter().map(|p| (*p, None)).collect(),
        };
        match given {
            Given::Positions(elements) => args.by_position(elements, how)?,
            Given::Names(members) => args.by_name(members, how)?,
        }
        args.finish()
    }

    fn by_position(&mut self, elements: &[Token<'_>], how: Strictness) -> Result<(), RpcError> {
        let expected = self.values.len();
        for (i, token) in elements.iter().enumerate() {
            let Some((param, value)) = self.values.get_mut(i) else {
                let got = elements.len();
                return Err(RpcError::invalid_params(format!(
                    "too many parameters: got {got}, expected {expected}"
                )));
            };
            if !token.is_null() {
                *value = Some(read_one(param, *token, how)?);
            }
        }
        Ok(())
    }

    fn by_name(
        &mut self,
        members: &[(String, Token<'_>)],
        how: Strictness,
    ) -> Result<(), RpcError> {
        for (name, token) in members {
            let Some((param, value)) = self.values.iter_mut().find(|(p, _)| p.is_named(name))
            else {
                return Err(RpcError::invalid_params(format!(
                    "unknown parameter: {name} (with lightning-cli, -o keeps a value that contains '=' positional)"
                )));
            };
            if value.is_some() {
                return Err(RpcError::invalid_params(format!(
                    "duplicate json names: {}",
                    param.name
                )));
            }
            *value = Some(read_one(param, *token, how)?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Args, RpcError> {
        for (param, value) in &mut self.values {
            if value.is_some() {
                continue;
            }
            if param.required {
                return Err(RpcError::invalid_params(format!(
                    "missing required parameter: {}",
                    param.name
                )));
            }
            if let Some(text) = param.default {
                let token = Token::parse(text).and_then(|t| param.kind.parse(t));
                *value = Some(
                    token.ok_or_else(|| bug(format!("default of {} is malformed", param.name)))?,
                );
            }
        }
        Ok(self)
    }
}

fn read_one(param: &Param, token: Token<'_>, how: Strictness) -> Result<Parsed, RpcError> {
    if param.dev_only && !how.developer {
        return Err(RpcError::invalid_params(format!(
            "Parameter '{}' is developer-only",
            param.name
        )));
    }
    param.kind.parse(token).ok_or_else(|| {
        bad_param(
            param.name,
            &param.kind.complaint(),
            token,
            param.secret,
            how,
        )
    })
}

/// The error for a malformed value, `member` being a parameter or `filter`.
pub(crate) fn bad_param(
    member: &str,
    complaint: &str,
    token: Token<'_>,
    secret: bool,
    how: Strictness,
) -> RpcError {
    if how.echo && !secret {
        return RpcError::invalid_params(format!(
            "{member}: {complaint}: invalid token '{}'",
            token.raw()
        ));
    }
    if secret {
        tracing::info!(parameter = member, "refused a parameter: {complaint}");
    } else {
        tracing::info!(
            parameter = member,
            token = token.raw(),
            "refused a parameter: {complaint}"
        );
    }
    RpcError::invalid_params(format!(
        "{member}: {complaint}: invalid token (see logs for details)"
    ))
}

fn bug(what: String) -> RpcError {
    tracing::error!("{what}");
    RpcError::new(code::PARAM_DEV_ERROR, what)
}

/// Types that [`Args`] can give out.
pub trait FromParsed: Sized + sealed::Sealed {
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn from_parsed(value: &Parsed) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! from_parsed {
    ($($variant:ident => $type:ty),* $(,)?) => {$(
        impl sealed::Sealed for $type {}
        impl FromParsed for $type {
            #[allow(private_interfaces)]
            fn from_parsed(value: &Parsed) -> Option<Self> {
                if let Parsed::$variant(v) = value { Some(v.clone()) } else { None }
            }
        }
    )*};
}
from_parsed! {
    Text => String, Bool => bool, Number => f64, Msat => MilliSatoshi, MsatOrAny => AnyOrMsat, Sat => Satoshi,
    SatOrAll => SatOrAll, NodeId => NodeId, ShortChannelId => ShortChannelId, ChannelId => ChannelId,
    Outpoint => OutPoint, Txid => Txid, Bytes => Vec<u8>, Hash => PaymentHash, Feerate => Feerate,
    Strings => Vec<String>, U32s => Vec<u32>, Outpoints => Vec<OutPoint>,
    Feerates => Vec<Feerate>, Json => Value,
}

impl sealed::Sealed for [u8; 32] {}
impl FromParsed for [u8; 32] {
    #[allow(private_interfaces)]
    fn from_parsed(value: &Parsed) -> Option<Self> {
        if let Parsed::Hash(hash) = value {
            Some(hash.0)
        } else {
            None
        }
    }
}

macro_rules! from_unsigned {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl FromParsed for $type {
            #[allow(private_interfaces)]
            fn from_parsed(value: &Parsed) -> Option<Self> {
                if let Parsed::Unsigned(n) = value { (*n).try_into().ok() } else { None }
            }
        }
    )*};
}
from_unsigned!(u16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Type;

    const PARAMS: &[Param] = &[
        Param::required("amount_msat", Type::Msat).also_named("msatoshi"),
        Param::required("label", Type::Label),
        Param::optional("minconf", Type::U32),
        Param::or("retry_for", Type::U16, "60"),
        Param::optional("preimage", Type::Hash).secret(),
        Param::optional("dev-x", Type::Bool).developer(),
    ];
    const USER: Strictness = Strictness {
        developer: false,
        echo: false,
    };
    const DEVELOPER: Strictness = Strictness {
        developer: true,
        echo: true,
    };

    fn read(text: &str) -> Result<Args, RpcError> {
        Args::read(PARAMS, &Given::new(Token::parse(text).unwrap())?, USER)
    }

    fn refusal(text: &str) -> String {
        let e = read(text).unwrap_err();
        assert_eq!(e.code, code::JSONRPC2_INVALID_PARAMS);
        e.message
    }

    #[test]
    fn positions_and_names_give_the_same_arguments() {
        for text in [
            r#"["1sat", 7]"#,
            r#"{"label": 7, "amount_msat": 1000}"#,
            r#"["1000", "7", null]"#,
            r#"{"msatoshi":1000,"label":"7"}"#,
        ] {
            let args = read(text).unwrap();
            assert_eq!(
                args.required::<MilliSatoshi>("amount_msat").unwrap(),
                MilliSatoshi(1000)
            );
            assert_eq!(args.required::<String>("label").unwrap(), "7");
            assert_eq!(args.optional::<u32>("minconf").unwrap(), None);
            assert_eq!(args.required::<u16>("retry_for").unwrap(), 60);
            assert!(!args.has("minconf") && args.has("retry_for"));
        }
    }

    #[test]
    fn each_kind_of_wrong_parameters_has_its_message() {
        assert_eq!(refusal("[1]"), "missing required parameter: label");
        assert_eq!(refusal("{}"), "missing required parameter: amount_msat");
        assert_eq!(
            refusal("[1,2,3,4,null,null,7,8]"),
            "too many parameters: got 8, expected 6"
        );
        assert!(
            refusal(r#"{"amount_msat":1,"label":1,"x":1}"#).starts_with("unknown parameter: x")
        );
        assert_eq!(
            refusal(r#"{"label":1,"label":2}"#),
            "duplicate json names: label"
        );
        assert_eq!(refusal("\"x\""), "Expected array or object for params");
        assert_eq!(
            refusal(r#"[1,2,"z"]"#),
            "minconf: should be an unsigned 32 bit integer: invalid token (see logs for details)"
        );
        assert_eq!(
            refusal(r#"{"amount_msat":1,"label":2,"dev-x":true}"#),
            "Parameter 'dev-x' is developer-only"
        );
    }

    #[test]
    fn a_null_is_an_omission_by_position_only() {
        assert!(read("[1, 2, null]").is_ok());
        assert!(refusal(r#"{"amount_msat":1,"label":2,"minconf":null}"#).starts_with("minconf: "));
    }

    #[test]
    fn only_a_developer_is_shown_what_they_sent_and_never_a_secret() {
        let given = |text| Given::new(Token::parse(text).unwrap()).unwrap();
        let echo = |text| {
            Args::read(PARAMS, &given(text), DEVELOPER)
                .unwrap_err()
                .message
        };
        assert!(echo(r#"[1,2,"z"]"#).ends_with(r#"invalid token '"z"'"#));
        assert!(!echo(r#"[1,2,3,4,"sesame"]"#).contains("sesame"));
    }

    #[test]
    fn asking_for_what_the_table_lacks_is_an_error_and_no_panic() {
        let args = read("[1, 2]").unwrap();
        assert_eq!(
            args.required::<String>("nonesuch").unwrap_err().code,
            code::PARAM_DEV_ERROR
        );
        assert_eq!(
            args.required::<bool>("label").unwrap_err().code,
            code::PARAM_DEV_ERROR
        );
    }
}
