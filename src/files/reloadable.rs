//! A value that is replaced as a whole while threads read it: a list, a database, a set of certificates.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The current value, and the way to replace it. Readers never wait.
pub struct Reloadable<T>(Arc<ArcSwap<T>>);

/// One thread's view of a [`Reloadable`] value: a load is a comparison of two pointers.
pub type Cached<T> = arc_swap::Cache<Arc<ArcSwap<T>>, Arc<T>>;

impl<T> Reloadable<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Makes another value the current one.
    pub fn publish(&self, value: T) {
        self.0.store(Arc::new(value));
    }

    /// Like [`publish`](Self::publish), and returns the previous value: where it is dropped is up to the caller.
    pub fn replace(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }

    /// The current value, to keep.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// The current value, for a moment: cheaper than [`load`](Self::load), and not to be kept.
    pub fn peek(&self) -> arc_swap::Guard<Arc<T>> {
        self.0.load()
    }

    /// The current value, for a thread that reads it often.
    pub fn cached(&self) -> Cached<T> {
        arc_swap::Cache::new(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Reloadable<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_sees_what_was_published_and_keeps_what_it_holds() {
        let value = Reloadable::new(1);
        let (mut cached, kept) = (value.cached(), value.load());
        assert_eq!((*value.peek().as_ref(), *cached.load().as_ref()), (1, 1));
        assert_eq!(*value.replace(2), 1);
        assert_eq!((*value.load(), *value.peek().as_ref(), *cached.load().as_ref()), (2, 2, 2));
        assert_eq!(*kept, 1);
    }
}
