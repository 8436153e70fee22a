//! Noticing that the chain has another end. bitcoind answers a long poll when it has; where it
//! cannot, it is asked now and then. Whoever follows the chain then looks for itself: what is
//! noticed here is no more than a reason to look.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::rpc::{Rpc, RpcError, Tip, code};
use crate::serve::Common;

/// A long poll takes so long at most; it occupies a thread of bitcoind's.
const LONG_POLL: Duration = Duration::from_secs(10);
/// After an error, or an answer that came without a reason.
const PAUSE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_secs(30);
const POLL_REGTEST: Duration = Duration::from_secs(1);

/// How the backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// `waitfornewblock` with the tip that we know, so that no block between two calls is missed.
    OtherTip,
    /// `waitforblockheight`, where the former does not take a tip. A reorg to a chain of the same
    /// length shows when the time is up.
    LongerChain,
    /// Neither is there: other programs that speak bitcoind's language, or a proxy before it.
    Poll,
}

impl How {
    fn without(self) -> How {
        match self {
            How::OtherTip => How::LongerChain,
            How::LongerChain | How::Poll => How::Poll,
        }
    }
}

/// What a look shows.
enum Look {
    Tip(Tip),
    /// The backend waits no longer, though nothing has changed: as one that is about to end.
    CutShort,
}

/// Wakes who follows the chain. Has a connection of its own, which mostly waits.
pub async fn run(common: Rc<Common>) -> Infallible {
    let mut rpc = common.rpc();
    let mut how = How::OtherTip;
    let mut seen = None;
    let mut cut_short = false;
    loop {
        common.ready().await;
        match look(&common, &mut rpc, how, seen).await {
            Ok(Look::Tip(tip)) => {
                (seen, cut_short) = (Some(tip), false);
                common.wake.notify_one();
            }
            Ok(Look::CutShort) if cut_short => {
                tracing::debug!("{how:?}: bitcoind answers without waiting");
                how = how.without();
            }
            Ok(Look::CutShort) => {
                cut_short = true;
                sleep(PAUSE).await;
                common.interrupted();
                common.wake.notify_one();
            }
            Err(RpcError::Refused {
                code,
                method,
                words,
            }) if how != How::Poll && cannot(code) => {
                tracing::debug!("{method} is not there ({words})");
                how = how.without();
            }
            Err(error) => {
                // Who follows the chain finds out for itself what is wrong, and says so. What comes back may be
                // another program.
                (seen, cut_short, how) = (None, false, How::OtherTip);
                if matches!(error, RpcError::Http(_)) {
                    common.interrupted();
                }
                common.wake.notify_one();
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the refusal is one of the method itself: unknown, other parameters, not allowed.
fn cannot(code: i64) -> bool {
    matches!(
        code,
        code::METHOD_NOT_FOUND | code::MISC | code::INVALID_PARAMETER
    )
}

async fn look(
    common: &Common,
    rpc: &mut Rpc,
    how: How,
    seen: Option<Tip>,
) -> Result<Look, RpcError> {
    let Some(seen) = seen else {
        return Ok(Look::Tip(rpc.chain_info().await?.tip()));
    };
    let asked = Instant::now();
    let tip = match how {
        How::OtherTip => rpc.wait_for_other_tip(seen, LONG_POLL).await?,
        How::LongerChain => {
            let at_most = if common.regtest {
                POLL_REGTEST
            } else {
                LONG_POLL
            };
            rpc.wait_for_longer_chain(seen, at_most).await?
        }
        How::Poll => {
            sleep(if common.regtest { POLL_REGTEST } else { POLL }).await;
            rpc.chain_info().await?.tip()
        }
    };
    Ok(match tip == seen && asked.elapsed() < PAUSE / 2 {
        true => Look::CutShort,
        false => Look::Tip(tip),
    })
}
