//! The methods of bitcoind that are used here, as functions. Answers are checked as far as they can
//! be without a chain of one's own.

use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::{Amount, Block, BlockHash, Denomination, OutPoint, Transaction, Txid};
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::BlockHeight;

use crate::http::{Http, HttpError};

/// The longest answer but a block's, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The longest answer that holds a block: 4 MB in hex, and room for an encoder with bad habits.
const MAX_BLOCK_ANSWER: usize = 16 << 20;
/// So much of the backend's words goes into a message, in characters.
const MAX_WORDS: usize = 300;

/// bitcoind's numbers for what went wrong (its `rpc/protocol.h`).
pub mod code {
    pub const MISC: i64 = -1;
    pub const INVALID_PARAMETER: i64 = -8;
    pub const VERIFY_REJECTED: i64 = -26;
    pub const VERIFY_ALREADY_IN_UTXO_SET: i64 = -27;
    pub const IN_WARMUP: i64 = -28;
    pub const METHOD_NOT_FOUND: i64 = -32601;
}

/// A call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("bitcoind is starting: {0}")]
    WarmingUp(String),
    #[error("bitcoind is busy: {0}")]
    Busy(String),
    /// bitcoind understood and says no.
    #[error("bitcoind refuses {method}: {words} (code {code})")]
    Refused {
        method: &'static str,
        code: i64,
        words: String,
    },
    /// What came is no answer to what was asked.
    #[error("the answer to {method} makes no sense ({why}): is that a bitcoind?")]
    Nonsense { method: &'static str, why: String },
}

/// The end of the backend's best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    pub height: BlockHeight,
    pub hash: BlockHash,
}

/// What is used of `getblockchaininfo`.
#[derive(Clone, Debug, Deserialize)]
pub struct ChainInfo {
    pub chain: String,
    pub blocks: u32,
    pub headers: u32,
    pub bestblockhash: BlockHash,
    #[serde(default)]
    pub initialblockdownload: bool,
    #[serde(default)]
    pub pruned: bool,
    #[serde(default)]
    pub pruneheight: Option<u32>,
}

impl ChainInfo {
    pub fn tip(&self) -> Tip {
        Tip {
            height: BlockHeight(self.blocks),
            hash: self.bestblockhash,
        }
    }
}

/// A block, or that the backend does not have it any more.
#[derive(Debug)]
pub enum Fetched {
    Block(Box<Block>),
    Pruned,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Waited {
    hash: BlockHash,
    height: u32,
}

/// A connection to bitcoind.
#[derive(Debug)]
pub struct Rpc {
    http: Http,
    timeout: Duration,
    next_id: u64,
}

impl Rpc {
    pub fn new(http: Http, timeout: Duration) -> Rpc {
        Rpc {
            http,
            timeout,
            next_id: 0,
        }
    }

    pub async fn chain_info(&mut self) -> Result<ChainInfo, RpcError> {
        self.call("getblockchaininfo", json!([])).await
    }

