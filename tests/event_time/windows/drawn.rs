//! The engine's assigners, triggers and evictors behind one type each, so that windows drawn at run
//! time have one type.

use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::FunctionError;
use thalweg_dataflow::window::assigner::{
    CumulateWindows, DayWindows, DynamicSessionWindows, GlobalWindows, SessionWindows,
    SlidingWindows, TimeZone, TumblingWindows, WindowAssigner,
};
use thalweg_dataflow::window::evictor::{CountEvictor, DeltaEvictor, Evictor, TimeEvictor};
use thalweg_dataflow::window::trigger::{
    ContinuousEventTimeTrigger, CountTrigger, DeltaTrigger, EarlyLateTrigger, EventTimeTrigger,
    PurgingTrigger, Trigger, TriggerContext, TriggerResult,
};
use thalweg_dataflow::window::{TimeWindow, WindowElements};

use super::model::{Case, Clocks, Eviction, Firing, Kind, gap_of};

/// Key and number.
pub(crate) type Rec = (u64, u64);

pub(crate) fn ms(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.unsigned_abs())
}

impl TimeZone for Clocks {
    fn ahead_of_utc_ms(&self, at: Timestamp) -> i64 {
        self.ahead_at(at.0)
    }
}

/// How far apart the numbers of two records are.
fn apart(one: &Rec, other: &Rec) -> f64 {
    one.1.abs_diff(other.1) as f64
}

#[derive(Clone)]
pub(crate) enum DrawnAssigner {
    Tumbling(TumblingWindows),
    Sliding(SlidingWindows),
    Cumulate(CumulateWindows),
    Session(SessionWindows),
    DynamicSession(DynamicSessionWindows<fn(&Rec) -> i64>),
    Day(DayWindows<Clocks>),
    Global(GlobalWindows),
}

impl DrawnAssigner {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tumbling { size, offset } => {
                Self::Tumbling(TumblingWindows::event_time(ms(size)).offset_ms(offset))
            }
            Kind::Sliding {
                size,
                slide,
                offset,
            } => Self::Sliding(SlidingWindows::event_time(ms(size), ms(slide)).offset_ms(offset)),
            Kind::Cumulate { size, step, offset } => {
                Self::Cumulate(CumulateWindows::event_time(ms(size), ms(step)).offset_ms(offset))
            }
            Kind::Session { gap } => Self::Session(SessionWindows::event_time(ms(gap))),
            Kind::DynamicSession => {
                Self::DynamicSession(SessionWindows::event_time_dynamic(|rec| gap_of(rec.1)))
            }
            Kind::Day(clocks) => Self::Day(DayWindows::event_time(clocks)),
            Kind::Global => Self::Global(GlobalWindows::new()),
        }
    }
}

fn assign<A: WindowAssigner<Rec>>(
    assigner: &A,
    item: &Rec,
    at: Timestamp,
    now: Timestamp,
    windows: &mut Vec<TimeWindow>,
) -> Result<(), FunctionError> {
    assigner.assign(item, at, now, windows)
}

impl WindowAssigner<Rec> for DrawnAssigner {
    type DefaultTrigger = EventTimeTrigger;

    fn assign(
        &self,
        item: &Rec,
        at: Timestamp,
        now: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        match self {
            Self::Tumbling(assigner) => assign(assigner, item, at, now, windows),
            Self::Sliding(assigner) => assign(assigner, item, at, now, windows),
            Self::Cumulate(assigner) => assign(assigner, item, at, now, windows),
            Self::Session(assigner) => assign(assigner, item, at, now, windows),
            Self::DynamicSession(assigner) => assign(assigner, item, at, now, windows),
            Self::Day(assigner) => assign(assigner, item, at, now, windows),
            Self::Global(assigner) => assign(assigner, item, at, now, windows),
        }
    }

    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger::new()
    }

    fn is_event_time(&self) -> bool {
        !matches!(self, Self::Global(_))
    }

    fn is_merging(&self) -> bool {
        matches!(self, Self::Session(_) | Self::DynamicSession(_))
    }
}

#[derive(Clone)]
pub(crate) enum DrawnTrigger {
    Accumulating(Firings),
    Discarding(PurgingTrigger<Firings>),
}

#[derive(Clone)]
pub(crate) enum Firings {
    End(EventTimeTrigger),
    Count(CountTrigger),
    Delta(DeltaTrigger<fn(&Rec, &Rec) -> f64>),
    Continuous(ContinuousEventTimeTrigger),
    Early(EarlyLateTrigger<CountTrigger, CountTrigger>),
}

