//! Checkpoints of which a file was damaged: a job that is to begin with one is refused by the name of the file, or
//! comes to the right end because nothing it needs is damaged. It never begins empty, never goes on with wrong
//! state, and nothing is deleted.
//!
//! In simulation, on a disk whose files can be changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use thalweg_cluster::SimulatedExecutor;
use thalweg_connectors::{ForEach, Generator};
use thalweg_core::seam::reactor::OpenOptions;
use thalweg_core::seam::simulated::{SimDisk, SimOptions};
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::ValueState;

use crate::stage;

const RECORDS: u64 = 4_000;
const KEYS: u64 = 31;
/// The record at which the first life of a job ends.
const FATAL: u64 = 3_000;
const CHECKPOINTS: &str = "/checkpoints";
const ALLOWED: (&str, &str) = (
    "execution.state-recovery.fallback-to-older-checkpoint",
    "true",
);
const BACKENDS: [&str; 3] = ["hashmap", LATE, "lsm"];
/// State in memory, which comes back while the job is at work.
const LATE: &str = "hashmap, late";
/// Of how many bytes on.
const LATE_FROM: &str = "thalweg.state.restore-late-from";

/// The settings of a backend.
fn kept_by(backend: &str) -> [(&str, &str); 2] {
    match backend {
        LATE => [("state.backend.type", "hashmap"), (LATE_FROM, "1b")],
        other => [("state.backend.type", other), (LATE_FROM, "32mb")],
    }
}

/// What a job has shown: keys with their counts, and their sums beside them.
type Shown = Arc<Mutex<Vec<(u64, u64)>>>;

struct Summing {
    sum: ValueState<u64, u64>,
}

impl KeyedProcessFunction<u64, u64, (u64, u64)> for Summing {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        self.sum.update(|sum| *sum += number)?;
        let key = context.key().unwrap_or_default();
        out.emit((KEYS + key, self.sum.get()?.unwrap_or(0)));
        Ok(())
    }
}

/// Counts and sums numbers by key. Another job of the same kind counts the same keys in another order.
fn program(environment: &Environment, other: u64, fatal: u64, shown: &Shown) {
    let numbers = environment
        .source(Generator::new(RECORDS, |number| number))
        .uid("numbers")
        .parallelism(1)
        .process(move |_open: &mut OpenContext| {
            move |number: u64, _context: &ProcessContext, out: &mut Collector<'_, u64>| {
                if number >= fatal {
                    return Err(FunctionError::new(format!("number {number} is fatal")));
                }
                out.emit(number);
                Ok(())
            }
        })
        .share();
    let key_of =
        move |number: &u64| ((number + other).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % KEYS;
    let show = |shown: &Shown| {
        let shown = Arc::clone(shown);
        ForEach(move |line: (u64, u64)| shown.lock().unwrap().push(line))
    };
    let counted = numbers.stream().key_by(key_of).count().uid("counts");
    counted.sink(show(shown)).uid("shown counts");
    numbers
        .stream()
        .key_by(key_of)
        .process_function(|open: &mut OpenContext<u64>| Summing {
            sum: open.value_state("sum"),
        })
        .uid("sums")
        .sink(show(shown))
        .uid("shown sums");
}

/// Every file of a disk.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn below(disk: &SimDisk, directory: &Path, files: &mut Files) {
    for name in disk.names_in(directory) {
        let path = directory.join(name);
        match disk.content(&path) {
            Some(content) => drop(files.insert(path, content)),
            None => below(disk, &path, files),
        }
    }
}

fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (path, content) in files {
        disk.make_directories(path.parent().unwrap()).unwrap();
        let file = disk.open(path, OpenOptions::WRITE_NEW).unwrap();
        disk.write(&file, 0, content).unwrap();
        disk.sync(&file).unwrap();
    }
    disk
}

/// Runs the job on a disk, what it shows in order of keys; or why it did not come to its end.
fn run(
    (disk, seed): (&SimDisk, u64),
    settings: stage::Settings<'_>,
    (other, fatal): (u64, u64),
) -> Result<Vec<(u64, u64)>, String> {
    let mut all = vec![
        ("parallelism.default", "2"),
        ("thalweg.shard.count", "2"),
        ("taskmanager.memory.segment-size", "512b"),
        ("taskmanager.network.memory.buffers-per-channel", "1"),
        ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
        ("execution.checkpointing.dir", CHECKPOINTS),
        ("restart-strategy.type", "none"),
    ];
    all.extend(settings);
    let configuration = stage::configuration(&all);
    let executor = SimulatedExecutor::on(disk.clone(), seed, SimOptions::default());
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    let shown = Shown::default();
    program(&environment, other, fatal, &shown);
    let ended = environment.execute("damaged");
    disk.end_processes();
    ended.map_err(|error| error.to_string())?;
    let mut shown = std::mem::take(&mut *shown.lock().unwrap());
    shown.sort_unstable();
    Ok(shown)
}

