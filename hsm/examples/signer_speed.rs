//! How fast one signer is: `cargo run --release -p hsm --example signer_speed`.
//!
//! Two signers commit to each other, first empty commitments, then with 483 HTLCs of one side.
//! A round is one commitment of each side: two signed, two verified, two revoked. With one sync
//! for each request that changes something (one channel alone), and with one for 64 channels' worth
//! of requests, as hsmd does when it is busy.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use hsm::{Hsm, NewChannel};
use secp256k1::PublicKey;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::{CommitmentFormat, Funding, Party, Setup};
use tx::signer::{Reply, Request};
use wire::{
    BlockDelta, ChainHash, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi,
    PaymentHash, Satoshi, Side,
};

const VALUE: Satoshi = Satoshi(100_000_000);

struct End {
    hsm: Hsm,
    new: NewChannel,
    next: CommitmentNumber,
    point: PublicKey,
    sync_each: bool,
}

impl End {
    fn ask(&mut self, request: Request) -> Reply {
        let reply = self.hsm.chan(self.new.channel, request);
        if self.sync_each {
            self.hsm.sync().expect("the disk");
        }
        reply
    }
}

/// One commitment of `owner`, signed by `signer`.
fn commit(owner: &mut End, signer: &mut End, deltas: [Vec<Delta>; 2]) {
    let (n, point) = (owner.next, owner.point);
    let [as_owner, as_signer] = deltas;
    let request = Request::SignRemote {
        n,
        point,
        deltas: as_signer,
    };
    let Reply::SignedRemote {
        signature,
        htlc_signatures,
    } = signer.ask(request)
    else {
        panic!("not signed");
    };
    let request = Request::ValidateLocal {
        n,
        deltas: as_owner,
        signature,
        htlc_signatures,
    };
    let Reply::ValidatedLocal {
        revoked_secret,
        next_point,
    } = owner.ask(request)
    else {
        panic!("not valid");
    };
    (owner.next, owner.point) = (CommitmentNumber(n.0 + 1), next_point);
    if let (Some(secret), Some(n)) = (revoked_secret, n.prev()) {
        signer.ask(Request::RemoteRevoked { n, secret });
    }
}

fn adds(offerer: Side, count: u64) -> Vec<Delta> {
    let add = |id| Delta::Add {
        key: HtlcKey {
            offerer,
            id: HtlcId(id),
        },
        htlc: Htlc {
            amount: MilliSatoshi(1_000_000 + id),
            payment_hash: PaymentHash([4; 32]),
            cltv_expiry: CltvExpiry(500_000),
        },
    };
    (0..count).map(add).collect()
}

fn party(new: &NewChannel) -> Party {
    Party {
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

fn start(folder: &Path) -> Hsm {
    let folder = File::open(folder).expect("the folder").into();
    Hsm::open(folder, ChainHash([6; 32]), true).expect("a new signer")
}

fn pair(folders: [&Path; 2]) -> [End; 2] {
    let mut hsms = folders.map(start);
    let ids = [hsms[0].node_id(), hsms[1].node_id()];
    let new = [
        hsms[0].new_channel(ids[1]).expect("a channel"),
        hsms[1].new_channel(ids[0]).expect("a channel"),
    ];
    let setup = |opener, local: &NewChannel, remote: &NewChannel| Setup {
        opener,
        format: CommitmentFormat::AnchorsZeroFeeHtlc,
        funding_value: VALUE,
        push: MilliSatoshi(1_000_000_000),
        feerate: FeeratePerKw(253),
        local: party(local),
        remote: party(remote),
    };
    let setups = [
        setup(Side::Local, &new[0], &new[1]),
        setup(Side::Remote, &new[1], &new[0]),
    ];
    let outpoint = OutPoint {
        txid: Txid::from_byte_array([7; 32]),
        vout: 0,
    };
    let funding = Funding {
        outpoint,
        value: VALUE,
    };
    let [a, b] = hsms;
    let [new_a, new_b] = new;
    let end = |hsm, new: NewChannel| End {
        hsm,
        next: CommitmentNumber::ZERO,
        point: new.first_points[0],
        new,
        sync_each: true,
    };
    let mut ends = [end(a, new_a), end(b, new_b)];
    for (end, setup) in ends.iter_mut().zip(setups) {
        end.ask(Request::Setup { setup });
        end.ask(Request::SetFunding { funding });
    }
    ends
}

fn main() {
    let dirs = [(); 2].map(|()| tempfile::tempdir_in(".").expect("a folder"));
    let [mut a, mut b] = pair([dirs[0].path(), dirs[1].path()]);
    commit(&mut a, &mut b, [vec![], vec![]]);
    commit(&mut b, &mut a, [vec![], vec![]]);
    for (what, rounds, sync_each) in [("each request", 200u32, true), ("64 rounds", 2000, false)] {
        (a.sync_each, b.sync_each) = (sync_each, sync_each);
        let begin = Instant::now();
        for round in 0..rounds {
            commit(&mut a, &mut b, [vec![], vec![]]);
            commit(&mut b, &mut a, [vec![], vec![]]);
            if !sync_each && round % 64 == 0 {
                a.hsm.sync().expect("the disk");
                b.hsm.sync().expect("the disk");
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let requests = f64::from(rounds) * 6.0;
        println!(
            "one sync for {what}: {:.0} requests/s, {:.0} us each",
            requests / seconds,
            seconds / requests * 1e6
        );
    }
    (a.sync_each, b.sync_each) = (true, true);
    let begin = Instant::now();
    commit(
        &mut a,
        &mut b,
        [adds(Side::Remote, 483), adds(Side::Local, 483)],
    );
    println!(
        "483 HTLCs added, signed and verified: {:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    for _ in 0..5 {
        commit(&mut a, &mut b, [vec![], vec![]]);
    }
    println!("483 HTLCs signed and verified: {:?}", begin.elapsed() / 5);
}