    /// The block of the best chain at `height`; None above its end.
    pub async fn block_hash(&mut self, height: BlockHeight) -> Result<Option<BlockHash>, RpcError> {
        match self.call("getblockhash", json!([height.0])).await {
            Ok(hash) => Ok(Some(hash)),
            Err(RpcError::Refused {
                code: code::INVALID_PARAMETER,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The header with this hash, which is checked.
    pub async fn block_header(&mut self, hash: BlockHash) -> Result<Header, RpcError> {
        const METHOD: &str = "getblockheader";
        let text: String = self.call(METHOD, json!([hash, false])).await?;
        let nonsense = |why: &str| RpcError::Nonsense {
            method: METHOD,
            why: why.to_owned(),
        };
        let bytes = hex::decode(text).map_err(|_| nonsense("not hexadecimal"))?;
        let header: Header = deserialize(&bytes).map_err(|_| nonsense("not a header"))?;
        match header.block_hash() == hash {
            true => Ok(header),
            false => Err(nonsense("another block's")),
        }
    }

    /// The block with this hash: its header and the root of its transactions are checked.
    pub async fn block(&mut self, hash: BlockHash) -> Result<Fetched, RpcError> {
        const METHOD: &str = "getblock";
        let called = self.call_within(METHOD, json!([hash, 0]), MAX_BLOCK_ANSWER, self.timeout);
        let text: String = match called.await {
            Ok(text) => text,
            Err(RpcError::Refused { words, .. }) if words.contains("pruned") => {
                return Ok(Fetched::Pruned);
            }
            Err(error) => return Err(error),
        };
        let nonsense = |why: String| RpcError::Nonsense {
            method: METHOD,
            why,
        };
        let bytes = hex::decode(text).map_err(|error| nonsense(error.to_string()))?;
        let block: Block = deserialize(&bytes).map_err(|error| nonsense(error.to_string()))?;
        if block.block_hash() != hash || !block.check_merkle_root() {
            return Err(nonsense(format!("it is not block {hash}")));
        }
        Ok(Fetched::Block(Box::new(block)))
    }

    /// Waits until the best chain ends elsewhere than at `seen`, at most `at_most`.
    pub async fn wait_for_other_tip(
        &mut self,
        seen: Tip,
        at_most: Duration,
    ) -> Result<Tip, RpcError> {
        self.wait_for(
            "waitfornewblock",
            json!([millis(at_most), seen.hash]),
            at_most,
        )
        .await
    }

    /// Waits until the best chain is longer than `seen`, at most `at_most`.
    pub async fn wait_for_longer_chain(
        &mut self,
        seen: Tip,
        at_most: Duration,
    ) -> Result<Tip, RpcError> {
        let height = seen.height.0.saturating_add(1);
        self.wait_for(
            "waitforblockheight",
            json!([height, millis(at_most)]),
            at_most,
        )
        .await
    }

    async fn wait_for(
        &mut self,
        method: &'static str,
        params: Value,
        at_most: Duration,
    ) -> Result<Tip, RpcError> {
        let timeout = self.timeout.saturating_add(at_most);
        let waited: Waited = self
            .call_within(method, params, MAX_ANSWER, timeout)
            .await?;
        Ok(Tip {
            height: BlockHeight(waited.height),
            hash: waited.hash,
        })
    }

    /// Hands a transaction to the network. `any_fee`: without bitcoind's limit on the feerate.
    pub async fn send_raw_transaction(&mut self, tx: &[u8], any_fee: bool) -> Result<(), RpcError> {
        let tx = hex::encode(tx);
        let params = match any_fee {
            true => json!([tx, 0]),
            false => json!([tx]),
        };
        self.call::<String>("sendrawtransaction", params)
            .await
            .map(drop)
    }

    /// Hands a child and its parent to the network at once, so that the child's fee counts for both. Gives
    /// the backend's words if it does not take them.
    pub async fn submit_package(
        &mut self,
        parent: &[u8],
        child: &[u8],
        any_fee: bool,
    ) -> Result<Option<String>, RpcError> {
        #[derive(Deserialize)]
        struct Package {
            package_msg: String,
        }
        let txs = json!([hex::encode(parent), hex::encode(child)]);
        let params = match any_fee {
            true => json!([txs, 0]),
            false => json!([txs]),
        };
        let package: Package = self.call("submitpackage", params).await?;
        let taken = package.package_msg == "success";
        Ok((!taken).then(|| words(&package.package_msg)))
    }

    /// The transaction in the mempool that spends this output, in consensus encoding.
    pub async fn mempool_spender(
        &mut self,
        outpoint: OutPoint,
    ) -> Result<Option<Vec<u8>>, RpcError> {
        #[derive(Deserialize)]
        struct Spent {
            spendingtxid: Option<Txid>,
        }
        const METHOD: &str = "getrawtransaction";
        let asked = json!([[{"txid": outpoint.txid, "vout": outpoint.vout}]]);
        let spent: Vec<Spent> = self.call("gettxspendingprevout", asked).await?;
        let Some(txid) = spent.into_iter().find_map(|spent| spent.spendingtxid) else {
            return Ok(None);
        };
        let nonsense = |why: &str| RpcError::Nonsense {
            method: METHOD,
            why: why.to_owned(),
        };
        let text: String = self.call(METHOD, json!([txid])).await?;
        let bytes = hex::decode(text).map_err(|_| nonsense("not hexadecimal"))?;
        let tx: Transaction = deserialize(&bytes).map_err(|_| nonsense("not a transaction"))?;
        let spends = |input: &bitcoin::TxIn| input.previous_output == outpoint;
        match tx.input.iter().any(spends) {
            true => Ok(Some(bytes)),
            false => Err(nonsense("it spends something else")),
        }
    }

    /// The feerate for confirmation within `target` blocks, per 1000 vbytes; None if bitcoind has
    /// no estimate.
    pub async fn estimate_smart_fee(
        &mut self,
        target: u32,
        mode: &'static str,
    ) -> Result<Option<Amount>, RpcError> {
        #[derive(Deserialize)]
        struct Estimate {
            feerate: Option<Box<RawValue>>,
        }
        const METHOD: &str = "estimatesmartfee";
        let estimate: Estimate = self.call(METHOD, json!([target, mode])).await?;
        estimate
            .feerate
            .map(|feerate| btc(METHOD, &feerate))
            .transpose()
    }

    /// What a transaction must pay at least to get into the mempool, per 1000 vbytes.
    pub async fn mempool_floor(&mut self) -> Result<Amount, RpcError> {
        #[derive(Deserialize)]
        struct MempoolInfo {
            mempoolminfee: Box<RawValue>,
            minrelaytxfee: Option<Box<RawValue>>,
        }
        const METHOD: &str = "getmempoolinfo";
        let info: MempoolInfo = self.call(METHOD, json!([])).await?;
        let relay = info
            .minrelaytxfee
            .map(|fee| btc(METHOD, &fee))
            .transpose()?;
        Ok(btc(METHOD, &info.mempoolminfee)?.max(relay.unwrap_or(Amount::ZERO)))
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.call_within(method, params, MAX_ANSWER, self.timeout)
            .await
    }

    async fn call_within<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: Value,
        limit: usize,
        timeout: Duration,
    ) -> Result<T, RpcError> {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        let question = json!({"jsonrpc": "1.0", "id": id, "method": method, "params": params});
        let (status, body) = self
            .http
            .post(question.to_string().into_bytes(), limit, timeout)
            .await?;
        judge(method, id, status, &body)
    }
}

/// What an answer says.
fn judge<T: DeserializeOwned>(
    method: &'static str,
    id: u64,
    status: StatusCode,
    body: &[u8],
) -> Result<T, RpcError> {
    let nonsense = |why: String| RpcError::Nonsense { method, why };
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
            return Err(RpcError::Busy(words(&String::from_utf8_lossy(body))));
        }
        Err(_) if status != StatusCode::OK => {
            return Err(nonsense(format!("HTTP status {status}")));
        }
        Err(error) => return Err(nonsense(error.to_string())),
    };
    if let Some(Refusal { code, message }) = answer.error {
        let words = words(&message);
        return Err(match code {
            code::IN_WARMUP => RpcError::WarmingUp(words),
            code => RpcError::Refused {
                method,
                code,
                words,
            },
        });
    }
    match answer.result {
        Some(result) if answer.id == Some(id) => {
            serde_json::from_str(result.get()).map_err(|error| nonsense(error.to_string()))
        }
        Some(_) => Err(nonsense("it answers another question".to_owned())),
        None => Err(nonsense("it has no result".to_owned())),
    }
}

/// The backend's words, fit for a log and not longer than needed.
fn words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_WORDS)
        .collect()
}

