//! `project`: some fields of tuples, in any order.

use std::marker::PhantomData;

use thalweg_memory::record::Record;

use crate::stream::{DataStream, Pipe};

impl<T: Record, P: Pipe<Out = T>> DataStream<T, P> {
    /// Keeps the named fields of each tuple, in the order in which they are named.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::{F0, F2};
    ///
    /// let mut harness = TestHarness::<(u64, String, bool), (bool, u64)>::new(|rows| {
    ///     rows.project((F2, F0))
    /// });
    /// harness.push((7, "seven".to_owned(), true));
    /// assert_eq!(harness.output(), [(true, 7)]);
    /// ```
    pub fn project<G>(self, fields: G) -> DataStream<G::Out, impl Pipe<Out = G::Out>>
    where
        G: Projection<T>,
    {
        let types = PhantomData::<fn() -> G>;
        let _ = fields;
        self.map(move |tuple: T| {
            let _ = types;
            G::project(&tuple)
        })
        .name("project")
    }
}

/// A field of a tuple, by its place.
pub trait Field<T> {
    /// The field's type.
    type Value: Record + Clone;
    /// A copy of the field.
    fn of(tuple: &T) -> Self::Value;
}

/// A choice of fields of `T`: a tuple of [`F0`] to [`F7`].
pub trait Projection<T>: 'static {
    /// The tuple of the chosen fields.
    type Out: Record;
    /// The chosen fields of a tuple.
    fn project(tuple: &T) -> Self::Out;
}

/// The first field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F0;

/// The second field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F1;

/// The third field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F2;

/// The fourth field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F3;

/// The fifth field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F4;

/// The sixth field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F5;

/// The seventh field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F6;

/// The eighth field of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct F7;

macro_rules! field {
    ($name:ident $at:tt $type:ident of $($of:ident)+) => {
        impl<$($of),+> Field<($($of,)+)> for $name
        where
            $type: Record + Clone,
        {
            type Value = $type;
            fn of(tuple: &($($of,)+)) -> $type {
                tuple.$at.clone()
            }
        }
    };
}

field!(F0 0 A of A);
field!(F0 0 A of A B);
field!(F1 1 B of A B);
field!(F0 0 A of A B C);
field!(F1 1 B of A B C);
field!(F2 2 C of A B C);
field!(F0 0 A of A B C D);
field!(F1 1 B of A B C D);
field!(F2 2 C of A B C D);
field!(F3 3 D of A B C D);
field!(F0 0 A of A B C D E);
field!(F1 1 B of A B C D E);
field!(F2 2 C of A B C D E);
field!(F3 3 D of A B C D E);
field!(F4 4 E of A B C D E);
field!(F0 0 A of A B C D E F);
field!(F1 1 B of A B C D E F);
field!(F2 2 C of A B C D E F);
field!(F3 3 D of A B C D E F);
field!(F4 4 E of A B C D E F);
field!(F5 5 F of A B C D E F);
field!(F0 0 A of A B C D E F G);
field!(F1 1 B of A B C D E F G);
field!(F2 2 C of A B C D E F G);
field!(F3 3 D of A B C D E F G);
field!(F4 4 E of A B C D E F G);
field!(F5 5 F of A B C D E F G);
field!(F6 6 G of A B C D E F G);
field!(F0 0 A of A B C D E F G H);
field!(F1 1 B of A B C D E F G H);
field!(F2 2 C of A B C D E F G H);
field!(F3 3 D of A B C D E F G H);
field!(F4 4 E of A B C D E F G H);
field!(F5 5 F of A B C D E F G H);
field!(F6 6 G of A B C D E F G H);
field!(F7 7 H of A B C D E F G H);

macro_rules! projections {
    ($($field:ident),+) => {
        impl<T, $($field),+> Projection<T> for ($($field,)+)
        where
            $($field: Field<T> + 'static,)+
            ($($field::Value,)+): Record,
        {
            type Out = ($($field::Value,)+);
            fn project(tuple: &T) -> Self::Out {
                ($($field::of(tuple),)+)
            }
        }
    };
}

projections!(A);
projections!(A, B);
projections!(A, B, C);
projections!(A, B, C, D);
projections!(A, B, C, D, E);
projections!(A, B, C, D, E, F);
projections!(A, B, C, D, E, F, G);
projections!(A, B, C, D, E, F, G, H);
