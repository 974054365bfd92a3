//! What windows in the making hold, by the shape of the windows.
//!
//! Filled from slices as windows fire, and read to give out their rows; goes to disk as slices do, and is a state of
//! its own in checkpoints. Invariant: which kind it is follows from the shape and never changes. Lives on one shard's
//! thread.

use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    KeyedTable, OverflowRows, PileWriter, Piles, Row, Scan, Snapshot, StateDescriptor, StateError,
    StateSize,
};

use super::aligned::Shape;
use super::panes::{Combine, Panes};
use super::store::Slices;

/// What the slices of windows in the making are gathered in.
pub(super) enum Assembly<K: Key, A: Record> {
    /// Nothing: a window is its slice.
    Single,
    /// Sliding windows: per key the slices in the window.
    Panes(KeyedTable<K, Panes<A>>),
    /// Cumulating windows: per key all there is since the start of the window.
    Running(KeyedTable<K, A>),
}

impl<K: Key, A: Record> Assembly<K, A> {
    pub(super) fn new(shape: Shape, slices: &Slices<K, A>) -> Result<Self, StateError> {
        Ok(match shape {
            Shape::Tumbling => Self::Single,
            Shape::Sliding => Self::Panes(slices.table()?),
            Shape::Cumulating => Self::Running(slices.table()?),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Single => true,
            Self::Panes(panes) => panes.is_empty(),
            Self::Running(running) => running.is_empty(),
        }
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Single => 0,
            Self::Panes(panes) => panes.memory_bytes(),
            Self::Running(running) => running.memory_bytes(),
        }
    }

    /// Bytes that slices of so many entries, with so much on the heap, take here at most, about.
    pub(super) fn bytes_for(&self, entries: usize, heap: u64) -> u64 {
        match self {
            Self::Single => 0,
            // In the slices of a key there is room for a few more than there are.
            Self::Panes(panes) => {
                let each = (2 * Panes::<A>::most_bytes()) as u64;
                panes.bytes_for(entries) + entries as u64 * each + 3 * heap
            }
            Self::Running(running) => running.bytes_for(entries) + heap,
        }
    }

    /// An empty one of the same kind.
    pub(super) fn another(&self, slices: &Slices<K, A>) -> Result<Self, StateError> {
        Ok(match self {
            Self::Single => Self::Single,
            Self::Panes(_) => Self::Panes(slices.table()?),
            Self::Running(_) => Self::Running(slices.table()?),
        })
    }

    /// An empty one to put a window together in, also where it is one slice.
    pub(super) fn to_merge_in(&self, slices: &Slices<K, A>) -> Result<Self, StateError> {
        match self {
            Self::Single => Ok(Self::Running(slices.table()?)),
            several => several.another(slices),
        }
    }

    /// Writes some more of it to a pile.
    pub(super) fn write(
        &mut self,
        writer: &mut PileWriter,
        piles: &mut Piles,
    ) -> Result<Scan, StateError> {
        match self {
            Self::Single => Ok(Scan::Done),
            Self::Panes(panes) => writer.write(panes, piles),
            Self::Running(running) => writer.write(running, piles),
        }
    }

    /// The table of partial results, if it is one of those.
    pub(super) fn as_running(&self) -> Option<&KeyedTable<K, A>> {
        match self {
            Self::Running(running) => Some(running),
            Self::Single | Self::Panes(_) => None,
        }
    }

    /// How large it is.
    pub(super) fn size(&self) -> StateSize {
        match self {
            Self::Single => StateSize::default(),
            Self::Panes(panes) => panes.size(),
            Self::Running(running) => running.size(),
        }
    }

    /// Whether a cut has rows of it still to write.
    pub(super) fn is_cutting(&self) -> bool {
        match self {
            Self::Single => false,
            Self::Panes(panes) => panes.is_cutting(),
            Self::Running(running) => running.is_cutting(),
        }
    }

    /// What it is as a part of a copy.
    pub(super) fn as_state(&mut self) -> Option<&mut dyn Snapshot> {
        match self {
            Self::Single => None,
            Self::Panes(panes) => Some(panes),
            Self::Running(running) => Some(running),
        }
    }

    /// How that is described.
    pub(super) fn descriptor(&self) -> Option<StateDescriptor> {
        let name = "thalweg.windows-in-the-making";
        let descriptor = match self {
            Self::Single => return None,
            Self::Panes(_) => StateDescriptor::value::<Panes<A>>(name),
            Self::Running(_) => StateDescriptor::aggregating::<A>(name),
        };
        Some(descriptor.of_keys::<K, ()>())
    }

    /// Makes a row of a pile a part of it: of the slice that ends `of` then, or of what windows in the making held.
    pub(super) fn take_in(
        &mut self,
        of: Option<i64>,
        row: &Row<'_>,
        rows: &mut OverflowRows,
        by: &impl Combine<A>,
    ) -> Result<(), StateError> {
        match (self, of) {
            (Self::Single, _) => unreachable!("what is put together is kept by key"),
            (Self::Running(table), Some(_)) => {
                let (hash, key, held) = table.read_row::<A>(row, rows)?;
                let Some(held) = held else { return Ok(()) };
                let open = table.open(hash, &K::lend(&key), || by.create())?;
                open.change(|into| by.merge(into, &held)).map(|_| ())
            }
            (Self::Panes(table), Some(end)) => {
                let (hash, key, held) = table.read_row::<A>(row, rows)?;
                let Some(held) = held else { return Ok(()) };
                let open = table.open(hash, &K::lend(&key), Panes::new)?;
                open.change(|panes| panes.push(by, end, &held)).map(|_| ())
            }
            (Self::Running(table), None) => put_in(table, row, rows, || by.create()),
            (Self::Panes(table), None) => put_in(table, row, rows, Panes::new),
        }
    }
}

/// Puts what a row says in place of what there was.
fn put_in<K: Key, V: Record>(
    table: &mut KeyedTable<K, V>,
    row: &Row<'_>,
    rows: &mut OverflowRows,
    create: impl FnOnce() -> V,
) -> Result<(), StateError> {
    let (hash, key, held) = table.read_row::<V>(row, rows)?;
    let Some(held) = held else {
        table.remove(hash, &K::lend(&key));
        return Ok(());
    };
    let open = table.open(hash, &K::lend(&key), create)?;
    open.change(|there| *there = held).map(|_| ())
}
