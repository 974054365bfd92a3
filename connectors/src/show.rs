//! How values look to a person: one line, strings without quotes, tuples as `(a,b)`.
//!
//! Used by the sinks that write text. A type of its own implements [`Show`] in a few lines, or its
//! stream is printed with `print_debug` or `print_with`. No state; any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A value that can be written as text for people.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how it is shown",
    note = "implement `thalweg_connectors::Show` for it, or use the `_debug` or `_with` form of the method"
)]
pub trait Show {
    /// Appends the value to `out`.
    fn show(&self, out: &mut String);
}

macro_rules! show_as {
    ($form:literal: $($type:ty),*) => {$(
        impl Show for $type {
            fn show(&self, out: &mut String) {
                let written = write!(out, $form, self);
                debug_assert!(written.is_ok(), "a string takes everything");
            }
        }
    )*};
}

show_as!("{}": u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool);
// The debug form tells 1.0 from 1.
show_as!("{:?}": f32, f64);

impl Show for str {
    fn show(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl Show for String {
    fn show(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl Show for char {
    fn show(&self, out: &mut String) {
        out.push(*self);
    }
}

impl Show for () {
    fn show(&self, out: &mut String) {
        out.push_str("()");
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self, out: &mut String) {
        (**self).show(out);
    }
}

impl<T: Show + ?Sized> Show for Box<T> {
    fn show(&self, out: &mut String) {
        (**self).show(out);
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self, out: &mut String) {
        match self {
            None => out.push_str("None"),
            Some(value) => {
                out.push_str("Some(");
                value.show(out);
                out.push(')');
            }
        }
    }
}

impl<T: Show, E: Show> Show for Result<T, E> {
    fn show(&self, out: &mut String) {
        match self {
            Ok(value) => {
                out.push_str("Ok(");
                value.show(out);
            }
            Err(error) => {
                out.push_str("Err(");
                error.show(out);
            }
        }
        out.push(')');
    }
}

fn show_all<'a, T: Show + 'a>(items: impl IntoIterator<Item = &'a T>, out: &mut String) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        item.show(out);
    }
}

impl<T: Show> Show for [T] {
    fn show(&self, out: &mut String) {
        out.push('[');
        show_all(self, out);
        out.push(']');
    }
}

impl<T: Show, const N: usize> Show for [T; N] {
    fn show(&self, out: &mut String) {
        self.as_slice().show(out);
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self, out: &mut String) {
        self.as_slice().show(out);
    }
}

impl<T: Show> Show for BTreeSet<T> {
    fn show(&self, out: &mut String) {
        out.push('{');
        show_all(self, out);
        out.push('}');
    }
}

impl<K: Show, V: Show> Show for BTreeMap<K, V> {
    fn show(&self, out: &mut String) {
        out.push('{');
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            key.show(out);
            out.push('=');
            value.show(out);
        }
        out.push('}');
    }
}

macro_rules! show_tuple {
    ($first:ident $(, $rest:ident)*) => {
        impl<$first: Show $(, $rest: Show)*> Show for ($first, $($rest,)*) {
            fn show(&self, out: &mut String) {
                #[allow(non_snake_case, reason = "the type's name serves for its value")]
                let ($first, $($rest,)*) = self;
                out.push('(');
                $first.show(out);
                $(
                    out.push(',');
                    $rest.show(out);
                )*
                out.push(')');
            }
        }
    };
}

show_tuple!(A);
show_tuple!(A, B);
show_tuple!(A, B, C);
show_tuple!(A, B, C, D);
show_tuple!(A, B, C, D, E);
show_tuple!(A, B, C, D, E, F);
show_tuple!(A, B, C, D, E, F, G);
show_tuple!(A, B, C, D, E, F, G, H);
show_tuple!(A, B, C, D, E, F, G, H, I);
show_tuple!(A, B, C, D, E, F, G, H, I, J);
show_tuple!(A, B, C, D, E, F, G, H, I, J, K);
show_tuple!(A, B, C, D, E, F, G, H, I, J, K, L);

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: impl Show) -> String {
        let mut out = String::new();
        value.show(&mut out);
        out
    }

    #[test]
    fn values_are_shown_on_one_line_without_quotes() {
        assert_eq!(shown(("word".to_owned(), 3_u64)), "(word,3)");
        assert_eq!(shown(("lent", -1_i8, 'x', true)), "(lent,-1,x,true)");
        assert_eq!(shown(((1_u8,), ())), "((1),())");
        assert_eq!(shown(1.0_f64), "1.0");
        assert_eq!(shown(vec![Some(1_u32), None]), "[Some(1),None]");
        assert_eq!(shown(Ok::<u8, String>(1)), "Ok(1)");
        assert_eq!(shown(Err::<u8, &str>("late")), "Err(late)");
        assert_eq!(shown(BTreeMap::from([("a", 1), ("b", 2)])), "{a=1,b=2}");
        assert_eq!(shown([Box::new("x"), Box::new("y")]), "[x,y]");
        assert_eq!(shown(BTreeSet::from([2, 1])), "{1,2}");
    }
}