/// The files of a job that failed when it had some checkpoints.
fn first_life(backend: &str, other: u64) -> Files {
    life(backend, other, 11)
}

fn life(backend: &str, other: u64, seed: u64) -> Files {
    let disk = SimDisk::new();
    let mut settings = kept_by(backend).to_vec();
    settings.extend([
        ("execution.checkpointing.interval", "1ms"),
        ("execution.checkpointing.num-retained", "3"),
        ("execution.checkpointing.unaligned.enabled", "true"),
        (
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        ),
    ]);
    let failed = run((&disk, seed), &settings, (other, FATAL)).unwrap_err();
    assert!(failed.contains("is fatal"), "{failed}");
    let mut files = Files::new();
    below(&disk, Path::new(CHECKPOINTS), &mut files);
    files
}

/// The next life, which begins with what is there.
fn next_life(
    files: &Files,
    backend: &str,
    settings: stage::Settings<'_>,
) -> Result<Vec<(u64, u64)>, String> {
    let disk = disk_of(files);
    let retained = ("execution.checkpointing.num-retained", "3");
    let mut all = kept_by(backend).to_vec();
    all.push(retained);
    all.extend(settings);
    let ended = run((&disk, 12), &all, (0, u64::MAX));
    let mut left = Files::new();
    below(&disk, Path::new(CHECKPOINTS), &mut left);
    left.retain(|path, _| files.contains_key(path));
    // A job that begins with the latest checkpoint goes on as the one that wrote it: its end clears all of it, and of a
    // begin nothing goes but what said that another one leads it.
    let goes_on = settings.contains(&from("latest")[0]);
    if goes_on && ended.is_ok() {
        assert_eq!(left, Files::new(), "a job that has ended leaves nothing");
        return ended;
    }
    let is_pointer = |path: &Path| path.to_str().unwrap().contains("/newest-");
    let mut there = files.clone();
    there.retain(|path, _| !goes_on || left.contains_key(path) || !is_pointer(path));
    assert_eq!(left, there, "what a job begins with stays as it is");
    ended
}

fn from(path: &str) -> [(&str, &str); 1] {
    [("execution.state-recovery.path", path)]
}

/// The number in which a name ends.
fn of_checkpoint(path: &Path) -> u64 {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let number = name.rsplit_once('-').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(0)
}

/// The one file whose name has this in it, the last of several.
fn last_of<'f>(files: &'f Files, what: &str) -> &'f PathBuf {
    let named = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().contains(what);
    // By their numbers, not as text.
    let number = |path: &&PathBuf| match what {
        "_metadata" => of_checkpoint(path.parent().unwrap()),
        _ => of_checkpoint(path),
    };
    let found = files.keys().filter(named).max_by_key(number);
    found.unwrap_or_else(|| panic!("no {what} among {:?}", files.keys()))
}

/// What is done to a file.
fn harmed(whole: &[u8], swapped: Option<&Vec<u8>>) -> Vec<(String, Option<Vec<u8>>)> {
    let mut harmed = vec![("missing".to_owned(), None)];
    let bits = whole.len() * 8;
    for bit in (0..bits).step_by(bits / 13 + 1).chain([bits - 1]) {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        harmed.push((format!("bit {bit} flipped"), Some(flipped)));
    }
    for at in (0..whole.len())
        .step_by(whole.len() / 4 + 1)
        .chain([whole.len() - 1])
    {
        harmed.push((format!("cut at {at}"), Some(whole[..at].to_vec())));
    }
    if let Some(swapped) = swapped {
        harmed.push(("swapped".to_owned(), Some(swapped.clone())));
    }
    harmed
}

