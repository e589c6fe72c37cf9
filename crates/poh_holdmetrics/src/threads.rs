//! Work that is divided among threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{iter, thread};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads for `rows` of work: as many as are wanted, or one a processor; fewer for few rows.
pub(crate) fn threads_for(wanted: Option<usize>, rows: usize) -> usize {
    /// Below this a thread costs more than it brings.
    const ROWS_PER_THREAD: usize = 50_000;
    let most = rows / ROWS_PER_THREAD;
    if most <= 1 {
        return 1; // the system reads files to tell the processors: too much for each few rows
    }
    let wanted = wanted.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    wanted.min(most).max(1)
}

/// The rows of one of some threads.
pub(crate) fn share(rows: usize, part: usize, parts: usize) -> Range<usize> {
    rows * part / parts..rows * (part + 1) / parts
}

/// Runs `work` with all of `rows`, a share on each processor, and gives the results in order.
pub(crate) fn in_shares<T: Send>(rows: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let threads = threads_for(None, rows);
    in_threads(threads, |part| work(share(rows, part, threads)))
}

/// Runs `work(0..threads)`, and gives the results in order.
pub(crate) fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut parts: Vec<usize> = (0..threads).collect();
    in_threads_with(&mut parts, |part, _| work(part))
}

/// Does two things, at once if a thread has nothing to do.
pub(crate) fn join(mut one: impl FnMut() + Send, mut other: impl FnMut() + Send) {
    let mut both: [&mut (dyn FnMut() + Send); 2] = [&mut one, &mut other];
    in_threads_with(&mut both, |_, work| work());
}

/// Runs `work` with each of `states` and its number, and gives the results in order.
pub(crate) fn in_threads_with<S: Send, T: Send>(
    states: &mut [S],
    work: impl Fn(usize, &mut S) -> T + Sync,
) -> Vec<T> {
    let helpers = (states.len() > 1).then(helpers).flatten();
    shared_out(helpers, states, work)
}

fn shared_out<S: Send, T: Send>(
    helpers: Option<&Helpers>,
    states: &mut [S],
    work: impl Fn(usize, &mut S) -> T + Sync,
) -> Vec<T> {
    let others = states.len().saturating_sub(1);
    let mut results: Vec<Option<T>> = Vec::new();
    results.resize_with(states.len(), || None);
    // Who is free takes the next one; this thread too, so that it never waits for one to be begun.
    let left = Mutex::new(states.iter_mut().enumerate().zip(&mut results));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take = || {
        while let Some(((number, state), result)) = next() {
            *result = Some(work(number, state));
        }
    };
    match helpers {
        None => take(),
        // A panic of one goes on in the caller, as if there were no threads.
        Some(helpers) => helpers.pool.in_place_scope(|scope| {
            for busy in iter::from_fn(|| helpers.reserve()).take(others) {
                let take = &take;
                scope.spawn(move |_| {
                    let _busy = busy;
                    take();
                });
            }
            take();
        }),
    }
    results.into_iter().flatten().collect()
}

/// Threads that wait for work.
///
/// A new thread is often put on the processor of the one that made it, which then waits for it, or it
/// for that one, until the system looks again: 4 ms on Linux, where 10 million holds take 12. One that
/// is only woken goes where nobody works.
struct Helpers {
    /// The process that they are in. One that was forked has none of its parent's threads.
    process: u32,
    /// One for each processor that the first question could use.
    pool: ThreadPool,
    /// How many have nothing to do. Others are left alone: who asks little would wait for who asked
    /// much.
    free: AtomicUsize,
    of_forked: OnceLock<Box<Helpers>>,
}

/// One of the helpers, until it is dropped.
struct Busy<'a>(&'a Helpers);

impl Helpers {
    fn new(process: u32) -> Option<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let builder = ThreadPoolBuilder::new().num_threads(processors);
        let pool = builder.thread_name(|number| format!("holds-{number}"));
        Some(Helpers {
            process,
            pool: pool.build().ok()?,
            free: AtomicUsize::new(processors),
            of_forked: OnceLock::new(),
        })
    }

    fn reserve(&self) -> Option<Busy<'_>> {
        let one_less = |free: usize| free.checked_sub(1);
        let was = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        was.is_ok().then(|| Busy(self))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// Those of this process; none where the system gives no thread now.
