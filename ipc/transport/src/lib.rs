//! What carries messages between processes: frames over Unix socketpairs, their limits, and the
//! passing of file descriptors. It knows no message.
//!
//! Every edge is a `SOCK_STREAM` socketpair made by the parent ([`pair`]). A frame is a four-byte
//! header ([`frame`]) and a value in the one encoding that [`codec`] names. The first frame each
//! way is a hello with the edge's name and the hash of its messages ([`edge`]); the two ends here
//! ([`blocking::Conn`], [`aio::AsyncConn`]) send and check it by themselves.
//!
//! What the other end sends is hostile until decoded. Invariants:
//! - no length from the other end is believed: a frame has a limit, a value is decoded within one,
//!   and bytes left over are an error;
//! - file descriptors arrive close-on-exec, at most [`MAX_FDS`] with a frame, and those that
//!   nobody takes are closed when the next frame is taken;
//! - [`Error::Closed`] means that the other end went away between two frames, and nothing else
//!   does: whoever sends half a frame is at fault.
//!
//! Not here: any message (ipc-messages), the start of a subdaemon (subd).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod blocking;
pub mod codec;
pub mod edge;
mod error;
mod fd;
pub mod frame;
pub mod hardening;
mod inbox;
pub mod log;
mod outbox;

#[cfg(feature = "tokio")]
pub mod aio;

pub use blocking::Conn;
pub use edge::{Edge, EdgeHello};
pub use error::{BadFrame, Error, HelloError};
pub use fd::pair;
pub use frame::{MAX_FDS, MAX_FRAME};
pub use hardening::Hardening;

/// How much one end holds for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame that the other end may send, in bytes after the header. Never more than
    /// [`MAX_FRAME`].
    pub frame: usize,
    /// Once this many bytes wait to be written, nothing more is queued: `queue` and `try_send`
    /// refuse, `send` waits. One frame may go over it, so that a frame of any legal length can be
    /// sent.
    pub out: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame: MAX_FRAME,
            out: 1 << 20,
        }
    }
}
