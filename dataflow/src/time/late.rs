//! Records that come behind the watermark: handed to a side output, or counted and dropped.
//!
//! Entered by windows and joins with a record that is of no use any more. Lives on one shard.

use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::vocabulary::NUM_LATE_RECORDS_DROPPED;
use thalweg_memory::record::{Item, Record};

use crate::function::{Accumulator, OutputTag};
use crate::task::{BuildContext, BuildError, SideOutputs};

/// The accumulator and the metric in which windows and joins count the records that came too late and
/// had no side output to go to.
pub const LATE_RECORDS_DROPPED: &str = NUM_LATE_RECORDS_DROPPED.name;

/// Writes a late record, with its time, to a side output.
type WriteLate<T> = dyn for<'a> Fn(<T as Item>::Of<'a>, Timestamp, &SideOutputs) + Send + Sync;

/// Where late records go. Its type says nothing of whether they can travel: only who asks for an
/// output needs to know that.
pub(crate) struct LateOutput<T: Item>(Arc<WriteLate<T>>);

impl<T: Record> LateOutput<T> {
    /// Late records go to the side output of this tag.
    pub(crate) fn new(tag: &OutputTag<T>) -> Self {
        let tag = tag.id();
        Self(Arc::new(move |record, at, side| {
            side.write(tag, record, at)
        }))
    }
}

impl<T: Item> Clone for LateOutput<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What becomes of late records in one subtask.
pub(crate) struct LateRecords<T: Item> {
    output: Option<LateOutput<T>>,
    side: Rc<SideOutputs>,
    dropped: Accumulator,
}

impl<T: Item> LateRecords<T> {
    /// Those of this operator go to `output`, or are counted and dropped.
    pub(crate) fn open(
        output: Option<LateOutput<T>>,
        operator: &str,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            output,
            side: context.side(),
            dropped: dropped(operator, context)?,
        })
    }

    /// The same for the two inputs of an operator, which are counted together.
    pub(crate) fn open_two<U: Item>(
        outputs: (Option<LateOutput<T>>, Option<LateOutput<U>>),
        operator: &str,
        context: &BuildContext,
    ) -> Result<(Self, LateRecords<U>), BuildError> {
        let first = Self::open(outputs.0, operator, context)?;
        let second = LateRecords {
            output: outputs.1,
            side: context.side(),
            dropped: first.dropped.clone(),
        };
        Ok((first, second))
    }

    /// Takes a record that came too late.
    #[cold]
    pub(crate) fn take(&self, item: T::Of<'_>, at: Timestamp) {
        match &self.output {
            Some(output) => (output.0)(item, at, &self.side),
            None => self.count(1),
        }
    }

    /// Counts records that were dropped elsewhere.
    #[cold]
    pub(crate) fn count(&self, records: i64) {
        self.dropped.add(records);
    }
}

/// The records an operator has dropped because they came too late.
fn dropped(operator: &str, context: &BuildContext) -> Result<Accumulator, BuildError> {
    let dropped = Accumulator::of(&context.counters(), LATE_RECORDS_DROPPED);
    let shown = dropped.clone();
    context
        .operator_metrics(operator)
        .count(NUM_LATE_RECORDS_DROPPED, move || {
            shown.get().cast_unsigned()
        })
        .map_err(|error| context.refused(operator, error))?;
    Ok(dropped)
}
