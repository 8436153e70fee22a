//! Who is coming in: how many from where, and how many have not yet said who they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use tokio::task::AbortHandle;

use crate::limits::Limits;

/// Inbound connections.
#[derive(Debug, Default)]
pub struct Crowd {
    by_net: HashMap<IpAddr, usize>,
    /// Handshakes under way, oldest first.
    handshakes: BTreeMap<u64, AbortHandle>,
    next: u64,
}

/// One inbound connection's place; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Rc<RefCell<Crowd>>,
    net: Option<IpAddr>,
    handshake: u64,
}

/// What is counted as one: an IPv4 address, or the /64 net that one subscriber has in IPv6.
/// `None`: not counted.
fn net(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    match ip {
        _ if ip.is_loopback() => None,
        IpAddr::V4(_) => Some(ip),
        IpAddr::V6(ip) => Some(IpAddr::V6(Ipv6Addr::from_bits(
            ip.to_bits() & (u128::MAX << 64),
        ))),
    }
}

impl Crowd {
    /// A place for a new connection from `ip`, unless too many are here from there.
    pub fn admit(crowd: &Rc<RefCell<Crowd>>, ip: IpAddr, limits: &Limits) -> Option<Seat> {
        let net = net(ip);
        let mut inner = crowd.borrow_mut();
        if let Some(net) = net {
            let here = inner.by_net.entry(net).or_default();
            if *here >= limits.per_ip {
                return None;
            }
            *here += 1;
        }
        inner.next += 1;
        let handshake = inner.next;
        drop(inner);
        Some(Seat {
            crowd: Rc::clone(crowd),
            net,
            handshake,
        })
    }

    /// `task` does this seat's handshake. The oldest makes room for it where there are too many.
    pub fn begin(crowd: &Rc<RefCell<Crowd>>, handshake: u64, task: AbortHandle, limits: &Limits) {
        let mut inner = crowd.borrow_mut();
        inner.handshakes.insert(handshake, task);
        let oldest = match inner.handshakes.len() > limits.handshakes {
            true => inner.handshakes.pop_first(),
            false => None,
        };
        drop(inner);
        if let Some((_, oldest)) = oldest {
            tracing::debug!("too many handshakes; the oldest makes room");
            oldest.abort();
        }
    }
}

impl Seat {
    /// Names this seat's handshake to [`Crowd::begin`].
    #[must_use]
    pub fn handshake(&self) -> u64 {
        self.handshake
    }

    /// The peer is known: it makes room for nobody any more.
    pub fn greeted(&self) {
        self.crowd.borrow_mut().handshakes.remove(&self.handshake);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = self.crowd.borrow_mut();
        crowd.handshakes.remove(&self.handshake);
        if let Some(net) = self.net
            && let Some(here) = crowd.by_net.get_mut(&net)
        {
            *here -= 1;
            if *here == 0 {
                crowd.by_net.remove(&net);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    fn seats(crowd: &Rc<RefCell<Crowd>>, ip: &str, limits: &Limits) -> Vec<Seat> {
        (0..10)
            .map_while(|_| Crowd::admit(crowd, ip.parse().unwrap(), limits))
            .collect()
    }

    #[test]
    fn one_address_gets_only_so_many_places_and_gives_them_back() {
        let limits = Limits {
            per_ip: 3,
            ..LIMITS
        };
        let crowd = Rc::default();
        let here = seats(&crowd, "192.0.2.1", &limits);
        assert_eq!(here.len(), 3);
        assert_eq!(
            seats(&crowd, "192.0.2.2", &limits).len(),
            3,
            "another address"
        );
        assert!(
            seats(&crowd, "::ffff:192.0.2.1", &limits).is_empty(),
            "the same, mapped"
        );
        drop(here);
        assert_eq!(seats(&crowd, "192.0.2.1", &limits).len(), 3);
        assert!(crowd.borrow().by_net.is_empty());
    }

    #[test]
    fn an_ipv6_net_counts_as_one_and_loopback_not_at_all() {
        let limits = Limits {
            per_ip: 3,
            ..LIMITS
        };
        let crowd = Rc::default();
        let _here = seats(&crowd, "2001:db8::1", &limits);
        assert!(seats(&crowd, "2001:db8::2:0:0:1", &limits).is_empty());
        assert_eq!(seats(&crowd, "2001:db8:0:1::1", &limits).len(), 3);
        assert_eq!(seats(&crowd, "127.0.0.1", &limits).len(), 10);
        assert_eq!(seats(&crowd, "::1", &limits).len(), 10);
    }
}
