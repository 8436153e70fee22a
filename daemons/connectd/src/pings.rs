//! The pings of one connection that have not been answered (BOLT 1, The `ping` and `pong` Messages).

use std::collections::VecDeque;

use wire::{Body, Ping, Pong};

/// BOLT 1: a ping that asks for so many bytes or more asks for no pong.
pub const NO_PONG: u16 = 65532;
/// The most bytes that a ping can carry: a message less its type and two lengths.
pub const MAX_PING: u16 = 65535 - 6;

/// Asked for these, oldest first.
#[derive(Debug, Default)]
pub struct Pings(VecDeque<Asked>);

#[derive(Debug)]
struct Asked {
    pong_len: u16,
    request: Option<u64>,
}

/// A pong that answers none of our pings.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected;

impl Pings {
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn asked(&mut self, pong_len: u16, request: Option<u64>) {
        self.0.push_back(Asked { pong_len, request });
    }

    /// Gives lightningd's request that this pong answers.
    ///
    /// # Errors
    /// It answers none.
    pub fn answered(&mut self, pong: &Pong) -> Result<Option<u64>, Unexpected> {
        match self.0.front() {
            Some(asked) if usize::from(asked.pong_len) == pong.ignored.len() => {
                let request = asked.request;
                self.0.pop_front();
                Ok(request)
            }
            Some(_) | None => Err(Unexpected),
        }
    }

    /// lightningd's requests that nothing will answer any more.
    pub fn drain(&mut self) -> impl Iterator<Item = u64> {
        self.0.drain(..).filter_map(|asked| asked.request)
    }
}

/// A ping of `len` zeros, at most [`MAX_PING`].
#[must_use]
pub fn ping(len: u16, pong_len: u16) -> Vec<u8> {
    Ping {
        num_pong_bytes: pong_len,
        ignored: vec![0; usize::from(len)],
    }
    .to_bytes()
}

/// What BOLT 1 wants said to a ping, if anything.
#[must_use]
pub fn pong(ping: &Ping) -> Option<Vec<u8>> {
    // BOLT 1, ping, receiver: answer with as many bytes as it asks for, unless that is too many.
    (ping.num_pong_bytes < NO_PONG).then(|| {
        Pong {
            ignored: vec![0; usize::from(ping.num_pong_bytes)],
        }
        .to_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(len: usize) -> Pong {
        Pong {
            ignored: vec![0; len],
        }
    }

    #[test]
    fn pongs_answer_pings_in_order() {
        let mut pings = Pings::default();
        pings.asked(3, Some(7));
        pings.asked(4, None);
        assert_eq!(pings.answered(&got(3)), Ok(Some(7)));
        assert_eq!(pings.answered(&got(3)), Err(Unexpected));
        assert_eq!(pings.answered(&got(4)), Ok(None));
        assert_eq!(pings.answered(&got(4)), Err(Unexpected));
    }

    #[test]
    fn only_a_ping_for_fewer_than_65532_bytes_is_answered() {
        let asks = |num_pong_bytes| {
            pong(&Ping {
                num_pong_bytes,
                ignored: Vec::new(),
            })
        };
        assert_eq!(asks(65531).map(|pong| pong.len()), Some(65535));
        assert_eq!(asks(65532), None);
        assert_eq!(asks(0), Some(vec![0, 19, 0, 0]));
    }

    #[test]
    fn the_longest_ping_is_the_longest_message() {
        assert_eq!(ping(MAX_PING, 0).len(), wire::MAX_MESSAGE);
    }
}
