//! Work that is divided among threads.

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
