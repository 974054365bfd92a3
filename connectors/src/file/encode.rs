//! From a record to its bytes in a file: the choice a file sink leaves to the program.
//!
//! An [`Encoder`] appends records to a buffer. Cloned into every subtask, called once per record on its
//! shard. Invariant: what it appends for one record stays together in one file.

use std::marker::PhantomData;

use thalweg_memory::record::Item;

use crate::format::{Format, Shown};

/// Writes records as bytes.
pub trait Encoder<I: Item>: Clone + Send + 'static {
    /// Appends one record.
    fn encode(&mut self, item: &I::Of<'_>, out: &mut Vec<u8>);

    /// Appends what every file begins with, such as a line with the names of its columns.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}

/// Every record on a line of its own, as a [`Format`] says: the default.
#[derive(Clone, Debug, Default)]
pub struct AsLines<F = Shown> {
    format: F,
    header: Option<String>,
    line: String,
}

impl<F> AsLines<F> {
    /// Lines of this format.
    pub fn new(format: F) -> Self {
        Self {
            format,
            header: None,
            line: String::new(),
        }
    }

    /// Begins every file with this line.
    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.header = Some(line.into());
        self
    }
}

impl<I: Item, F: Format<I>> Encoder<I> for AsLines<F> {
    #[inline]
    fn encode(&mut self, item: &I::Of<'_>, out: &mut Vec<u8>) {
        self.line.clear();
        self.format.format(item, &mut self.line);
        self.line.push('\n');
        out.extend_from_slice(self.line.as_bytes());
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(header) = &self.header {
            out.extend_from_slice(header.as_bytes());
            out.push(b'\n');
        }
    }
}

/// As a closure says.
pub struct Encoded<I, F> {
    encode: F,
    item: PhantomData<fn(I)>,
}

impl<I, F> Encoded<I, F> {
    /// Bytes as the closure appends them.
    pub(crate) fn new(encode: F) -> Self {
        Self {
            encode,
            item: PhantomData,
        }
    }
}

impl<I, F: Clone> Clone for Encoded<I, F> {
    fn clone(&self) -> Self {
        Self::new(self.encode.clone())
    }
}

impl<I, F> Encoder<I> for Encoded<I, F>
where
    I: Item,
    F: for<'a, 'b> FnMut(&'b I::Of<'a>, &mut Vec<u8>) + Clone + Send + 'static,
{
    #[inline]
    fn encode(&mut self, item: &I::Of<'_>, out: &mut Vec<u8>) {
        (self.encode)(item, out);
    }
}
