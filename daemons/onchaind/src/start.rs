//! From the descriptors to a running core.

use ipc_messages::edges::{HsmOnchain, LightningdOnchaind};
use ipc_messages::hello;
use ipc_messages::lightningd_onchaind::{Start, ToOnchaind};
use ipc_transport::blocking::{LowerConn, UpperConn};
use onchain::Onchain;
use onchain::action::KnownHtlc;

use crate::shell::Shell;

/// A channel numbers its HTLCs anew for each payment; so many in its life are more than a node makes.
const MAX_HTLCS: usize = 4_000_000;

/// Runs until lightningd says Stop or is gone.
///
/// # Errors
/// A bad frame of lightningd or hsmd, or the loss of either.
pub fn serve(mut fds: subd::Fds) -> anyhow::Result<()> {
    let mut node = LowerConn::<LightningdOnchaind>::new(
        fds.take("lightningd")?,
        hello::<LightningdOnchaind>(),
    )?;
    let hsm = UpperConn::<HsmOnchain>::new(fds.take("hsmd")?, hello::<HsmOnchain>())?;
    let Some(start) = hear_start(&mut node)? else {
        return Ok(());
    };
    let Start {
        facts,
        state,
        feerates,
    } = start;
    let (core, actions) = Onchain::new(facts, state, feerates);
    Shell::new(node, hsm, core).run(actions)
}

/// Start with all of its HTLCs; `None` if lightningd is gone before it.
fn hear_start(node: &mut LowerConn<LightningdOnchaind>) -> anyhow::Result<Option<Start>> {
    let mut before: Vec<KnownHtlc> = Vec::new();
    loop {
        match node.recv() {
            Ok(ToOnchaind::Htlcs { htlcs }) => before.extend(htlcs),
            Ok(ToOnchaind::Start(start)) => {
                let mut start = *start;
                start.facts.htlcs.append(&mut before);
                return Ok(Some(start));
            }
            Ok(ToOnchaind::Stop) => return Ok(None),
            Ok(_) => anyhow::bail!("lightningd's first messages are not Htlcs and Start"),
            Err(error) if error.is_closed() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if before.len() > MAX_HTLCS {
            anyhow::bail!("more than {MAX_HTLCS} HTLCs in one channel");
        }
    }
}
