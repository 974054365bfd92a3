//! Windows and their input, drawn from a seed. Knows nothing of the engine.

use super::model::{Case, Clocks, DAY, Event, Eviction, Firing, Function, Kind, QUARTER};

/// What a millisecond of a drawn case becomes where windows are days.
const STRETCH: i64 = 25 * 60_000 + 1;

/// Draws a case; `below(n)` answers a drawn number below `n`.
pub(crate) fn case(below: &mut dyn FnMut(u64) -> u64) -> Case {
    let kind = kind(below);
    let merging = matches!(kind, Kind::Session { .. } | Kind::DynamicSession);
    let firing = match below(9) {
        0 => Firing::Count(1 + below(5)),
        // Without an end, how often they fire depends on how finely watermarks come.
        1 if !matches!(kind, Kind::Global) => Firing::Continuous(1 + below(20) as i64),
        2 => Firing::Early(1 + below(4)),
        3 if !merging => Firing::Delta(below(30)),
        _ => Firing::End,
    };
    let eviction = match below(12) {
        0 => Some(Eviction::Count(below(4) as usize)),
        1 => Some(Eviction::Time(1 + below(12) as i64)),
        2 => Some(Eviction::Delta(1 + below(60))),
        _ => None,
    };
    let drawn = Case {
        kind,
        firing,
        discarding: below(4) == 0,
        lateness: if below(2) == 0 { 0 } else { below(40) as i64 },
        eviction: eviction.map(|eviction| (eviction, below(2) == 0)),
        function: match below(2) {
            0 => Function::Whole,
            _ => Function::Totals,
        },
        events: events(below),
    };
    match kind {
        Kind::Day(_) => stretched(drawn),
        _ => drawn,
    }
}

/// The same in larger steps of time.
fn stretched(mut case: Case) -> Case {
    for event in &mut case.events {
        match event {
            Event::Record { at, .. } | Event::Watermark(at) => *at *= STRETCH,
        }
    }
    if let Firing::Continuous(interval) = &mut case.firing {
        *interval *= 12 * QUARTER;
    }
    if let Some((Eviction::Time(span), _)) = &mut case.eviction {
        *span *= STRETCH;
    }
    case.lateness *= STRETCH;
    case
}

/// A zone whose clocks change twice, at least three days apart: mostly by an hour or two, now and then by a
/// whole day.
fn clocks(below: &mut dyn FnMut(u64) -> u64) -> Clocks {
    let ahead = below(26 * 4) as i64 * QUARTER - DAY / 2;
    let skips = ahead <= -10 * 4 * QUARTER && below(3) == 0;
    let by = match skips {
        true => DAY,
        false => [-8, -4, -2, 1, 2, 4, 8][below(7) as usize] * QUARTER,
    };
    // Often around a midnight, where it matters most.
    let first = match below(2) {
        0 => below(4) as i64 * DAY - ahead + (below(9) as i64 - 4) * QUARTER,
        _ => below(4 * 96) as i64 * QUARTER,
    };
    let second = first + (3 * 96 + below(3 * 96) as i64) * QUARTER;
    Clocks {
        ahead,
        changes: [(first, by), (second, -by)],
    }
}

fn kind(below: &mut dyn FnMut(u64) -> u64) -> Kind {
    let offset = below(50) as i64 - 25;
    let (size, step) = (1 + below(30) as i64, 1 + below(15) as i64);
    match below(7) {
        0 => Kind::Tumbling { size, offset },
        1 => Kind::Sliding {
            size,
            slide: step,
            offset,
        },
        2 => Kind::Cumulate {
            size: step * (1 + below(5) as i64),
            step,
            offset,
        },
        3 => Kind::Session { gap: step },
        4 => Kind::DynamicSession,
        5 => Kind::Day(clocks(below)),
        _ => Kind::Global,
    }
}

/// Records in about the order of their times, some of them late, with watermarks between them.
fn events(below: &mut dyn FnMut(u64) -> u64) -> Vec<Event> {
    let keys = [1, 3, 20][below(3) as usize];
    let count = below(200);
    let disorder = [1, 10, 60][below(3) as usize];
    let often = [2, 10, 40][below(3) as usize];
    let (mut now, mut events) = (-60, Vec::new());
    for number in 0..count {
        now += below(4) as i64;
        let at = now - below(disorder) as i64;
        let key = below(keys);
        events.push(Event::Record { key, number, at });
        if below(often) == 0 {
            events.push(Event::Watermark(now - below(30) as i64));
        }
    }
    events
}
