//! BOLT 3, Appendices B, C and F: every transaction and signature.

use std::collections::BTreeMap;

use bitcoin::consensus::encode::serialize_hex;
use secp256k1::SecretKey;
use serde_json::Value;
use tx::commitment::number_of;
use tx::keys::CommitmentKeys;
use tx::ledger::{Htlc, HtlcKey, Ledger};
use tx::script;
use tx::setup::{Basepoints, CommitmentFormat, Funding, Setup};
use tx::{Commitment, CommitmentOutput, HtlcKind, TxError, fees};
use wire::{
    BlockDelta, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Preimage,
    Satoshi, Side,
};

use crate::fixture::{
    bytes32, list, mirrored, number, public, secret, shared, some_public, text, transaction,
    vectors,
};

/// What all vectors share.
struct Channel {
    setup: Setup,
    funding: Funding,
    facts: Value,
    htlcs: BTreeMap<u64, (HtlcKey, Htlc, Preimage)>,
}

/// One commitment of a vector file, whichever file.
struct Case {
    name: String,
    format: CommitmentFormat,
    dust_limit: Satoshi,
    ledger: Ledger,
    tx: String,
    htlc_txs: Vec<String>,
    base_fee: Option<u64>,
    fee: Option<u64>,
    outputs: Option<Vec<String>>,
}

fn channel() -> Channel {
    let file = vectors("commitments.json");
    let facts = file["channel"].clone();
    let mut setup = crate::fixture::setup(CommitmentFormat::StaticRemotekey);
    setup.funding_value = Satoshi(number(&facts, "funding_amount_satoshi"));
    setup.local.funding_pubkey =
        secret(&facts, "local_funding_privkey").public_key(secp256k1::SECP256K1);
    setup.remote.funding_pubkey =
        secret(&facts, "remote_funding_privkey").public_key(secp256k1::SECP256K1);
    setup.local.basepoints = Basepoints {
        revocation: some_public(0x77),
        payment: public(&facts, "local_payment_basepoint"),
        delayed_payment: public(&facts, "local_delayed_payment_basepoint"),
        htlc: public(&facts, "local_htlc_basepoint"),
    };
    setup.remote.basepoints = Basepoints {
        revocation: public(&facts, "remote_revocation_basepoint"),
        payment: public(&facts, "remote_payment_basepoint"),
        delayed_payment: some_public(0x78),
        htlc: public(&facts, "remote_htlc_basepoint"),
    };
    setup.remote.to_self_delay = BlockDelta(number(&facts, "local_delay") as u16);
    // Neither of these may have an influence on local's commitment.
    setup.local.to_self_delay = BlockDelta(7);
    setup.remote.dust_limit = Satoshi(1_000_000);
    let mut funding = crate::fixture::funding(&setup);
    funding.outpoint.txid = text(&facts, "funding_txid").parse().unwrap();
    funding.outpoint.vout = number(&facts, "funding_output_index") as u32;
    let htlcs = list(&file, "htlcs").iter().enumerate().map(|(id, row)| {
        let offerer = if row[0] == "local" {
            Side::Local
        } else {
            Side::Remote
        };
        let preimage = Preimage(bytes32(row[3].as_str().unwrap()));
        let htlc = Htlc {
            amount: MilliSatoshi(row[1].as_u64().unwrap()),
            payment_hash: preimage.payment_hash(),
            cltv_expiry: CltvExpiry(row[2].as_u64().unwrap() as u32),
        };
        (
            id as u64,
            (
                HtlcKey {
                    offerer,
                    id: HtlcId(id as u64),
                },
                htlc,
                preimage,
            ),
        )
    });
    Channel {
        setup,
        funding,
        htlcs: htlcs.collect(),
        facts,
    }
}

impl Channel {
    fn ledger(&self, to_local: u64, to_remote: u64, feerate: u64, ids: &[Value]) -> Ledger {
        let htlcs = ids.iter().map(|id| {
            let (key, htlc, _) = self.htlcs[&id.as_u64().unwrap()];
            (key, htlc)
        });
        Ledger {
            to_local: MilliSatoshi(to_local),
            to_remote: MilliSatoshi(to_remote),
            feerate: FeeratePerKw(feerate as u32),
            htlcs: htlcs.collect(),
        }
    }

