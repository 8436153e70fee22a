//! The wire format against published vectors, the table of all messages, and random bytes.

mod bolt01;
mod bolt02;
mod bolt07;
mod files;
mod gossip;
mod random;
mod table;
mod table_test;
