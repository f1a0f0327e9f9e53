//! The integration tests: one crate, a module per subject. A comment on top of each says what it
//! proves.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its case should fail there"
)]

mod average;
mod bench;
mod cli;
mod configs;
mod data_sources;
mod devices;
mod download;
mod export;
mod image_folders;
mod kernels;
mod learning;
mod models;
mod optimizers;
mod own_data;
mod plots;
mod predict;
mod quickstart;
mod recipes;
mod report;
mod resume;
mod run_folder;
mod scikit_learn;
mod tensorboard;
mod tta;
mod tune;
