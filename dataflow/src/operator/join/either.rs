//! A record of one of two streams, as one type: how two keyed streams become one for a window.
//!
//! Plain data; the streams are put together on the program's thread.

use thalweg_memory::record::{Item, Key, Record, record};

use crate::partition::Select;
use crate::stream::{DataStream, Draft, Exchanged, Grouping, KeyedInput, KeyedStream, Pipe};

/// A record of the first stream or one of the second.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub enum Either<A, B> {
    /// Of the first stream.
    Left(A),
    /// Of the second stream.
    Right(B),
}

impl<A, B> Either<A, B> {
    /// The record of the first stream, if it is one.
    pub fn left(&self) -> Option<&A> {
        match self {
            Self::Left(left) => Some(left),
            Self::Right(_) => None,
        }
    }

    /// The record of the second stream, if it is one.
    pub fn right(&self) -> Option<&B> {
        match self {
            Self::Left(_) => None,
            Self::Right(right) => Some(right),
        }
    }
}

/// Reads the key of whichever record it is.
#[derive(Clone)]
pub struct SelectEither<S, R> {
    left: S,
    right: R,
}

impl<K, A, B, S, R> Select<Either<A, B>, K> for SelectEither<S, R>
where
    K: Item,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    #[inline(always)]
    fn select<'b>(&self, item: &'b Either<A, B>) -> K::Of<'b> {
        match item {
            Either::Left(left) => self.left.select(left),
            Either::Right(right) => self.right.select(right),
        }
    }
}

/// Two keyed streams as one, grouped by the same keys.
pub type EitherStream<K, A, B, S, R> = KeyedStream<K, Either<A, B>, SelectEither<S, R>, Exchanged>;

/// Puts two keyed streams together. Each becomes one of [`Either`] in the chain before its exchange,
/// so the two meet in the operator that reads them and nowhere before.
pub(super) fn either<K, A, B, S, R, P, Q>(
    left: KeyedStream<K, A, S, Grouping<A, P>>,
    right: KeyedStream<K, B, R, Grouping<B, Q>>,
) -> EitherStream<K, A, B, S, R>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
    P: Pipe<Out = A>,
    Q: Pipe<Out = B>,
{
    let selector = SelectEither {
        left: left.selector,
        right: right.selector,
    };
    let left_rows = left.input.0.map(Either::Left).name("left");
    let right_rows = right.input.0.map(Either::Right).name("right");
    let left = exchanged::<K, _, _, _>(left_rows, &selector, left.parallelism);
    let right = exchanged::<K, _, _, _>(right_rows, &selector, right.parallelism);
    let both = Draft::begin(left.graph());
    left.absorb_into(&both, 0);
    right.absorb_into(&both, 0);
    KeyedStream::new(Exchanged(both), selector)
}

fn exchanged<K, T, S, P>(rows: DataStream<T, P>, selector: &S, parallelism: Option<u32>) -> Draft
where
    K: Key,
    T: Record,
    S: Select<T, K>,
    P: Pipe<Out = T>,
{
    let Exchanged(draft) = KeyedInput::<K, T, S>::exchange(Grouping(rows), selector);
    if let Some(parallelism) = parallelism {
        draft.set_parallelism(parallelism);
    }
    draft
}
