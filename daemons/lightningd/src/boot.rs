//! The order in which a node comes up, and goes down.
//!
//! Up: log, connectd's process, hsmd (who are we?), database (is it ours?), what was under way, chaind and payd,
//! connectd's work, the channels, and last the RPC socket. Down: the RPC socket first, then the channels and
//! subdaemons, hsmd, and last the database.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bitcoin::hashes::Hash;
use ipc_messages::edges::HsmCtl;
use ipc_messages::hsm::{Role, ctl};
use ipc_transport::log::LogSink;
use lightningd_db::{Batch, Db, Found, Identity, SCHEMA};
use lightningd_options::{Host, Options, Rescan};
use subd::{LogSubscriber, Mode, Waiter};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::{BlockHeight, ChainHash, ChannelDbid, NodeId};

use crate::first_start::FirstStart;
use crate::hsm::{Asker, Hsm, mint, mint_end};
use crate::logbook::LogBook;
use crate::node::{Node, Parts, Stop};
use crate::peers::Door;
use crate::process::{Ready, VERSION};
use crate::store::channels::Stored;
use crate::subdaemons::{Launcher, Process};
use crate::{
    backup, chain, channels, commands, forwards, invoices, moment, payd, payments, peers, store,
    wallet,
};

/// How long commands and tasks may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// So many addresses that were handed out since a backup are looked for on chain.
const GAP: u32 = 200;

/// Runs the node until it is to stop.
pub fn run(ready: Ready) -> ExitCode {
    let Ready {
        options,
        log,
        lock,
        sandbox,
        mut waiter,
    } = ready;
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&mut waiter, &format!("cannot start the runtime: {error}"));
        }
    };
    let outcome = runtime.block_on(live(options, log, sandbox, &mut waiter));
    // A name may still be being resolved on a thread of its own.
    runtime.shutdown_background();
    drop(lock);
    match outcome {
        Ok(Stop::Asked) => ExitCode::SUCCESS,
        Ok(Stop::Fatal(why)) => failed(&mut waiter, &why),
        Err(error) => failed(&mut waiter, &format!("{error:#}")),
    }
}

/// Says why to whoever has started us.
fn failed(waiter: &mut Waiter, why: &str) -> ExitCode {
    let line = format!("lightningd: {why}");
    eprintln!("{line}");
    waiter.say(&line);
    ExitCode::FAILURE
}

async fn live(
    options: Options,
    log: LogBook,
    sandbox: Mode,
    waiter: &mut Waiter,
) -> anyhow::Result<Stop> {
    let sink = start_log(&log)?;
    let outcome = up_and_down(options, log, sandbox, waiter).await;
    if let Err(error) = &outcome {
        tracing::error!("{error:#}");
    }
    // The last lines are on their way to the log book, which is a task of ours.
    tokio::time::sleep(Duration::from_millis(20)).await;
    sink.drain(Duration::from_millis(100));
    outcome
}

/// Our own records take the same way as those of the subdaemons.
fn start_log(log: &LogBook) -> anyhow::Result<Arc<LogSink>> {
    let (ours, theirs) = ipc_transport::pair()?;
    log.listen("lightningd".to_owned(), ours)?;
    let sink = Arc::new(LogSink::new(theirs)?);
    // Of what others in this process say by `tracing` there is no end.
    let subscriber = LogSubscriber::new(sink.clone(), log.wanted(), "lightningd");
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(sink)
}

/// hsmd, and who it says we are.
struct Signer {
    ctl: Asker<HsmCtl>,
    init: ctl::Init,
    /// Where it says how far its journal is durable.
    marks: Arc<File>,
    recovery: Recovery,
    process: Process,
}

