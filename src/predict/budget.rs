//! Memory that decoding on many cores takes together: no more than one large picture does.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::data::image_file::MOST_BYTES;

/// For files that were read.
const FILES: u64 = 24 << 20;

/// Two pools of bytes. Whoever takes from both takes file bytes first, so that nobody waits in a circle;
/// more than there is in a pool means all of it.
pub(super) struct Budget {
    files: Pool,
    pixels: Pool,
}

struct Pool {
    capacity: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that are given back when it is dropped.
pub(super) struct Share<'a> {
    pool: &'a Pool,
    bytes: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            files: Pool::new(FILES),
            pixels: Pool::new(MOST_BYTES - FILES),
        }
    }

    pub(super) fn file(&self, bytes: u64) -> Share<'_> {
        self.files.take(bytes)
    }

    pub(super) fn pixels(&self, bytes: u64) -> Share<'_> {
        self.pixels.take(bytes)
    }
}

impl Pool {
    fn new(capacity: u64) -> Self {
        Self {
            capacity,
            taken: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits until there is room.
    fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.capacity);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u64| *taken + bytes > self.capacity;
        let waited = self.freed.wait_while(taken, full);
        *waited.unwrap_or_else(PoisonError::into_inner) += bytes;
        Share { pool: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self
            .pool
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *taken -= self.bytes;
        self.pool.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn shares_never_exceed_the_pool_and_a_large_one_gets_its_turn() {
        let pool = Pool::new(10);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |bytes: u64| {
            let share = pool.take(bytes);
            let now = held.fetch_add(share.bytes, Ordering::SeqCst) + share.bytes;
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            held.fetch_sub(share.bytes, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let work = &work;
                scope.spawn(move || (0..200).for_each(|n| work((n * 7 + thread) % 14)));
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 10);
        assert_eq!(*pool.taken.lock().unwrap(), 0);
    }
}
