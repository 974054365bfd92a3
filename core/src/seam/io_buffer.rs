//! Bytes lent to the kernel for the length of one operation.
//!
//! Entered by whoever reads or writes files and sockets; the drivers hold the buffer while the kernel
//! uses it. Invariant: the bytes do not move and are not freed while the buffer is with a driver, even
//! if the operation is cancelled or its task has gone: the driver owns the buffer until the kernel has
//! answered. May cross threads (the epoll driver's file thread).

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

enum Owner {
    /// A vector taken apart: pointer and capacity are those of the buffer.
    Vec,
    /// Something else that keeps the bytes alive, such as a segment.
    Other(Box<dyn Any + Send>),
}

/// Owned bytes with a stable address and a window: a read fills the window, a write sends it.
pub struct IoBuffer {
    bytes: NonNull<u8>,
    /// All bytes that may be used, initialised.
    len: usize,
    /// Capacity of the vector; equals `len` for other owners.
    capacity: usize,
    window: Range<usize>,
    owner: Option<Owner>,
}

// SAFETY: the buffer owns its bytes alone (a vector, or an owner that is `Send`), like `Vec<u8>` does.
unsafe impl Send for IoBuffer {}

impl IoBuffer {
    /// A buffer of `len` zeroes, the window over all of it.
    pub fn zeroed(len: usize) -> IoBuffer {
        IoBuffer::from(vec![0; len])
    }

    /// A buffer over bytes that belong to `owner`, such as a segment; the window is over all of it.
    ///
    /// # Safety
    /// `bytes` must be initialised, stay at their address and be read and written by nobody else for
    /// as long as `owner` lives, wherever `owner` is moved to.
    pub unsafe fn from_owner<T: Any + Send>(owner: T, bytes: NonNull<[u8]>) -> IoBuffer {
        IoBuffer {
            bytes: bytes.cast(),
            len: bytes.len(),
            capacity: bytes.len(),
            window: 0..bytes.len(),
            owner: Some(Owner::Other(Box::new(owner))),
        }
    }

    /// Gives the owner back.
    ///
    /// # Errors
    /// The buffer itself, if its owner is not a `T`.
    pub fn into_owner<T: Any>(mut self) -> Result<T, IoBuffer> {
        match self.owner.take() {
            Some(Owner::Other(owner)) => match owner.downcast::<T>() {
                Ok(owner) => Ok(*owner),
                Err(owner) => {
                    self.owner = Some(Owner::Other(owner));
                    Err(self)
                }
            },
            other => {
                self.owner = other;
                Err(self)
            }
        }
    }

    /// The bytes as a vector: the very one it was made from, or a copy of another owner's bytes. The
    /// window does not matter.
    pub fn into_vec(mut self) -> Vec<u8> {
        if matches!(self.owner, Some(Owner::Vec)) {
            self.owner = None;
            // SAFETY: `From<Vec<u8>>` took a vector apart into exactly these three, and with the owner
            // taken nothing else frees them.
            return unsafe { Vec::from_raw_parts(self.bytes.as_ptr(), self.len, self.capacity) };
        }
        self.all().to_vec()
    }

    /// Length of the whole buffer in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part that the next operation works on.
    pub fn window(&self) -> Range<usize> {
        self.window.clone()
    }

    /// Sets the part that the next operation works on.
    ///
    /// # Panics
    /// If `window` is not within the buffer.
    pub fn set_window(&mut self, window: Range<usize>) {
        assert!(
            window.start <= window.end && window.end <= self.len,
            "window {window:?} is outside a buffer of {} bytes",
            self.len
        );
        self.window = window;
    }

    /// Takes `count` bytes off the front of the window: what a short read or write has done.
    ///
    /// # Panics
    /// If the window is shorter.
    pub fn advance(&mut self, count: usize) {
        self.set_window(self.window.start + count..self.window.end);
    }

    /// The whole buffer.
    pub fn all(&self) -> &[u8] {
        // SAFETY: `bytes` points to `len` initialised bytes that this buffer owns.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }

    /// The window.
    pub fn as_slice(&self) -> &[u8] {
        &self.all()[self.window.clone()]
    }

    /// The window, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let window = self.window.clone();
        // SAFETY: `bytes` points to `len` initialised bytes that this buffer owns, borrowed mutably.
        let all = unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) };
        &mut all[window]
    }
}

impl From<Vec<u8>> for IoBuffer {
    fn from(bytes: Vec<u8>) -> IoBuffer {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        let pointer = NonNull::from(bytes.as_mut_slice()).cast();
        let (len, capacity) = (bytes.len(), bytes.capacity());
        IoBuffer {
            bytes: pointer,
            len,
            capacity,
            window: 0..len,
            owner: Some(Owner::Vec),
        }
    }
}

impl Drop for IoBuffer {
    fn drop(&mut self) {
        if matches!(self.owner, Some(Owner::Vec)) {
            // SAFETY: as in `into_vec`; this is the only other place that ends a vector's buffer.
            drop(unsafe { Vec::from_raw_parts(self.bytes.as_ptr(), self.len, self.capacity) });
        }
    }
}

impl fmt::Debug for IoBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoBuffer")
            .field("len", &self.len)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_as_it_went_in() {
        let vec = vec![1_u8, 2, 3, 4];
        let address = vec.as_ptr();
        let mut buffer = IoBuffer::from(vec);
        buffer.set_window(1..3);
        buffer.as_mut_slice()[0] = 9;
        buffer.advance(1);
        assert_eq!(buffer.as_slice(), &[3]);
        let vec = buffer.into_vec();
        assert_eq!(
            (vec.as_ptr(), vec.as_slice()),
            (address, &[1_u8, 9, 3, 4][..])
        );
    }

    #[test]
    fn another_owner_comes_back_and_is_dropped_once() {
        let alive = std::sync::Arc::new(());
        let mut bytes = vec![5_u8; 3].into_boxed_slice();
        let pointer = NonNull::from(&mut *bytes);
        let owner = (bytes, std::sync::Arc::clone(&alive));
        // SAFETY: the box keeps its bytes at one address, and only the buffer uses them.
        let buffer = unsafe { IoBuffer::from_owner(owner, pointer) };
        assert_eq!(buffer.as_slice(), &[5, 5, 5]);
        let Err(buffer) = buffer.into_owner::<u32>() else {
            panic!("not a u32")
        };
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
        drop(buffer);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }
}
