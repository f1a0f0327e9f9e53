//! Reads the text of a config from disk, whatever lies there.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::ConfigError;

/// Forty times the reference config. What is no config is then refused before it fills memory or
/// keeps the parser busy.
const MOST_BYTES: usize = 256 * 1024;

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let name = path.display();
    let mut bytes = Vec::new();
    // Bounded while it is read, since the size that a device or a pipe claims says nothing.
    let limit = MOST_BYTES as u64 + 1;
    let outcome = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = outcome {
        let reason = match path.is_dir() {
            true => "it is a folder".to_owned(),
            false => error.to_string(),
        };
        let hint = "check the path; `weft train --print-config` prints a config to start from";
        return Err(ConfigError::new(
            format!("{name} cannot be read: {reason}"),
            hint,
        ));
    }
    if bytes.len() > MOST_BYTES {
        let most = MOST_BYTES / 1024;
        return Err(ConfigError::new(
            format!("{name} cannot be read: it has more than {most} KiB"),
            "check the path: a config is a short TOML file",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (before, after) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        // A cut or wrong character begins here, so there is at least one byte.
        let byte = after.first().copied().unwrap_or_default();
        ConfigError::new(
            format!("{name}:{line}: the byte {byte:02x} is not UTF-8 text"),
            "save the file as UTF-8",
        )
    })
}
