//! What hsmd is told of the chain (its role TIP): every header, and proofs of what spends channels. It
//! believes nothing else about an HTLC of ours that came back on chain, so whoever waits for such an end
//! waits until hsmd knows it.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::opcodes::all::{OP_DUP, OP_HASH160};
use bitcoin::{BlockHash, OutPoint, Transaction, TxIn, Txid, Witness};
use headers::{BranchHash, RawHeader};
use ipc_messages::edges::HsmTip;
use ipc_messages::hsm::tip::{Reply, Request};
use ipc_messages::lightningd_chaind::Block;
use tx::limits::REASONABLE_DEPTH;
use tx::onchain::ParentTx;
use wire::{BlockHeight, ChannelDbid};

use crate::hsm::{Asker, HsmError};

/// hsmd takes a chain's beginning only where 2016 divides its height.
const PERIOD: u32 = 2016;
/// As far back a reorg may reach.
const BACK: u32 = 143;
/// Length of a header.
const HEADER: usize = 80;
/// So many proofs wait for headers, at most; older ones are found again by the channel's next search.
const MAX_PROOFS: usize = 10_000;

/// BOLT 3, Offered and Received HTLC Outputs: their scripts, and no other of a commitment, begin with
/// `OP_DUP OP_HASH160`. Whoever spends a P2WSH output shows its script last.
fn spends_htlc(input: &TxIn) -> bool {
    let script = input.witness.last();
    script.is_some_and(|script| script.starts_with(&[OP_DUP.to_u8(), OP_HASH160.to_u8()]))
}

/// That a transaction is in a block.
#[derive(Clone, Debug)]
pub struct Proof {
    pub channel: ChannelDbid,
    pub tx: Transaction,
    pub height: BlockHeight,
    pub index: u32,
    pub branch: Vec<BranchHash>,
}

/// What is known of hsmd's view.
pub struct Tip {
    hsm: Asker<HsmTip>,
    known: Option<(BlockHeight, BlockHash)>,
    /// The number of the request for headers that is under way, and where it begins.
    filling: Option<(u64, BlockHeight)>,
    /// hsmd did not take the last ones: its chain may begin later than they do.
    refused: bool,
    proofs: VecDeque<Proof>,
    /// What spent each channel's funding output.
    spenders: BTreeMap<ChannelDbid, Txid>,
}

impl Tip {
    pub fn new(hsm: Asker<HsmTip>) -> Tip {
        Tip {
            hsm,
            known: None,
            filling: None,
            refused: false,
            proofs: VecDeque::new(),
            spenders: BTreeMap::new(),
        }
    }

    /// Asks what hsmd knows.
    ///
    /// # Errors
    /// hsmd is gone.
    pub async fn begin(&mut self) -> Result<(), HsmError> {
        self.known = match self.hsm.ask(Request::Tip).await? {
            Reply::Tip { height, hash } => Some((height, hash)),
            Reply::NoTip | Reply::Seen | Reply::Refused(_) => None,
        };
        Ok(())
    }

    /// How far hsmd knows the chain, and what happened on it.
    #[must_use]
    pub fn proved(&self) -> BlockHeight {
        let waits = self
            .proofs
            .front()
            .map(|proof| proof.height.0.saturating_sub(1));
        let known = self.known.map_or(0, |(height, _)| height.0);
        BlockHeight(waits.map_or(known, |waits| waits.min(known)))
    }

    /// A transaction that spends the channel's funding output, or another output that is watched for it.
    pub fn spent(&mut self, mut proof: Proof, funding: bool) {
        if funding {
            self.spenders.insert(proof.channel, proof.tx.compute_txid());
        } else {
            // hsmd wants to know of HTLC outputs alone, and of those of the commitment itself.
            let spender = self.spenders.get(&proof.channel);
            let of_commitment =
                |outpoint: &OutPoint| spender.is_none_or(|txid| outpoint.txid == *txid);
            let wanted = |input: &TxIn| of_commitment(&input.previous_output) && spends_htlc(input);
            if !proof.tx.input.iter().any(wanted) {
                return;
            }
        }
        // A block does not commit to what they show, which may be long.
        for input in &mut proof.tx.input {
            input.witness = Witness::new();
        }
        if self.proofs.len() >= MAX_PROOFS {
            self.proofs.pop_front();
        }
        let at = self
            .proofs
            .partition_point(|known| known.height <= proof.height);
        self.proofs.insert(at, proof);
    }

