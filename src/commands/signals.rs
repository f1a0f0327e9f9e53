//! Signals: the first asks for a checkpoint and an end, the second leaves at once. Either way the
//! terminal is left clean.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::train::StopFlag;

/// SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) raise the flag. A second SIGINT or
/// SIGTERM ends the process; a second SIGHUP does not, because shell and kernel may both send one.
#[cfg(unix)]
pub(super) fn watch(stop: &StopFlag) -> Result<Watch> {
    use std::sync::atomic::Ordering;

    use signal_hook::consts::SIGHUP;
    use signal_hook::iterator::Signals;

    let mut watched = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        watched.push(SIGHUP);
    }
    // A limit on the size of files (ulimit -f) is an error of the write, not an end without a word.
    let too_large = std::sync::Arc::default();
    signal_hook::flag::register(libc::SIGXFSZ, too_large).context("signals cannot be watched")?;
    let mut signals = Signals::new(watched).context("signals cannot be watched")?;
    let raised = stop.handle();
    let handle = signals.handle();
    let terminals = crate::terminal::standard_streams();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                if signal == SIGHUP {
                    crate::terminal::let_go(&terminals);
                }
                let was = raised.compare_exchange(
                    0,
                    signal as usize,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if was.is_err() && signal != SIGHUP {
                    crate::terminal::leave(128 + signal);
                }
            }
        })
        .context("signals cannot be watched")?;
    Ok(Watch(handle))
}

/// Ends the watch, and its thread, when it is dropped.
#[cfg(unix)]
pub(super) struct Watch(signal_hook::iterator::Handle);

#[cfg(unix)]
impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Here the watch lasts as long as the process.
#[cfg(not(unix))]
pub(super) struct Watch;

/// Whether whoever started this process wants it to go on regardless (`nohup`).
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction is plain data, for which zeros are valid; without a new action the call only
    // writes the present one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// SIGINT and SIGTERM raise the flag; the second one ends the process.
#[cfg(not(unix))]
pub(super) fn watch(stop: &StopFlag) -> Result<Watch> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(signal, code, armed.clone())
            .and_then(|_| signal_hook::flag::register(signal, armed.clone()))
            .and_then(|_| signal_hook::flag::register_usize(signal, stop.handle(), signal as usize))
            .context("signals cannot be watched")?;
    }
    Ok(Watch)
}