    fn case(&self, row: &Value, format: CommitmentFormat, keys: [&str; 5]) -> Case {
        let [dust, feerate, htlcs, fee, tx] = keys;
        let balances = (number(row, "to_local_msat"), number(row, "to_remote_msat"));
        Case {
            name: text(row, "name").to_owned(),
            format,
            dust_limit: Satoshi(row[dust].as_u64().unwrap_or(546)),
            ledger: self.ledger(
                balances.0,
                balances.1,
                number(row, feerate),
                list(row, htlcs),
            ),
            tx: text(row, tx).to_owned(),
            htlc_txs: list(row, "htlc_txs")
                .iter()
                .map(|tx| tx.as_str().unwrap_or_else(|| text(tx, "tx")).to_owned())
                .collect(),
            base_fee: row
                .get("base_fee")
                .or(row.get("base_fee_satoshi"))
                .map(|v| v.as_u64().unwrap()),
            fee: Some(number(row, fee)),
            outputs: None,
        }
    }

    /// The vectors in our own layout.
    fn own_cases(&self) -> Vec<Case> {
        let file = vectors("commitments.json");
        let case = |row: &Value| {
            let format = match text(row, "format") {
                "static_remotekey" => CommitmentFormat::StaticRemotekey,
                "anchors" => CommitmentFormat::AnchorsZeroFeeHtlc,
                other => panic!("{other}"),
            };
            let outputs = list(row, "outputs")
                .iter()
                .map(|o| o.as_str().unwrap().to_owned());
            Case {
                outputs: Some(outputs.collect()),
                ..self.case(row, format, ["dust_limit", "feerate", "htlcs", "fee", "tx"])
            }
        };
        list(&file, "commitments").iter().map(case).collect()
    }

    /// The whole files, where they are.
    fn shared_cases(&self) -> Vec<Case> {
        let files = [
            (
                "commitment-static-remotekey.json",
                CommitmentFormat::StaticRemotekey,
            ),
            (
                "commitment-anchors-zero-fee-htlc.json",
                CommitmentFormat::AnchorsZeroFeeHtlc,
            ),
        ];
        let keys = [
            "dust_limit_satoshi",
            "local_feerate_per_kw",
            "htlc_ids",
            "actual_fee_satoshi",
            "commit_tx",
        ];
        let mut cases = Vec::new();
        for (file, format) in files {
            let Some(file) = shared(file) else { continue };
            cases.extend(
                list(&file, "vectors")
                    .iter()
                    .map(|row| self.case(row, format, keys)),
            );
        }
        cases
    }

    /// The JSON block of Appendix F as it is in the text.
    fn spec_cases(&self) -> Vec<Case> {
        let Some(file) = shared("commitment-anchors-zero-fee-htlc.spec.json") else {
            return Vec::new();
        };
        let case = |row: &Value| {
            let balances = (number(row, "LocalBalance"), number(row, "RemoteBalance"));
            let test_htlcs: &[u64] = match (row["UseTestHtlcs"].as_bool().unwrap(), balances.0) {
                (false, _) => &[],
                // The one with two HTLCs of the same hash.
                (true, 6_987_999_999) => &[1, 5, 6],
                (true, _) => &[0, 1, 2, 3, 4],
            };
            let ids: Vec<Value> = test_htlcs.iter().map(|id| Value::from(*id)).collect();
            let htlc_txs = list(row, "HtlcDescs")
                .iter()
                .map(|d| text(d, "ResolutionTxHex").to_owned());
            Case {
                name: text(row, "Name").to_owned(),
                format: CommitmentFormat::AnchorsZeroFeeHtlc,
                dust_limit: Satoshi(number(row, "DustLimitSatoshis")),
                ledger: self.ledger(balances.0, balances.1, number(row, "FeePerKw"), &ids),
                tx: text(row, "ExpectedCommitmentTxHex").to_owned(),
                htlc_txs: htlc_txs.collect(),
                base_fee: None,
                fee: None,
                outputs: None,
            }
        };
        file.as_array().unwrap().iter().map(case).collect()
    }

