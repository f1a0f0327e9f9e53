//! The most main memory that this process had at once. Linux tells it; elsewhere it is unknown.

use std::fs;

/// Forgets what was the most so far.
pub(super) fn restart() {
    // Where it is refused, the figure is of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Bytes since the last [`restart`].
pub(super) fn peak() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_the_peak() {
        assert_eq!(parse("VmPeak:\t 9 kB\nVmHWM:\t  100 kB\n"), Some(102_400));
        assert_eq!(parse("VmPeak:\t 9 kB\n"), None);
        assert_eq!(peak().is_some(), cfg!(target_os = "linux"));
    }
}