/// An amount as bitcoind writes it: a decimal number of bitcoin.
fn btc(method: &'static str, number: &RawValue) -> Result<Amount, RpcError> {
    Amount::from_str_in(number.get(), Denomination::Bitcoin).map_err(|error| RpcError::Nonsense {
        method,
        why: words(&error.to_string()),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged<T: DeserializeOwned>(status: u16, body: &str) -> Result<T, RpcError> {
        judge(
            "test",
            7,
            StatusCode::from_u16(status).unwrap(),
            body.as_bytes(),
        )
    }

    #[test]
    fn a_result_is_what_was_asked_for() {
        let result: u32 = judged(200, r#"{"result":5,"error":null,"id":7}"#).unwrap();
        assert_eq!(result, 5);
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let result = judged::<u32>(200, r#"{"result":5,"error":null,"id":6}"#);
        assert!(
            matches!(result, Err(RpcError::Nonsense { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn what_bitcoind_refuses_keeps_its_code_and_its_first_line() {
        let body = r#"{"result":null,"error":{"code":-8,"message":"too\u0007 high\nhelp"},"id":7}"#;
        match judged::<u32>(500, body) {
            Err(RpcError::Refused {
                code: -8, words, ..
            }) => assert_eq!(words, "too high"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bitcoind_that_starts_says_how_far_it_is() {
        let body =
            r#"{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":7}"#;
        let error = judged::<u32>(500, body).unwrap_err().to_string();
        assert_eq!(error, "bitcoind is starting: Loading block index…");
    }

    #[test]
    fn a_full_work_queue_is_no_nonsense() {
        let error = judged::<u32>(503, "Work queue depth exceeded").unwrap_err();
        assert!(matches!(error, RpcError::Busy(_)), "{error:?}");
    }

    #[test]
    fn garbage_is_an_error_whatever_it_is() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            "\"x\"",
            "<html>",
            r#"{"result":null,"error":null,"id":7}"#,
            r#"{"result":"x","error":null,"id":7}"#,
            r#"{"result":5,"error":"no","id":7}"#,
            r#"{"result":-1,"error":null,"id":7}"#,
            r#"{"result":99999999999,"error":null,"id":7}"#,
        ] {
            let result = judged::<u32>(200, body);
            assert!(
                matches!(result, Err(RpcError::Nonsense { .. })),
                "{body}: {result:?}"
            );
        }
        let nested = "[".repeat(100_000);
        assert!(judged::<u32>(200, &nested).is_err());
        assert!(judged::<u32>(502, "<html>").is_err());
    }

    #[test]
    fn amounts_are_read_exactly() {
        let read = |text: &str| {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            btc("test", &raw).map(Amount::to_sat).ok()
        };
        assert_eq!(read("0.00001000"), Some(1000));
        assert_eq!(read("0.00000100"), Some(100));
        assert_eq!(read("0.29999999"), Some(29_999_999));
        assert_eq!(read("1"), Some(100_000_000));
        for bad in ["-0.1", "1e400", "\"0.1\"", "null", "99999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
