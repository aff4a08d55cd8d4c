//! Threads that make items ahead of time and hand them over in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Makes item `number`, from any thread.
pub(crate) type Make<T> = Arc<dyn Fn(usize) -> T + Send + Sync>;

/// Items `from..to` in order, made by some threads: thread k of n makes items k, k + n, ... and
/// keeps a few ready.
///
/// Each thread has its own bounded channel, so no thread waits for another. Dropping this closes
/// the channels first, which wakes every waiting thread, and then joins the threads.
pub(crate) struct Prefetch<T> {
    lanes: Vec<Receiver<Result<T, String>>>,
    threads: Vec<JoinHandle<()>>,
    make: Make<T>,
    from: usize,
    next: usize,
    to: usize,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `workers` threads that keep `ahead` items ready each; 0 workers, or a system that
    /// gives no thread: items are made when they are asked for.
    pub(crate) fn new(make: Make<T>, from: usize, to: usize, workers: usize, ahead: usize) -> Self {
        let mut prefetch = Self { lanes: Vec::new(), threads: Vec::new(), make, from, next: from, to };
        let workers = workers.min(to.saturating_sub(from));
        for lane in 0..workers {
            let (sender, receiver) = sync_channel(ahead.max(1));
            let make = Arc::clone(&prefetch.make);
            let items = (from + lane..to).step_by(workers);
            match thread::Builder::new().name(format!("loader-{lane}")).spawn(move || work(&make, items, &sender)) {
                Ok(thread) => prefetch.threads.push(thread),
                Err(_) => {
                    prefetch.stop();
                    break;
                }
            }
            prefetch.lanes.push(receiver);
        }
        prefetch
    }

    /// Items that are still to come.
    pub(crate) fn left(&self) -> usize {
        self.to.saturating_sub(self.next)
    }

    /// Next item with its number, or the message of the panic that it ended in; nothing follows a
    /// panic.
    pub(crate) fn next(&mut self) -> Option<(usize, Result<T, String>)> {
        if self.next >= self.to {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let item = match self.lanes.len() {
            0 => caught(&self.make, number),
            lanes => self.lanes[(number - self.from) % lanes]
                .recv()
                .unwrap_or_else(|_| Err("the thread ended without an item".into())),
        };
        if item.is_err() {
            self.finish();
        }
        Some((number, item))
    }

    /// Ends the sequence: the threads stop, nothing follows.
    pub(crate) fn finish(&mut self) {
        self.next = self.to;
        self.stop();
    }
}

impl<T> Prefetch<T> {
    fn stop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A thread catches its panics, so there is nothing to learn from its end.
            let _ = thread.join();
        }
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work<T>(make: &Make<T>, items: impl Iterator<Item = usize>, sender: &SyncSender<Result<T, String>>) {
    for number in items {
        let item = caught(make, number);
        let panicked = item.is_err();
        if sender.send(item).is_err() || panicked {
            return;
        }
    }
}

/// The item, or the panic's message. What a panicking call leaves behind is never used again, since
/// the sequence ends.
fn caught<T>(make: &Make<T>, number: usize) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| make(number))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn all(mut prefetch: Prefetch<usize>) -> Vec<Result<usize, String>> {
        std::iter::from_fn(|| prefetch.next()).map(|(_, item)| item).collect()
    }

    #[test]
    fn prefetch_any_workers_keep_order() {
        for workers in [0, 1, 2, 3, 7, 50] {
            for ahead in [0, 1, 4] {
                let items = all(Prefetch::new(Arc::new(|number| number * 10), 3, 20, workers, ahead));
                assert_eq!(items, (3..20).map(|number| Ok(number * 10)).collect::<Vec<_>>());
            }
        }
        assert!(all(Prefetch::new(Arc::new(|number| number), 5, 5, 2, 2)).is_empty());
        assert!(all(Prefetch::new(Arc::new(|number| number), 9, 5, 2, 2)).is_empty());
    }

    #[test]
    fn prefetch_panic_is_passed_on_and_ends() {
        for workers in [0, 1, 3] {
            let make: Make<usize> = Arc::new(|number| if number == 4 { panic!("item {number}") } else { number });
            let items = all(Prefetch::new(make, 0, 10, workers, 2));
            assert_eq!(items, [Ok(0), Ok(1), Ok(2), Ok(3), Err("item 4".into())]);
        }
    }

    #[test]
    fn prefetch_dropped_early_ends_its_threads() {
        let made = Arc::new(AtomicUsize::new(0));
        for taken in 0..6 {
            let counter = Arc::clone(&made);
            let make: Make<Vec<u8>> = Arc::new(move |_| {
                counter.fetch_add(1, Ordering::SeqCst);
                vec![0; 1 << 12]
            });
            let mut prefetch = Prefetch::new(make, 0, 1_000_000, 3, 2);
            (0..taken).for_each(|_| assert!(prefetch.next().is_some()));
            drop(prefetch);
        }
        assert_eq!(Arc::strong_count(&made), 1);
        assert!(made.load(Ordering::SeqCst) < 1000);
    }
}
