//! Stopping updates for a while (BOLT 2, Channel Quiescence).

use super::message;
use crate::units::ChannelId;

message! {
    /// SomeThing Fundamental is Underway.
    Stfu = 2 {
        channel_id: ChannelId,
        /// 1 from whoever asks, 0 in the answer.
        initiator: u8,
    }
}
