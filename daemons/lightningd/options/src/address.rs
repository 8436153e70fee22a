//! `addr`, `bind-addr` and `announce-addr`: where to listen and what to tell the world.

use std::net::{IpAddr, Ipv6Addr};

/// Longest DNS name.
const MAX_HOSTNAME: usize = 255;

/// A host as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    /// Every interface; what to announce has to be found out.
    Any,
    /// To be looked up when we listen or announce.
    Name(String),
    /// `dns:NAME`, to be announced as a name (BOLT 7, address type 5).
    Dns(String),
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `bind-addr`
    Listen,
    /// `announce-addr`
    Announce,
    /// `addr`
    Both,
}

impl Purpose {
    #[must_use]
    pub const fn listens(self) -> bool {
        matches!(self, Purpose::Listen | Purpose::Both)
    }

    #[must_use]
    pub const fn announces(self) -> bool {
        matches!(self, Purpose::Announce | Purpose::Both)
    }
}

/// One of the three options' values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: Host,
    pub port: u16,
    pub purpose: Purpose,
}

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("'{0}' is not an address: give IP, IP:PORT, [IPv6]:PORT, HOST or HOST:PORT")]
    Malformed(String),
    #[error("'{0}': the port must be a number from 1 to 65535")]
    Port(String),
    #[error(
        "'{0}': Tor addresses are not supported yet; leave it out, or reach the node by its IP address"
    )]
    Tor(String),
    #[error("'{0}': websockets are not supported yet; leave it out")]
    Websocket(String),
    #[error("'{0}': listening on a local socket is not supported; bind to 127.0.0.1:PORT instead")]
    LocalSocket(String),
    #[error(
        "'{0}': a dns: name can only be announced; use --announce-addr for it and --bind-addr to listen"
    )]
    DnsListens(String),
    #[error(
        "'{0}': every interface cannot be announced; use --bind-addr to listen and --announce-addr with the address that the world sees"
    )]
    AnyAnnounced(String),
}

impl Address {
    /// `default_port` stands where the text has none.
    pub fn parse(text: &str, purpose: Purpose, default_port: u16) -> Result<Address, AddressError> {
        let given = || text.to_owned();
        if text.starts_with("autotor:") || text.starts_with("statictor:") {
            return Err(AddressError::Tor(given()));
        }
        if text.starts_with("ws:") || text.starts_with("wss:") {
            return Err(AddressError::Websocket(given()));
        }
        if text.starts_with('/') || text.starts_with("local:") {
            return Err(AddressError::LocalSocket(given()));
        }
        let (bare, is_dns) = text
            .strip_prefix("dns:")
            .map_or((text, false), |bare| (bare, true));
        let (host, port) = split_host_port(bare).ok_or_else(|| AddressError::Malformed(given()))?;
        let port = port.map_or(Ok(default_port), |p| {
            parse_port(p).ok_or_else(|| AddressError::Port(given()))
        })?;
        let host = parse_host(host, is_dns).ok_or_else(|| AddressError::Malformed(given()))?;
        match &host {
            Host::Name(name) | Host::Dns(name) if is_onion(name) => Err(AddressError::Tor(given())),
            Host::Dns(_) if purpose.listens() => Err(AddressError::DnsListens(given())),
            Host::Any if purpose == Purpose::Announce => Err(AddressError::AnyAnnounced(given())),
            Host::Ip(_) | Host::Any | Host::Name(_) | Host::Dns(_) => Ok(Address {
                host,
                port,
                purpose,
            }),
        }
    }
}

/// The host and the text of the port. An IPv6 address has a port only in brackets.
fn split_host_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|p| *p > 0)
}

fn parse_host(text: &str, is_dns: bool) -> Option<Host> {
    if is_dns {
        return is_hostname(text).then(|| Host::Dns(text.to_owned()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(if ip.is_unspecified() {
            Host::Any
        } else {
            Host::Ip(ip)
        });
    }
    if text.is_empty() {
        return Some(Host::Any);
    }
    (text.parse::<Ipv6Addr>().is_err() && is_hostname(text)).then(|| Host::Name(text.to_owned()))
}

fn is_onion(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".onion")
}

/// Letters, digits and inner hyphens between dots; underscores only in the first label or before the
/// last two.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    if text.is_empty() || text.len() > MAX_HOSTNAME {
        return false;
    }
    let labels: Vec<&str> = text.split('.').collect();
    let domain_from = labels.len().saturating_sub(2);
    labels.iter().enumerate().all(|(i, label)| {
        let underscores = i < domain_from;
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || (underscores && b == b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listen(text: &str) -> Result<(Host, u16), AddressError> {
        Address::parse(text, Purpose::Listen, 9735).map(|a| (a.host, a.port))
    }

    #[test]
    fn a_port_is_optional_and_needs_brackets_after_ipv6() {
        let localhost = Host::Ip("127.0.0.1".parse().unwrap());
        let v6 = Host::Ip("2001:db8::1".parse().unwrap());
        assert_eq!(listen("127.0.0.1"), Ok((localhost.clone(), 9735)));
        assert_eq!(listen("127.0.0.1:19846"), Ok((localhost, 19846)));
        assert_eq!(listen("2001:db8::1"), Ok((v6.clone(), 9735)));
        assert_eq!(listen("[2001:db8::1]:1"), Ok((v6.clone(), 1)));
        assert_eq!(listen("[2001:db8::1]"), Ok((v6, 9735)));
        assert_eq!(
            listen("example.com:80"),
            Ok((Host::Name("example.com".into()), 80))
        );
        for any in ["0.0.0.0:7", "[::]:7", ":7"] {
            assert_eq!(listen(any), Ok((Host::Any, 7)), "{any}");
        }
    }

    #[test]
    fn what_we_cannot_do_is_refused_by_name() {
        let onion = "qubesosfasa4zl44o4tws22di6kepyzfeqv3tg4e3ztknltfxqrymdad.onion";
        assert!(matches!(
            Address::parse(onion, Purpose::Announce, 1),
            Err(AddressError::Tor(_))
        ));
        assert!(matches!(
            listen("statictor:127.0.0.1:9051"),
            Err(AddressError::Tor(_))
        ));
        assert!(matches!(
            listen("ws:127.0.0.1:9050"),
            Err(AddressError::Websocket(_))
        ));
        assert!(matches!(
            listen("/tmp/socket"),
            Err(AddressError::LocalSocket(_))
        ));
        assert!(matches!(
            listen("dns:example.com"),
            Err(AddressError::DnsListens(_))
        ));
        assert!(matches!(
            Address::parse("0.0.0.0", Purpose::Announce, 1),
            Err(AddressError::AnyAnnounced(_))
        ));
        let named = Address::parse("dns:example.com:2", Purpose::Announce, 1).unwrap();
        assert_eq!(
            (named.host, named.port),
            (Host::Dns("example.com".into()), 2)
        );
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in ["[", "[123", "[::1]x", "a b", "-.x", "1.2.3.4.:-", ""] {
            let got = Address::parse(text, Purpose::Announce, 1);
            assert!(got.is_err(), "{text:?} gave {got:?}");
        }
        for text in [
            "127.0.0.1:0",
            "127.0.0.1:8f",
            "[::1]:8f",
            "host:",
            "host:65536",
            "host:+1",
        ] {
            assert_eq!(listen(text), Err(AddressError::Port(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = listen(&text);
        }
    }
}
