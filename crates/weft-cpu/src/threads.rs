//! The kernels' threads. A step of training is some thirty kernels of a tenth of a millisecond each;
//! handing each to threads that sleep costs as much as a small kernel. These stay awake for a moment
//! after each, and whoever calls takes part in the work, so that nobody waits for a thread to wake up.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread looks for the next kernel before it sleeps.
const AWAKE: Duration = Duration::from_micros(200);

/// Calls `run` with each of `0..tasks`, spread over all threads; returns when all are done. A panic of a
/// task goes on here.
pub(crate) fn for_each(tasks: usize, run: &(dyn Fn(usize) + Sync)) {
    let pool = POOL.get_or_init(Pool::start);
    // Two at once are rare: the second one works alone.
    let _turn = match pool.turn.try_lock() {
        Ok(turn) if tasks > 1 && !pool.helpers.is_empty() => turn,
        Err(TryLockError::Poisoned(turn)) if tasks > 1 => turn.into_inner(),
        _ => return (0..tasks).for_each(run),
    };
    let job = Job {
        // SAFETY: only the lifetime changes; no helper has the job when this function returns.
        run: unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Run>(run) },
        tasks,
        next: AtomicUsize::new(0),
        panic: Mutex::new(None),
    };
    SHARED
        .job
        .store((&raw const job).cast_mut(), Ordering::SeqCst);
    SHARED.count.fetch_add(1, Ordering::SeqCst);
    if SHARED.asleep.load(Ordering::SeqCst) > 0 {
        pool.helpers.iter().for_each(Thread::unpark);
    }
    job.work();
    SHARED.job.store(ptr::null_mut(), Ordering::SeqCst);
    let mut rounds = 0u32;
    while SHARED.inside.load(Ordering::SeqCst) > 0 {
        rounds += 1;
        match rounds < 2000 {
            true => std::hint::spin_loop(),
            false => thread::yield_now(),
        }
    }
    let panic = job
        .panic
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

type Run = &'static (dyn Fn(usize) + Sync);

struct Job {
    run: Run,
    tasks: usize,
    /// The task that nobody has taken yet.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job {
    fn work(&self) {
        let work = || loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return;
            }
            (self.run)(task);
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.next.store(self.tasks, Ordering::Relaxed);
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }
}

/// What callers and helpers share.
struct Shared {
    /// The job, while there is one.
    job: AtomicPtr<Job>,
    /// Jobs that there have been.
    count: AtomicUsize,
    /// Helpers that may hold the job.
    inside: AtomicUsize,
    /// Helpers that sleep, or are about to.
    asleep: AtomicUsize,
}

static SHARED: Shared = Shared {
    job: AtomicPtr::new(ptr::null_mut()),
    count: AtomicUsize::new(0),
    inside: AtomicUsize::new(0),
    asleep: AtomicUsize::new(0),
};

static POOL: OnceLock<Pool> = OnceLock::new();

struct Pool {
    turn: Mutex<()>,
    helpers: Vec<Thread>,
}

impl Pool {
    /// As many threads as rayon has (`RAYON_NUM_THREADS`), the caller being one of them. One that
    /// cannot be started is done without.
    fn start() -> Self {
        let start = |index| {
            let builder = thread::Builder::new().name(format!("kernels-{index}"));
            let handle = builder.spawn(help).ok()?;
            Some(handle.thread().clone())
        };
        Self {
            turn: Mutex::new(()),
            helpers: (1..rayon::current_num_threads())
                .filter_map(start)
                .collect(),
        }
    }
}

fn help() {
    let mut seen = 0;
    loop {
        seen = next_job(seen);
        SHARED.inside.fetch_add(1, Ordering::SeqCst);
        let job = SHARED.job.load(Ordering::SeqCst);
        // SAFETY: a caller takes its job back before it looks at `inside`, and waits while that is not
        // zero: what is still there after `inside` was raised lives until it is lowered.
        if let Some(job) = unsafe { job.as_ref() } {
            job.work();
        }
        SHARED.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until there have been other than `seen` jobs.
fn next_job(seen: usize) -> usize {
    let since = Instant::now();
    loop {
        for _ in 0..200 {
            let count = SHARED.count.load(Ordering::SeqCst);
            if count != seen {
                return count;
            }
            std::hint::spin_loop();
        }
        if since.elapsed() >= AWAKE {
            SHARED.asleep.fetch_add(1, Ordering::SeqCst);
            // A caller raises the count before it looks who sleeps, so one of the two is seen.
            if SHARED.count.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            SHARED.asleep.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A slice in parts, for tasks that each write one.
pub(crate) struct Parts<T> {
    first: *mut T,
    len: usize,
    part: usize,
}

// SAFETY: `of` hands out each part once, as its contract says.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// Parts of `part` numbers; the last one may be shorter.
    pub(crate) fn new(numbers: &mut [T], part: usize) -> Self {
        Self {
            first: numbers.as_mut_ptr(),
            len: numbers.len(),
            part: part.max(1),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.len.div_ceil(self.part)
    }

    /// # Safety
    /// No part is asked for twice, and the slice is borrowed as long as the parts are used.
    #[expect(clippy::mut_from_ref, reason = "parts do not overlap")]
    pub(crate) unsafe fn of(&self, index: usize) -> &mut [T] {
        let start = (index * self.part).min(self.len);
        let len = self.part.min(self.len - start);
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }
}

/// A part of what is only read.
pub(crate) fn part_of<T>(numbers: &[T], part: usize, index: usize) -> &[T] {
    let start = (index * part).min(numbers.len());
    &numbers[start..(start + part).min(numbers.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_runs_once() {
        for tasks in [0, 1, 2, 3, 17, 1000] {
            let mut counts = vec![0u32; tasks];
            let parts = Parts::new(&mut counts, 1);
            for_each(tasks, &|task| unsafe { parts.of(task)[0] += 1 });
            assert!(counts.iter().all(|&count| count == 1), "{tasks}");
        }
    }

    #[test]
    fn callers_on_many_threads_and_pauses() {
        let callers: Vec<_> = (0..4u64)
            .map(|caller| {
                thread::spawn(move || {
                    for round in 0..300u64 {
                        let sum = AtomicUsize::new(0);
                        for_each(50, &|task| {
                            sum.fetch_add(task, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 49 * 50 / 2);
                        if round % 60 == caller {
                            thread::sleep(Duration::from_millis(1)); // all fall asleep
                        }
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
    }

    #[test]
    fn a_panic_goes_on_and_the_threads_stay() {
        for _ in 0..20 {
            let panic = catch_unwind(|| for_each(40, &|task| assert_ne!(task, 13)));
            assert!(panic.is_err());
            let sum = AtomicUsize::new(0);
            for_each(40, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 39 * 40 / 2);
        }
    }
}
