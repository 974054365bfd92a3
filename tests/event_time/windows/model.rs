//! What windows must give out, worked out event by event over vectors. Knows nothing of the engine.

/// Key, start and end of the window, and what its function made of its records.
pub(crate) type Row = (u64, i64, i64, Vec<u64>);

/// What all of time is called.
pub(crate) const GLOBAL: (i64, i64) = (i64::MIN + 1, i64::MAX);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tumbling {
        size: i64,
        offset: i64,
    },
    Sliding {
        size: i64,
        slide: i64,
        offset: i64,
    },
    Cumulate {
        size: i64,
        step: i64,
        offset: i64,
    },
    Session {
        gap: i64,
    },
    /// The gap is [`gap_of`] the record's number.
    DynamicSession,
    /// From one midnight of these clocks to the next.
    Day(Clocks),
    Global,
}

/// How far the clocks of a time zone are ahead of UTC, ms: at first, and from when on by how much more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) ahead: i64,
    pub(crate) changes: [(i64, i64); 2],
}

impl Clocks {
    pub(crate) fn ahead_at(&self, at: i64) -> i64 {
        let past = self.changes.iter().filter(|(from, _)| *from <= at);
        self.ahead + past.map(|(_, more)| more).sum::<i64>()
    }
}

/// Clocks change at multiples of this, by multiples of it.
pub(crate) const QUARTER: i64 = 15 * 60_000;
pub(crate) const DAY: i64 = 96 * QUARTER;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Firing {
    /// At the end, and at each late record.
    End,
    Count(u64),
    /// At each number further than this from that of the last firing; the first one counts as such.
    Delta(u64),
    Continuous(i64),
    /// Every so many records, at the end, and at each late record.
    Early(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Eviction {
    /// The last so many stay.
    Count(usize),
    /// What is younger than this before the latest stays.
    Time(i64),
    /// Numbers nearer than this to the last stay.
    Delta(u64),
}

/// What a window's function makes of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// The numbers, sorted.
    Whole,
    /// How many, and their sum; nothing of nothing.
    Totals,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Record { key: u64, number: u64, at: i64 },
    Watermark(i64),
}

/// Windows, and what comes to them in this order.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) firing: Firing,
    pub(crate) discarding: bool,
    pub(crate) lateness: i64,
    /// An evictor, and whether it works after the function.
    pub(crate) eviction: Option<(Eviction, bool)>,
    pub(crate) function: Function,
    pub(crate) events: Vec<Event>,
}

/// The gap of a record's session.
pub(crate) fn gap_of(number: u64) -> i64 {
    1 + (number % 13) as i64
}

/// What comes out of the windows, and the numbers of the records that came too late.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) rows: Vec<Row>,
    pub(crate) late: Vec<u64>,
}

/// One window of one key.
#[derive(Default)]
struct Pane {
    key: u64,
    start: i64,
    end: i64,
    /// Number and time; none where it was purged.
    records: Option<Vec<(u64, i64)>>,
    seen: u64,
    next: Option<i64>,
    /// The number of the last firing.
    told: Option<u64>,
}

struct Model<'a> {
    case: &'a Case,
    watermark: i64,
    panes: Vec<Pane>,
    expected: Expected,
}

/// Works a case out.
pub(crate) fn expected(case: &Case) -> Expected {
    let mut model = Model {
        case,
        watermark: i64::MIN,
        panes: Vec::new(),
        expected: Expected::default(),
    };
    for event in &case.events {
        match *event {
            Event::Record { key, number, at } => model.record(key, number, at),
            Event::Watermark(to) if to > model.watermark => model.advance(to),
            Event::Watermark(_) => {}
        }
    }
    model.advance(i64::MAX);
    model.expected.rows.sort();
    model.expected.late.sort_unstable();
    model.expected
}

/// All windows of a time, tried one by one.
fn windows_of(kind: Kind, number: u64, at: i64) -> Vec<(i64, i64)> {
    let around = |step: i64, offset: i64| {
        let near = (at - offset) / step;
        (near - 40..near + 40).map(move |turn| offset + turn * step)
    };
    let mut windows: Vec<(i64, i64)> = match kind {
        Kind::Tumbling { size, offset } => around(size, offset).map(|s| (s, s + size)).collect(),
        Kind::Sliding {
            size,
            slide,
            offset,
        } => around(slide, offset).map(|s| (s, s + size)).collect(),
        Kind::Cumulate { size, step, offset } => around(size, offset)
            .flat_map(|s| (1..=size / step).map(move |steps| (s, s + steps * step)))
            .collect(),
        Kind::Session { gap } => vec![(at, at + gap)],
        Kind::Day(clocks) => days_around(clocks, at),
        Kind::DynamicSession => vec![(at, at + gap_of(number))],
        Kind::Global => vec![GLOBAL],
    };
    windows.retain(|(start, end)| *start <= at && at < *end);
    windows
}

