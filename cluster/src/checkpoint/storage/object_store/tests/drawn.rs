//! Drawn programs over a store that fails, against a map.
//!
//! After every call the objects that are really there are looked at. What was answered must be true of them: done
//! means done, refused means untouched, and only where the answer says that nobody knows may it be either.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::storage::contract::StorageErrorKind as Kind;

/// One call. Names are small numbers, so that calls meet.
#[derive(Clone, Copy, Debug)]
enum Call {
    Create(u8, u8),
    Write(u8, u8),
    Copy(u8, u8),
    Read(u8),
    List,
    Delete(u8),
    DeleteDirectory,
    DeleteIfEmpty,
    NewDirectory,
}

/// What is in the directory.
type Objects = BTreeMap<String, Vec<u8>>;

fn call() -> impl Strategy<Value = Call> {
    let name = 0..4_u8;
    prop_oneof![
        3 => (name.clone(), any::<u8>()).prop_map(|(name, byte)| Call::Create(name, byte)),
        3 => (name.clone(), any::<u8>()).prop_map(|(name, byte)| Call::Write(name, byte)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Copy(from, to)),
        2 => name.clone().prop_map(Call::Read),
        1 => Just(Call::List),
        2 => name.prop_map(Call::Delete),
        1 => Just(Call::DeleteDirectory),
        1 => Just(Call::DeleteIfEmpty),
        1 => Just(Call::NewDirectory),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Pass),
        2 => Just(Fate::FailBefore),
        2 => Just(Fate::FailAfter),
        1 => Just(Fate::Forbidden),
    ]
}

fn name(number: u8) -> String {
    format!("n{number}")
}

fn bytes(byte: u8) -> Vec<u8> {
    vec![byte; usize::from(byte)]
}

fn marker() -> String {
    DIRECTORY.to_owned()
}

/// A storage that fails, and one that shows what is true.
struct Bench {
    store: Arc<Faulty>,
    failing: ObjectStorage,
    honest: ObjectStorage,
    directory: Location,
}

impl Bench {
    fn new(patience: Patience) -> Self {
        let store = Faulty::over(&Arc::default(), []);
        let honest = Faulty::over(&store.inner, []);
        Self {
            failing: storage(&store, patience),
            honest: storage(&honest, PATIENT),
            store,
            directory: place("d"),
        }
    }

    fn at(&self, number: u8) -> Location {
        self.directory.child(&name(number))
    }

    /// What is really there, hidden names too.
    fn truth(&mut self) -> Objects {
        let (client, directory) = self.honest.reach(&self.directory).unwrap();
        let listed = self.honest.threads.wait(async move {
            let mut truth = Objects::new();
            for object in client.list(&directory).await?.objects {
                let name = object.location.filename().unwrap().to_owned();
                let content = client.whole(&object.location, u64::MAX).await?;
                truth.insert(name, content.unwrap());
            }
            Ok(truth)
        });
        listed.unwrap()
    }

    /// Makes a call, and checks what was answered against what was there before and is there now.
    fn make(&mut self, call: Call) {
        let before = self.truth();
        let directory = self.directory.clone();
        let outcome = match call {
            Call::Create(number, byte) => {
                let at = self.at(number);
                self.failing.create_exclusive(&at, &bytes(byte))
            }
            Call::Write(number, byte) => {
                let at = self.at(number);
                self.failing.write_new(&at, &bytes(byte))
            }
            Call::Copy(from, to) => {
                let should = before.get(&name(from)).cloned().unwrap_or_default();
                let (from, to) = (self.at(from), self.at(to));
                self.failing.copy_new(&from, &to, facts(&should))
            }
            Call::Read(number) => {
                let at = self.at(number);
                let read = self.failing.read(&at, 1_000);
                read.map(|read| assert_eq!(Some(&read), before.get(&name(number)), "{call:?}"))
            }
            Call::List => self.failing.list(&directory).map(|entries| {
                let names = entries
                    .iter()
                    .map(|entry| (&entry.name, entry.bytes as usize));
                let shown = (before.iter()).filter(|(name, _)| **name != marker());
                let shown = shown.map(|(name, content)| (name, content.len()));
                assert!(names.eq(shown), "{entries:?}");
            }),
            Call::Delete(number) => {
                let at = self.at(number);
                self.failing.delete(&at)
            }
            Call::DeleteDirectory => self.failing.delete_directory(&directory),
            Call::DeleteIfEmpty => self.failing.delete_if_empty(&directory),
            Call::NewDirectory => self.failing.make_new_directory(&directory),
        };
        let now = self.truth();
        let kind = outcome.map_err(|error| error.kind);
        self.judge(call, kind, &before, &now);
    }

    fn judge(&self, call: Call, outcome: Result<(), Kind>, before: &Objects, now: &Objects) {
        let said = format!("{call:?} answered {outcome:?}: {before:?} became {now:?}");
        let done = after(call, before);
        match outcome {
            Ok(()) => assert_eq!(done.as_ref(), Some(now), "{said}"),
            // What is refused could not have been done, and was not.
            Err(Kind::AlreadyThere | Kind::Missing | Kind::Damaged) => {
                assert_eq!(done, None, "{said}");
                assert_eq!(before, now, "{said}");
            }
            Err(Kind::Unknown) => {
                assert!(now == before || done.as_ref() == Some(now), "{said}");
            }
            Err(Kind::Failed(_)) if deletes(call) => {
                let left = now
                    .iter()
                    .all(|(name, content)| before.get(name) == Some(content));
                assert!(left, "{said}");
            }
            // A copy under a name that nobody else writes: whole or not there.
            Err(Kind::Failed(_)) if matches!(call, Call::Copy(..)) => {
                assert!(now == before || done.as_ref() == Some(now), "{said}");
            }
            Err(Kind::Failed(_)) => assert_eq!(before, now, "{said}"),
            Err(other) => panic!("{other:?} is no answer of an object store: {said}"),
        }
    }
}

fn deletes(call: Call) -> bool {
    matches!(
        call,
        Call::Delete(_) | Call::DeleteDirectory | Call::DeleteIfEmpty
    )
}

/// What should be there once it is done; `None` if it cannot be.
fn after(call: Call, before: &Objects) -> Option<Objects> {
    let mut after = before.clone();
    match call {
        Call::Create(number, byte) | Call::Write(number, byte) => {
            let there = after.insert(name(number), bytes(byte));
            there.is_none().then_some(after)
        }
        Call::Copy(from, to) => {
            let content = before.get(&name(from))?.clone();
            let there = after.insert(name(to), content);
            there.is_none().then_some(after)
        }
        Call::Read(number) => before.contains_key(&name(number)).then_some(after),
        Call::List => Some(after),
        Call::Delete(number) => {
            after.remove(&name(number));
            Some(after)
        }
        Call::DeleteDirectory => Some(Objects::new()),
        Call::DeleteIfEmpty => {
            if after.len() == 1 {
                after.remove(&marker());
            }
            Some(after)
        }
        Call::NewDirectory => {
            after.insert(marker(), Vec::new());
            before.is_empty().then_some(after)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 1_024 }))]

    #[test]
    fn every_answer_is_true(
        calls in prop::collection::vec((call(), prop::collection::vec(fate(), 0..6)), 1..30),
        patient in any::<bool>(),
    ) {
        let mut bench = Bench::new(if patient { PATIENT } else { IMPATIENT });
        for (call, fates) in calls {
            bench.store.then(fates);
            bench.make(call);
        }
    }
}
