//! What must not go wrong, made to go wrong: one crate, a module per kind of fault. A comment on top
//! of each says what it proves.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its case should fail there"
)]

mod common;
mod damage;
mod divergence;
mod fuzz;
mod gpu;
mod inputs;
mod kills;
mod memory;
mod runs;
#[cfg(unix)]
mod terminal;
mod tiny;
mod tune;
mod verify;
mod writes;
