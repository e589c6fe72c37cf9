//! Work that is divided among threads.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Runs `work(0..threads)`, the first part on this thread, and gives the results in order.
pub(crate) fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut parts: Vec<usize> = (0..threads).collect();
    in_threads_with(&mut parts, |part, _| work(part))
}

/// Runs `work` with each of `states`, the first on this thread, and gives the results in order.
pub(crate) fn in_threads_with<S: Send, T: Send>(
    states: &mut [S],
    work: impl Fn(usize, &mut S) -> T + Sync,
) -> Vec<T> {
    let Some((first, others)) = states.split_first_mut() else {
        return Vec::new();
    };
    if others.is_empty() {
        return vec![work(0, first)];
    }
    let Some(helpers) = helpers() else {
        return iter::once(work(0, first))
            .chain((1..).zip(others).map(|(part, state)| work(part, state)))
            .collect();
    };
    let mut results: Vec<Option<T>> = Vec::new();
    results.resize_with(1 + others.len(), || None);
    if let Some((own, theirs)) = results.split_first_mut() {
        // A panic of one goes on in the caller, as if there were no threads.
        helpers.in_place_scope(|scope| {
            let work = &work;
            for ((part, state), result) in (1..).zip(others).zip(theirs) {
                scope.spawn(move |_| *result = Some(work(part, state)));
            }
            *own = Some(work(0, first));
        });
    }
    results.into_iter().flatten().collect()
}

/// Threads that wait for work, one for each processor; none where the system gives no more.
///
/// A new thread is often put on the processor of the one that made it, which then waits for it, or it
/// for that one, until the system looks again: 4 ms on Linux, where 10 million holds take 12. One that
/// is only woken goes where nobody works.
fn helpers() -> Option<&'static ThreadPool> {
    /// A process that was forked has none of its parent's threads, but its own later ones.
    struct Helpers {
        process: u32,
        pool: Option<ThreadPool>,
        of_forked: OnceLock<Box<Helpers>>,
    }
    static FIRST: OnceLock<Box<Helpers>> = OnceLock::new();
    let process = std::process::id();
    let mut place = &FIRST;
    loop {
        let Some(helpers) = place.get() else {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            let builder = ThreadPoolBuilder::new().num_threads(processors);
            let pool = builder.thread_name(|number| format!("holds-{number}"));
            // No lock is held while they are made, which a fork could leave locked; where two made
            // some the first ones stay.
            let _ = place.set(Box::new(Helpers {
                process,
                pool: pool.build().ok(),
                of_forked: OnceLock::new(),
            }));
            continue;
        };
        if helpers.process == process {
            return helpers.pool.as_ref();
        }
        place = &helpers.of_forked;
    }
}

/// Rows of one of the parts that threads take: enough to be worth the taking, and few enough that no
/// thread waits long at the end.
pub(crate) const PART: usize = 1 << 16;

/// Lets `work` do all of so many rows, a part of so many at a time: each thread takes the next part when
/// it is done with one, so that a slower processor does less. The first part is the first thread's. The
/// error is that of the first rows that have one.
///
/// Where one fails no further part is begun; those before it are done all the same.
pub(crate) fn in_parts<S: Send, E: Send>(
    states: &mut [S],
    (rows, part): (usize, usize),
    work: impl Fn(&mut S, Range<usize>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(part);
    let failed = in_threads_with(states, |thread, state| {
        let take = || next.fetch_add(part, Ordering::Relaxed);
        let mut from = if thread == 0 { 0 } else { take() };
        while from < rows {
            if let Err(error) = work(state, from..rows.min(from + part)) {
                next.fetch_max(rows, Ordering::Relaxed);
                return Some((from, error));
            }
            from = take();
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
    fn parts_are_all_rows_and_the_first_fault_is_told() {
        for threads in 1..4 {
            let mut done: Vec<Vec<Range<usize>>> = vec![Vec::new(); threads];
            let result: Result<(), ()> = in_parts(&mut done, (1_000_000, PART), |done, part| {
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
        let result = in_parts(&mut [(), ()], (1_000_000, PART), |(), part| {
            both.wait();
            Err(part.start)
        });
        assert_eq!(result, Err(0));
    }
}
