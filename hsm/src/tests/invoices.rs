//! I1 and H4: a hash is registered once, and a preimage leaves only for HTLCs that pay.

use std::time::Duration;

use bitcoin::Network;
use invoice::{Bolt11Fields, DescriptionOrHash};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1};
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::CommitmentFormat;
use wire::{
    BlockDelta, CltvExpiry, Feature, Features, HtlcId, MilliSatoshi, PaymentHash, PaymentSecret,
    Preimage, Side,
};

use super::fixture::{Node, Pair};
use crate::invoices::{MAX_REGISTERED, Source, Terms};
use crate::{Refused, Rule, UnixTime};
use hsm_messages::invoice::PreimageHolder;

const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;
const AMOUNT: MilliSatoshi = MilliSatoshi(20_000_000);
const MADE: u64 = 1_700_000_000;
const EXPIRY: u64 = 3600;

fn fields(payment_hash: PaymentHash) -> Bolt11Fields {
    Bolt11Fields {
        network: Network::Regtest,
        amount: Some(AMOUNT),
        payment_hash,
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("tea".to_owned()),
        timestamp: Duration::from_secs(MADE),
        expiry: Duration::from_secs(EXPIRY),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    }
}

/// An invoice of this node's for `amount`.
fn invoice(node: &mut Node, amount: Option<MilliSatoshi>) -> PaymentHash {
    let hash = node.hsm().new_preimage().unwrap();
    let fields = Bolt11Fields {
        amount,
        ..fields(hash)
    };
    let signed = node.hsm().sign_bolt11(&fields, PreimageHolder::Hsmd);
    signed.unwrap();
    hash
}

fn terms_until(expires_at: u64) -> Terms {
    Terms {
        amount: None,
        expires_at: UnixTime(expires_at),
        hash: [0; 32],
        source: Source::Foreign,
    }
}

fn rule<T>(result: Result<T, Refused>) -> Rule {
    match result {
        Ok(_) => panic!("not refused"),
        Err(refused) => refused.rule(),
    }
}

/// An HTLC of `b`'s to `a`.
fn offer(id: u64, amount: MilliSatoshi, payment_hash: PaymentHash) -> Delta {
    Delta::Add {
        key: key(id),
        htlc: Htlc {
            amount,
            payment_hash,
            cltv_expiry: CltvExpiry(800_000),
        },
    }
}

fn key(id: u64) -> HtlcKey {
    HtlcKey {
        offerer: Side::Remote,
        id: HtlcId(id),
    }
}

fn fulfil(id: u64, preimage: Preimage) -> Delta {
    Delta::Fulfil {
        key: key(id),
        preimage,
    }
}

/// In both commitments, as the peer's update goes.
fn lock_in(pair: &mut Pair, deltas: &[Delta]) {
    pair.commit(Side::Local, deltas);
    pair.commit(Side::Remote, deltas);
}

#[test]
fn i1_an_invoice_for_another_chain_is_refused_and_ours_names_us() {
    let mut node = Node::new();
    let hash = node.hsm().new_preimage().unwrap();
    let other = Bolt11Fields {
        network: Network::Bitcoin,
        ..fields(hash)
    };
    let refused = node.hsm().sign_bolt11(&other, PreimageHolder::Hsmd);
    assert_eq!(rule(refused), Rule::I1);
    let fields = fields(hash);
    let signed = node.hsm().sign_bolt11(&fields, PreimageHolder::Hsmd);
    let (signature, id) = signed.unwrap();
    let id = RecoveryId::from_i32(i32::from(id)).unwrap();
    let signature = RecoverableSignature::from_compact(&signature, id).unwrap();
    let message = Message::from_digest(fields.signing_hash().unwrap());
    let key = SECP256K1.recover_ecdsa(&message, &signature).unwrap();
    assert_eq!(key, node.hsm().node_id().0);
}

#[test]
fn i1_a_second_invoice_for_a_hash_is_refused() {
    let mut node = Node::new();
    let ours = node.hsm().new_preimage().unwrap();
    let foreign = Preimage([7; 32]).payment_hash();
    for (hash, holder) in [
        (ours, PreimageHolder::Hsmd),
        (foreign, PreimageHolder::Lightningd),
    ] {
        let first = fields(hash);
        let signed = node.hsm().sign_bolt11(&first, holder).unwrap();
        node.restart();
        let len = node.journal_len();
        assert_eq!(node.hsm().sign_bolt11(&first, holder).unwrap(), signed);
        assert_eq!(node.journal_len(), len, "a repetition was recorded");
        let others = [
            Bolt11Fields {
                amount: Some(MilliSatoshi(1)),
                ..first.clone()
            },
            Bolt11Fields {
                expiry: Duration::from_secs(EXPIRY + 1),
                ..first.clone()
            },
            Bolt11Fields {
                payment_secret: PaymentSecret([3; 32]),
                ..first.clone()
            },
        ];
        for other in others {
            let before = node.hsm().state.clone();
            assert_eq!(rule(node.hsm().sign_bolt11(&other, holder)), Rule::I1);
            assert_eq!(node.hsm().state, before, "a refusal changed something");
        }
    }
}

