//! Bytes of the peer to messages and back.

use channel::action::PeerFault;
use wire::{ChannelId, Message};

/// `None`: an unknown odd message, to be ignored (BOLT 1).
///
/// # Errors
/// It cannot be decoded, or is of an unknown even type. Neither says anything about the channel's
/// state, so the connection pays for it and the channel stays.
pub fn read(data: &[u8]) -> Result<Option<Message>, PeerFault> {
    match Message::decode(data) {
        Ok(Message::Unknown { type_num, .. }) if type_num % 2 == 0 => Err(PeerFault::Warning(
            format!("unknown message type {type_num}"),
        )),
        Ok(Message::Unknown { .. }) => Ok(None),
        Ok(message) => {
            tracing::trace!("got {}", message.name());
            Ok(Some(message))
        }
        Err(error) => Err(PeerFault::Warning(format!(
            "message cannot be decoded: {error}"
        ))),
    }
}

/// BOLT 1 error.
pub fn error(channel_id: ChannelId, text: &str) -> Message {
    Message::Error(wire::Error {
        channel_id,
        data: text.as_bytes().to_vec(),
    })
}

/// BOLT 1 warning.
pub fn warning(channel_id: ChannelId, text: &str) -> Message {
    Message::Warning(wire::Warning {
        channel_id,
        data: text.as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_unknown_types_are_ignored_and_even_ones_cost_the_connection() {
        assert_eq!(read(&[0x7f, 0xff, 1, 2]), Ok(None));
        assert!(matches!(read(&[0x7f, 0xfe]), Err(PeerFault::Warning(_))));
    }

    #[test]
    fn half_a_message_costs_the_connection() {
        assert!(matches!(read(&[0, 128, 1]), Err(PeerFault::Warning(_))));
        assert!(matches!(read(&[]), Err(PeerFault::Warning(_))));
    }
}