async fn up_and_down(
    options: Options,
    log: LogBook,
    sandbox: Mode,
    waiter: &mut Waiter,
) -> anyhow::Result<Stop> {
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    let (stop, stopping) = watch::channel(None);
    let launcher = Launcher::new(log.clone(), sandbox)?;
    let db_path = options.network_dir.join("db");
    let found = match Db::exists(&db_path)? {
        true => Some(Db::find(&db_path, options.network.name())?),
        false => None,
    };
    if found.as_ref().and_then(Found::copied).is_some() && !options.await_recovery {
        bail!(
            "the database in {} is of a backup, and peers may be further than it: with it a revoked \
             commitment could be signed. If the newest database and hsm-journal are there, put them back. \
             If they are lost, and no other node runs with this seed, start the node with \
             --await-recovery and run lightning-hsmtool confirm-recovery: channels that have changed \
             since are closed by their peers; nothing was changed",
            options.network_dir.display()
        );
    }
    let first = FirstStart::of(&options, found.is_none())?;
    let listening = listen(&options)?;
    let (link, noise) = launcher.connectd(&options, &listening)?;
    let found_db = found.as_ref();
    let mut signer = start_hsmd(&options, &launcher, found_db, stop.clone(), waiter).await?;
    mint_end(&signer.ctl, Role::Noise, noise).await?;
    let door = Door { link, listening };
    let db = open_db(&db_path, &options, found, signer.init.node_id)?;
    first.done()?;
    store::upgrade::bring_up(&db).await?;
    let stored = load_channels(&db, &signer).await?;
    let kept = (db, stored);
    let node = start_node(options, log, launcher, stop, kept, door, &signer).await?;
    // Who can ask can connect: getinfo says where we listen.
    tokio::select! {
        () = node.peers.ready() => {}
        _ = node.stopped() => {}
    }
    let server = commands::serve(&node)?;
    tracing::info!(
        "server started with public key {}, version {VERSION}",
        node.id
    );
    waiter.let_go();
    let why = wait_for_end(&node).await;
    drop(stopping);
    server.shutdown(GRACE).await;
    node.tasks.close();
    if tokio::time::timeout(GRACE, node.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some tasks did not end in time");
    }
    let _ = tokio::time::timeout(GRACE, signer.ctl.ask(ctl::Request::Stop)).await;
    tracing::debug!("hsmd {}", signer.process.ended().await);
    let stats = node.db.stats();
    tracing::info!(
        "database: {} batches in {} synced writes",
        stats.batches,
        stats.syncs
    );
    node.db
        .clone()
        .close()
        .context("the database did not close in order")?;
    Ok(why)
}

async fn start_hsmd(
    options: &Options,
    launcher: &Launcher,
    found: Option<&Found>,
    stop: watch::Sender<Option<Stop>>,
    waiter: &mut Waiter,
) -> anyhow::Result<Signer> {
    let folder: OwnedFd = File::open(&options.network_dir)?.into();
    let (socket, mut process) = launcher.hsmd(folder)?;
    let ctl = Asker::<HsmCtl>::start(socket, move |why| {
        stop.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(Stop::Fatal(format!(
                    "hsmd ended ({why}): nothing can be signed. Its log has the reason; start the \
                     node again when it is mended"
                )));
            }
            first
        });
    })?;
    let chain_hash = chain_hash(options.network.bitcoin());
    let recovery = match (found.and_then(Found::copied), options.await_recovery) {
        (_, false) => Recovery::None,
        (None, true) => Recovery::OfDatabase,
        (Some(_), true) => Recovery::OfCopy,
    };
    let database = match (moment::database(found)?, recovery) {
        (ctl::Database::Present { mark }, Recovery::OfCopy) => ctl::Database::Copied { mark },
        (ctl::Database::Present { mark }, Recovery::OfDatabase) => ctl::Database::Restored { mark },
        (database, _) => database,
    };
    let request = ctl::Request::Init {
        chain_hash,
        database,
    };
    let mut reply = ctl.ask_with_fds(request, Vec::new()).await;
    if let Ok((ctl::Reply::Locked, _)) = reply {
        wait_for_owner(
            waiter,
            &format!(
                "the seed is locked: to unlock it, run `lightning-hsmtool unlock {}`; nothing else \
                 happens before",
                options.network_dir.display()
            ),
        );
        reply = ctl.ask_with_fds(ctl::Request::Unlocked, Vec::new()).await;
    }
    if let Ok((ctl::Reply::Unconfirmed, _)) = reply {
        wait_for_owner(
            waiter,
            &format!(
                "waiting for the owner to confirm that the database was put back from an older copy: run \
                 `lightning-hsmtool confirm-recovery {}`; nothing else happens before. Without \
                 --await-recovery nothing waits",
                options.network_dir.display()
            ),
        );
        reply = ctl.ask_with_fds(ctl::Request::Unlocked, Vec::new()).await;
    }
    let (init, fds) = match reply {
        Ok((ctl::Reply::Init(init), fds)) => (init, fds),
        Ok((ctl::Reply::Refused(refused), _)) => bail!("{}", refused.reason),
        Ok(_) => bail!("hsmd answered something else than it was asked"),
        Err(error) => bail!("{error}: {}", process.ended().await),
    };
    let marks = fds.into_iter().next();
    let marks = marks.context("hsmd did not say where its marks are")?;
    Ok(Signer {
        ctl,
        init,
        marks: Arc::new(marks.into()),
        recovery,
        process,
    })
}

