//! hsmd alone: the real process over its real sockets, its journal on a disk and on a RAM disk.
//!
//! So many requests are asked at the same moment, each on its channel's socket (those of the node's own
//! roles one after the other on their one socket), and when all are answered come the next: what a busy
//! node asks of its signer. What the peers of the channels do is done here, before the clock starts.

mod audit;
mod peer;
mod report;
mod roles;
mod signer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hsm_messages::chan::Reply;
use ipc_transport::Conn;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::Side;

use self::peer::Channel;
use self::signer::Signer;

/// How much to measure.
#[derive(clap::Args, Clone)]
pub struct Asked {
    /// How often so many requests are asked at once; a tenth of it with 483 HTLCs.
    #[arg(long, default_value_t = 100)]
    waves: usize,
    /// How many at once, each on a channel of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 30])]
    at_once: Vec<usize>,
    /// A folder on the disk.
    #[arg(long, default_value = ".")]
    disk: PathBuf,
    /// A folder on a RAM disk.
    #[arg(long, default_value = "/dev/shm")]
    ram: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// HTLCs in the commitments that are signed and verified.
const HTLCS: [u64; 4] = [0, 1, 30, 483];

/// One kind of request, so many at once, in one place.
pub struct Row {
    pub kind: String,
    pub at_once: usize,
    pub took: Duration,
    /// From the moment of the wave to each answer, sorted.
    pub latencies: Vec<Duration>,
}

impl Row {
    fn new(kind: &str, at_once: usize) -> Row {
        Row {
            kind: kind.to_owned(),
            at_once,
            took: Duration::ZERO,
            latencies: Vec::new(),
        }
    }

    /// Asks all at once, one request of each socket, and waits for all answers.
    fn wave<Q: Serialize, R: DeserializeOwned>(
        &mut self,
        conns: &mut [&mut Conn<Q, R>],
        requests: &[Q],
    ) -> Result<Vec<R>> {
        let begun = Instant::now();
        for (conn, request) in conns.iter_mut().zip(requests) {
            conn.send(request)?;
            conn.flush()?;
        }
        let mut replies = Vec::with_capacity(requests.len());
        for conn in conns.iter_mut() {
            replies.push(conn.recv()?);
            self.latencies.push(begun.elapsed());
        }
        self.took += begun.elapsed();
        Ok(replies)
    }

    /// Asks all at once on one socket.
    fn queue<Q: Serialize, R: DeserializeOwned>(
        &mut self,
        conn: &mut Conn<Q, R>,
        requests: &[Q],
    ) -> Result<Vec<R>> {
        let begun = Instant::now();
        for request in requests {
            conn.send(request)?;
        }
        conn.flush()?;
        let mut replies = Vec::with_capacity(requests.len());
        for _ in requests {
            replies.push(conn.recv()?);
            self.latencies.push(begun.elapsed());
        }
        self.took += begun.elapsed();
        Ok(replies)
    }

    fn done(mut self) -> Row {
        self.latencies.sort_unstable();
        self
    }
}

pub fn run(asked: &Asked) -> Result<()> {
    let mut places = Vec::new();
    for place in [&asked.disk, &asked.ram] {
        let mut rows = Vec::new();
        for at_once in &asked.at_once {
            eprintln!("{at_once} at once, journal in {}", place.display());
            rows.extend(measure(place, *at_once, asked.waves)?);
        }
        places.push(rows);
    }
    report::print(asked, &places)
}

fn measure(place: &Path, at_once: usize, waves: usize) -> Result<Vec<Row>> {
    let mut signer = Signer::start(place)?;
    let mut channels = Vec::with_capacity(at_once);
    for number in 0..at_once {
        channels.push(Channel::open(&mut signer, number)?);
    }
    let mut rows = Vec::new();
    for htlcs in HTLCS {
        for channel in &mut channels {
            channel.add(htlcs)?;
        }
        let waves = if htlcs < 100 {
            waves
        } else {
            waves.div_ceil(10)
        };
        rows.extend(commitments(&mut channels, htlcs, waves)?);
    }
    rows.extend(roles::channel(&mut channels, waves)?);
    rows.extend(roles::node(&mut signer, at_once, waves)?);
    signer.stop()?;
    rows.push(audit::lines(place, at_once, waves * 10)?);
    Ok(rows)
}

/// Commitments without a change: what costs is the number of HTLCs in them.
fn commitments(channels: &mut [Channel], htlcs: u64, waves: usize) -> Result<Vec<Row>> {
    let row = |kind: &str| Row::new(&format!("{kind}, {htlcs} HTLCs"), channels.len());
    let mut sign = row("SignRemote");
    let mut validate = row("ValidateLocal");
    let mut revoked = Row::new("RemoteRevoked", channels.len());
    for _ in 0..waves {
        for (side, row) in [(Side::Remote, &mut sign), (Side::Local, &mut validate)] {
            let requests = channels
                .iter()
                .map(|channel| channel.next(side, Vec::new()))
                .collect::<Result<Vec<_>>>()?;
            let mut conns: Vec<_> = channels
                .iter_mut()
                .map(|channel| &mut channel.conn)
                .collect();
            let replies = row.wave(&mut conns, &requests)?;
            for (channel, reply) in channels.iter_mut().zip(replies) {
                channel.answered(side, &[], reply)?;
            }
        }
        let requests = channels
            .iter()
            .map(Channel::revoke)
            .collect::<Result<Vec<_>>>()?;
        let mut conns: Vec<_> = channels
            .iter_mut()
            .map(|channel| &mut channel.conn)
            .collect();
        if revoked
            .wave(&mut conns, &requests)?
            .iter()
            .any(|reply| *reply != Reply::Done)
        {
            bail!("RemoteRevoked was not done");
        }
    }
    let mut rows = vec![sign.done(), validate.done()];
    if htlcs == 0 {
        rows.push(revoked.done());
    }
    Ok(rows)
}
