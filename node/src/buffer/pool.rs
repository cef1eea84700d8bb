//! Buffers that are reused, so that no message allocates one.
//!
//! **Invariants**:
//! - I1: the pool keeps no more buffers, and none with more room, than it was made for.
//! - I2: a buffer from the pool is empty.

use std::cell::RefCell;

/// Kept buffers of one kind, for one worker.
#[derive(Debug)]
pub struct Pool<T> {
    kept: RefCell<Vec<Vec<T>>>,
    kept_max: usize,
    capacity_max: usize,
}

impl<T> Pool<T> {
    /// An empty pool that keeps up to `kept_max` buffers with room for up to `capacity_max` each.
    #[must_use]
    pub fn new(kept_max: usize, capacity_max: usize) -> Self {
        Self {
            kept: RefCell::new(Vec::with_capacity(kept_max)),
            kept_max,
            capacity_max,
        }
    }

    /// An empty buffer.
    #[must_use]
    pub fn must_take(&self) -> Vec<T> {
        self.kept.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a buffer for later use, where that is worth it and there is room.
    pub fn must_give(&self, mut buffer: Vec<T>) {
        buffer.clear();
        let mut kept = self.kept.borrow_mut();
        if kept.len() < self.kept_max && (1..=self.capacity_max).contains(&buffer.capacity()) {
            kept.push(buffer);
        }
    }

    /// Frees all buffers that are kept.
    pub fn clear(&self) {
        self.kept.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_pool_is_bounded_in_number_and_size() {
        let pool = Pool::<u8>::new(3, 100);
        pool.must_give(Vec::with_capacity(101));
        pool.must_give(Vec::new());
        assert!(pool.kept.borrow().is_empty());
        for _ in 0..5 {
            pool.must_give(Vec::with_capacity(50));
        }
        assert_eq!(pool.kept.borrow().len(), 3);
        pool.clear();
        assert!(pool.kept.borrow().is_empty());
    }

    #[test]
    fn i2_a_buffer_comes_back_empty_with_its_room() {
        let pool = Pool::new(3, 100);
        let mut buffer = pool.must_take();
        buffer.extend_from_slice(&[1u8; 40]);
        let (at, room) = (buffer.as_ptr(), buffer.capacity());
        pool.must_give(buffer);
        let again = pool.must_take();
        assert_eq!((again.as_ptr(), again.capacity(), again.len()), (at, room, 0));
    }
}
