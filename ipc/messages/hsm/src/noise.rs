//! NOISE: connectd's handshakes. hsmd does the step that needs the node key and returns derived
//! keys only (K1), so that whoever holds this socket cannot read onions.

use serde::{Deserialize, Serialize};
use wire::noise::{KeyStep, KeyStepReply};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; one key step of BOLT 8 (act one as responder, act three as initiator).
    /// Refused if: the act's MAC does not verify.
    Step { step: KeyStep },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Step {
        keys: KeyStepReply,
    },
    /// The act is not genuine.
    BadAct,
}
