//! What bitcoind has to say: whether its chain is the one that the node has followed, and whether a channel
//! was spent while the node was off.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use channel::state::Phase;
use ipc_messages::lightningd_chaind::{Block, Location, ToChaind, ToLightningd};
use lightningd_db::View;
use lightningd_options::Options;
use tokio::time::timeout;
use wire::BlockHeight;

use super::report::{Check, Finding, Report};
use crate::locate;
use crate::store::chain::Block as Processed;
use crate::store::channels::ChannelRecord;
use crate::subdaemons::{Launcher, chaind};

const BACKEND: &str = "Start bitcoind and wait until it has caught up, check the bitcoin- options, then \
                       check again";
const OTHER_CHAIN: &str = "Point the bitcoin- options to a bitcoind of the chain that this node was on, \
                           or put back the folder that belongs to this one";
const SPENT: &str =
    "Start the node soon: it answers what was broadcast, as long as its deadlines allow";

/// What bitcoind has told.
#[derive(Default)]
struct Seen {
    blocks: BTreeMap<u32, BlockHash>,
    /// Who spends which of the outputs that were asked for, and where.
    spends: Vec<(OutPoint, Txid, BlockHeight)>,
    /// The oldest block of ours is not in its chain.
    disconnected: bool,
}

/// Why bitcoind has told nothing.
enum Silent {
    Unusable(String),
    NotThere(String),
}

pub async fn look(
    options: &Options,
    launcher: &Launcher,
    view: &View,
    report: &mut Report,
) -> anyhow::Result<()> {
    let channels: Vec<ChannelRecord> = view.scan()?.into_iter().map(|(_, one)| one).collect();
    let ours: Vec<(u32, BlockHash)> = view
        .scan::<Processed>()?
        .into_iter()
        .map(|(height, block)| (height, block.hash))
        .collect();
    let outpoints = channels
        .iter()
        .map(|one| one.live.funding.outpoint)
        .collect();
    // All that are known are read again: what was spent in them may not have been written.
    let oldest = ours
        .first()
        .map(|(height, hash)| (BlockHeight(*height), *hash));
    let mut link = launcher
        .chaind(options, oldest.into_iter().collect())
        .await?;
    let heard = hear(options, &mut link, outpoints).await?;
    let _ = link.to.send(&ToChaind::Stop).await;
    let (chain, funding) = match heard {
        Ok(seen) => (compare(&ours, &seen), spent(&channels, &seen)),
        Err(Silent::Unusable(why)) => (
            Finding::wrong(why, OTHER_CHAIN),
            Finding::not_checked("bitcoind is on another chain"),
        ),
        Err(Silent::NotThere(why)) => {
            let finding = Finding::NotChecked {
                why,
                advice: BACKEND.to_owned(),
            };
            (finding.clone(), finding)
        }
    };
    report.add(Check::Chain, chain);
    report.add(Check::Funding, funding);
    Ok(())
}

/// Listens until all of bitcoind's blocks were told.
async fn hear(
    options: &Options,
    link: &mut chaind::Link,
    outpoints: Vec<OutPoint>,
) -> anyhow::Result<Result<Seen, Silent>> {
    for watch in ToChaind::watch(&outpoints, &[]) {
        link.to.send(&watch).await?;
    }
    let wanted = outpoints;
    let (mut seen, patience) = (Seen::default(), patience(options));
    loop {
        let Ok(said) = timeout(patience, link.from.recv()).await else {
            let why = "bitcoind does not answer".to_owned();
            return Ok(Err(Silent::NotThere(why)));
        };
        match said {
            Ok(ToLightningd::Locate { request }) => {
                let location = locate::backend(options).await;
                if let Location::Unknown { why } = location {
                    return Ok(Err(Silent::NotThere(why)));
                }
                let located = ToChaind::Located { request, location };
                link.to.send(&located).await?;
            }
            Ok(ToLightningd::Waiting { why }) => return Ok(Err(Silent::NotThere(why))),
            Ok(ToLightningd::BackendSyncing { blocks, headers }) => {
                let why = format!("bitcoind has only {blocks} of {headers} blocks");
                return Ok(Err(Silent::NotThere(why)));
            }
            Ok(ToLightningd::Unusable { why }) => return Ok(Err(Silent::Unusable(why))),
            Ok(ToLightningd::Synced { .. }) => return Ok(Ok(seen)),
            Ok(ToLightningd::Block(block)) => {
                seen.blocks.insert(block.height.0, block.hash);
                seen.note(&block, &wanted);
            }
            Ok(ToLightningd::Part(block) | ToLightningd::Rescanned(block)) => {
                seen.note(&block, &wanted);
            }
            Ok(ToLightningd::Disconnected { .. }) => seen.disconnected = true,
            Ok(
                ToLightningd::Searched { .. }
                | ToLightningd::Broadcast { .. }
                | ToLightningd::Feerates(_)
                | ToLightningd::Headers { .. },
            ) => {}
            Err(error) => {
                let how = link.process.ended().await;
                return Ok(Err(Silent::NotThere(format!("chaind {how} ({error})"))));
            }
        }
    }
}

