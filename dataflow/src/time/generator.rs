//! What makes watermarks out of records: the contract and the generators there are.
//!
//! Entered by the stage that assigns timestamps, once per record and once per period. A generator
//! belongs to one split of a source, or to one subtask in the middle of a chain. Invariant: what a
//! generator says may go back, what is told to others never does: the stage sees to that. Plain data,
//! lives on one shard's thread.

use std::time::Duration;

use thalweg_core::event_time::{Timestamp, covering_ms};
use thalweg_memory::record::Item;

/// Makes watermarks out of the records it is shown.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::time::{WatermarkGenerator, WatermarkOutput};
///
/// /// The clock of the records is known to be at most a second behind that of the shard.
/// struct Lag;
///
/// impl WatermarkGenerator<u64> for Lag {
///     fn on_event(&mut self, _: &u64, _: Timestamp, _: &mut WatermarkOutput) {}
///
///     fn on_periodic(&mut self, now: Timestamp, out: &mut WatermarkOutput) {
///         out.emit(now.plus_ms(-1_000));
///     }
/// }
/// ```
pub trait WatermarkGenerator<T: Item>: 'static {
    /// Whether [`WatermarkGenerator::on_event`] may say something. A generator that never does is shown
    /// many records before the first of them goes on.
    const SPEAKS_OF_RECORDS: bool = true;

    /// Whether the highest event time is all it wants to know of records. One that says nothing of them is then told
    /// that of many records at once by [`WatermarkGenerator::on_highest`], and not shown each.
    const WANTS_THE_HIGHEST: bool = false;

    /// A record with this event time has come. What is said here goes out right behind the record, if
    /// [`WatermarkGenerator::SPEAKS_OF_RECORDS`] says that something may be.
    fn on_event(&mut self, item: &T::Of<'_>, at: Timestamp, out: &mut WatermarkOutput);

    /// Some records have come, and this is the highest of their event times: instead of as many calls of
    /// [`WatermarkGenerator::on_event`], where [`WatermarkGenerator::WANTS_THE_HIGHEST`] says that this is enough.
    fn on_highest(&mut self, at: Timestamp) {
        let _ = at;
    }

    /// A period has passed (`pipeline.auto-watermark-interval`); `now` is the wall clock, in ms since
    /// 1970. Not called while the split counts as idle.
    fn on_periodic(&mut self, now: Timestamp, out: &mut WatermarkOutput);

    /// Whether [`WatermarkGenerator::on_periodic`] may have something new to say although no record has
    /// come since. Without, an input that waits for records is not woken to ask.
    fn speaks_by_itself(&self) -> bool {
        true
    }
}

/// What a generator has to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatermarkOutput {
    watermark: Option<Timestamp>,
    idle: bool,
}

impl WatermarkOutput {
    /// Promises that no record at or before `to` will follow. A promise below an earlier one, or of
    /// [`Timestamp::NONE`], says nothing.
    #[inline(always)]
    pub fn emit(&mut self, to: Timestamp) {
        if to.is_some() {
            self.watermark = self.watermark.max(Some(to));
        }
    }

    /// Says that no promise can be made until the next record: nobody shall wait for one.
    pub fn mark_idle(&mut self) {
        self.idle = true;
    }

    #[inline(always)]
    pub(crate) fn is_silent(&self) -> bool {
        self.watermark.is_none() && !self.idle
    }

    pub(crate) fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }
}

/// Makes the generators of a strategy: one for each split of a source, or for each subtask.
pub trait GeneratorTemplate<T: Item>: Clone + Send + 'static {
    /// The generator.
    type Generator: WatermarkGenerator<T>;
    /// One more generator.
    fn generator(&self) -> Self::Generator;
}

/// Records come in the order of their times, or at most so much behind it.
#[derive(Clone, Copy, Debug)]
pub struct BoundedDisorder {
    delay_ms: i64,
}

impl BoundedDisorder {
    pub(crate) fn of(most: Duration) -> Self {
        Self {
            delay_ms: covering_ms(most),
        }
    }
}

impl<T: Item> GeneratorTemplate<T> for BoundedDisorder {
    type Generator = HighestSoFar;
    fn generator(&self) -> HighestSoFar {
        HighestSoFar {
            highest: Timestamp::NONE,
            behind_ms: self.delay_ms.saturating_add(1),
        }
    }
}

/// Promises what is some time behind the highest event time so far.
#[derive(Clone, Copy, Debug)]
pub struct HighestSoFar {
    highest: Timestamp,
    behind_ms: i64,
}

impl<T: Item> WatermarkGenerator<T> for HighestSoFar {
    const SPEAKS_OF_RECORDS: bool = false;
    const WANTS_THE_HIGHEST: bool = true;

    #[inline(always)]
    fn on_event(&mut self, _item: &T::Of<'_>, at: Timestamp, _out: &mut WatermarkOutput) {
        self.highest = self.highest.max(at);
    }

    #[inline(always)]
    fn on_highest(&mut self, at: Timestamp) {
        self.highest = self.highest.max(at);
    }

    fn on_periodic(&mut self, _now: Timestamp, out: &mut WatermarkOutput) {
        out.emit(self.highest.plus_ms(-self.behind_ms));
    }

    fn speaks_by_itself(&self) -> bool {
        false
    }
}

/// Makes no watermarks but the last, at the end of the input.
#[derive(Clone, Copy, Debug)]
pub struct NoWatermarks;

impl<T: Item> GeneratorTemplate<T> for NoWatermarks {
    type Generator = NoWatermarks;
    fn generator(&self) -> NoWatermarks {
        NoWatermarks
    }
}

impl<T: Item> WatermarkGenerator<T> for NoWatermarks {
    const SPEAKS_OF_RECORDS: bool = false;

    #[inline(always)]
    fn on_event(&mut self, _item: &T::Of<'_>, _at: Timestamp, _out: &mut WatermarkOutput) {}
    fn on_periodic(&mut self, _now: Timestamp, _out: &mut WatermarkOutput) {}
    fn speaks_by_itself(&self) -> bool {
        false
    }
}

/// Records say themselves what is complete.
#[derive(Clone, Copy, Debug)]
pub struct Punctuated<F>(pub(crate) F);

impl<T, F> GeneratorTemplate<T> for Punctuated<F>
where
    T: Item,
    F: for<'a, 'b> Fn(&'b T::Of<'a>, Timestamp) -> Option<Timestamp> + Clone + Send + 'static,
{
    type Generator = Self;
    fn generator(&self) -> Self {
        self.clone()
    }
}

impl<T, F> WatermarkGenerator<T> for Punctuated<F>
where
    T: Item,
    F: for<'a, 'b> Fn(&'b T::Of<'a>, Timestamp) -> Option<Timestamp> + 'static,
{
    #[inline(always)]
    fn on_event(&mut self, item: &T::Of<'_>, at: Timestamp, out: &mut WatermarkOutput) {
        if let Some(to) = (self.0)(item, at) {
            out.emit(to);
        }
    }

    fn on_periodic(&mut self, _now: Timestamp, _out: &mut WatermarkOutput) {}

    fn speaks_by_itself(&self) -> bool {
        false
    }
}

/// Generators that a function makes.
#[derive(Clone, Copy, Debug)]
pub struct MadeBy<F>(pub(crate) F);

impl<T, G, F> GeneratorTemplate<T> for MadeBy<F>
where
    T: Item,
    G: WatermarkGenerator<T>,
    F: Fn() -> G + Clone + Send + 'static,
{
    type Generator = G;
    fn generator(&self) -> G {
        (self.0)()
    }
}
