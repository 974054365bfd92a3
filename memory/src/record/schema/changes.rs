//! What is different between two schemas, in words.
//!
//! Entered when a copy is refused. Texts may come from outside: whatever they say, there is an answer, and it is
//! short. Pure functions, on any thread.

use super::Schema;

/// So many changes are told at most.
const MOST: usize = 8;

/// The line of a record type, taken apart.
struct Line {
    name: String,
    /// What its fields or variants stand in: braces, parentheses or brackets.
    form: char,
    /// Fields or variants in order: what each is called, and the rest of it.
    parts: Vec<(String, String)>,
}

impl Line {
    fn of(schema: &Schema, line: &str) -> Option<Line> {
        let at = line.find(['{', '(', '['])?;
        let form = line[at..].chars().next()?;
        let close = match form {
            '{' => '}',
            '(' => ')',
            _ => ']',
        };
        let inside = line[at + 1..].strip_suffix(close)?;
        let between = if form == '[' { " | " } else { ", " };
        let parts = split(inside, between).into_iter().enumerate();
        let parts = parts.map(|(number, part)| {
            let (label, rest) = match form {
                '{' => part.split_once(": ").unwrap_or((part, "")),
                '[' => part.split_at(part.find(['{', '(', '=', ' ']).unwrap_or(part.len())),
                _ => return (number.to_string(), schema.shown(part)),
            };
            (label.to_owned(), schema.shown(rest))
        });
        Some(Line {
            name: line[..at].to_owned(),
            form,
            parts: parts.collect(),
        })
    }

    /// What its parts are.
    fn kind(&self) -> &'static str {
        if self.form == '[' { "variant" } else { "field" }
    }

    fn part(&self, label: &str) -> Option<&str> {
        let mut parts = self.parts.iter();
        let found = parts.find(|(other, _)| other == label);
        found.map(|(_, rest)| rest.as_str())
    }

    /// The parts that `other` has too, in order.
    fn shared(&self, other: &Line) -> Vec<&str> {
        let labels = self.parts.iter().map(|(label, _)| label.as_str());
        labels.filter(|label| other.part(label).is_some()).collect()
    }
}

/// The pieces of a text between separators that stand in no brackets.
fn split<'t>(text: &'t str, between: &str) -> Vec<&'t str> {
    let (mut pieces, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, sign) in text.char_indices() {
        match sign {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' | '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 && at >= from && text[at..].starts_with(between) => {
                pieces.push(&text[from..at]);
                from = at + between.len();
            }
            _ => {}
        }
    }
    if !text.is_empty() {
        pieces.push(&text[from..]);
    }
    pieces
}

/// See [`Schema::changes`].
pub(super) fn changes(old: &Schema, now: &Schema) -> Vec<String> {
    if old == now {
        return Vec::new();
    }
    let mut told = Vec::new();
    let (was, is) = (old.expression(), now.expression());
    if was != is {
        told.push(format!("{was} has become {is}"));
    }
    let lines = |schema: &Schema| -> Vec<Line> {
        let lines = schema.lines().filter_map(|line| Line::of(schema, line));
        lines.collect()
    };
    let mut left = lines(now);
    for (at, line) in lines(old).into_iter().enumerate() {
        // Types that are called the same are taken to be the same in their order; the first is it in any case, if only
        // its name has changed.
        let same = left.iter().position(|other| other.name == line.name);
        let first = || (at == 0 && !left.is_empty()).then_some(0);
        if let Some(place) = same.or_else(first) {
            of_line(&line, &left.remove(place), &mut told);
        }
    }
    if told.is_empty() {
        told.push("what has changed lies too deep in it to be told".to_owned());
    }
    if told.len() > MOST {
        let more = told.len() - MOST;
        told.truncate(MOST);
        told.push(format!("and {more} more"));
    }
    told
}

fn of_line(old: &Line, now: &Line, told: &mut Vec<String>) {
    let (name, kind) = (&old.name, old.kind());
    if old.kind() != now.kind() {
        told.push(format!("{name} had {kind}s and has {}s", now.kind()));
        return;
    }
    for (label, was) in &old.parts {
        match now.part(label) {
            None => told.push(format!("{kind} `{label}` of {name} is gone")),
            Some(is) if is != was => told.push(match kind {
                "field" => format!("field `{label}` of {name} was {was} and is {is}"),
                _ => format!("variant `{label}` of {name} was {label}{was} and is {label}{is}"),
            }),
            Some(_) => {}
        }
    }
    for (label, _) in &now.parts {
        if old.part(label).is_none() {
            told.push(format!("{kind} `{label}` of {name} is new"));
        }
    }
    let (was, is) = (old.shared(now), now.shared(old));
    if was != is {
        let (was, is) = (was.join(", "), is.join(", "));
        told.push(format!(
            "the {kind}s of {name} have changed places: {was} before, {is} now"
        ));
    }
}
