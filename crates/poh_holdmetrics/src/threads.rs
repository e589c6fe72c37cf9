//! Work that is divided among threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = others
            .iter_mut()
            .enumerate()
            .map(|(part, state)| scope.spawn(move || work(part + 1, state)))
            .collect();
        let mut results = vec![work(0, first)];
        for other in others {
            // A panic in a worker goes on in the caller, as if there were no threads.
            let result = other.join();
            results.push(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    })
}

/// Lets `work` do all of `rows`, a part at a time: each thread takes the next part when it is done with
/// one, so that a slower processor does less. The error is that of the first rows that have one.
///
/// Where one fails no further part is begun; those before it are done all the same.
pub(crate) fn in_parts<S: Send, E: Send>(
    states: &mut [S],
    rows: usize,
    work: impl Fn(&mut S, Range<usize>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    /// Enough to be worth the taking, and few enough that no thread waits long at the end.
    const PART: usize = 1 << 16;
    let next = AtomicUsize::new(0);
    let failed = in_threads_with(states, |_, state| {
        loop {
            let from = next.fetch_add(PART, Ordering::Relaxed);
            if from >= rows {
                return None;
            }
            if let Err(error) = work(state, from..rows.min(from + PART)) {
                next.fetch_max(rows, Ordering::Relaxed);
                return Some((from, error));
            }
        }
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
            let result: Result<(), ()> = in_parts(&mut done, 1_000_000, |done, part| {
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
        let result = in_parts(&mut [(), ()], 1_000_000, |(), part| {
            both.wait();
            Err(part.start)
        });
        assert_eq!(result, Err(0));
    }
}
