//! What kind of message it is, by its number alone.

use wire::features::{Feature, Features};
use wire::*;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Init,
    Ping,
    Pong,
    /// To the channel it names, or to lightningd.
    Channel,
    /// Of what peers keep for each other: to lightningd.
    Storage,
    /// Names no channel by its id: for all channels of the peer, which know their scids.
    ChannelUpdate,
    /// Gossip and what we may ignore.
    Ignored,
    /// An even type that we do not know, or whose feature we do not have.
    Unknown,
}

/// The kind of a message of this type, for a node with these features.
#[must_use]
pub fn kind(type_num: u16, ours: &Features) -> Kind {
    match type_num {
        Init::TYPE => Kind::Init,
        Ping::TYPE => Kind::Ping,
        Pong::TYPE => Kind::Pong,
        Error::TYPE | Warning::TYPE | AnnouncementSignatures::TYPE => Kind::Channel,
        PeerStorage::TYPE | PeerStorageRetrieval::TYPE if ours.has(Feature::ProvideStorage) => {
            Kind::Storage
        }
        ChannelUpdate::TYPE => Kind::ChannelUpdate,
        // Gossip that nobody here keeps.
        ChannelAnnouncement::TYPE..=GossipTimestampFilter::TYPE => Kind::Ignored,
        _ if understood(type_num, ours) => Kind::Channel,
        // BOLT 1, receiver: an unknown odd message is ignored, an unknown even one closes.
        _ if type_num % 2 == 1 => Kind::Ignored,
        _ => Kind::Unknown,
    }
}

/// Whether it is one of a channel's messages that exist for us: without the feature that brings it,
/// a message is as unknown as any.
fn understood(type_num: u16, ours: &Features) -> bool {
    let any = |features: &[Feature]| features.iter().any(|feature| ours.has(*feature));
    match type_num {
        Stfu::TYPE => any(&[Feature::Quiesce, Feature::Splice]),
        OpenChannel::TYPE..=ClosingSigned::TYPE
        | UpdateAddHtlc::TYPE..=ChannelReestablish::TYPE => KNOWN_TYPES.contains(&type_num),
        ClosingComplete::TYPE | ClosingSig::TYPE => any(&[Feature::SimpleClose]),
        OpenChannel2::TYPE | AcceptChannel2::TYPE | TxInitRbf::TYPE | TxAckRbf::TYPE => {
            any(&[Feature::DualFund])
        }
        TxAddInput::TYPE..=TxSignatures::TYPE | TxAbort::TYPE => {
            any(&[Feature::DualFund, Feature::Splice])
        }
        SpliceLocked::TYPE | SpliceInit::TYPE | SpliceAck::TYPE | StartBatch::TYPE => {
            any(&[Feature::Splice])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sorted_by_type_and_feature() {
        let none = Features::new();
        let all = Features::of(
            &[],
            &[
                Feature::DualFund,
                Feature::Splice,
                Feature::SimpleClose,
                Feature::Quiesce,
                Feature::ProvideStorage,
            ],
        );
        let table: [(u16, Kind, Kind); 22] = [
            (1, Kind::Channel, Kind::Channel),
            (2, Kind::Unknown, Kind::Channel),
            (7, Kind::Ignored, Kind::Storage),
            (9, Kind::Ignored, Kind::Storage),
            (16, Kind::Init, Kind::Init),
            (17, Kind::Channel, Kind::Channel),
            (18, Kind::Ping, Kind::Ping),
            (19, Kind::Pong, Kind::Pong),
            (32, Kind::Channel, Kind::Channel),
            (37, Kind::Ignored, Kind::Ignored),
            (39, Kind::Channel, Kind::Channel),
            (40, Kind::Unknown, Kind::Channel),
            (64, Kind::Unknown, Kind::Channel),
            (70, Kind::Unknown, Kind::Channel),
            (136, Kind::Channel, Kind::Channel),
            (256, Kind::Ignored, Kind::Ignored),
            (258, Kind::ChannelUpdate, Kind::ChannelUpdate),
            (259, Kind::Channel, Kind::Channel),
            (265, Kind::Ignored, Kind::Ignored),
            (513, Kind::Ignored, Kind::Ignored),
            (32768, Kind::Unknown, Kind::Unknown),
            (65535, Kind::Ignored, Kind::Ignored),
        ];
        for (type_num, without, with) in table {
            assert_eq!(
                (kind(type_num, &none), kind(type_num, &all)),
                (without, with),
                "{type_num}"
            );
        }
    }

    #[test]
    fn every_message_with_a_channel_id_goes_to_a_channel_where_its_feature_is_ours() {
        let all: Features = Feature::ALL.iter().map(|feature| feature.bit()).collect();
        for type_num in KNOWN_TYPES {
            let mut message = type_num.to_be_bytes().to_vec();
            message.extend([1; 64]);
            let names_a_channel = peek(&message).unwrap().1.is_some();
            assert_eq!(
                kind(*type_num, &all) == Kind::Channel,
                names_a_channel,
                "{type_num}"
            );
        }
    }
}