    /// A reorg: what was proved there is told again with the blocks that replace it.
    pub fn disconnected(&mut self, from: BlockHeight) {
        self.proofs.retain(|proof| proof.height < from);
    }

    /// A new block. Gives the height from which on headers are wanted, if hsmd misses some.
    ///
    /// # Errors
    /// hsmd is gone.
    pub async fn block(&mut self, block: &Block) -> Result<Option<BlockHeight>, HsmError> {
        if self.filling.is_some() {
            return Ok(None);
        }
        let follows = |(_, hash): (BlockHeight, BlockHash)| hash == block.header.prev_blockhash;
        let hash = block.header.block_hash();
        match self.known {
            Some((_, known)) if known == hash => {}
            Some(known) if follows(known) => {
                let header = RawHeader::of(&block.header);
                self.headers(block.height, vec![header]).await?;
            }
            Some((height, _)) => {
                let height = height.0.min(block.height.0);
                // What follows the first header that it can have.
                let least = match self.refused {
                    true => height / PERIOD * PERIOD + 1,
                    false => 1,
                };
                let from = height.saturating_sub(BACK).max(least);
                return Ok(Some(BlockHeight(from)));
            }
            None => return Ok(Some(BlockHeight(block.height.0 / PERIOD * PERIOD))),
        }
        self.prove().await?;
        Ok(None)
    }

    /// Headers were asked for.
    pub fn asked(&mut self, request: u64, from: BlockHeight) {
        self.filling = Some((request, from));
    }

    /// chaind is another one.
    pub fn forgotten(&mut self) {
        self.filling = None;
    }

    /// The headers that were asked for. Gives where more begin, if there are.
    ///
    /// # Errors
    /// hsmd is gone.
    pub async fn filled(
        &mut self,
        request: u64,
        headers: &[u8],
    ) -> Result<Option<BlockHeight>, HsmError> {
        let Some((_, from)) = self.filling.take_if(|(asked, _)| *asked == request) else {
            return Ok(None);
        };
        let (headers, _) = headers.as_chunks::<HEADER>();
        let headers: Vec<RawHeader> = headers.iter().map(|raw| RawHeader(*raw)).collect();
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        if !headers.is_empty() {
            self.headers(from, headers).await?;
        }
        if count >= PERIOD {
            let next = from.0.saturating_add(count).saturating_sub(1);
            return Ok(Some(BlockHeight(next)));
        }
        self.prove().await?;
        Ok(None)
    }

    async fn headers(
        &mut self,
        height: BlockHeight,
        headers: Vec<RawHeader>,
    ) -> Result<(), HsmError> {
        match self.hsm.ask(Request::Headers { height, headers }).await? {
            Reply::Tip { height, hash } => {
                self.known = Some((height, hash));
                self.refused = false;
            }
            Reply::Refused(refused) => {
                self.refused = true;
                tracing::warn!("hsmd does not follow the chain at block {height}: {refused}");
            }
            Reply::NoTip | Reply::Seen => return Err(HsmError::Confused),
        }
        Ok(())
    }

    /// Tells what can be proved with the headers that are known.
    ///
    /// # Errors
    /// hsmd is gone.
    pub async fn prove(&mut self) -> Result<(), HsmError> {
        let Some((tip, _)) = self.known else {
            return Ok(());
        };
        // A proof counts when it is so deep, and ends what is forwarded from there at once: what is under
        // way when the channel is closed is signed before.
        let deep = |proof: &Proof| tip.depth(proof.height) >= REASONABLE_DEPTH;
        let provable = self.proofs.partition_point(deep);
        let provable: Vec<Proof> = self.proofs.drain(..provable).collect();
        for proof in provable {
            let request = Request::Spend {
                channel: proof.channel,
                tx: ParentTx::of(&proof.tx),
                height: proof.height,
                index: proof.index,
                branch: proof.branch,
            };
            if let Reply::Refused(refused) = self.hsm.ask(request).await? {
                tracing::debug!(channel = %proof.channel, "hsmd does not take a proof: {refused}");
            }
        }
        Ok(())
    }
}