/// Begins with damaged files in two ways; answers how often that was refused, and adds what is wrong to `wrong`.
fn begin_with(
    (files, path, directory): (&Files, &Path, &str),
    backend: &str,
    (right, when): (&[(u64, u64)], &str),
    wrong: &mut Vec<String>,
) -> u32 {
    let name = path.file_name().unwrap().to_str().unwrap();
    let is_pointer = name.starts_with("newest-");
    let mut refusals = 0;
    for begin in ["latest", directory] {
        let is_needed = name == "_metadata" || is_pointer && begin == "latest";
        match next_life(files, backend, &from(begin)) {
            Ok(_) if is_needed => wrong.push(format!("{when}, from {begin}: it began")),
            Ok(shown) if shown != right => wrong.push(format!("{when}, from {begin}: other rows")),
            Ok(_) => {}
            Err(refused) => {
                refusals += 1;
                let by_name = refused.contains(name)
                    || is_pointer && refused.contains("newest-")
                    || is_pointer && when.contains("swapped") && refused.contains("_metadata");
                if !by_name {
                    wrong.push(format!("{when}, from {begin}: {refused}"));
                }
            }
        }
    }
    refusals
}

#[test]
fn a_job_whose_checkpoint_is_damaged_is_refused_by_name_or_ends_right() {
    let mut wrong = Vec::new();
    for backend in BACKENDS {
        let (files, others) = (first_life(backend, 0), first_life(backend, 7));
        let pointer = last_of(&files, "newest-").clone();
        let newest = last_of(&files, "_metadata").clone();
        let directory = newest.parent().unwrap().to_str().unwrap();
        let right = next_life(&files, backend, &from("latest")).unwrap();
        let all = next_life(&Files::new(), backend, &[]).unwrap();
        assert!(!right.is_empty() && right.len() < all.len());
        let (mut seen, mut refusals) = (BTreeMap::new(), 0);
        for (path, whole) in &files {
            let kind = path.extension().or(path.file_name());
            let kind = kind.unwrap().to_str().unwrap().split('-').next().unwrap();
            let is_meant = match kind {
                "_metadata" => *path == newest,
                "newest" => *path == pointer,
                // Those it needs, and some it does not.
                _ => {
                    of_checkpoint(path) == of_checkpoint(newest.parent().unwrap())
                        || of_checkpoint(path) == 1
                }
            };
            if !is_meant {
                continue;
            }
            *seen.entry(kind.to_owned()).or_insert(0) += 1;
            for (harm, content) in harmed(whole, twin_of(path, &others)) {
                let mut files = files.clone();
                match content {
                    Some(content) => drop(files.insert(path.clone(), content)),
                    None => drop(files.remove(path)),
                }
                let when = format!("{backend}, {} {harm}", path.display());
                let (begin, ends) = ((&files, &**path, directory), (&*right, &*when));
                refusals += begin_with(begin, backend, ends, &mut wrong);
            }
        }
        assert!(refusals > 100, "{refusals}");
        let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["_metadata", "flight", "newest", "run"], "{seen:?}");
    }
    let few = &wrong[..wrong.len().min(30)];
    assert!(wrong.is_empty(), "{} are wrong: {few:#?}", wrong.len());
}

/// The file of another job that has the same name but for the job, or stands in the same place.
fn twin_of<'f>(path: &Path, others: &'f Files) -> Option<&'f Vec<u8>> {
    let name = path.file_name().unwrap();
    let same = others
        .iter()
        .find(|(other, _)| other.file_name().unwrap() == name);
    let of_kind = || {
        let end = path.extension();
        others
            .iter()
            .find(|(other, _)| end.is_some() && other.extension() == end)
    };
    same.or_else(of_kind).map(|(_, content)| content)
}

/// What is said to whoever reads the log, while this is done.
fn heard<T>(done: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, done);
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (result, said)
}

/// A job's files after something was done to them.
struct Case {
    files: Files,
    /// What the warnings name, one each.
    damaged: Vec<String>,
    /// The checkpoint that is taken.
    instead: PathBuf,
}

/// Directories of checkpoints, the oldest first.
fn checkpoints(files: &Files) -> Vec<PathBuf> {
    let metadata = files.keys().filter(|path| path.ends_with("_metadata"));
    let mut all: Vec<_> = metadata
        .map(|path| path.parent().unwrap().to_owned())
        .collect();
    all.sort_by_key(|directory| of_checkpoint(directory));
    all
}

