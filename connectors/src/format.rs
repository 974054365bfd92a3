//! From a record to its line of text: the choice every text-writing sink leaves to the program.
//!
//! A [`Format`] appends one record to a buffer; the sink adds the newline. Cloned into every subtask,
//! called once per record on its shard.

use std::fmt::{Debug, Display, Write};

use thalweg_memory::record::Item;

use crate::show::Show;

/// Writes records as text.
pub trait Format<I: Item>: Clone + Send + 'static {
    /// Appends the record to `out`, without a newline.
    fn format(&self, item: &I::Of<'_>, out: &mut String);
}

/// As [`Show`] says: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown;

impl<I: Item> Format<I> for Shown
where
    for<'a> I::Of<'a>: Show,
{
    #[inline]
    fn format(&self, item: &I::Of<'_>, out: &mut String) {
        item.show(out);
    }
}

/// As [`Display`] says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Displayed;

impl<I: Item> Format<I> for Displayed
where
    for<'a> I::Of<'a>: Display,
{
    #[inline]
    fn format(&self, item: &I::Of<'_>, out: &mut String) {
        let written = write!(out, "{item}");
        debug_assert!(written.is_ok(), "a Display must not make up errors");
    }
}

/// As [`Debug`] says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debugged;

impl<I: Item> Format<I> for Debugged
where
    for<'a> I::Of<'a>: Debug,
{
    #[inline]
    fn format(&self, item: &I::Of<'_>, out: &mut String) {
        let written = write!(out, "{item:?}");
        debug_assert!(written.is_ok(), "a Debug must not make up errors");
    }
}

/// As a closure says.
#[derive(Clone, Copy, Debug)]
pub struct Formatted<F>(
    /// Appends the record to the string.
    pub F,
);

impl<I, F> Format<I> for Formatted<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>, &mut String) + Clone + Send + 'static,
{
    #[inline]
    fn format(&self, item: &I::Of<'_>, out: &mut String) {
        (self.0)(item, out);
    }
}