/// Whoever has put us into the background may need the terminal for it.
fn wait_for_owner(waiter: &mut Waiter, what: &str) {
    tracing::warn!("{what}");
    waiter.say(&format!("lightningd: {what}"));
    waiter.let_go();
}

/// Never beside what stands there: a database is created only for a node that had none.
fn open_db(path: &Path, options: &Options, found: Option<Found>, id: NodeId) -> anyhow::Result<Db> {
    let identity = Identity {
        node_id: id.0.serialize(),
        network: options.network.name().to_owned(),
        schema: SCHEMA,
    };
    match found {
        // The owner has confirmed: what is left of it is taken, and no channel's state believed.
        Some(found) if options.await_recovery => {
            drop(found);
            let (db, loss) = Db::open_after_loss(path, &identity)?;
            if loss.is_some() {
                tracing::warn!("the database lacks commits that were confirmed");
            }
            Ok(db)
        }
        Some(found) => Ok(found.open(&identity)?),
        None => {
            tracing::info!("creating a new database for node {id}");
            Ok(Db::create(path, &identity)?)
        }
    }
}

/// What the owner has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    None,
    /// The database is older than hsm-journal.
    OfDatabase,
    /// Both are a backup's.
    OfCopy,
}

/// Every channel of ours must be known to hsmd, or its journal is an older copy. After a recovery that
/// the owner has confirmed, a channel whose state here is older is marked: it is never gone on with. In a
/// backup a channel that has revoked nothing is too: its peer has no secret to show by which hsmd could
/// tell that it is the newest.
async fn load_channels(db: &Db, signer: &Signer) -> anyhow::Result<Vec<Stored>> {
    let mut stored = store::channels::all(db)?;
    let recovery = signer.recovery;
    let (known, mut marked) = (&signer.init.channels, Batch::new());
    for (record, _) in &mut stored {
        let older = recovery != Recovery::None && moment::is_older(&record.live, known);
        let shows_nothing = recovery == Recovery::OfCopy && record.live.has_revoked_nothing();
        if older || shows_nothing {
            let dbid = record.live.dbid;
            tracing::warn!(
                "channel {dbid} may be older here than it was: its peer is asked to close it"
            );
            record.facts.stale = true;
            store::channels::put(&mut marked, record);
        }
        if !record.facts.stale {
            moment::compare(&record.live, known)?;
        }
    }
    db.commit(marked).await?;
    moment::stamp(db, signer.marks.clone()).await?;
    forget_openings(db, signer, &mut stored).await?;
    let orphans = payments::settle_orphans(db, &stored)?;
    if orphans > 0 {
        tracing::info!("{orphans} payment attempts had never left and are marked as failed");
    }
    Ok(stored)
}

