//! The integration tests: one crate, a module per subject. A comment on top of each says what it
//! proves.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its case should fail there"
)]

mod cli;
mod configs;
mod data_sources;
mod devices;
mod download;
mod export;
mod kernels;
mod learning;
mod models;
mod quickstart;
mod resume;
mod run_folder;
mod tensorboard;
