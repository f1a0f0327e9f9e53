//! Proves that malformed input of every kind is a typed error that names the place: no panic, no
//! overflown stack, no filled memory, and nothing written where it should not be.

mod config_text;
mod gzip;
mod idx;
#[cfg(unix)]
mod links;
mod names;
mod numbers;
