//! What is read from files and replaced as a whole when they are read again: lists, databases.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value in service, and the way to read another in its place. Readers never wait; what cannot be read leaves the
/// old value in service.
pub struct Reloadable<T, E> {
    read: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    current: Arc<ArcSwap<T>>,
}

/// One thread's view of a [`Reloadable`] value: a load is a comparison of two pointers.
pub type Cached<T> = arc_swap::Cache<Arc<ArcSwap<T>>, Arc<T>>;

impl<T, E> Reloadable<T, E> {
    /// Reads the value for the first time.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn open(read: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Result<Self, E> {
        let current = Arc::new(ArcSwap::from_pointee(read()?));
        Ok(Self { read: Box::new(read), current })
    }

    /// Reads it again.
    ///
    /// # Errors
    /// Those of `read`; the old value stays.
    pub fn reload(&self) -> Result<(), E> {
        self.current.store(Arc::new((self.read)()?));
        Ok(())
    }

    /// The value in service, for once.
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// The value in service, for a moment: cheaper than [`load`](Self::load), and not to be kept.
    pub fn peek(&self) -> arc_swap::Guard<Arc<T>> {
        self.current.load()
    }

    /// The value in service, for a thread that asks often.
    pub fn cached(&self) -> Cached<T> {
        arc_swap::Cache::new(Arc::clone(&self.current))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    #[test]
    fn a_broken_value_leaves_the_old_one_in_service() {
        let next = Arc::new(AtomicI32::new(1));
        let source = Arc::clone(&next);
        let read = move || Ok(source.load(Ordering::Relaxed)).and_then(|n| if n > 0 { Ok(n) } else { Err(n) });
        let value = Reloadable::open(read).unwrap();
        let mut view = value.cached();
        assert_eq!(*view.load().as_ref(), 1);
        next.store(-1, Ordering::Relaxed);
        assert_eq!(value.reload(), Err(-1));
        assert_eq!((*value.load(), *view.load().as_ref()), (1, 1));
        next.store(2, Ordering::Relaxed);
        assert_eq!(value.reload(), Ok(()));
        assert_eq!((*value.load(), *view.load().as_ref()), (2, 2));
    }
}