    fn setup_of(&self, case: &Case) -> Setup {
        let mut setup = self.setup.clone();
        setup.format = case.format;
        setup.local.dust_limit = case.dust_limit;
        setup
    }

    fn build(&self, setup: &Setup, ledger: &Ledger, owner: Side) -> Result<Commitment, TxError> {
        let n = CommitmentNumber(number(&self.facts, "commitment_number"));
        let point = public(&self.facts, "local_per_commitment_point");
        Commitment::build(setup, &self.funding, owner, n, &point, ledger)
    }

    fn secret(&self, key: &str) -> SecretKey {
        secret(&self.facts, key)
    }

    fn check(&self, case: &Case) {
        let (name, setup) = (&case.name, self.setup_of(case));
        let commitment = self.build(&setup, &case.ledger, Side::Local).unwrap();
        let mut unsigned = transaction(&case.tx);
        unsigned.input[0].witness.clear();
        assert_eq!(commitment.tx, unsigned, "{name}");
        assert_eq!(
            number_of(&setup, &unsigned),
            Some(CommitmentNumber(42)),
            "{name}"
        );

        let sign = |key| {
            commitment
                .sign(&setup, &self.funding, &self.secret(key))
                .unwrap()
        };
        let (local, remote) = (
            sign("local_funding_privkey"),
            sign("remote_funding_privkey"),
        );
        let signed = commitment.signed(&setup, &local, &remote);
        assert_eq!(serialize_hex(&signed), case.tx, "{name}");

        let sign = |side, key| commitment.sign_htlcs(side, &self.secret(key)).unwrap();
        let owner_sigs = sign(Side::Local, "local_htlc_privkey");
        let other_sigs = sign(Side::Remote, "remote_htlc_privkey");
        let txs = commitment.htlc_transactions().unwrap();
        assert_eq!(txs.len(), case.htlc_txs.len(), "{name}");
        for (((htlc, owner), other), expected) in txs
            .iter()
            .zip(&owner_sigs)
            .zip(&other_sigs)
            .zip(&case.htlc_txs)
        {
            let preimage = match htlc.kind {
                HtlcKind::Timeout => None,
                HtlcKind::Success => Some(&self.htlcs[&htlc.key.id.0].2),
            };
            let signed = htlc.signed(owner, other, preimage).unwrap();
            assert_eq!(&serialize_hex(&signed), expected, "{name}, {:?}", htlc.key);
            htlc.verify(Side::Local, owner, &commitment.keys.owner_htlc)
                .unwrap();
        }
        commitment
            .verify(&setup, &self.funding, &remote, &other_sigs)
            .unwrap();

        let untrimmed = commitment.htlcs.len();
        let base_fee = fees::commitment_fee(setup.format, case.ledger.feerate, untrimmed);
        assert_eq!(base_fee.0, case.base_fee.unwrap_or(base_fee.0), "{name}");
        assert_eq!(
            commitment.fee.0,
            case.fee.unwrap_or(commitment.fee.0),
            "{name}"
        );
        if let Some(outputs) = &case.outputs {
            let found: Vec<_> = commitment.outputs.iter().map(|o| describe(*o)).collect();
            assert_eq!(&found, outputs, "{name}");
        }
        self.check_from_the_other_side(case, &setup, &commitment);
    }

    /// The peer must come to the same bytes.
    fn check_from_the_other_side(&self, case: &Case, setup: &Setup, ours: &Commitment) {
        let (setup, ledger) = mirrored(setup, &case.ledger);
        let theirs = self.build(&setup, &ledger, Side::Remote).unwrap();
        assert_eq!(theirs.tx, ours.tx, "{}", case.name);
        let hashes = |c: &Commitment, signer| -> Vec<_> {
            let txs = c.htlc_transactions().unwrap();
            txs.iter()
                .map(|htlc| htlc.sighash(signer).unwrap())
                .collect()
        };
        assert_eq!(
            hashes(&theirs, Side::Local),
            hashes(ours, Side::Remote),
            "{}",
            case.name
        );
    }
}