#[test]
fn i1_a_preimage_is_where_the_request_says() {
    let mut node = Node::new();
    let ours = node.hsm().new_preimage().unwrap();
    let foreign = Preimage([7; 32]).payment_hash();
    let refused = node
        .hsm()
        .sign_bolt11(&fields(ours), PreimageHolder::Lightningd);
    assert_eq!(rule(refused), Rule::I1);
    let refused = node
        .hsm()
        .sign_bolt11(&fields(foreign), PreimageHolder::Hsmd);
    assert_eq!(rule(refused), Rule::I1);
}

#[test]
fn i1_preimages_never_come_again() {
    let mut node = Node::new();
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..1100 {
        assert!(seen.insert(node.hsm().new_preimage().unwrap()));
        if at % 400 == 0 {
            node.restart();
            node.hsm().compact().unwrap();
            node.restart();
        }
    }
    // The oldest that nobody signed for are forgotten, and with them their invoices.
    let mut signed = 0;
    for hash in seen {
        let fields = fields(hash);
        signed += u32::from(
            node.hsm()
                .sign_bolt11(&fields, PreimageHolder::Hsmd)
                .is_ok(),
        );
    }
    assert_eq!(signed, 1024);
}

#[test]
fn i1_invoices_are_bounded_and_old_ones_make_room() {
    let mut node = Node::new();
    node.hsm().set_now(UnixTime(MADE));
    let foreign = |at: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        fields(PaymentHash(bytes))
    };
    let most = MAX_REGISTERED as u64;
    for at in 0..most {
        let hash = foreign(at).payment_hash;
        let invoices = &mut node.hsm().state.invoices;
        invoices.register(hash, terms_until(MADE + EXPIRY)).unwrap();
    }
    let one_more = foreign(most);
    let mut sign = |now| {
        node.hsm().set_now(UnixTime(now));
        let signed = node.hsm();
        signed.sign_bolt11(&one_more, PreimageHolder::Lightningd)
    };
    assert_eq!(
        sign(MADE + EXPIRY),
        Err(Refused::TooManyInvoices(MAX_REGISTERED))
    );
    assert!(sign(MADE + EXPIRY + 1).is_ok());
}

#[test]
fn h4_a_preimage_leaves_once_the_amount_is_locked_in() {
    let mut pair = Pair::open(ANCHORS);
    let hash = invoice(&mut pair.a.node, Some(AMOUNT));
    let deltas = [offer(0, AMOUNT, hash)];
    let release = |pair: &mut Pair| {
        pair.a.node.restart();
        pair.a.node.hsm().release(hash)
    };
    assert_eq!(rule(release(&mut pair)), Rule::H4, "nothing came");
    pair.commit(Side::Local, &deltas);
    assert_eq!(
        rule(release(&mut pair)),
        Rule::H4,
        "in our commitment alone"
    );
    let (signature, htlcs) = pair.sign(Side::Remote, &deltas);
    assert_eq!(
        rule(release(&mut pair)),
        Rule::H4,
        "the peer may still broadcast the commitment without it"
    );
    let secret = pair.validate(Side::Remote, &deltas, signature, htlcs);
    pair.revoke(Side::Remote, secret);
    let preimage = release(&mut pair).unwrap();
    assert_eq!(preimage.payment_hash(), hash);
    // Asked again, also while the HTLC is being removed and after.
    assert_eq!(release(&mut pair).unwrap(), preimage);
    let deltas = [fulfil(0, preimage)];
    pair.sign(Side::Remote, &deltas);
    assert_eq!(release(&mut pair).unwrap(), preimage, "in one commitment");
    let (signature, htlcs) = pair.sign(Side::Remote, &deltas);
    let secret = pair.validate(Side::Remote, &deltas, signature, htlcs);
    pair.revoke(Side::Remote, secret);
    pair.commit(Side::Local, &deltas);
    assert_eq!(release(&mut pair).unwrap(), preimage, "gone");
}

