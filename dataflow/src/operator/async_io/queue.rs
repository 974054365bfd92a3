//! Requests under way, in the order of their records, and what stands between them.
//!
//! Invariant: nothing behind a mark or event comes out before it, and it comes out only when
//! everything before it has. Ordered, results come out in the order of their records; unordered, in
//! the order in which they arrived.

use std::collections::VecDeque;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::Mark;
use thalweg_network::Event;

/// Names a request: its place in the order of all.
pub(super) type RequestId = u64;

/// What stands in line.
enum Place<U> {
    /// A request without an answer.
    Waiting,
    /// The results of a request, not given out yet.
    Answered(std::vec::IntoIter<U>, Timestamp),
    /// A request whose results are all out.
    Gone,
    /// A mark, in order with the records.
    Mark(Mark),
    /// A barrier.
    Event(Event),
}

/// What comes out next.
pub(super) enum Output<U> {
    /// A result with its event time.
    Result(U, Timestamp),
    /// A mark.
    Mark(Mark),
    /// A barrier.
    Event(Event),
}

/// The line of one subtask.
pub(super) struct Queue<U> {
    ordered: bool,
    line: VecDeque<Place<U>>,
    /// The id of the first place in line.
    first: RequestId,
    /// Answered requests before the first fence, in the order of their answers. Unordered only.
    arrived: VecDeque<RequestId>,
    under_way: usize,
}

impl<U> Queue<U> {
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            line: VecDeque::new(),
            first: 0,
            arrived: VecDeque::new(),
            under_way: 0,
        }
    }

    /// Requests without an answer, or with results that are not out yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether nothing stands in line.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// A new request takes its place.
    pub(super) fn request(&mut self) -> RequestId {
        self.under_way += 1;
        self.line.push_back(Place::Waiting);
        self.first + self.line.len() as u64 - 1
    }

    /// A mark takes its place.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.line.push_back(Place::Mark(mark));
    }

    /// A barrier takes its place.
    pub(super) fn event(&mut self, event: Event) {
        self.line.push_back(Place::Event(event));
    }

    /// The answer of a request has come.
    pub(super) fn answer(&mut self, request: RequestId, results: Vec<U>, at: Timestamp) {
        debug_assert!(request >= self.first, "a request is answered once");
        let place = &mut self.line[(request - self.first) as usize];
        debug_assert!(
            matches!(place, Place::Waiting),
            "a request is answered once"
        );
        *place = Place::Answered(results.into_iter(), at);
        if !self.ordered {
            self.arrived.push_back(request);
        }
    }

    /// What comes out next, if anything may.
    pub(super) fn next(&mut self) -> Option<Output<U>> {
        loop {
            match self.line.front_mut()? {
                Place::Gone => self.pop(),
                Place::Mark(mark) => {
                    let mark = *mark;
                    self.pop();
                    return Some(Output::Mark(mark));
                }
                Place::Event(event) => {
                    let event = *event;
                    self.pop();
                    return Some(Output::Event(event));
                }
                Place::Answered(results, at) if self.ordered => match results.next() {
                    Some(result) => return Some(Output::Result(result, *at)),
                    None => self.gone(self.first),
                },
                Place::Waiting if self.ordered => return None,
                Place::Waiting | Place::Answered(..) => return self.next_arrived(),
            }
        }
    }

    /// The next result of those that arrived before the first fence.
    fn next_arrived(&mut self) -> Option<Output<U>> {
        let fence = self
            .line
            .iter()
            .position(|place| matches!(place, Place::Mark(_) | Place::Event(_)));
        let end = self.first + fence.unwrap_or(self.line.len()) as u64;
        let mut at = 0;
        while let Some(&request) = self.arrived.get(at) {
            if request >= end {
                at += 1;
                continue;
            }
            if let Place::Answered(results, time) = &mut self.line[(request - self.first) as usize]
                && let Some(result) = results.next()
            {
                return Some(Output::Result(result, *time));
            }
            self.arrived.remove(at);
            self.gone(request);
        }
        // Everything that arrived is out; if that emptied the front, what stands behind may follow.
        match self.line.front() {
            Some(Place::Waiting) | None => None,
            Some(_) => self.next(),
        }
    }

    fn gone(&mut self, request: RequestId) {
        self.line[(request - self.first) as usize] = Place::Gone;
        self.under_way -= 1;
    }

    fn pop(&mut self) {
        self.line.pop_front();
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use thalweg_core::event_time::Watermark;

    #[derive(Clone, Debug)]
    enum Act {
        Request,
        Mark,
        Answer(usize, usize),
        Take(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => Just(Act::Request),
            1 => Just(Act::Mark),
            3 => (any::<usize>(), 0_usize..3).prop_map(|(which, count)| Act::Answer(which, count)),
            2 => (1_usize..4).prop_map(Act::Take),
        ];
        proptest::collection::vec(act, 0..60)
    }

    /// What went in: requests by number with the stretch between marks they stand in.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(RequestId, u64, i64)>,
        expected: Vec<(u64, i64)>,
        out: Vec<(u64, i64)>,
        marks: i64,
        marks_out: i64,
        requests: u64,
    }

    fn take(queue: &mut Queue<(u64, i64)>, model: &mut Model) -> Result<bool, TestCaseError> {
        match queue.next() {
            Some(Output::Result(result, _)) => {
                prop_assert_eq!(
                    result.1,
                    model.marks_out,
                    "a result on the wrong side of a mark"
                );
                model.out.push(result);
            }
            Some(Output::Mark(Mark::Watermark(Watermark(at)))) => {
                prop_assert_eq!(at.0, model.marks_out);
                model.marks_out += 1;
            }
            Some(_) => prop_assert!(false, "nothing else went in"),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn play(ordered: bool, acts: Vec<Act>) -> Result<(), TestCaseError> {
        let mut queue = Queue::new(ordered);
        let mut model = Model::default();
        let answer = |queue: &mut Queue<_>, model: &mut Model, which: usize, count: usize| {
            if model.waiting.is_empty() {
                return;
            }
            let (id, number, stretch) = model.waiting.remove(which % model.waiting.len());
            let results = vec![(number, stretch); count];
            model.expected.extend(&results);
            queue.answer(id, results, Timestamp::NONE);
        };
        for act in acts {
            match act {
                Act::Request => {
                    let id = queue.request();
                    model.waiting.push((id, model.requests, model.marks));
                    model.requests += 1;
                }
                Act::Mark => {
                    queue.mark(Mark::Watermark(Watermark(Timestamp(model.marks))));
                    model.marks += 1;
                }
                Act::Answer(which, count) => answer(&mut queue, &mut model, which, count),
                Act::Take(count) => {
                    for _ in 0..count {
                        take(&mut queue, &mut model)?;
                    }
                }
            }
        }
        while !model.waiting.is_empty() {
            answer(&mut queue, &mut model, 0, 1);
        }
        while take(&mut queue, &mut model)? {}
        prop_assert!(queue.is_empty());
        prop_assert_eq!(queue.under_way(), 0);
        prop_assert_eq!(model.marks_out, model.marks);
        if ordered {
            prop_assert!(model.out.is_sorted());
        }
        model.out.sort_unstable();
        model.expected.sort_unstable();
        prop_assert_eq!(model.out, model.expected);
        Ok(())
    }

    proptest! {
        #[test]
        fn results_stay_between_their_marks(acts in acts(), ordered: bool) {
            play(ordered, acts)?;
        }
    }
}
