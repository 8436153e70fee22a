//! hsmd signs, and nobody else does.
//!
//! Holds: the seed, every key, what each channel has signed (crate `hsm`), and three files in one
//! folder: `hsm_secret`, `hsm-journal`, and `hsm-audit` with older parts of itself. Talks to:
//! lightningd (CTL), and whoever lightningd has given a socket of one role: connectd (NOISE), each
//! channel's channeld (CHAN), a spent channel's onchaind (ONCHAIN), lightningd itself (WALLET, GOSSIP, INVOICE, PAY, RPC, TIP). The socket is who asks:
//! no request names a role, and none a channel but those of CTL, GOSSIP and TIP. The owner connects by himself to
//! `hsm-operator` in that folder (OPERATOR), past lightningd: a passphrase goes this way alone.
//! Never: the network, another file, a digest or a transaction to sign that it did not build, a wait
//! for anybody but the disk.
//!
//! One thread. Each round it answers what all ready sockets ask, at most a few requests of each,
//! makes the changes durable with one write, notes what it decided, and only then lets the replies go. A bad frame, or an
//! end that does not read, costs that socket and no other.
//!
//! If it dies: nothing can be signed and the node stops; on the next start the journal gives the same
//! state, and whoever had no reply asks again. It ends when lightningd says Stop or closes CTL.

use std::process::ExitCode;

mod answer;
mod custody;
mod listed;
mod marks;
mod notes;
mod operator;
mod policy;
mod port;
mod serve;

use custody::{Custody, Program};
use operator::Listener;
use serve::ServeError;

fn main() -> ExitCode {
    subd::run_prepared(subd::Role::Hsmd, prepare, |mut fds, (listener, program)| {
        let (lightningd, folder) = (fds.take("lightningd")?, fds.take("folder")?);
        let custody = Custody::new(folder, program, fds.hardening().clone());
        serve::serve(lightningd, listener, custody)
    })
}

/// What the sandbox hides: the owner's socket is bound, and the program's own file opened.
fn prepare(fds: &subd::Fds) -> Result<(Listener, Program), ServeError> {
    let listener = Listener::bind(fds.get("folder")?)?;
    let program = Program::open().map_err(ServeError::Program)?;
    Ok((listener, program))
}