fn cases(files: &Files) -> Vec<Case> {
    let all = checkpoints(files);
    let [oldest, older, newest] = &all[..] else {
        panic!("{all:?}");
    };
    let is_run = |path: &&PathBuf| path.extension().is_some_and(|end| end == "run");
    let mut runs = files.keys().filter(is_run);
    let run = runs
        .find(|run| of_checkpoint(run) == of_checkpoint(newest))
        .unwrap();
    let pointer = last_of(files, "newest-");
    let (own, next) = (newest.join("_metadata"), older.join("_metadata"));
    let case = |lost: Option<&Path>, flipped: Option<(&Path, usize)>, instead: &Path| {
        let mut files = files.clone();
        lost.map(|lost| files.remove(lost));
        if let Some((path, at)) = flipped {
            files.get_mut(path).unwrap()[at] ^= 1;
        }
        let named = lost.into_iter().chain(flipped.map(|(path, _)| path));
        let named = named.map(|path| path.to_str().unwrap().to_owned());
        Case {
            files,
            damaged: named.collect(),
            instead: instead.to_owned(),
        }
    };
    vec![
        case(Some(&own), None, older),
        case(None, Some((run, files[run].len() / 2)), older),
        case(Some(&own), Some((&next, 40)), oldest),
        // Which is the newest nobody knows; the newest of all is whole.
        case(None, Some((pointer, 50)), newest),
    ]
}

#[test]
fn an_older_checkpoint_is_taken_only_where_that_is_allowed_and_said() {
    for backend in BACKENDS {
        let files = first_life(backend, 0);
        let newest = checkpoints(&files).pop().unwrap();
        let home = newest.parent().unwrap().to_str().unwrap();
        for (number, case) in cases(&files).into_iter().enumerate() {
            let instead = case.instead.to_str().unwrap();
            let right = next_life(&files, backend, &from(instead)).unwrap();
            for begin in ["latest", home, newest.to_str().unwrap()] {
                // A checkpoint that is named needs no pointer.
                if begin == instead {
                    continue;
                }
                let when = format!("{backend}, case {number}, from {begin}");
                next_life(&case.files, backend, &from(begin)).expect_err(&when);
                let settings = [from(begin)[0], ALLOWED];
                let (shown, said) = heard(|| next_life(&case.files, backend, &settings));
                assert!(shown.as_ref() == Ok(&right), "{when}: {:?}", shown.err());
                let is_warning = |line: &&str| line.contains("damage=");
                let said: Vec<&str> = said.lines().filter(is_warning).collect();
                assert_eq!(said.len(), case.damaged.len(), "{when}: {said:#?}");
                for (line, damaged) in said.into_iter().zip(&case.damaged) {
                    for what in [damaged, instead, "WARN", "appears twice"] {
                        assert!(line.contains(what), "{when}: {line}");
                    }
                }
            }
        }
    }
}

#[test]
fn where_no_checkpoint_is_whole_none_is_taken() {
    let mut files = first_life("hashmap", 0);
    let (right, said) = heard(|| next_life(&files, "hashmap", &[from("latest")[0], ALLOWED]));
    assert_eq!(right, next_life(&files, "hashmap", &from("latest")));
    assert_eq!(said, "", "nothing is damaged");
    files.retain(|path, _| path.extension().is_none_or(|end| end != "run"));
    let refused = next_life(&files, "hashmap", &[from("latest")[0], ALLOWED]).unwrap_err();
    for what in [".run", "none is whole", "2 are damaged"] {
        assert!(refused.contains(what), "{refused}");
    }
}

#[test]
fn no_other_jobs_checkpoint_is_taken_for_one_that_is_damaged() {
    let (mut files, later) = (first_life("hashmap", 0), life("hashmap", 7, 13));
    let home = |files: &Files| {
        let checkpoint = checkpoints(files).pop().unwrap();
        checkpoint.parent().unwrap().to_str().unwrap().to_owned()
    };
    let (own, other) = (home(&files), home(&later));
    assert_ne!(own, other, "they are two jobs");
    let newest = checkpoints(&files).pop().unwrap().join("_metadata");
    let whole = checkpoints(&later).pop().unwrap();
    files.get_mut(&newest).unwrap()[40] ^= 1;
    files.extend(later.clone());
    for settings in [&from("latest")[..], &[from("latest")[0], ALLOWED]] {
        let refused = next_life(&files, "hashmap", settings).unwrap_err();
        for what in [
            newest.to_str().unwrap(),
            &format!("move {own} away"),
            whole.to_str().unwrap(),
            &format!("execution.state-recovery.path: {other} "),
        ] {
            assert!(refused.contains(what), "{what}: {refused}");
        }
    }
    // Either mend does it.
    let right = next_life(&later, "hashmap", &from(&other));
    assert_eq!(next_life(&files, "hashmap", &from(&other)), right);
    files.retain(|path, _| !path.starts_with(&own));
    assert_eq!(next_life(&files, "hashmap", &from("latest")), right);
}
