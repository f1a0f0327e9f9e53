//! weft trains image classifiers on the GPU a person already has: one binary, one config file, from
//! the data set to a tested model. The binary is `main.rs`; `docs/ARCHITECTURE.md` draws the house.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod experiment;
pub mod export;
pub mod failure;
pub mod kernels;
pub mod model;
pub mod predict;
pub mod random;
pub mod replay;
pub mod report;
pub mod run;
pub mod terminal;
pub mod text;
pub mod train;
pub mod tune;
pub mod verify;

/// Where weft keeps what can be made again: downloads, compiled kernels. `WEFT_CACHE` moves it.
pub fn cache_folder() -> Option<std::path::PathBuf> {
    match std::env::var_os("WEFT_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => dirs::cache_dir().map(|folder| folder.join("weft")),
    }
}
