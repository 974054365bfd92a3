//! What the compiler says of types that cannot travel: in the words of the engine, with the mend.
//!
//! Runs the compiler on programs that are wrong, against the crates this test was built with. Invariant: a
//! program that is refused for another reason fails the test as well.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The first lines of a program.
const HEAD: &str = "#![allow(dead_code)]\n\
                    use thalweg_dataflow::stream::{DataStream, Pipe};\n\
                    fn program(numbers: DataStream<u64, impl Pipe<Out = u64>>) {\n";

/// Wrong programs, and what must be said of them.
const WRONG: [(&str, &[&str]); 4] = [
    (
        "let _ = numbers.map(|n: u64| n as usize);",
        &[
            "`usize` cannot travel between shards",
            "not a record",
            "use `u64`",
        ],
    ),
    (
        "struct Own(u64); let _ = numbers.map(|n: u64| Own(n));",
        &[
            "`Own` cannot travel between shards",
            "add `#[record]` to the definition of `Own`",
        ],
    ),
    (
        "let _ = numbers.key_by(|n: &u64| *n as f64).count();",
        &[
            "`f64` cannot be a key",
            "use their bits or a rounded integer",
        ],
    ),
    (
        "let _ = numbers.map(|n: u64| std::rc::Rc::new(n));",
        &[
            "`Rc<u64>` cannot travel between shards",
            "`Rc`",
            "owned values",
        ],
    ),
];

/// The newest build of a crate in the folder this test lies in.
fn built(deps: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(deps).ok()?.filter_map(Result::ok);
    let named = entries.filter(|entry| {
        let file = entry.file_name().into_string().unwrap_or_default();
        file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
    });
    let newest =
        named.max_by_key(|entry| entry.metadata().and_then(|about| about.modified()).ok())?;
    Some(newest.path())
}

#[test]
fn what_cannot_travel_is_refused_in_words() {
    let program = std::env::current_exe().unwrap();
    let deps = program.parent().unwrap();
    let dataflow = built(deps, "thalweg_dataflow").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("wrong.rs");
    // The compiler that built this, not whichever is first on the path.
    let beside = Path::new(env!("CARGO")).with_file_name("rustc");
    let rustc = if beside.is_file() {
        beside
    } else {
        PathBuf::from("rustc")
    };
    let compile = |line: &str| {
        std::fs::write(&source, format!("{HEAD}{line}\n}}\n")).unwrap();
        let compiled = Command::new(&rustc)
            .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
            .arg("--out-dir")
            .arg(folder.path())
            .arg("--extern")
            .arg(format!("thalweg_dataflow={}", dataflow.display()))
            .arg("-L")
            .arg(format!("dependency={}", deps.display()))
            .arg(&source)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
        (compiled.status.success(), said)
    };
    let (well, said) = compile("let _ = numbers.map(|n: u64| n + 1).key_by(|n: &u64| *n).count();");
    assert!(well, "what is right is refused: {said}");
    for (line, words) in WRONG {
        let (well, said) = compile(line);
        assert!(!well, "not refused: {line}");
        for word in words {
            assert!(
                said.contains(word),
                "{word:?} is not said of {line}\n{said}"
            );
        }
    }
}
