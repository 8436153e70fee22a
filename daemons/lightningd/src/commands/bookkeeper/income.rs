//! What made the node richer or poorer, in three forms: bkpr-listincome, bkpr-dumpincomecsv, bkpr-report.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use lightningd_rpc::{Args, Context, RpcError};
use serde_json::{Value, json};

use super::{Outcome, Show, add, currency, ledger, name, plugin_error};
use crate::books::csv::{self, Form};
use crate::books::income::{Line, income};
use crate::books::report::{Escape, Format};
use crate::node::Node;
use crate::store::now;

/// Which times are asked for: later than the first, up to the second.
#[derive(Clone, Copy)]
pub struct Times {
    start: u64,
    end: Option<u64>,
}

impl Times {
    pub fn read(args: &Args) -> Result<Times, RpcError> {
        Ok(Times {
            start: args.required("start_time")?,
            end: args.optional("end_time")?,
        })
    }

    pub fn have(self, at: u64) -> bool {
        at > self.start && self.end.is_none_or(|end| at <= end)
    }
}

async fn lines(node: &Node, times: Times) -> Result<Vec<Line>, RpcError> {
    let ledger = ledger(node).await?;
    let show = Show::new(node, &ledger)?;
    let mut lines = Vec::new();
    for income in income(&ledger) {
        if !times.have(income.at) {
            continue;
        }
        let output = income
            .outpoint
            .and_then(|outpoint| show.of_outpoint(outpoint));
        let description = match (output, income.payment_hash) {
            (None, Some(hash)) => show.of_payment(hash)?,
            (output, _) => output,
        };
        lines.push(Line {
            account: name(&ledger, income.books),
            income,
            description,
        });
    }
    Ok(lines)
}

pub async fn listincome(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    // Ours are one for each transaction and account anyway.
    let _: bool = args.required("consolidate_fees")?;
    let lines = lines(&node, Times::read(&args)?).await?.into_iter();
    let events: Vec<Value> = lines.map(|line| shown(line, currency(&node))).collect();
    Ok(json!({ "income_events": events }))
}

fn shown(line: Line, currency: &str) -> Value {
    let income = line.income;
    let mut event = json!({
        "account": line.account,
        "tag": income.tag,
        "credit_msat": income.credit.0,
        "debit_msat": income.debit.0,
        "currency": currency,
        "timestamp": income.at,
    });
    let more = [
        ("description", line.description),
        ("outpoint", income.outpoint.map(|out| out.to_string())),
        ("txid", income.txid.map(|txid| txid.to_string())),
        ("payment_id", income.payment_hash.map(|id| id.to_string())),
    ];
    add(&mut event, more);
    event
}

pub async fn report(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let format: String = args.required("format")?;
    let format =
        Format::read(&format).map_err(|why| RpcError::invalid_params(format!("format: {why}")))?;
    let escape: String = args.required("escape")?;
    let escape = match escape.as_str() {
        "none" => Escape::None,
        "csv" => Escape::Csv,
        _ => {
            return Err(RpcError::invalid_params(
                "escape: should be `csv` or `none`",
            ));
        }
    };
    let headers: Option<Vec<String>> = args.optional("headers")?;
    let lines = lines(&node, Times::read(&args)?).await?;
    let mut report = headers.unwrap_or_default();
    report.extend(lines.iter().map(|line| format.of(line, escape)));
    Ok(json!({ "report": report, "format-hint": "simple" }))
}

pub async fn dumpincomecsv(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let wanted: String = args.required("csv_format")?;
    let Some(form) = Form::ALL.into_iter().find(|form| form.name() == wanted) else {
        let names = Form::ALL.map(|form| format!("\"{}\"", form.name()));
        let text = format!("csv_format: should be one of: {}", names.join(","));
        return Err(RpcError::invalid_params(text));
    };
    let file: Option<String> = args.optional("csv_file")?;
    let _: bool = args.required("consolidate_fees")?;
    let lines = lines(&node, Times::read(&args)?).await?;
    let text = csv::table(form, &lines, currency(&node));
    let file = file.unwrap_or_else(|| format!("cln_incomestmt_{}_{}.csv", form.name(), now()));
    // As CLN's plugins, which run there.
    let path = node.options.network_dir.join(&file);
    let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
    match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(()) => Ok(json!({ "csv_file": file, "csv_format": form.name() })),
        Err(why) => Err(plugin_error(format!(
            "Unable to create csv file: Failed to open csv file {file}: {why}"
        ))),
    }
}

/// Makes the file, or replaces a table that was made before, whole. Nothing else is ever written over: who
/// may call this command need not be allowed to destroy the node's other files.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let there = is_table(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.{}", std::process::id(), now()));
    let beside = Path::new(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    let placed = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| match there {
            true => fs::rename(beside, path),
            // Unlike a rename, this does not replace what has come there meanwhile.
            false => fs::hard_link(beside, path).and_then(|()| fs::remove_file(beside)),
        });
    if placed.is_err() {
        let _ = fs::remove_file(beside);
    }
    placed
}

/// Whether a table stands there; it may be of another form.
fn is_table(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(foreign()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let longest = Form::ALL.iter().map(|form| form.header().len()).max();
    let mut begin = Vec::new();
    let longest = longest.unwrap_or_default() as u64;
    File::open(path)?.take(longest).read_to_end(&mut begin)?;
    let is = |form: &Form| begin.starts_with(form.header().as_bytes());
    match Form::ALL.iter().any(is) {
        true => Ok(true),
        false => Err(foreign()),
    }
}

fn foreign() -> io::Error {
    let why = "something that is no income table stands there; name another file or remove that";
    io::Error::new(ErrorKind::AlreadyExists, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (table, seed) = (
            folder.path().join("a.csv"),
            folder.path().join("hsm_secret"),
        );
        fs::write(&seed, [7; 32]).unwrap();
        std::os::unix::fs::symlink(&seed, folder.path().join("link.csv")).unwrap();
        write(&table, Form::Koinly.header()).unwrap();
        let longer = format!("{}\nrow", Form::Quickbooks.header());
        write(&table, &longer).unwrap();
        assert_eq!(fs::read_to_string(&table).unwrap(), longer);
        for other in ["hsm_secret", "link.csv", "."] {
            let path = folder.path().join(other);
            let error = write(&path, Form::Koinly.header()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{other}: {error}");
        }
        assert!(write(&folder.path().join("none/a.csv"), "").is_err());
        assert_eq!(fs::read(&seed).unwrap(), [7; 32]);
        // Nothing half done is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