/// Openings that were interrupted before anything could get on chain. Their records go first and
/// durably, then hsmd forgets them, as far as it can tell too that they bound nobody.
async fn forget_openings(db: &Db, signer: &Signer, stored: &mut Vec<Stored>) -> anyhow::Result<()> {
    let mut batch = Batch::new();
    stored.retain(|(record, _)| {
        let interrupted = store::channels::is_interrupted_opening(record);
        if interrupted {
            let dbid = record.live.dbid;
            tracing::info!("the opening of channel {dbid} was interrupted; it is forgotten");
            store::channels::drop_opening(&mut batch, dbid);
        }
        !interrupted
    });
    db.commit(batch).await?;
    let here = |dbid: ChannelDbid| stored.iter().any(|(record, _)| record.live.dbid == dbid);
    for ctl::Known { channel, .. } in signer.init.channels.iter().copied() {
        if here(channel) {
            continue;
        }
        // Of a closed one hsmd may not have known the last blocks when it was asked.
        match signer.ctl.ask(ctl::Request::Forget { channel }).await? {
            ctl::Reply::Refused(refused) if store::channels::is_closed(db, channel)? => {
                tracing::debug!("hsm-journal keeps closed channel {channel}: {refused}");
            }
            ctl::Reply::Refused(refused) => tracing::info!(
                "hsm-journal keeps channel {channel}, whose opening was not finished: {refused}"
            ),
            reply => tracing::debug!("channel {channel} was in hsm-journal alone: {reply:?}"),
        }
    }
    Ok(())
}

async fn start_node(
    options: Options,
    log: LogBook,
    launcher: Launcher,
    stop: watch::Sender<Option<Stop>>,
    (db, stored): (Db, Vec<Stored>),
    door: Door,
    signer: &Signer,
) -> anyhow::Result<Arc<Node>> {
    let gone = || {
        let stop = stop.clone();
        move |why: String| {
            stop.send_if_modified(|now| {
                let first = now.is_none();
                if first {
                    *now = Some(Stop::Fatal(format!("hsmd closed a socket: {why}")));
                }
                first
            });
        }
    };
    let ctl = &signer.ctl;
    let hsm = Hsm {
        ctl: ctl.clone(),
        wallet: Asker::start(mint(ctl, Role::Wallet).await?, gone())?,
        gossip: Asker::start(mint(ctl, Role::Gossip).await?, gone())?,
        invoice: Asker::start(mint(ctl, Role::Invoice).await?, gone())?,
        pay: Asker::start(mint(ctl, Role::Pay).await?, gone())?,
        rpc: Asker::start(mint(ctl, Role::Rpc).await?, gone())?,
        tip: Asker::start(mint(ctl, Role::Tip).await?, gone())?,
        backup: Asker::start(mint(ctl, Role::Backup).await?, gone())?,
    };
    let known = store::chain::known(&db)?;
    let height = known
        .first()
        .map_or(BlockHeight::ZERO, |(height, _)| *height);
    if signer.recovery == Recovery::OfCopy {
        let mut batch = wallet::take_addresses(&hsm, GAP).await?;
        lightningd_db::Copied::confirmed(&mut batch);
        db.commit(batch).await?;
    }
    let coins = wallet::Stored::load(&db, height)?;
    let invoice_indexes = store::invoices::Highest::load(&db)?;
    let payments = payments::Payments::new(store::payments::Indexes::load(&db)?);
    let forwards = forwards::Forwards::new(store::forwards::Totals::load(&db)?);
    let addresses = addresses(&db)?;
    let is_rescan_of_all = known.is_empty() && matches!(options.rescan, Rescan::From(_));
    let chaind = launcher.chaind(&options, known).await?;
    let payd = launcher.payd().await?;
    let (chain_handle, chain_mail) = chain::mailbox(height);
    let (wallet_handle, wallet_mail) = wallet::mailbox();
    let (peers_handle, peers_mail) = peers::mailbox();
    let (invoices_handle, invoices_mail) = invoices::mailbox();
    let (payd_handle, payd_mail) = payd::mailbox();
    let (backup_handle, backup_mail) = backup::mailbox();
    let network = options.network.bitcoin();
    let parts = Parts {
        options,
        id: signer.init.node_id,
        network,
        chain_hash: chain_hash(network),
        db,
        log,
        subdaemons: launcher,
        hsm,
        chain: chain_handle,
        wallet: wallet_handle,
        peers: peers_handle,
        invoices: invoices_handle,
        payd: payd_handle,
        backup: backup_handle,
        stop,
    };
    let node = Node::new(parts, payments, forwards);
    let tasks = &node.tasks;
    tasks.spawn(wallet::run(node.clone(), wallet_mail, coins));
    tasks.spawn(invoices::run(node.clone(), invoices_mail, invoice_indexes));
    tasks.spawn(payd::run(node.clone(), payd_mail, payd));
    payments::approve_pending(&node).await?;
    let loaded = backup::load(&node)?;
    // The channels' mailboxes exist before the first block is told.
    channels::resume(&node, stored);
    // connectd has their sockets when the first peer comes.
    node.peers.open();
    tasks.spawn(peers::run(node.clone(), peers_mail, door, addresses));
    tasks.spawn(backup::run(node.clone(), backup_mail, loaded));
    if is_rescan_of_all {
        wallet::take_gap(&node).await?;
    }
    tasks.spawn(chain::run(node.clone(), chain_mail, chaind));
    Ok(node)
}

