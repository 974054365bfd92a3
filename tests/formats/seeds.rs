//! What was well written, of each format: the fixtures kept for compatibility, and what the engine writes now.

use std::time::Duration;

use thalweg_connectors::{Collection, DirectoryMonitor, FileProcessing, Sequence, TextFiles};
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::{Epoch, KeyHash, MaxParallelism};
use thalweg_dataflow::source::Source;
use thalweg_memory::{Budget, BufferWriter, EntryLayout, Key, Record, SavedRecord, Segment, Str};
use thalweg_state::{
    CutKind, KeyedBackend, Row, Scan, Snapshot, StateDescriptor, StateTtl, TimerQueue,
};

const METADATA: [&[u8]; 3] = [
    include_bytes!("../compatibility/fixtures/checkpoint-metadata-1.bin"),
    include_bytes!("../compatibility/fixtures/checkpoint-metadata-2.bin"),
    include_bytes!("../compatibility/fixtures/checkpoint-metadata-3.bin"),
];
const POINTER: &[u8] = include_bytes!("../compatibility/fixtures/checkpoint-pointer-1.bin");
const MARK: &[u8] = include_bytes!("../compatibility/fixtures/checkpoint-pointer-3.bin");
const IN_FLIGHT: &[u8] = include_bytes!("../compatibility/fixtures/records-in-flight-1.bin");
/// Where its sections begin.
const SECTIONS: [usize; 2] = [12, 104];
const RUNS: [&[u8]; 2] = [
    include_bytes!("../compatibility/fixtures/run-1.bin"),
    include_bytes!("../compatibility/fixtures/run-2.bin"),
];

/// The file, and what is between its version and its checksum.
pub(crate) fn pointers() -> Vec<Vec<u8>> {
    let numbers = &POINTER[12..56];
    let place = b"/savepoints/savepoint-3f2a";
    let savepoint = [numbers, place].concat();
    let stopped = MARK[12..MARK.len() - 4].to_vec();
    let finished = [&[0; 44], &stopped[44..stopped.len() - place.len()]].concat();
    let marks = [MARK.to_vec(), stopped, finished];
    let pointers = [POINTER.to_vec(), numbers.to_vec(), vec![0; 44], savepoint];
    pointers.into_iter().chain(marks).collect()
}

/// The bodies.
pub(crate) fn metadata() -> Vec<Vec<u8>> {
    METADATA
        .map(|file| file[24..file.len() - 4].to_vec())
        .to_vec()
}

pub(crate) fn descriptors() -> Vec<Vec<u8>> {
    let map = StateDescriptor::map::<String, u64>("by name").of_keys::<Str, ()>();
    let aging = StateDescriptor::value::<u64>("lately")
        .with_ttl(StateTtl::new(Duration::from_secs(9)))
        .of_keys::<u64, ()>();
    let encoded = [map, aging].map(|descriptor| {
        let mut bytes = Vec::new();
        descriptor.encode(&mut bytes);
        bytes
    });
    encoded.to_vec()
}

/// Behind the number of its type.
pub(crate) fn keys() -> Vec<Vec<u8>> {
    let mut texts = vec![2];
    Str::encode(&"a key", &mut texts);
    let mut pairs = vec![3];
    <(bool, String)>::encode(&(true, "x\0y".to_owned()), &mut pairs);
    vec![texts, pairs, vec![0; 9], vec![1; 17]]
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    let names = [
        "chk-17",
        "newest-00000000000000000009",
        "000000000000000000000000000000ab",
        "7-0.run",
        "/a/b c:d",
        "file:///a/../b",
        "memory:///x/y",
        "s3://bucket/name",
    ];
    names.map(|name| name.as_bytes().to_vec()).to_vec()
}

pub(crate) fn sections() -> Vec<Vec<u8>> {
    let [first, second] = SECTIONS;
    vec![
        IN_FLIGHT.to_vec(),
        IN_FLIGHT[first..second].to_vec(),
        IN_FLIGHT[second..].to_vec(),
    ]
}

/// The files behind an even byte, and bytes out of which rows are drawn behind odd ones.
pub(crate) fn runs() -> Vec<Vec<u8>> {
    let drawn: Vec<u8> = [1, 40, 9, 0, 30]
        .into_iter()
        .chain((0..=250).rev())
        .collect();
    let files = RUNS.map(|run| [&[0], run].concat());
    files.into_iter().chain([drawn]).collect()
}

/// One row after the other as the target takes them, behind the number of their kind.
pub(crate) fn rows() -> Vec<Vec<u8>> {
    (0..10).map(keyed_rows).chain([timer_rows()]).collect()
}

