//! The rows of a window given out of a table.
//!
//! Entered for each window that fires, a piece at a time. Where what the voice keeps may be on disk, keys are taken
//! ahead of their rows and sought, and rows of which all is there are said; else each is said as the walk comes to it.
//! The tables of the window stay until its rows are out, so while those wait for room nobody is told to wait for these
//! tables, and slices wait for nothing themselves: what the function keeps makes room by what it lets go to disk, out of
//! what slices have left it (`disk`), or fails its job where nothing of it can leave. So each wait ends.
//! Invariants: either way rows come in the order of the walk, each once; the table does not change meanwhile but for
//! what windows to come do not need of a key. Lives on one shard's thread.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{DUE, KeyedTable, Scan, ScanCursor, StateError, Swept};

use super::operator::By;
use super::panes::{Combine, Panes};
use super::voice::{AT_ONCE, Ahead, Speaker, Voice};
use crate::function::FunctionError;
use crate::task::Push;
use crate::window::WindowAggregate;

/// Where that lies of which the rows of a window are made.
pub(super) enum Rows<'a, K: Key, A: Record> {
    Held(&'a mut KeyedTable<K, A>),
    Panes(&'a mut KeyedTable<K, Panes<A>>),
}

/// How far the rows of a window were said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All are out.
    All,
    /// More can be said, as there is room.
    Some,
    /// More can be said once what the voice keeps is there.
    Waiting,
}

/// Gives out rows of a window.
#[inline(always)]
pub(super) fn say_rows<K, T, G, V, N>(
    rows: Rows<'_, K, G::Accumulator>,
    speaker: &Speaker<'_, K, T, G>,
    (cursor, ahead): (&mut ScanCursor, &mut Ahead<K>),
    left: &mut usize,
    (voice, next): (&mut V, &mut N),
) -> Result<Said, FunctionError>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
    N: Push<V::Out>,
{
    let mut budget = *left;
    if voice.may_overflow() {
        if voice.has_to_seek() || !ahead.is_empty() {
            return say_sought(rows, speaker, (cursor, ahead), left, (voice, next));
        }
        // Then it is asked again.
        budget = budget.min(AT_ONCE);
    }
    let mut refused = None;
    let mut give = |key: K::Of<'_>, held: &G::Accumulator| {
        let said = speaker.speak(voice, key, held, next);
        *left = left.saturating_sub(1);
        match said {
            Ok(()) => next.ready(),
            Err(error) => {
                refused = Some(error);
                false
            }
        }
    };
    let scanned = match rows {
        Rows::Held(table) => scan_rows(table, cursor, budget, &mut give)?,
        Rows::Panes(panes) => {
            let by = By(speaker.aggregate, PhantomData::<fn(K, T)>);
            let start = speaker.window.start.0;
            sweep_rows(panes, (cursor, budget), (&by, start), |key, panes| {
                give(key, &panes.value(&by))
            })?
        }
    };
    match (refused, scanned) {
        (Some(error), _) => Err(error),
        (None, Scan::Done) => Ok(Said::All),
        (None, Scan::More) => Ok(Said::Some),
    }
}

/// Gives out rows of a window as far as what the voice keeps of their keys is there.
#[inline(never)]
fn say_sought<K, T, G, V, N>(
    mut rows: Rows<'_, K, G::Accumulator>,
    speaker: &Speaker<'_, K, T, G>,
    (cursor, ahead): (&mut ScanCursor, &mut Ahead<K>),
    left: &mut usize,
    (voice, next): (&mut V, &mut N),
) -> Result<Said, FunctionError>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
    N: Push<V::Out>,
{
    let by = By(speaker.aggregate, PhantomData::<fn(K, T)>);
    loop {
        rows.look_ahead(&by, speaker.window.start.0, cursor, ahead)?;
        if ahead.is_empty() {
            return Ok(Said::All);
        }
        let may_speak = ahead.let_speak(voice, speaker.window);
        if may_speak == 0 {
            return Ok(Said::Waiting);
        }
        for _ in 0..may_speak {
            if *left == 0 || !next.ready() {
                return Ok(Said::Some);
            }
            let Some(key) = ahead.pop() else {
                break;
            };
            rows.with(&by, &K::lend(&key), |held| {
                speaker.speak(voice, K::lend(&key), held, next)
            })?;
            *left -= 1;
        }
    }
}

impl<K: Key, A: Record> Rows<'_, K, A> {
    /// Takes the next keys ahead, as many as can be sought at once.
    fn look_ahead(
        &mut self,
        by: &impl Combine<A>,
        start: i64,
        cursor: &mut ScanCursor,
        ahead: &mut Ahead<K>,
    ) -> Result<(), StateError> {
        while !ahead.is_full() {
            let mut take = |key: K::Of<'_>| {
                ahead.push(K::store(&key));
                !ahead.is_full()
            };
            let scanned = match self {
                Rows::Held(table) => scan_rows(table, cursor, DUE, &mut |key, _| take(key))?,
                Rows::Panes(panes) => {
                    sweep_rows(panes, (cursor, DUE), (by, start), |key, _| take(key))?
                }
            };
            if scanned == Scan::Done {
                break;
            }
        }
        Ok(())
    }

    /// Calls with what the row of a key is made of that was taken ahead.
    fn with<R>(&self, by: &impl Combine<A>, key: &K::Of<'_>, call: impl FnOnce(&A) -> R) -> R {
        let called = match self {
            Rows::Held(table) => table.get(K::hash(key), key).map(call),
            Rows::Panes(panes) => {
                let panes = panes.get(K::hash(key), key);
                panes.map(|panes| call(&panes.value(by)))
            }
        };
        match called {
            Some(answer) => answer,
            None => unreachable!("a table stays as it is until all its rows are out"),
        }
    }
}

/// Shows entries of a table until there is no room.
fn scan_rows<K: Key, A: Record>(
    table: &mut KeyedTable<K, A>,
    cursor: &mut ScanCursor,
    budget: usize,
    give: &mut impl FnMut(K::Of<'_>, &A) -> bool,
) -> Result<Scan, StateError> {
    table.scan(cursor, budget, |entry| match give(entry.key, entry.value) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })
}

/// The same of windows put together from several slices, without what lies before the window.
#[inline(always)]
fn sweep_rows<K: Key, A: Record>(
    panes: &mut KeyedTable<K, Panes<A>>,
    (cursor, budget): (&mut ScanCursor, usize),
    (by, start): (&impl Combine<A>, i64),
    mut give: impl FnMut(K::Of<'_>, &Panes<A>) -> bool,
) -> Result<Scan, StateError> {
    panes.sweep(cursor, budget, |entry| {
        entry.value.evict(by, start);
        if entry.value.is_empty() {
            return ControlFlow::Continue(Swept::Removed);
        }
        match give(entry.key, entry.value) {
            true => ControlFlow::Continue(Swept::Kept),
            false => ControlFlow::Break(Swept::Kept),
        }
    })
}