/// The days around a time: each from the first moment at which the clocks show its midnight, or later.
fn days_around(clocks: Clocks, at: i64) -> Vec<(i64, i64)> {
    let shown = |moment: i64| moment + clocks.ahead_at(moment);
    let first = (at - 4 * DAY).div_euclid(QUARTER);
    let moments = (first..first + 8 * 96).map(|quarter| quarter * QUARTER);
    let today = shown(at).div_euclid(DAY);
    let begins: Vec<i64> = (today - 2..=today + 3)
        .filter_map(|date| moments.clone().find(|moment| shown(*moment) >= date * DAY))
        .collect();
    begins.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

impl Model<'_> {
    fn global(&self) -> bool {
        matches!(self.case.kind, Kind::Global)
    }

    fn gone(&self, end: i64) -> bool {
        !self.global() && end - 1 + self.case.lateness <= self.watermark
    }

    fn record(&mut self, key: u64, number: u64, at: i64) {
        let merging = matches!(self.case.kind, Kind::Session { .. } | Kind::DynamicSession);
        let mut kept = false;
        for (start, end) in windows_of(self.case.kind, number, at) {
            let place = match merging {
                true => self.meet(key, start, end),
                false => self.find(key, start, end),
            };
            if self.gone(self.panes[place].end) {
                self.panes.remove(place);
                continue;
            }
            kept = true;
            let records = &mut self.panes[place].records;
            records.get_or_insert_default().push((number, at));
            self.ask(place, number, at);
        }
        if !kept && !self.global() && at + self.case.lateness <= self.watermark {
            self.expected.late.push(number);
        }
    }

    fn find(&mut self, key: u64, start: i64, end: i64) -> usize {
        let same = |pane: &Pane| (pane.key, pane.start, pane.end) == (key, start, end);
        if let Some(found) = self.panes.iter().position(same) {
            return found;
        }
        self.panes.push(Pane {
            key,
            start,
            end,
            ..Pane::default()
        });
        self.panes.len() - 1
    }

    /// The session that a window becomes with those it meets.
    fn meet(&mut self, key: u64, start: i64, end: i64) -> usize {
        let meets = |pane: &Pane| pane.key == key && pane.start <= end && start <= pane.end;
        let (mut met, others): (Vec<Pane>, Vec<Pane>) = self.panes.drain(..).partition(meets);
        self.panes = others;
        met.sort_by_key(|pane| pane.start);
        let mut session = Pane {
            key,
            start,
            end,
            ..Pane::default()
        };
        for pane in met {
            session.start = session.start.min(pane.start);
            session.end = session.end.max(pane.end);
            session.seen += pane.seen;
            session.next = match (session.next, pane.next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if let Some(records) = pane.records {
                session.records.get_or_insert_default().extend(records);
            }
        }
        if let Firing::Continuous(interval) = self.case.firing {
            // The end of a window that met is no multiple.
            let (end, multiple) = (session.end, |at: i64| at + (-at).rem_euclid(interval));
            session.next = session.next.map(|next| multiple(next).min(end - 1));
        }
        self.panes.push(session);
        self.panes.len() - 1
    }

    /// A record was added: does the window speak?
    fn ask(&mut self, place: usize, number: u64, at: i64) {
        let ended = self.panes[place].end - 1 <= self.watermark;
        let pane = &mut self.panes[place];
        let speaks = match self.case.firing {
            Firing::End => ended,
            Firing::Early(_) | Firing::Continuous(_) if ended => true,
            Firing::Continuous(interval) => {
                let first = at - at.rem_euclid(interval) + interval;
                pane.next.get_or_insert(first.min(pane.end - 1));
                false
            }
            Firing::Delta(threshold) => {
                let moved = pane.told.map(|told| told.abs_diff(number) > threshold);
                if moved != Some(false) {
                    pane.told = Some(number);
                }
                moved == Some(true)
            }
            Firing::Count(count) | Firing::Early(count) => {
                pane.seen += 1;
                let full = pane.seen >= count;
                pane.seen *= u64::from(!full);
                full
            }
        };
        if speaks {
            self.speak(place);
        }
    }

    fn advance(&mut self, to: i64) {
        for place in 0..self.panes.len() {
            let last = self.panes[place].end - 1;
            if let Firing::Continuous(interval) = self.case.firing {
                while let Some(next) = self.panes[place].next.filter(|next| *next <= to)
                    && next != last
                {
                    self.speak(place);
                    self.panes[place].next = Some((next + interval).min(last));
                }
            }
            let end_speaks = match self.case.firing {
                Firing::Count(_) | Firing::Delta(_) => false,
                Firing::End | Firing::Early(_) | Firing::Continuous(_) => true,
            };
            if end_speaks && self.watermark < last && last <= to {
                (self.panes[place].seen, self.panes[place].next) = (0, None);
                self.speak(place);
            }
        }
        self.watermark = to;
        let gone: Vec<bool> = self.panes.iter().map(|pane| self.gone(pane.end)).collect();
        let mut gone = gone.into_iter();
        self.panes.retain(|_| !gone.next().unwrap_or_default());
    }

    fn speak(&mut self, place: usize) {
        let pane = &mut self.panes[place];
        let Some(records) = &mut pane.records else {
            return;
        };
        if let Some((eviction, false)) = self.case.eviction {
            evict(eviction, records);
        }
        let mut numbers: Vec<u64> = records.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let made = match self.case.function {
            Function::Whole => Some(numbers),
            Function::Totals if numbers.is_empty() => None,
            Function::Totals => Some(vec![numbers.len() as u64, numbers.iter().sum()]),
        };
        let row = made.map(|made| (pane.key, pane.start, pane.end, made));
        self.expected.rows.extend(row);
        if let Some((eviction, true)) = self.case.eviction {
            evict(eviction, records);
        }
        if self.case.discarding {
            pane.records = None;
        }
    }
}

fn evict(eviction: Eviction, records: &mut Vec<(u64, i64)>) {
    let Some((last, _)) = records.last().copied() else {
        return;
    };
    match eviction {
        Eviction::Count(count) => {
            let more = records.len().saturating_sub(count);
            records.drain(..more);
        }
        Eviction::Time(span) => {
            let latest = records.iter().map(|(_, at)| *at).max().unwrap_or_default();
            records.retain(|(_, at)| latest - at < span);
        }
        Eviction::Delta(threshold) => {
            records.retain(|(number, _)| number.abs_diff(last) < threshold)
        }
    }
}
