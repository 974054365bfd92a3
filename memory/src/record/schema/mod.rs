//! What a type is made of, as text that outlives the program: names and types of fields, in order.
//!
//! Written once where a state is declared, kept beside every copy of it, compared when the copy is taken back: a
//! type whose fields have changed under the same name is told from the one it was. Never entered for a record.
//! A stored format: golden values hold it. Plain data, lives on any thread.
//!
//! A text has a line for the type itself, and one for each record type in it, in the order in which they are met:
//! each is written out once and named by its number from then on (`$0` is the first), so that the text grows with
//! the number of types, and a type may contain itself.
//!
//! ```text
//! Vec<$0>
//! Order{id: u64, items: Vec<$1>, state: $2}
//! Item{name: String, price: (u64, u8)}
//! Status[Open | Paid(u64) | Sent{at: i64}]
//! ```
//!
//! Invariants: what is archived differently has different texts; nothing in a text depends on the compiler, on
//! modules or on the order in which a program does things. Texts that are too long are cut behind a line, and two
//! checksums stand for the rest: that of the whole, and that of the whole without the names of types.

use std::any::TypeId;
use std::fmt::{self, Write as _};

use thalweg_core::key_group::KeyHash;

use super::{Key, Record};

mod changes;

/// No text is longer, bytes.
const LONGEST: usize = 8 << 10;
/// What the line begins with that stands for lines left out.
const CUT: char = '#';
/// What refers to a record type by its number.
const REFERENCE: char = '$';

/// Takes down what a type is made of; see [`Record::describe`].
#[derive(Debug, Default)]
pub struct SchemaWriter {
    /// The type that is being taken down.
    expression: String,
    /// The record types met so far, with their lines once those are whole.
    types: Vec<(TypeId, String)>,
}

impl SchemaWriter {
    /// Writes text as it is.
    pub fn text(&mut self, text: &str) {
        self.expression.push_str(text);
    }

    /// Writes a number, such as the length of an array.
    pub fn number(&mut self, number: usize) {
        self.expression.push_str(&number.to_string());
    }

