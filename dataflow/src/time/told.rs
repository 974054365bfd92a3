//! What each operator of a chain has been told of event time, and what it has told those behind it.
//!
//! Most operators pass marks on as they come: what they are told is what they tell. Those that hold marks
//! back or put others in their place keep a cell with the last watermark they let go ([`Telling`] beside the
//! stage behind them, or the frame of an operator); what all others are told is read from the nearest cell
//! before them. So nothing is done for operators that change nothing, and for the others only when a
//! watermark goes by. Lives on the shard of its task.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::{MetricError, Registry, vocabulary};
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::Event;

use crate::task::{ChainTurn, Push, Stage, WatermarkCell};

/// The cells of those operators of a chain that tell something else than they are told, by place.
#[derive(Clone, Default)]
pub(crate) struct Told(Rc<RefCell<BTreeMap<usize, WatermarkCell>>>);

impl Told {
    /// The cell of the operator at this place.
    pub(crate) fn cell(&self, place: usize) -> WatermarkCell {
        self.0.borrow_mut().entry(place).or_default().clone()
    }

    /// The last watermark told by the nearest of them before this place, or by the task's inputs.
    fn before(&self, place: usize, inputs: &WatermarkCell) -> Option<f64> {
        let cells = self.0.borrow();
        let nearest = cells.range(..place).next_back();
        nearest.map_or_else(|| inputs.shown(), |(_, cell)| cell.shown())
    }

    /// Registers what each operator shows. Operators of one name are shown as one: what the first is told,
    /// and what the last tells.
    pub(crate) fn register(
        &self,
        task: &Registry,
        operators: &[String],
        inputs: &WatermarkCell,
    ) -> Result<(), MetricError> {
        for (place, name) in operators.iter().enumerate() {
            let same = |other: &String| other == name;
            if operators[..place].iter().any(same) {
                continue;
            }
            let last = operators.iter().rposition(same).unwrap_or(place);
            let operator = task.within("operator", name);
            let shown = [
                (vocabulary::OPERATOR_INPUT_WATERMARK, place),
                (vocabulary::OPERATOR_OUTPUT_WATERMARK, last + 1),
            ];
            for (definition, place) in shown {
                let (told, inputs) = (self.clone(), inputs.clone());
                operator.level(definition, move || told.before(place, &inputs))?;
            }
        }
        Ok(())
    }
}

/// The stage behind an operator that tells watermarks of its own: keeps the last one.
pub(crate) struct Telling<N> {
    next: N,
    told: WatermarkCell,
}

impl<N> Telling<N> {
    pub(crate) fn new(next: N, told: WatermarkCell) -> Self {
        Self { next, told }
    }
}

impl<I: Item, N: Push<I>> Push<I> for Telling<N> {
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.next.push(item, at);
    }
    #[inline(always)]
    fn push_each<'a>(&mut self, count: usize, make: impl FnMut(usize) -> (I::Of<'a>, Timestamp)) {
        self.next.push_each(count, make);
    }
    #[inline(always)]
    fn ready(&self) -> bool {
        self.next.ready()
    }
    fn mark(&mut self, mark: Mark) {
        if let Mark::Watermark(watermark) = mark {
            self.told.set(watermark.0);
        }
        self.next.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.next.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.next.end_turn(turn)
    }
}
