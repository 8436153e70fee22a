//! listsandbox: every process of the node, and what it may do. Not one of Core Lightning's.

use std::sync::Arc;

use lightningd_rpc::{Args, Context};
use serde_json::{Value, json};
use subd::Hardening;

use super::Outcome;
use crate::node::Node;
use crate::sandbox::{Running, Said, Status, open_fds};

pub async fn listsandbox(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut processes = vec![entry("lightningd", own, None)];
    for Running { pid, role, said } in node.subdaemons.running() {
        let report = match &said {
            Said::Ready(hardening) => Some(hardening.as_ref()),
            Said::Nothing | Said::Failed(_) => None,
        };
        processes.push(entry(role.name(), pid, report));
    }
    Ok(json!({
        "sandbox": node.subdaemons.mode().name(),
        "processes": processes,
    }))
}

/// What the kernel says now, and, of what it tells only the process itself, what that has said before
/// it read anything from anybody.
fn entry(name: &str, pid: i32, report: Option<&Hardening>) -> Value {
    let mut entry = json!({"name": name, "pid": pid});
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            entry[name] = value;
        }
    };
    if let Some(status) = Status::of(pid) {
        put("uid", json!(status.number("Uid")));
        put("gid", json!(status.number("Gid")));
        let no_new_privs = status.number("NoNewPrivs").map(|set| set == 1);
        put("no_new_privs", json!(no_new_privs));
        put("seccomp", json!(status.field("Seccomp").map(seccomp)));
        put("seccomp_filters", json!(status.number("Seccomp_filters")));
        put("capabilities", json!(status.field("CapEff")));
        put("threads", json!(status.number("Threads")));
    }
    if let Some(report) = report {
        put("landlock_abi", json!(report.landlock));
        put("namespaces", json!(report.namespaces));
        put("empty_root", json!(report.empty_root));
        put("dumpable", json!(report.dumpable));
        let limits = json!({
            "core": report.core_limit,
            "nofile": report.nofile,
            "nproc": report.nproc,
            "fsize": report.fsize,
        });
        put("limits", limits);
        put("missing", json!(report.missing));
    }
    match (open_fds(pid), report) {
        (Some(fds), _) => {
            put("num_open_fds", json!(fds.len()));
            put("open_fds", json!(fds));
        }
        // Only root looks into an undumpable process.
        (None, Some(report)) => put("open_fds_at_start", json!(report.open_fds)),
        (None, None) => {}
    }
    entry
}

fn seccomp(mode: &str) -> &str {
    match mode {
        "0" => "off",
        "1" => "strict",
        "2" => "filter",
        other => other,
    }
}
