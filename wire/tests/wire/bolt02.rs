//! Interactive transaction messages (BOLT 3, appendix G).

use bitcoin::{ScriptBuf, Sequence, Txid, consensus};
use wire::codec::Reader;
use wire::{Body, ChannelId, Satoshi, TxAddInput, TxAddOutput, TxSignatures, TxWitness};

use crate::files::{bytes, list, own};

const ID: ChannelId = ChannelId([7; 32]);

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().expect("a number")
}

#[test]
fn tx_add_input_carries_the_previous_transaction_of_appendix_g() {
    let table = own("bolt02/interactive-tx.json");
    let prevtx = bytes(&table["prevtx"]);
    let parent: bitcoin::Transaction = consensus::deserialize(&prevtx).unwrap();
    assert_eq!(
        parent.compute_txid().to_string(),
        table["prevtx_txid"].as_str().unwrap()
    );
    for row in list(&table["tx_add_input"]) {
        let message = TxAddInput {
            channel_id: ID,
            serial_id: number(&row[0]),
            prevtx: prevtx.clone(),
            prevtx_vout: number(&row[2]) as u32,
            sequence: Sequence(number(&row[3]) as u32),
            shared_input_txid: None,
        };
        let encoded = message.to_bytes();
        assert_eq!(encoded[42..44], (prevtx.len() as u16).to_be_bytes());
        assert_eq!(encoded[encoded.len() - 4..], 0xffff_fffdu32.to_be_bytes());
        assert_eq!(
            TxAddInput::take_body(&mut Reader::new(&encoded[2..])),
            Ok(message)
        );
    }
}

#[test]
fn tx_add_output_has_the_scripts_of_appendix_g() {
    for row in list(&own("bolt02/interactive-tx.json")["tx_add_output"]) {
        let script = bytes(&row[3]);
        let message = TxAddOutput {
            channel_id: ID,
            serial_id: number(&row[0]),
            sats: Satoshi(number(&row[1])),
            script: ScriptBuf::from(script.clone()),
        };
        let encoded = message.to_bytes();
        assert_eq!(encoded[50..52], (number(&row[2]) as u16).to_be_bytes());
        assert_eq!(encoded[52..], script);
    }
}

#[test]
fn tx_signatures_holds_the_witness_stacks_of_appendix_g() {
    for row in list(&own("bolt02/interactive-tx.json")["tx_signatures"]) {
        let witness_data = bytes(&row[2]);
        assert_eq!(number(&row[1]), witness_data.len() as u64);
        let witness = TxWitness {
            witness_data: witness_data.clone(),
        };
        let stack = witness.stack().expect("a witness stack");
        assert_eq!(stack.len(), 2);
        assert_eq!(TxWitness::from(&stack), witness);
        let txid: Txid = row[0].as_str().unwrap().parse().unwrap();
        let message = TxSignatures {
            channel_id: ID,
            txid,
            witnesses: vec![witness],
            shared_input_signature: None,
        };
        let encoded = message.to_bytes();
        // BOLT 2: a txid is sent in the order in which it is hashed, not as it is printed.
        assert_eq!(
            encoded[34],
            *hex::decode(txid.to_string()).unwrap().last().unwrap()
        );
        assert_eq!(
            TxSignatures::take_body(&mut Reader::new(&encoded[2..])),
            Ok(message)
        );
    }
}

#[test]
fn bytes_after_a_witness_stack_make_it_none() {
    let witness = TxWitness {
        witness_data: vec![1, 1, 5, 0],
    };
    assert_eq!(witness.stack(), None);
}