/// Genesis hash in wire order (BOLT 0).
pub fn chain_hash(network: bitcoin::Network) -> ChainHash {
    let genesis = bitcoin::constants::genesis_block(network);
    ChainHash(genesis.block_hash().to_byte_array())
}

pub fn listen(options: &Options) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for address in options.connections.listen_on() {
        match address.host {
            Host::Ip(ip) => addresses.push(SocketAddr::new(ip, address.port)),
            Host::Any => {
                addresses.push(SocketAddr::new(
                    std::net::Ipv6Addr::UNSPECIFIED.into(),
                    address.port,
                ));
                addresses.push(SocketAddr::new(
                    std::net::Ipv4Addr::UNSPECIFIED.into(),
                    address.port,
                ));
            }
            Host::Name(name) | Host::Dns(name) => {
                let found =
                    std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), address.port))
                        .with_context(|| format!("cannot resolve {name}"))?;
                addresses.extend(found);
            }
        }
    }
    Ok(addresses)
}

fn addresses(db: &Db) -> anyhow::Result<HashMap<NodeId, Vec<String>>> {
    let mut known = HashMap::new();
    for (key, peer) in db.scan::<store::peers::Peer>()? {
        let id = secp256k1::PublicKey::from_slice(&key).context("a stored peer has no node id")?;
        known.insert(NodeId(id), peer.addresses);
    }
    Ok(known)
}

/// Notes where a peer was reached, for the next start.
pub fn remember_address(node: &Node, peer: NodeId, address: String) {
    let mut batch = Batch::new();
    let record = store::peers::Peer {
        addresses: vec![address],
    };
    batch.put(&peer.0.serialize(), &record);
    if let Err(error) = node.db.write(batch) {
        node.database_failed(&error);
    }
}

async fn wait_for_end(node: &Arc<Node>) -> Stop {
    let signals = node.clone();
    let listener = tokio::spawn(async move {
        let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
        ) else {
            return tracing::error!("signals cannot be caught");
        };
        loop {
            tokio::select! {
                _ = term.recv() => signals.stop(Stop::Asked),
                _ = int.recv() => signals.stop(Stop::Asked),
                _ = hup.recv() => signals.log.reopen(),
            }
        }
    });
    let failed = node.db.failed();
    let why = tokio::select! {
        why = node.stopped() => why,
        error = failed => {
            node.database_failed(&error);
            node.stopped().await
        }
    };
    listener.abort();
    why
}
