//! What the owner types: from the terminal without echo, or a line each from stdin where it is none.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use hsm::Passphrase;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longest line, in bytes.
const MAX: usize = 1024;

/// A passphrase that is there already.
pub fn passphrase(what: &str) -> Result<Passphrase, Failure> {
    let line = line(what)?;
    let passphrase = Passphrase::read(line.as_slice()).map_err(Failure::Typed)?;
    passphrase.ok_or(Failure::NotText)
}

/// A new one, which a person types twice.
pub fn new_passphrase() -> Result<Passphrase, Failure> {
    let first = line("New passphrase")?;
    if first.is_empty() {
        return Err(Failure::Empty);
    }
    if io::stdin().is_terminal() && *first != *line("The same once more")? {
        return Err(Failure::Differ);
    }
    let passphrase = Passphrase::read(first.as_slice()).map_err(Failure::Typed)?;
    passphrase.ok_or(Failure::NotText)
}

/// The words of a seed, one space between two.
pub fn words() -> Result<Zeroizing<String>, Failure> {
    let line = line("The words")?;
    let text = std::str::from_utf8(&line).map_err(|_| Failure::NotText)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(Zeroizing::new(words.join(" ")))
}

/// Says what is at stake and waits for the word "yes", which only a terminal can type.
pub fn confirm(at_stake: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    eprint!("{at_stake}Type yes to go on: ");
    let typed = read_line(io::stdin().lock()).map_err(Failure::Typed)?;
    match **typed == *b"yes" {
        true => Ok(()),
        false => Err(Failure::NotConfirmed),
    }
}

/// One line without its end. On a terminal it is asked for and not shown.
pub fn line(what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let silent = match io::stdin().is_terminal() {
        true => Some(Silent::start(what).map_err(Failure::Typed)?),
        false => None,
    };
    let line = read_line(io::stdin().lock()).map_err(Failure::Typed);
    drop(silent);
    line
}

/// Byte by byte, so that nothing of the next line is taken, into one allocation.
fn read_line(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX));
    let mut byte = [0];
    while line.len() < MAX {
        match from.read(&mut byte)? {
            0 => break,
            _ if byte == *b"\n" => break,
            _ => line.extend_from_slice(&byte),
        }
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until it is dropped.
struct Silent(Termios);

impl Silent {
    fn start(what: &str) -> io::Result<Silent> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &silent)?;
        let mut out = io::stderr().lock();
        write!(out, "{what}: ")?;
        out.flush()?;
        Ok(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