    /// Writes a type that has a line of its own, which `line` writes when it is met for the first time.
    pub fn named<T: 'static>(&mut self, line: fn(&mut SchemaWriter)) {
        let id = TypeId::of::<T>();
        let known = self.types.iter().position(|(known, _)| *known == id);
        let place = known.unwrap_or_else(|| {
            // Its number stands before its fields are written: a field may be of the type itself.
            let place = self.types.len();
            self.types.push((id, String::new()));
            let outer = std::mem::take(&mut self.expression);
            line(self);
            self.types[place].1 = std::mem::replace(&mut self.expression, outer);
            place
        });
        self.text(&format!("{REFERENCE}{place}"));
    }

    fn finish(self) -> Schema {
        let types = self.types.into_iter().map(|(_, line)| line);
        let lines: Vec<String> = [self.expression].into_iter().chain(types).collect();
        let whole = lines.join("\n");
        if whole.len() <= LONGEST {
            return Schema(whole.into_boxed_str());
        }
        let types = lines[1..].iter().map(|line| without_name(line));
        let unnamed: Vec<&str> = [lines[0].as_str()].into_iter().chain(types).collect();
        let sum = |text: &str| KeyHash::of_bytes(text.as_bytes()).0;
        let rest = format!("{CUT}{:016x}{:016x}", sum(&whole), sum(&unnamed.join("\n")));
        let mut text = String::new();
        for line in lines {
            if text.len() + line.len() + 1 + rest.len() > LONGEST {
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(&rest);
        Schema(text.into_boxed_str())
    }
}

/// What a type is made of.
///
/// ```
/// use thalweg_memory::record::{Schema, record};
///
/// #[record(crate = thalweg_memory)]
/// struct Order {
///     id: u64,
///     items: Vec<String>,
/// }
/// let now = Schema::of::<Order>();
/// assert_eq!(now.to_string(), "Order{id: u64, items: Vec<String>}");
///
/// /// The same as it was, beside what it is now.
/// #[record(name = "Order", crate = thalweg_memory)]
/// struct OrderV1 {
///     id: u32,
/// }
/// let changes = Schema::of::<OrderV1>().changes(&now);
/// assert_eq!(changes[0], "field `id` of Order was u32 and is u64");
/// assert_eq!(changes[1], "field `items` of Order is new");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema(Box<str>);

impl Schema {
    /// That of a record.
    #[must_use]
    pub fn of<R: Record>() -> Schema {
        Schema::written(R::describe)
    }

    /// That of a key.
    #[must_use]
    pub fn of_key<K: Key>() -> Schema {
        Schema::written(K::describe)
    }

    /// The one that `describe` takes down.
    #[must_use]
    pub fn written(describe: impl FnOnce(&mut SchemaWriter)) -> Schema {
        let mut writer = SchemaWriter::default();
        describe(&mut writer);
        writer.finish()
    }

    /// The one a copy holds; none where the text is longer than any that is written.
    #[must_use]
    pub fn stored(text: impl Into<String>) -> Option<Schema> {
        let text = text.into();
        (text.len() <= LONGEST).then(|| Schema(text.into_boxed_str()))
    }

    /// The text, as it is kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether record types are part of it.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        self.lines().next().is_some()
    }

    /// The type alone, such as `Vec<Order>`.
    #[must_use]
    pub fn expression(&self) -> String {
        self.shown(self.first())
    }

    /// Whether it is the same but for the names of types.
    #[must_use]
    pub fn has_same_fields(&self, other: &Schema) -> bool {
        let unnamed = |it: &Schema| -> Vec<String> {
            let lines = it.lines().map(|line| without_name(line).to_owned());
            lines.chain([it.first().to_owned()]).collect()
        };
        let rest = |it: &Schema| {
            it.cut()
                .map(|rest| rest.chars().skip(16).collect::<String>())
        };
        unnamed(self) == unnamed(other) && rest(self) == rest(other)
    }

    /// What is different in `now`, in words; nothing if it is the same.
    #[must_use]
    pub fn changes(&self, now: &Schema) -> Vec<String> {
        changes::changes(self, now)
    }

    fn first(&self) -> &str {
        self.0.split('\n').next().unwrap_or_default()
    }

    /// The lines of the record types in it.
    fn lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.0.split('\n').skip(1);
        lines.filter(|line| !line.starts_with(CUT))
    }

    /// The checksums of what was left out.
    fn cut(&self) -> Option<&str> {
        self.0.rsplit('\n').next()?.strip_prefix(CUT)
    }

    /// A piece of the text with names in place of numbers.
    fn shown(&self, piece: &str) -> String {
        let mut parts = piece.split(REFERENCE);
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.find(|it: char| !it.is_ascii_digit());
            let (number, rest) = part.split_at(digits.unwrap_or(part.len()));
            let line = number.parse().ok().and_then(|at| self.lines().nth(at));
            match line {
                Some(line) => shown.push_str(name_of(line)),
                None => shown.push('…'),
            }
            shown.push_str(rest);
        }
        shown
    }
}

/// The type, with the fields of the record types in it.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alone = self.first() == "$0";
        let first = (!alone).then(|| self.expression());
        let lines = self.lines().map(|line| self.shown(line));
        let rest = self.cut().map(|_| "…".to_owned());
        for (at, line) in first.into_iter().chain(lines).chain(rest).enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&line)?;
        }
        if self.0.is_empty() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

/// The name of the type whose line it is.
fn name_of(line: &str) -> &str {
    line.split(['{', '(', '[']).next().unwrap_or_default()
}

/// The line without the name.
fn without_name(line: &str) -> &str {
    &line[name_of(line).len()..]
}

#[cfg(test)]
mod tests;
