//! How do I count the words of a text?
//!
//! Lines come from a file or, without `--input`, from the text below; words are runs of ASCII letters,
//! digits and underscores, in lower case; every line of the result is `(word,count)`. In streaming mode
//! each word yields its new count, in batch mode every word yields one line at the end.
//!
//! ```text
//! cargo run --release --bin wordcount
//! cargo run --release --bin wordcount -- --input book.txt --output counts --mode batch --parallelism 2
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use thalweg::prelude::*;

/// Counts the words of a text.
#[derive(Parser)]
struct Arguments {
    /// A text file, or a folder of them; a short text of its own without
    #[arg(long)]
    input: Option<PathBuf>,
    /// Where to write; a file, or with several subtasks a folder. Standard output without
    #[arg(long)]
    output: Option<PathBuf>,
    /// Every new count, or final counts only
    #[arg(long)]
    mode: Option<Mode>,
    /// How many subtasks work side by side
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Streaming,
    Batch,
}

fn main() -> ExitCode {
    thalweg::report(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    if let Some(parallelism) = arguments.parallelism {
        environment.set_parallelism(parallelism);
    }
    match arguments.mode {
        Some(Mode::Streaming) => environment.set_runtime_mode(RuntimeMode::Streaming),
        Some(Mode::Batch) => environment.set_runtime_mode(RuntimeMode::Batch),
        None => &environment,
    };
    match arguments.input {
        Some(path) => count(environment.read_text(path), arguments.output),
        None => {
            let lines = TEXT.lines().map(str::to_owned);
            let lines = environment.from_collection(lines);
            let lines = lines.flat_map(|line: String, out: &mut Collector<Str>| out.emit(&line));
            count(lines.name("text"), arguments.output);
        }
    }
    environment.execute("wordcount")?;
    Ok(())
}

/// The program itself: lines to words, words to their counts, counts to their place.
fn count(lines: DataStream<Str, impl Pipe<Out = Str>>, output: Option<PathBuf>) {
    // Clones of the buffer are the subtasks' own; a word is copied only to change its case.
    let mut lower = String::new();
    let words = lines.flat_map(move |line: &str, out: &mut Collector<Str>| {
        for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
                lower.clear();
                lower.push_str(word);
                lower.make_ascii_lowercase();
                out.emit(&lower);
            } else if !word.is_empty() {
                out.emit(word);
            }
        }
    });
    let counts = words.name("words").key_by_str(|word| word).count();
    match output {
        Some(path) => counts.write_text(path),
        None => counts.print(),
    };
}

/// From "The Tragedy of Hamlet, Prince of Denmark" by William Shakespeare.
const TEXT: &str = "\
To be, or not to be, that is the question:
Whether 'tis nobler in the mind to suffer
The slings and arrows of outrageous fortune,
Or to take arms against a sea of troubles
And by opposing end them. To die: to sleep;
No more; and by a sleep to say we end
The heart-ache and the thousand natural shocks
That flesh is heir to, 'tis a consummation
Devoutly to be wish'd. To die, to sleep;
To sleep: perchance to dream: ay, there's the rub;
For in that sleep of death what dreams may come
When we have shuffled off this mortal coil,
Must give us pause: there's the respect
That makes calamity of so long life;
For who would bear the whips and scorns of time,
The oppressor's wrong, the proud man's contumely,
The pangs of despised love, the law's delay,
The insolence of office and the spurns
That patient merit of the unworthy takes,
When he himself might his quietus make
With a bare bodkin? who would fardels bear,
To grunt and sweat under a weary life,
But that the dread of something after death,
The undiscover'd country from whose bourn
No traveller returns, puzzles the will
And makes us rather bear those ills we have
Than fly to others that we know not of?
Thus conscience does make cowards of us all;
And thus the native hue of resolution
Is sicklied o'er with the pale cast of thought,
And enterprises of great pith and moment
With this regard their currents turn awry,
And lose the name of action.
";