impl DrawnTrigger {
    pub(crate) fn of(case: &Case) -> Self {
        let trigger = match case.firing {
            Firing::End => Firings::End(EventTimeTrigger::new()),
            Firing::Count(count) => Firings::Count(CountTrigger::new(count)),
            Firing::Delta(threshold) => {
                let delta: fn(&Rec, &Rec) -> f64 = apart;
                Firings::Delta(DeltaTrigger::new(threshold as f64, delta))
            }
            Firing::Continuous(interval) => {
                Firings::Continuous(ContinuousEventTimeTrigger::new(ms(interval)))
            }
            Firing::Early(count) => {
                Firings::Early(EventTimeTrigger::new().with_early(CountTrigger::new(count)))
            }
        };
        match case.discarding {
            true => Self::Discarding(PurgingTrigger::new(trigger)),
            false => Self::Accumulating(trigger),
        }
    }
}

/// What each of the triggers remembers.
pub(crate) type State = (bool, u64, Option<i64>, (bool, u64, u64), Option<Rec>);

/// The calls of a trigger, made of the trigger there is.
macro_rules! calls {
    ($($variant:ident, $state:ident => $part:expr, $read:expr;)*) => {
        type State = State;

        fn on_element(
            &self,
            item: &Rec,
            at: Timestamp,
            context: &mut TriggerContext<'_, State>,
        ) -> TriggerResult {
            match self {
                $(Self::$variant(one) => {
                    let context = &mut context.part(|$state| $part);
                    Trigger::<Rec>::on_element(one, item, at, context)
                })*
            }
        }

        fn on_event_time(
            &self,
            time: Timestamp,
            context: &mut TriggerContext<'_, State>,
        ) -> TriggerResult {
            match self {
                $(Self::$variant(one) => {
                    let context = &mut context.part(|$state| $part);
                    Trigger::<Rec>::on_event_time(one, time, context)
                })*
            }
        }

        fn can_merge(&self) -> bool {
            match self {
                $(Self::$variant(one) => Trigger::<Rec>::can_merge(one),)*
            }
        }

        fn merge(&self, into: &mut State, from: &State) {
            match self {
                $(Self::$variant(one) => {
                    let into = { let $state = into; $part };
                    let from = { let $state = from; $read };
                    Trigger::<Rec>::merge(one, into, from);
                })*
            }
        }

        fn on_merge(&self, context: &mut TriggerContext<'_, State>) {
            match self {
                $(Self::$variant(one) => {
                    Trigger::<Rec>::on_merge(one, &mut context.part(|$state| $part));
                })*
            }
        }

        fn clear(&self, context: &mut TriggerContext<'_, State>) {
            match self {
                $(Self::$variant(one) => {
                    Trigger::<Rec>::clear(one, &mut context.part(|$state| $part));
                })*
            }
        }

        fn is_blank(&self, state: &State) -> bool {
            match self {
                $(Self::$variant(one) => {
                    let part = { let $state = state; $read };
                    Trigger::<Rec>::is_blank(one, part)
                })*
            }
        }
    };
}

impl Trigger<Rec> for Firings {
    calls! {
        End, state => &mut state.0, &state.0;
        Count, state => &mut state.1, &state.1;
        Continuous, state => &mut state.2, &state.2;
        Early, state => &mut state.3, &state.3;
        Delta, state => &mut state.4, &state.4;
    }
}

impl Trigger<Rec> for DrawnTrigger {
    calls! {
        Accumulating, state => state, state;
        Discarding, state => state, state;
    }
}

#[derive(Clone)]
pub(crate) enum DrawnEvictor {
    Count(CountEvictor),
    Time(TimeEvictor),
    Delta(DeltaEvictor<fn(&Rec, &Rec) -> f64>),
}

impl DrawnEvictor {
    pub(crate) fn of((eviction, after): (Eviction, bool)) -> Self {
        let delta: fn(&Rec, &Rec) -> f64 = apart;
        match eviction {
            Eviction::Count(count) if after => Self::Count(CountEvictor::new(count).after()),
            Eviction::Count(count) => Self::Count(CountEvictor::new(count)),
            Eviction::Time(span) if after => Self::Time(TimeEvictor::new(ms(span)).after()),
            Eviction::Time(span) => Self::Time(TimeEvictor::new(ms(span))),
            Eviction::Delta(near) if after => {
                Self::Delta(DeltaEvictor::new(near as f64, delta).after())
            }
            Eviction::Delta(near) => Self::Delta(DeltaEvictor::new(near as f64, delta)),
        }
    }
}

impl Evictor<Rec> for DrawnEvictor {
    fn evict_before(&self, elements: &mut WindowElements<Rec>, window: TimeWindow) {
        match self {
            Self::Count(evictor) => evictor.evict_before(elements, window),
            Self::Time(evictor) => evictor.evict_before(elements, window),
            Self::Delta(evictor) => evictor.evict_before(elements, window),
        }
    }

    fn evict_after(&self, elements: &mut WindowElements<Rec>, window: TimeWindow) {
        match self {
            Self::Count(evictor) => evictor.evict_after(elements, window),
            Self::Time(evictor) => evictor.evict_after(elements, window),
            Self::Delta(evictor) => evictor.evict_after(elements, window),
        }
    }
}
