//! What happens when, in true time; what happens at the same time, in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// True time: microseconds since the world began. No machine knows it.
pub type At = u64;

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key(At, u64);

#[derive(Debug)]
struct Entry<E>(Reverse<Key>, E);

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The queue of events.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    /// Plans `event` for `at`.
    pub fn plan(&mut self, at: At, event: E) {
        self.planned += 1;
        self.heap.push(Entry(Reverse(Key(at, self.planned)), event));
    }

    /// When the next event is due.
    #[must_use]
    pub fn due(&self) -> Option<At> {
        self.heap.peek().map(|entry| entry.0.0.0)
    }

    /// The next event, if it is due by `until`.
    pub fn next_by(&mut self, until: At) -> Option<(At, E)> {
        if self.due()? > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.0.0.0, entry.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_by_plan() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.plan(at, what);
        }
        let order: String = std::iter::from_fn(|| queue.next_by(9)).map(|(_, what)| what).collect();
        assert_eq!(order, "abcd");
    }
}
