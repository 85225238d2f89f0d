//! Runs blocking calls in parallel.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of parallel calls: enough to hide the latency of a distant bucket, and few enough for any server.
const AT_ONCE: usize = 16;

/// Applies `work` to each item, up to 16 at once, and returns the results in the order of the items. For work that waits for a
/// disk or a server. Blocks until all results are there.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_by(AT_ONCE, items, work)
}

/// The same with a given number of threads, for work that keeps processors busy.
pub fn map_by<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some((at, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            done.push((at, work(item)));
        }
        done
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1).min(items.len())).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(map(&[], |item: &usize| *item), [0; 0]);
        assert_eq!(map(&[7], |item| *item), [7]);
    }

    #[test]
    fn sixteen_calls_wait_at_once() {
        let all_wait = Barrier::new(AT_ONCE);
        map(&[(); AT_ONCE], |()| all_wait.wait());
    }
}