/// chaind itself waits for bitcoind so long, and then says why.
fn patience(options: &Options) -> Duration {
    options.bitcoind.request_timeout + Duration::from_secs(10)
}

impl Seen {
    fn note(&mut self, block: &Block, wanted: &[OutPoint]) {
        for told in &block.txs {
            let Ok(tx) = deserialize::<Transaction>(&told.tx) else {
                continue;
            };
            let inputs = tx.input.iter().map(|input| input.previous_output);
            let ours = inputs.filter(|outpoint| wanted.contains(outpoint));
            let spends = ours.map(|outpoint| (outpoint, tx.compute_txid(), block.height));
            self.spends.extend(spends);
        }
    }
}

/// Whether the blocks that were processed, lowest first, are in bitcoind's chain.
fn compare(ours: &[(u32, BlockHash)], seen: &Seen) -> Finding {
    let (Some((oldest, _)), Some((newest, _))) = (ours.first(), ours.last()) else {
        return Finding::Well("no block was processed yet".to_owned());
    };
    if seen.disconnected {
        let what = format!(
            "none of the blocks {oldest} to {newest} that this node has processed is in bitcoind's \
             chain: it is another chain"
        );
        return Finding::wrong(what, OTHER_CHAIN);
    }
    let theirs = seen.blocks.keys().last().copied().unwrap_or(*oldest);
    if theirs < *newest {
        let what = format!("bitcoind ends at block {theirs}, but the node has processed {newest}");
        return Finding::wrong(what, BACKEND);
    }
    let above = ours.iter().skip(1);
    let gone = above.filter(|(height, hash)| seen.blocks.get(height) != Some(hash));
    let text = match (gone.count(), theirs - newest) {
        (0, ahead) => format!("block {newest} is in bitcoind's chain, which is {ahead} ahead"),
        (gone, _) => format!(
            "the chain has reorganized {gone} of the blocks up to {newest}, which the node follows \
             when it starts"
        ),
    };
    Finding::Well(text)
}

/// Whether what spends a channel is known.
fn spent(channels: &[ChannelRecord], seen: &Seen) -> Finding {
    let mut unknown = Vec::new();
    for ChannelRecord { live, facts } in channels {
        let outpoint = live.funding.outpoint;
        let spends = seen.spends.iter();
        for (_, txid, height) in spends.filter(|(spent, _, _)| *spent == outpoint) {
            let told = facts.spent_by.is_some_and(|(known, _)| known == *txid);
            let closing = facts.closing_tx.as_ref().map(Transaction::compute_txid);
            let mutual = match &live.phase {
                Phase::Closed { tx } => deserialize::<Transaction>(tx).ok(),
                Phase::Opening
                | Phase::AwaitingLockin { .. }
                | Phase::Normal
                | Phase::ShuttingDown { .. }
                | Phase::Closing { .. }
                | Phase::Onchain => None,
            };
            let mutual = mutual.map(|tx| tx.compute_txid());
            if !told && closing != Some(*txid) && mutual != Some(*txid) {
                unknown.push(format!(
                    "channel {} with {} was spent by {txid} in block {height}, while the node was off",
                    live.channel_id, live.peer
                ));
            }
        }
    }
    match unknown.is_empty() {
        true => Finding::Well(format!(
            "none of the {} channels was spent unseen",
            channels.len()
        )),
        false => Finding::wrong(unknown.join("; "), SPENT),
    }
}