fn helpers() -> Option<&'static Helpers> {
    static FIRST: OnceLock<Box<Helpers>> = OnceLock::new();
    let process = std::process::id();
    let mut place = &FIRST;
    // A process's own ones are the last, after those of the processes that it was forked from: one of
    // these may have ended, and its number come again.
    let mut last = None;
    while let Some(helpers) = place.get() {
        (last, place) = (Some(helpers), &helpers.of_forked);
    }
    if let Some(helpers) = last.filter(|helpers| helpers.process == process) {
        return Some(helpers);
    }
    // No lock is held while they are made, which a fork could leave locked for good. Where two threads
    // made some the first ones stay.
    let _ = place.set(Box::new(Helpers::new(process)?));
    place.get().map(Box::as_ref)
}

/// How many rows a thread takes at once, of those that are left for some threads: few times many, for to
/// begin costs a little, and at the end so few that no thread waits long for another.
pub(crate) fn part_of(left: usize, threads: usize) -> usize {
    const LEAST: usize = 1 << 15;
    (left / (2 * threads)).max(LEAST)
}

/// Lets `work` do all of so many rows, in parts, of which `size` says how many rows one has where so many
/// are left: each thread takes the next part when it is done with one, so that a slower processor does
/// less. The first part is the first state's. The error is that of the first rows that have one.
///
/// Where one fails no further part is begun; those before it are done all the same.
pub(crate) fn in_parts<S: Send, E: Send>(
    states: &mut [S],
    rows: usize,
    size: impl Fn(usize) -> usize + Sync,
    work: impl Fn(&mut S, Range<usize>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let part_at = |from| (from < rows).then(|| from..rows.min(from + size(rows - from)));
    let first = part_at(0);
    let next = AtomicUsize::new(first.as_ref().map_or(rows, |part| part.end));
    let take = || {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let from = next.fetch_update(set, fetch, |from| part_at(from).map(|part| part.end));
        from.ok().and_then(part_at)
    };
    let failed = in_threads_with(states, |thread, state| {
        let mut part = match thread {
            0 => first.clone(),
            _ => take(),
        };
        while let Some(rows_here) = part {
            let from = rows_here.start;
            if let Err(error) = work(state, rows_here) {
                next.fetch_max(rows, Ordering::Relaxed);
                return Some((from, error));
            }
            part = take();
        }
        None
    });
    let first = failed.into_iter().flatten().min_by_key(|(from, _)| *from);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn who_asks_little_does_not_wait_for_who_asked_much() {
        let helpers = Helpers::new(std::process::id()).expect("the system gives threads");
        let all = helpers.free.load(Ordering::Relaxed);
        let (begun, asked) = (Barrier::new(all + 2), Barrier::new(all + 2));
        thread::scope(|scope| {
            scope.spawn(|| {
                shared_out(Some(&helpers), &mut vec![(); all + 1], |_, ()| {
                    begun.wait();
                    asked.wait();
                })
            });
            begun.wait();
            let done = shared_out(Some(&helpers), &mut [1, 2, 3], |number, state| {
                (number, *state)
            });
            assert_eq!(done, [(0, 1), (1, 2), (2, 3)]);
            asked.wait();
        });
        assert_eq!(helpers.free.load(Ordering::Relaxed), all);
    }

    #[test]
    fn parts_are_all_rows_and_the_first_fault_is_told() {
        for threads in 1..4 {
            let mut done: Vec<Vec<Range<usize>>> = vec![Vec::new(); threads];
            let size = |left| part_of(left, threads);
            let result: Result<(), ()> = in_parts(&mut done, 1_000_000, size, |done, part| {
                done.push(part);
                Ok(())
            });
            assert_eq!(result, Ok(()));
            let mut done = done.concat();
            done.sort_unstable_by_key(|part| part.start);
            let ends: Vec<usize> = done.iter().map(|part| part.end).collect();
            let starts: Vec<usize> = done.iter().map(|part| part.start).collect();
            assert_eq!((starts[0], ends.last()), (0, Some(&1_000_000)));
            assert_eq!(starts[1..], ends[..ends.len() - 1]);
        }
        // Both have a part before either fails.
        let both = Barrier::new(2);
        let result = in_parts(
            &mut [(), ()],
            1_000_000,
            |left| left / 3,
            |(), part| {
                both.wait();
                Err(part.start)
            },
        );
        assert_eq!(result, Err(0));
    }
}
