//! Seed and journal, which hsmd reads, and whether the database goes with them.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, bail};
use ipc_messages::edges::HsmCtl;
use ipc_messages::hsm::ctl;
use lightningd_db::View;
use lightningd_options::Options;
use wire::NodeId;

use super::report::{Check, Finding, Report};
use crate::boot::chain_hash;
use crate::hsm::Asker;
use crate::moment;
use crate::store::channels::ChannelRecord;
use crate::subdaemons::Launcher;

const SEED: &str = "Put back the hsm_secret of this node, or make it again from its words with \
                    lightning-hsmtool; without it nothing can be signed";
const JOURNAL: &str = "Put back the newest hsm-journal, the one of the same moment as the database; \
                       never an older one, with which a revoked commitment could be signed";
const MOMENT: &str = "Put back the newest copy of whichever is the older one. If the newest database is \
                      lost, start with --await-recovery and confirm it with lightning-hsmtool \
                      confirm-recovery";
const UNASKED: &str =
    "See why hsmd cannot work there; of a folder that cannot be written check a copy";
const OPERATOR: &str = "hsm-operator";
/// As many channels are told of one by one.
const TOLD: usize = 5;

pub async fn look(
    options: &Options,
    launcher: &Launcher,
    view: Option<&View>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mark = view.map(|view| moment::mark(view.stamp())).transpose()?;
    let socket = options.network_dir.join(OPERATOR);
    let was_there = socket.exists();
    let inspected = inspect(options, launcher, mark.flatten()).await;
    if !was_there {
        // Of hsmd, which may wait for a passphrase.
        let _ = std::fs::remove_file(socket);
    }
    let inspected = match inspected {
        Ok(Ok(inspected)) => inspected,
        Ok(Err(why)) => {
            report.add(Check::Seed, Finding::wrong(why, SEED));
            for check in [Check::Journal, Check::Moment] {
                report.add(check, Finding::not_checked("the seed cannot be used"));
            }
            return Ok(());
        }
        Err(error) => {
            let (why, advice) = (format!("{error:#}"), UNASKED.to_owned());
            report.add(Check::Seed, Finding::NotChecked { why, advice });
            for check in [Check::Journal, Check::Moment] {
                report.add(check, Finding::not_checked("hsmd was not asked"));
            }
            return Ok(());
        }
    };
    let seed = seed(inspected.node_id, view);
    let is_ours = matches!(seed, Finding::Well(_));
    report.add(Check::Seed, seed);
    let known = match inspected.journal {
        Ok(known) => {
            let text = format!("whole; it knows {} channels", known.len());
            report.add(Check::Journal, Finding::Well(text));
            known
        }
        Err(why) => {
            let advice = if is_ours { JOURNAL } else { SEED };
            report.add(Check::Journal, Finding::wrong(why, advice));
            let why = "the journal cannot be used";
            report.add(Check::Moment, Finding::not_checked(why));
            return Ok(());
        }
    };
    let finding = match (view, inspected.moment) {
        (None, _) => Finding::not_checked("the database cannot be read"),
        (Some(_), Some(why)) => Finding::wrong(why, MOMENT),
        (Some(view), None) => of_one_moment(view, &known)?,
    };
    report.add(Check::Moment, finding);
    Ok(())
}

/// Asks hsmd to look; why it cannot use the seed.
async fn inspect(
    options: &Options,
    launcher: &Launcher,
    mark: Option<ipc_messages::hsm::mark::Mark>,
) -> anyhow::Result<Result<ctl::Inspected, String>> {
    let folder: OwnedFd = File::open(&options.network_dir)
        .with_context(|| format!("cannot open {}", options.network_dir.display()))?
        .into();
    let (socket, mut process) = launcher.hsmd(folder)?;
    let ctl = Asker::<HsmCtl>::start(socket, drop)?;
    let request = ctl::Request::Init {
        chain_hash: chain_hash(options.network.bitcoin()),
        database: ctl::Database::Inspected { mark },
    };
    let mut reply = ctl.ask(request).await;
    if let Ok(ctl::Reply::Locked) = reply {
        eprintln!(
            "the seed is locked: to have it checked, run `lightning-hsmtool unlock {}` now",
            options.network_dir.display()
        );
        reply = ctl.ask(ctl::Request::Unlocked).await;
    }
    let found = match reply {
        Ok(ctl::Reply::Inspected(inspected)) => Ok(inspected),
        Ok(ctl::Reply::Refused(refused)) => Err(refused.reason),
        Ok(_) => bail!("hsmd answered something else than it was asked"),
        Err(error) => bail!("{error}: {}", process.ended().await),
    };
    // It ends without a reply.
    let _ = ctl.ask(ctl::Request::Stop).await;
    process.ended().await;
    Ok(found)
}

fn seed(node_id: NodeId, view: Option<&View>) -> Finding {
    let of = |id: &[u8]| hex::encode(id);
    match view.map(|view| view.identity().node_id) {
        Some(id) if id != node_id.0.serialize() => Finding::wrong(
            format!(
                "hsm_secret is the seed of node {node_id}, but the database belongs to node {}",
                of(&id)
            ),
            SEED,
        ),
        Some(_) | None => Finding::Well(format!("node {node_id}")),
    }
}

/// No acknowledged commit is missing, and each channel's commitments have the same numbers on both sides.
fn of_one_moment(view: &View, known: &[ctl::Known]) -> anyhow::Result<Finding> {
    if let Err(error) = view.check_commits() {
        return Ok(Finding::wrong(error, MOMENT));
    }
    let (mut wrong, mut channels) = (Vec::new(), 0u64);
    for (_, record) in view.scan::<ChannelRecord>()? {
        channels += 1;
        // The owner has confirmed of such a one that it is older. In a backup the journal may be a little ahead.
        let ahead = view.copied().is_some() && moment::is_older(&record.live, known);
        if !record.facts.stale
            && !ahead
            && let Err(error) = moment::compare(&record.live, known)
        {
            wrong.push(error.to_string());
        }
    }
    let more = wrong.len().saturating_sub(TOLD);
    wrong.truncate(TOLD);
    if more > 0 {
        wrong.push(format!("{more} more channels are alike"));
    }
    Ok(match wrong.is_empty() {
        true => Finding::Well(format!("its {channels} channels go with the journal's")),
        false => Finding::wrong(wrong.join("; "), MOMENT),
    })
}
