//! Where aligned windows and their slices begin and end.
//!
//! Tumbling windows are their own slices; sliding windows share slices as long as the greatest
//! common divisor of size and slide; cumulating windows grow by one slice each. Plain arithmetic on
//! milliseconds, any thread. Invariant: every window begins and ends with a slice.

use thalweg_core::event_time::Timestamp;

use crate::window::{TimeWindow, window_start};

/// Windows that stand at fixed places in time, whatever the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedWindows {
    shape: Shape,
    /// The length of a window (the longest of cumulating ones), ms.
    size: i64,
    /// From one window's start (cumulating: end) to the next, ms.
    step: i64,
    offset: i64,
    slice: i64,
}

/// How windows follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// End to end.
    Tumbling,
    /// A new one every so often, all of one length.
    Sliding,
    /// From a common start, each longer than the last, to the full size.
    Cumulating,
}

fn largest_divisor_of_both(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl AlignedWindows {
    /// Windows of `size` ms end to end, one of them starting at `offset`.
    ///
    /// # Panics
    /// If `size` is not above 0.
    pub(crate) fn tumbling(size: i64, offset: i64) -> Self {
        assert!(size > 0, "a window has a length");
        Self::new(Shape::Tumbling, size, size, offset, size)
    }

    /// Windows of `size` ms, one starting every `slide` ms from `offset` on.
    ///
    /// # Panics
    /// If `size` or `slide` is not above 0.
    pub(crate) fn sliding(size: i64, slide: i64, offset: i64) -> Self {
        assert!(size > 0 && slide > 0, "windows have a length and a slide");
        if size == slide {
            return Self::tumbling(size, offset);
        }
        let slice = largest_divisor_of_both(size, slide);
        Self::new(Shape::Sliding, size, slide, offset, slice)
    }

    /// Windows that start every `size` ms from `offset` on and end `step`, twice `step`, … up to `size`
    /// ms later.
    ///
    /// # Panics
    /// If `step` is not above 0 or `size` is no multiple of it.
    pub(crate) fn cumulating(size: i64, step: i64, offset: i64) -> Self {
        assert!(
            step > 0 && size > 0 && size % step == 0,
            "the largest window is made of whole steps"
        );
        if size == step {
            return Self::tumbling(size, offset);
        }
        Self::new(Shape::Cumulating, size, step, offset, step)
    }

    fn new(shape: Shape, size: i64, step: i64, offset: i64, slice: i64) -> Self {
        Self {
            shape,
            size,
            step,
            offset,
            slice,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The slice `at` lies in.
    pub(super) fn slice_of(&self, at: Timestamp) -> TimeWindow {
        let start = window_start(at, self.offset, self.slice);
        TimeWindow::new(start, start.plus_ms(self.slice))
    }

    /// The window that ends at `end`.
    pub(super) fn window_at(&self, end: Timestamp) -> TimeWindow {
        let start = match self.shape {
            Shape::Tumbling | Shape::Sliding => end.plus_ms(-self.size),
            Shape::Cumulating => window_start(end.plus_ms(-1), self.offset, self.size),
        };
        TimeWindow::new(start, end)
    }

    /// The end of the last window a slice is part of; `None` if it lies between windows.
    pub(super) fn last_end(&self, slice: TimeWindow) -> Option<Timestamp> {
        match self.shape {
            Shape::Tumbling => Some(slice.end),
            Shape::Sliding => {
                let start = window_start(slice.start, self.offset, self.step);
                let end = start.plus_ms(self.size);
                (end >= slice.end).then_some(end)
            }
            Shape::Cumulating => {
                let start = window_start(slice.start, self.offset, self.size);
                Some(start.plus_ms(self.size))
            }
        }
    }

    /// The end of the first window a slice is part of; `None` if it lies between windows.
    pub(super) fn first_end(&self, slice: TimeWindow) -> Option<Timestamp> {
        match self.shape {
            Shape::Tumbling | Shape::Cumulating => Some(slice.end),
            Shape::Sliding => {
                let last = self.last_end(slice)?;
                let earlier = (last.0 - slice.end.0) / self.step;
                Some(Timestamp(last.0 - earlier * self.step))
            }
        }
    }

    /// The end of the last window whose last time is at or before `passed`.
    pub(super) fn last_passed(&self, passed: Timestamp) -> Timestamp {
        let first = self.offset + self.size % self.step;
        window_start(passed.plus_ms(1), first, self.step)
    }

    /// The end of the window that follows, in time order, the one that ends at `end`.
    pub(super) fn next_end(&self, end: Timestamp) -> Timestamp {
        end.plus_ms(self.step)
    }

    /// The first end of a window, counted from the one that ends at `end`, whose last time is after
    /// `passed`.
    pub(super) fn next_end_after(&self, end: Timestamp, passed: Timestamp) -> Timestamp {
        let behind = i128::from(passed.0) - i128::from(end.0) + 1;
        if behind < 0 {
            return end;
        }
        let steps = behind / i128::from(self.step) + 1;
        let after = i128::from(end.0) + steps * i128::from(self.step);
        Timestamp(i64::try_from(after).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows that can hold `at`, by definition.
    fn windows_of(windows: &AlignedWindows, at: i64) -> Vec<(i64, i64)> {
        let AlignedWindows {
            size, step, offset, ..
        } = *windows;
        let mut found = Vec::new();
        for number in -500..500 {
            match windows.shape {
                Shape::Tumbling | Shape::Sliding => {
                    let start = offset + number * step;
                    found.push((start, start + size));
                }
                Shape::Cumulating => {
                    let start = offset + number * size;
                    found.extend((1..=size / step).map(|part| (start, start + part * step)));
                }
            }
        }
        found.retain(|(start, end)| *start <= at && at < *end);
        found.sort_unstable_by_key(|(_, end)| *end);
        found
    }

    #[test]
    fn a_slice_knows_the_windows_it_is_part_of() {
        let kinds = [
            AlignedWindows::tumbling(7, 3),
            AlignedWindows::sliding(10, 2, 0),
            AlignedWindows::sliding(10, 4, -3),
            AlignedWindows::sliding(3, 5, 1),
            AlignedWindows::cumulating(12, 3, 5),
        ];
        for windows in kinds {
            for at in -60..60 {
                let slice = windows.slice_of(Timestamp(at));
                assert!(slice.contains(Timestamp(at)));
                let all = windows_of(&windows, at);
                let ends: Vec<i64> = all.iter().map(|(_, end)| *end).collect();
                let first = windows.first_end(slice).map(|end| end.0);
                let last = windows.last_end(slice).map(|end| end.0);
                assert_eq!(first, ends.first().copied(), "{windows:?} {at}");
                assert_eq!(last, ends.last().copied(), "{windows:?} {at}");
                for pair in ends.windows(2) {
                    assert_eq!(windows.next_end(Timestamp(pair[0])), Timestamp(pair[1]));
                }
                for (start, end) in all {
                    let window = windows.window_at(Timestamp(end));
                    assert_eq!((window.start.0, window.end.0), (start, end));
                    assert!(start <= slice.start.0 && slice.end.0 <= end);
                }
            }
        }
    }

    #[test]
    fn the_last_window_before_a_watermark_is_the_one_before_the_first_after_it() {
        let kinds = [
            AlignedWindows::tumbling(7, 3),
            AlignedWindows::sliding(10, 4, 1),
            AlignedWindows::sliding(3, 5, -2),
            AlignedWindows::cumulating(12, 3, 5),
        ];
        for windows in kinds {
            for passed in -40..40 {
                let all = (-40..=passed + 1).flat_map(|at| windows_of(&windows, at - 1));
                let last = all
                    .map(|(_, end)| end)
                    .filter(|end| *end <= passed + 1)
                    .max();
                let found = windows.last_passed(Timestamp(passed)).0;
                assert!(
                    last.is_none_or(|last| last == found),
                    "{windows:?} {passed}"
                );
            }
        }
    }

    #[test]
    fn the_first_window_after_a_watermark_is_found_without_walking() {
        let windows = AlignedWindows::sliding(10, 4, 1);
        for passed in -50..50 {
            let mut end = Timestamp(-29);
            while end.plus_ms(-1) <= Timestamp(passed) {
                end = windows.next_end(end);
            }
            let found = windows.next_end_after(Timestamp(-29), Timestamp(passed));
            assert_eq!(found, end, "after {passed}");
        }
        let last = windows.next_end_after(Timestamp(0), Timestamp::MAX);
        assert_eq!(last, Timestamp::MAX);
    }

    #[test]
    #[should_panic(expected = "whole steps")]
    fn a_size_that_is_no_multiple_of_the_step_is_refused() {
        let _ = AlignedWindows::cumulating(10, 3, 0);
    }
}
