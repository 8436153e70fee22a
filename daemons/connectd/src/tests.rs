//! Whole connectds over loopback: the tests are their lightningd, their hsmd and their channels.

mod connecting;
mod hostile;
mod routing;
mod world;