fn describe(output: CommitmentOutput) -> String {
    match output {
        CommitmentOutput::ToLocal => "to_local".into(),
        CommitmentOutput::ToRemote => "to_remote".into(),
        CommitmentOutput::LocalAnchor => "local_anchor".into(),
        CommitmentOutput::RemoteAnchor => "remote_anchor".into(),
        CommitmentOutput::Htlc(key) => match key.offerer {
            Side::Local => format!("offered_htlc {}", key.id),
            Side::Remote => format!("received_htlc {}", key.id),
        },
    }
}

#[test]
fn every_commitment_and_htlc_transaction_of_bolt_3_is_built_and_signed_byte_for_byte() {
    let channel = channel();
    let cases = channel.own_cases();
    assert_eq!(cases.len(), 25);
    assert_eq!(
        cases.iter().map(|case| case.htlc_txs.len()).sum::<usize>(),
        48
    );
    cases.iter().for_each(|case| channel.check(case));
}

#[test]
fn the_whole_vector_files_agree_where_they_are() {
    let channel = channel();
    channel
        .shared_cases()
        .iter()
        .for_each(|case| channel.check(case));
    channel
        .spec_cases()
        .iter()
        .for_each(|case| channel.check(case));
}

#[test]
fn outputs_are_ordered_as_in_the_whole_list_where_it_is() {
    let Some(file) = shared("output-ordering.json") else {
        return;
    };
    let channel = channel();
    let mut cases = channel.own_cases();
    for row in list(&file, "vectors") {
        let anchors = text(row, "variant") != "static_remotekey";
        let is_it = |case: &Case| {
            case.name == text(row, "name")
                && anchors == (case.format == CommitmentFormat::AnchorsZeroFeeHtlc)
        };
        let case = cases.remove(cases.iter().position(is_it).unwrap());
        let commitment = channel
            .build(&channel.setup_of(&case), &case.ledger, Side::Local)
            .unwrap();
        let expected = list(row, "outputs_in_order");
        assert_eq!(commitment.outputs.len(), expected.len());
        for (index, expected) in expected.iter().enumerate() {
            let output = &commitment.tx.output[index];
            assert_eq!(output.value.to_sat(), number(expected, "amount_satoshi"));
            assert_eq!(
                output.script_pubkey.to_hex_string(),
                text(expected, "script_pubkey")
            );
            let kind = match expected["htlc"].as_u64() {
                Some(id) => format!("{} {id}", text(expected, "type")),
                None => text(expected, "type").to_owned(),
            };
            assert_eq!(describe(commitment.outputs[index]), kind);
        }
    }
    assert!(cases.is_empty());
}

#[test]
fn keys_of_the_commitment_are_those_of_bolt_3() {
    let channel = channel();
    let point = public(&channel.facts, "local_per_commitment_point");
    let keys = CommitmentKeys::derive(&channel.setup, Side::Local, &point).unwrap();
    assert_eq!(
        keys.revocation,
        public(&channel.facts, "local_revocation_pubkey")
    );
    assert_eq!(keys.delayed, public(&channel.facts, "local_delayedpubkey"));
    assert_eq!(keys.owner_htlc, public(&channel.facts, "local_htlcpubkey"));
    assert_eq!(keys.other_htlc, public(&channel.facts, "remote_htlcpubkey"));
    assert_eq!(
        keys.to_remote,
        public(&channel.facts, "remote_payment_basepoint")
    );
}