#[test]
fn h4_too_little_releases_nothing_and_parts_add_up() {
    let mut pair = Pair::open(ANCHORS);
    let hash = invoice(&mut pair.a.node, Some(AMOUNT));
    let half = MilliSatoshi(AMOUNT.0 / 2);
    lock_in(&mut pair, &[offer(0, half, hash)]);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
    lock_in(&mut pair, &[offer(1, MilliSatoshi(half.0 - 1), hash)]);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
    // A part that was failed counts no more.
    let failed = [Delta::Fail { key: key(1) }, offer(2, half, hash)];
    pair.commit(Side::Remote, &failed[..1]);
    pair.commit(Side::Local, &failed[..1]);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
    lock_in(&mut pair, &failed[1..]);
    pair.a.node.hsm().compact().unwrap();
    pair.a.node.restart();
    assert!(pair.a.node.hsm().release(hash).is_ok());
}

#[test]
fn h4_what_we_offer_ourselves_pays_no_invoice() {
    let mut pair = Pair::open(ANCHORS);
    let hash = invoice(&mut pair.a.node, Some(AMOUNT));
    let ours = [Delta::Add {
        key: HtlcKey {
            offerer: Side::Local,
            id: HtlcId(0),
        },
        htlc: Htlc {
            amount: AMOUNT,
            payment_hash: hash,
            cltv_expiry: CltvExpiry(800_000),
        },
    }];
    // Ours goes into the peer's commitment first (H1).
    pair.commit(Side::Remote, &ours);
    pair.commit(Side::Local, &ours);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
}

#[test]
fn h4_an_id_that_comes_again_for_another_hash_pays_no_invoice() {
    let mut pair = Pair::open(ANCHORS);
    let hash = invoice(&mut pair.a.node, Some(AMOUNT));
    lock_in(&mut pair, &[offer(0, MilliSatoshi(1000), hash)]);
    let other = [
        Delta::Fail { key: key(0) },
        offer(0, AMOUNT, PaymentHash([9; 32])),
    ];
    lock_in(&mut pair, &other);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
}

#[test]
fn h4_an_invoice_for_any_amount_wants_some() {
    let mut pair = Pair::open(ANCHORS);
    let hash = invoice(&mut pair.a.node, None);
    assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
    lock_in(&mut pair, &[offer(0, MilliSatoshi(1), hash)]);
    let preimage = pair.a.node.hsm().release(hash).unwrap();
    assert_eq!(preimage.payment_hash(), hash);
}

#[test]
fn h4_nothing_is_released_for_a_hash_without_an_invoice_or_of_somebody_else() {
    let mut pair = Pair::open(ANCHORS);
    let not_signed = pair.a.node.hsm().new_preimage().unwrap();
    let foreign = Preimage([7; 32]).payment_hash();
    let signed = pair
        .a
        .node
        .hsm()
        .sign_bolt11(&fields(foreign), PreimageHolder::Lightningd);
    signed.unwrap();
    let deltas = [offer(0, AMOUNT, not_signed), offer(1, AMOUNT, foreign)];
    lock_in(&mut pair, &deltas);
    for hash in [not_signed, foreign, PaymentHash([8; 32])] {
        assert_eq!(rule(pair.a.node.hsm().release(hash)), Rule::H4);
    }
}

#[test]
fn an_expired_invoice_stays_as_long_as_an_htlc_is_pending() {
    let mut pair = Pair::open(ANCHORS);
    let paid = invoice(&mut pair.a.node, Some(AMOUNT));
    let unpaid = invoice(&mut pair.a.node, Some(AMOUNT));
    lock_in(&mut pair, &[offer(0, AMOUNT, paid)]);
    let hsm = pair.a.node.hsm();
    hsm.set_now(UnixTime(MADE + EXPIRY + 1));
    // Enough for old ones to be looked for.
    for at in 0..1200u64 {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        let fields = Bolt11Fields {
            timestamp: Duration::from_secs(MADE + EXPIRY),
            ..fields(PaymentHash(bytes))
        };
        hsm.sign_bolt11(&fields, PreimageHolder::Lightningd)
            .unwrap();
    }
    pair.a.node.restart();
    let hsm = pair.a.node.hsm();
    assert!(hsm.release(paid).is_ok());
    assert_eq!(
        hsm.release(unpaid),
        Err(Refused::NotOurPreimage(unpaid)),
        "still there"
    );
}

#[test]
fn what_may_wait_for_the_disk_waits_and_an_invoice_does_not() {
    let mut node = Node::new();
    // What its making left over.
    node.hsm().sync().unwrap();
    let before = node.hsm().syncs();
    let hash = node.hsm().new_preimage().unwrap();
    node.hsm().sync().unwrap();
    assert_eq!(node.hsm().syncs(), before);
    let signed = node.hsm().sign_bolt11(&fields(hash), PreimageHolder::Hsmd);
    signed.unwrap();
    node.hsm().sync().unwrap();
    assert_eq!(node.hsm().syncs(), before + 1);
    let _ = node.hsm().release(hash);
    node.hsm().sync().unwrap();
    assert_eq!(node.hsm().syncs(), before + 1);
}