fn keyed_rows(kind: u8) -> Vec<u8> {
    let of = |state: StateDescriptor| match kind % 2 {
        0 => state,
        _ => state.with_ttl(StateTtl::new(Duration::from_secs(1))),
    };
    let budget = Budget::new("slot", 8 << 20);
    let max = MaxParallelism::new(1).unwrap();
    let mut backend = KeyedBackend::<Str>::in_memory(0..1, max, budget);
    let current = backend.context().clone();
    let each_key = |mut work: Box<dyn FnMut()>| {
        for key in ["a", "bc", ""] {
            current.set_current(Str::hash(&key), &key);
            work();
        }
    };
    match kind / 2 {
        0 => {
            let state = of(StateDescriptor::value::<String>("s"));
            let mut state = backend.value_state_of::<String>(state).unwrap();
            each_key(Box::new(move || state.set("some text".to_owned()).unwrap()));
        }
        1 => {
            let state = of(StateDescriptor::list::<u64>("s"));
            let mut state = backend.list_state_of::<u64, ()>(state).unwrap();
            each_key(Box::new(move || (0..3).for_each(|n| state.add(n).unwrap())));
        }
        2 => {
            let state = of(StateDescriptor::list::<Vec<u8>>("s"));
            let mut state = backend.list_state_of::<Vec<u8>, ()>(state).unwrap();
            each_key(Box::new(move || state.add(vec![7; 9]).unwrap()));
        }
        3 => {
            let state = of(StateDescriptor::map::<String, u64>("s"));
            let mut state = backend.map_state_of::<String, u64, ()>(state).unwrap();
            each_key(Box::new(move || {
                state.put("one".to_owned(), 1).unwrap();
                state.put("two".to_owned(), 2).unwrap();
            }));
        }
        _ => {
            let add: fn(&mut u64, u64) = |sum, value| *sum += value;
            let state = of(StateDescriptor::reducing::<u64>("s"));
            let mut state = backend.reducing_state_of::<u64, _>(state, add).unwrap();
            each_key(Box::new(move || state.add(4).unwrap()));
        }
    }
    let mut input = vec![kind];
    let shown = backend.visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
        write_rows(state, &mut input);
        Ok(())
    });
    shown.unwrap();
    assert!(input.len() > 10, "there are rows of kind {kind}");
    input
}

fn timer_rows() -> Vec<u8> {
    let max = MaxParallelism::new(1).unwrap();
    let mut timers = TimerQueue::<Str, ()>::new(0..1, max, Budget::new("slot", 8 << 20));
    for at in [5, -3, 9] {
        timers
            .register(Str::hash(&"key"), &"key", &(), Timestamp(at))
            .unwrap();
    }
    let mut input = vec![10];
    write_rows(&mut timers, &mut input);
    input
}

fn write_rows(state: &mut dyn Snapshot, input: &mut Vec<u8>) {
    state.freeze(Epoch(1), CutKind::Copy);
    let mut write = |row: Row<'_>| {
        input.push(1);
        for bytes in [row.key, row.namespace, row.value.unwrap_or_default()] {
            input.push(u8::try_from(bytes.len()).unwrap());
            input.extend(bytes);
        }
    };
    while state.emit(16, &mut write).unwrap() == Scan::More {}
}

/// Behind the number of their source.
pub(crate) fn positions() -> Vec<Vec<u8>> {
    fn archived<S: Source>(kind: u8, source: &S) -> Vec<Vec<u8>>
    where
        S::Split: Record,
    {
        let mut saved = SavedRecord::new();
        let splits = source.splits(2).unwrap();
        let archived = splits.iter().map(|split| saved.archive(split).to_vec());
        archived
            .map(|bytes| [&[kind], &bytes[..]].concat())
            .collect()
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("some.txt"), "a\nb\n").unwrap();
    let files = || TextFiles::new(directory.path());
    let monitor = DirectoryMonitor::new(files(), FileProcessing::Once);
    [
        archived(0, &files()),
        archived(1, &monitor),
        archived(2, &Sequence::new(5..=99)),
        archived(3, &Collection::new(vec![1_u64, 2, 3])),
    ]
    .concat()
}

/// Buffers behind the number of the type of their records.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    fn buffer<R: Record>(kind: u8, record: &R) -> Vec<u8> {
        let layout = EntryLayout {
            hash: true,
            timestamp: true,
        };
        let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 1_024));
        for at in 0..2 {
            let put = writer.put::<R>(layout, KeyHash(3), Timestamp(at), record);
            put.unwrap();
        }
        let used = writer.used_bytes();
        let segment = writer.seal().into_segment().unwrap();
        [&[kind], &segment.bytes()[..used]].concat()
    }
    let texts = (
        vec!["a".to_owned()],
        "long ".repeat(9).into_boxed_str(),
        Some("c".to_owned()),
    );
    vec![buffer(0, &texts), buffer(3, &(1_u64, 2_u64))]
}

pub(crate) fn settings() -> Vec<Vec<u8>> {
    let lines = "parallelism.default: 4\nexecution.checkpointing.interval: 10 s\n\
                 taskmanager.memory.managed.size: 64mb\nthalweg.profile: low-latency";
    vec![lines.as_bytes().to_vec()]
}