#[test]
fn the_funding_output_is_that_of_bolt_3_whichever_key_is_ours() {
    let file = vectors("funding.json");
    let (a, b) = (
        public(&file, "local_funding_pubkey"),
        public(&file, "remote_funding_pubkey"),
    );
    let script = script::funding_script(&a, &b);
    assert_eq!(
        script.to_hex_string(),
        text(&file, "funding_witness_script")
    );
    assert_eq!(script, script::funding_script(&b, &a));
    let tx = transaction(text(&file, "funding_tx"));
    assert_eq!(tx.compute_txid().to_string(), text(&file, "funding_txid"));
    let output = &tx.output[number(&file, "funding_output_index") as usize];
    assert_eq!(output.script_pubkey, script.to_p2wsh());
    assert_eq!(output.value.to_sat(), number(&file, "funding_satoshis"));
    let channel = channel();
    assert_eq!(channel.setup.funding_script_pubkey(), script.to_p2wsh());
}

#[test]
fn signatures_that_do_not_fit_are_refused() {
    let channel = channel();
    let cases = channel.own_cases();
    let case = cases.iter().rfind(|case| case.htlc_txs.len() == 5).unwrap();
    let setup = channel.setup_of(case);
    let commitment = channel.build(&setup, &case.ledger, Side::Local).unwrap();
    let (funding, wrong) = (&channel.funding, channel.secret("local_htlc_privkey"));
    let good = commitment
        .sign(&setup, funding, &channel.secret("remote_funding_privkey"))
        .unwrap();
    let htlcs = commitment
        .sign_htlcs(Side::Remote, &channel.secret("remote_htlc_privkey"))
        .unwrap();
    assert_eq!(commitment.verify(&setup, funding, &good, &htlcs), Ok(()));

    let bad = commitment.sign(&setup, funding, &wrong).unwrap();
    let result = commitment.verify(&setup, funding, &bad, &htlcs);
    assert_eq!(result, Err(TxError::BadSignature));
    let result = commitment.verify(&setup, funding, &good, &htlcs[1..]);
    assert_eq!(
        result,
        Err(TxError::HtlcSignatureCount {
            expected: 5,
            got: 4
        })
    );
    let mut swapped = htlcs.clone();
    swapped.swap(1, 3);
    let result = commitment.verify(&setup, funding, &good, &swapped);
    assert_eq!(
        result,
        Err(TxError::BadHtlcSignature(commitment.htlcs[1].key))
    );
    // With anchors the peer's SIGHASH_ALL is not what BOLT 3 asks for.
    let all: Vec<_> = commitment
        .htlc_transactions()
        .unwrap()
        .into_iter()
        .map(|mut htlc| {
            htlc.other_sighash_type = bitcoin::sighash::EcdsaSighashType::All;
            htlc.sign(Side::Remote, &channel.secret("remote_htlc_privkey"))
                .unwrap()
        })
        .collect();
    assert_eq!(case.format, CommitmentFormat::AnchorsZeroFeeHtlc);
    let result = commitment.verify(&setup, funding, &good, &all);
    assert_eq!(
        result,
        Err(TxError::BadHtlcSignature(commitment.htlcs[0].key))
    );
}

#[test]
fn an_htlc_transaction_takes_its_own_preimage_and_nothing_else() {
    let channel = channel();
    let cases = channel.own_cases();
    let case = cases.iter().find(|case| case.htlc_txs.len() == 5).unwrap();
    let commitment = channel
        .build(&channel.setup_of(case), &case.ledger, Side::Local)
        .unwrap();
    let sigs = commitment
        .sign_htlcs(Side::Local, &channel.secret("local_htlc_privkey"))
        .unwrap();
    for (htlc, sig) in commitment.htlc_transactions().unwrap().iter().zip(&sigs) {
        let right = channel.htlcs[&htlc.key.id.0].2;
        let (wrong, kind) = (Preimage([9; 32]), TxError::WrongHtlcKind(htlc.key));
        match htlc.kind {
            HtlcKind::Timeout => assert_eq!(htlc.signed(sig, sig, Some(&right)), Err(kind)),
            HtlcKind::Success => {
                assert_eq!(htlc.signed(sig, sig, None), Err(kind));
                let refused = Err(TxError::WrongPreimage(htlc.key));
                assert_eq!(htlc.signed(sig, sig, Some(&wrong)), refused);
                assert!(htlc.signed(sig, sig, Some(&right)).is_ok());
            }
        }
    }
}
