//! A peer that we are opens channels with a node.

use super::{CHANNEL, key, secret};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{Network, OutPoint, ScriptBuf};
use blackbox::Node;
use blackbox::raw_peer::RawPeer;
use tx::Commitment;
use tx::ledger::Ledger;
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use wire::features::{Feature, Features};
use wire::{
    AcceptChannel, BlockDelta, ChainHash, ChannelId, CommitmentNumber, FeeratePerKw,
    FundingCreated, Message, MilliSatoshi, OpenChannel, Satoshi, Side,
};

/// A connection to the node that opens.
pub struct Opener {
    pub peer: RawPeer,
}

impl Opener {
    pub fn of(node: &Node) -> Opener {
        let peer = RawPeer::connect_and_greet(node).unwrap();
        Opener { peer }
    }

    /// Opens a channel up to the node's signature, with what `fund` pays to the script; its id.
    pub fn open(
        &mut self,
        push: MilliSatoshi,
        fund: impl FnOnce(&ScriptBuf) -> OutPoint,
    ) -> ChannelId {
        let open = open_channel(push);
        self.say(Message::OpenChannel(open.clone()));
        let accept = self.hear(|message| match message {
            Message::AcceptChannel(accept) => Some(accept),
            _ => None,
        });
        let setup = setup(&open, &accept);
        let funding = Funding {
            outpoint: fund(&setup.funding_script_pubkey()),
            value: open.funding_satoshis,
        };
        let first = Commitment::build(
            &setup,
            &funding,
            Side::Remote,
            CommitmentNumber::ZERO,
            &accept.first_per_commitment_point,
            &Ledger::opening(&setup).unwrap(),
        );
        self.say(Message::FundingCreated(FundingCreated {
            temporary_channel_id: open.temporary_channel_id,
            funding_txid: funding.outpoint.txid,
            funding_output_index: funding.outpoint.vout.try_into().unwrap(),
            signature: first.unwrap().sign(&setup, &funding, &secret(11)).unwrap(),
        }));
        self.hear(|message| match message {
            Message::FundingSigned(signed) => Some(signed.channel_id),
            _ => None,
        })
    }

    pub fn say(&mut self, message: Message) {
        self.peer.send(&message.encode()).unwrap();
    }

    fn hear<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
        let heard = self.peer.receive_until(|message| match message {
            Message::Error(error) => panic!("it says: {}", error.text()),
            message => wanted(message),
        });
        heard.unwrap()
    }
}

fn open_channel(push: MilliSatoshi) -> OpenChannel {
    let mut channel_type = Features::of(&[Feature::Anchors], &[]);
    channel_type.set_required(Feature::StaticRemotekey);
    OpenChannel {
        chain_hash: ChainHash(genesis_block(Network::Regtest).block_hash().to_byte_array()),
        temporary_channel_id: ChannelId(rand::random()),
        funding_satoshis: Satoshi(CHANNEL),
        push_msat: push,
        dust_limit_satoshis: Satoshi(546),
        max_htlc_value_in_flight_msat: MilliSatoshi(CHANNEL * 1000),
        channel_reserve_satoshis: Satoshi(4_000),
        htlc_minimum_msat: MilliSatoshi(0),
        feerate_per_kw: FeeratePerKw(1_000),
        to_self_delay: BlockDelta(6),
        max_accepted_htlcs: 30,
        funding_pubkey: key(11),
        revocation_basepoint: key(12),
        payment_basepoint: key(13),
        delayed_payment_basepoint: key(14),
        htlc_basepoint: key(15),
        first_per_commitment_point: key(16),
        channel_flags: 0,
        upfront_shutdown_script: Some(Default::default()),
        channel_type: Some(channel_type),
    }
}

/// What both agreed on, as the opener sees it.
fn setup(open: &OpenChannel, accept: &AcceptChannel) -> Setup {
    let local = Party {
        funding_pubkey: open.funding_pubkey,
        basepoints: Basepoints {
            revocation: open.revocation_basepoint,
            payment: open.payment_basepoint,
            delayed_payment: open.delayed_payment_basepoint,
            htlc: open.htlc_basepoint,
        },
        dust_limit: open.dust_limit_satoshis,
        to_self_delay: open.to_self_delay,
        channel_reserve: open.channel_reserve_satoshis,
        htlc_minimum: open.htlc_minimum_msat,
        max_htlc_value_in_flight: open.max_htlc_value_in_flight_msat,
        max_accepted_htlcs: open.max_accepted_htlcs,
        upfront_shutdown_script: None,
    };
    let remote = Party {
        funding_pubkey: accept.funding_pubkey,
        basepoints: Basepoints {
            revocation: accept.revocation_basepoint,
            payment: accept.payment_basepoint,
            delayed_payment: accept.delayed_payment_basepoint,
            htlc: accept.htlc_basepoint,
        },
        dust_limit: accept.dust_limit_satoshis,
        to_self_delay: accept.to_self_delay,
        channel_reserve: accept.channel_reserve_satoshis,
        htlc_minimum: accept.htlc_minimum_msat,
        max_htlc_value_in_flight: accept.max_htlc_value_in_flight_msat,
        max_accepted_htlcs: accept.max_accepted_htlcs,
        upfront_shutdown_script: None,
    };
    Setup {
        opener: Side::Local,
        format: CommitmentFormat::AnchorsZeroFeeHtlc,
        funding_value: open.funding_satoshis,
        push: open.push_msat,
        feerate: open.feerate_per_kw,
        local,
        remote,
    }
}
