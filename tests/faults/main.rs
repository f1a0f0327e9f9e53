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
<<<<<<< HEAD
mod inputs;
mod kills;
mod runs;
mod tiny;
mod verify;
mod writes;
=======
#[cfg(unix)]
mod terminal;
>>>>>>> bdaff58 (The terminal is tested through pseudo-terminals; a closed one takes no more text)
