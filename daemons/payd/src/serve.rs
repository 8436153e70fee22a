//! The loop: read what is there, answer it, write once.

use ipc_messages::edges::LightningdPayd;
use ipc_messages::hello;
use ipc_transport::blocking::LowerConn;
use rand::rngs::OsRng;
use routing::Router;

use crate::answer::answer;

/// Runs until lightningd says Stop or is gone.
///
/// # Errors
/// A bad frame, or the edge broke.
pub fn serve(mut fds: subd::Fds) -> anyhow::Result<()> {
    let mut lightningd =
        LowerConn::<LightningdPayd>::new(fds.take("lightningd")?, hello::<LightningdPayd>())?;
    let router = Router::new();
    loop {
        let mut next = match lightningd.recv() {
            Ok(message) => Some(message),
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        while let Some(message) = next {
            match answer(&router, message, &mut OsRng) {
                Some(reply) => lightningd.send(&reply)?,
                None => return Ok(()),
            }
            next = lightningd.recv_buffered()?;
        }
        lightningd.flush()?;
    }
}
