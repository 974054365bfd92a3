//! Loops of heads and bodies over queues, in random order: they end, and never with a record on its way.

use super::super::laps::LapCombiner;
use super::*;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    /// A record that goes around so many times more.
    Record(u32),
    Lap(Lap),
    Last,
    Vote(Lap),
    End,
}

/// A queue from one to another.
struct Line {
    from: usize,
    to: usize,
    sent: VecDeque<Sent>,
}

struct Head {
    rest: Rest,
    /// Records that have not come from outside yet, with how often each goes around.
    outside: Vec<u32>,
    last_sent: bool,
}

struct Body {
    laps: LapCombiner,
    /// Records that the last watermark sets free.
    held: usize,
}

/// As many heads as bodies.
struct World {
    dice: Dice,
    heads: Vec<Head>,
    bodies: Vec<Body>,
    /// Into the bodies, back to the heads, between heads.
    into: Vec<Line>,
    back: Vec<Line>,
    votes: Vec<Line>,
}

fn lines(many: usize, joined: impl Fn(usize, usize) -> bool) -> Vec<Line> {
    let all = (0..many).flat_map(|from| (0..many).map(move |to| (from, to)));
    all.filter(|(from, to)| joined(*from, *to))
        .map(|(from, to)| Line {
            from,
            to,
            sent: VecDeque::new(),
        })
        .collect()
}

fn channels(lines: &[Line], to: usize) -> Vec<ChannelId> {
    let places = lines.iter().enumerate();
    let leading = places.filter(|(_, line)| line.to == to);
    leading.map(|(place, _)| ChannelId(place as u32)).collect()
}

impl World {
    fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let many = 1 + dice.below(4);
        // Each to its own, each to all, each to its own and the next.
        let shapes = [dice.below(3), dice.below(3)];
        let joined = |shape: usize| {
            move |from: usize, to: usize| match shape {
                0 => from == to,
                1 => true,
                _ => to == from || to == (from + 1) % many,
            }
        };
        let (into, back) = (
            lines(many, joined(shapes[0])),
            lines(many, joined(shapes[1])),
        );
        let votes = lines(many, |_, _| true);
        let heads = (0..many)
            .map(|head| Head {
                rest: Rest::new(channels(&back, head), channels(&votes, head)),
                outside: (0..dice.below(6)).map(|_| dice.below(7) as u32).collect(),
                last_sent: false,
            })
            .collect();
        let bodies = (0..many)
            .map(|body| Body {
                laps: LapCombiner::new(channels(&into, body)),
                held: dice.below(3),
            })
            .collect();
        Self {
            dice,
            heads,
            bodies,
            into,
            back,
            votes,
        }
    }

    fn records_on_their_way(&self) -> usize {
        let lines = self.into.iter().chain(&self.back);
        let sent = lines.flat_map(|line| &line.sent);
        sent.filter(|sent| matches!(sent, Sent::Record(_))).count()
    }

    fn send(lines: &mut [Line], from: usize, sent: Sent) {
        for line in lines.iter_mut().filter(|line| line.from == from) {
            line.sent.push_back(sent);
        }
    }

    /// Sends a record to one of those it may go to.
    fn route(dice: &mut Dice, lines: &mut [Line], from: usize, rounds: u32) {
        let open: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].from == from)
            .collect();
        let at = open[dice.below(open.len())];
        lines[at].sent.push_back(Sent::Record(rounds));
    }

    fn step_head(&mut self, at: usize) {
        while let Some(step) = self.heads[at].rest.next() {
            let lap = |number, quiet| Lap {
                iteration: 0,
                number,
                quiet,
            };
            match step {
                Step::Lap(number) => {
                    Self::send(&mut self.into, at, Sent::Lap(lap(number, false)));
                }
                Step::Vote(number, quiet) => {
                    Self::send(&mut self.votes, at, Sent::Vote(lap(number, quiet)));
                }
                Step::LastWatermark => {
                    if self.heads.iter().all(|head| !head.last_sent) {
                        assert_eq!(self.records_on_their_way(), 0, "the last promise is kept");
                    }
                    assert!(!std::mem::replace(&mut self.heads[at].last_sent, true));
                    Self::send(&mut self.into, at, Sent::Last);
                }
                Step::End => {
                    assert!(self.heads[at].last_sent);
                    assert_eq!(self.records_on_their_way(), 0, "nothing is left behind");
                    assert!(self.heads.iter().all(|head| head.outside.is_empty()));
                    Self::send(&mut self.votes, at, Sent::End);
                }
            }
        }
    }

    fn read_outside(&mut self, at: usize) {
        match self.heads[at].outside.pop() {
            Some(rounds) => Self::route(&mut self.dice, &mut self.into, at, rounds),
            None => self.heads[at].rest.outside_ended(),
        }
    }

    fn read_into(&mut self, place: usize) {
        let line = &mut self.into[place];
        let (body, channel) = (line.to, ChannelId(place as u32));
        match line.sent.pop_front() {
            Some(Sent::Record(rounds)) => match self.dice.below(8) {
                0 => {}
                1 => (0..2).for_each(|_| {
                    Self::route(&mut self.dice, &mut self.back, body, rounds / 2);
                }),
                _ => Self::route(&mut self.dice, &mut self.back, body, rounds),
            },
            Some(Sent::Lap(lap)) => {
                if let Some(lap) = self.bodies[body].laps.update(channel, lap) {
                    Self::send(&mut self.back, body, Sent::Lap(lap));
                }
            }
            Some(Sent::Last) => {
                for _ in 0..std::mem::take(&mut self.bodies[body].held) {
                    Self::route(&mut self.dice, &mut self.back, body, 3);
                }
            }
            other => assert_eq!(other, None),
        }
    }

    fn read_back(&mut self, place: usize) {
        let line = &mut self.back[place];
        let (head, channel) = (line.to, ChannelId(place as u32));
        match line.sent.pop_front() {
            Some(Sent::Record(rounds)) => {
                assert!(!self.heads[head].rest.is_over());
                self.heads[head].rest.stir();
                if let Some(rounds) = rounds.checked_sub(1) {
                    Self::route(&mut self.dice, &mut self.into, head, rounds);
                }
            }
            Some(Sent::Lap(lap)) => self.heads[head].rest.back(channel, lap),
            other => assert_eq!(other, None),
        }
        self.step_head(head);
    }

    fn read_votes(&mut self, place: usize) {
        let line = &mut self.votes[place];
        let (head, channel) = (line.to, ChannelId(place as u32));
        match line.sent.pop_front() {
            Some(Sent::Vote(lap)) => self.heads[head].rest.vote(channel, lap),
            Some(Sent::End) => self.heads[head].rest.peer_ended(channel),
            other => assert_eq!(other, None),
        }
        self.step_head(head);
    }

    /// Does something somewhere.
    fn step(&mut self) {
        match self.dice.below(4) {
            0 => {
                let head = self.dice.below(self.heads.len());
                self.read_outside(head);
                self.step_head(head);
            }
            1 => {
                let place = self.dice.below(self.into.len());
                self.read_into(place);
            }
            2 => {
                let place = self.dice.below(self.back.len());
                self.read_back(place);
            }
            _ => {
                let place = self.dice.below(self.votes.len());
                self.read_votes(place);
            }
        }
    }
}

#[test]
fn a_loop_ends_when_nothing_is_on_its_way_and_not_before() {
    for seed in 0..3_000 {
        let mut world = World::draw(seed);
        let mut steps = 0;
        while !world.heads.iter().all(|head| head.rest.is_over()) {
            world.step();
            steps += 1;
            assert!(steps < 1_000_000, "seed {seed}: the loop does not end");
        }
    }
}

#[test]
fn a_loop_that_is_given_up_sends_the_last_watermark_once() {
    let mut rest = Rest::new(vec![ChannelId(0)], vec![ChannelId(1)]);
    assert!(rest.give_up().is_empty(), "more may come from outside");
    rest.outside_ended();
    assert_eq!(rest.next(), Some(Step::Lap(1)));
    assert_eq!(rest.next(), None, "the lap never comes back");
    assert_eq!(rest.give_up(), [Step::LastWatermark, Step::End]);
    assert!(rest.is_over());
    assert!(rest.give_up().is_empty());
    assert_eq!(rest.next(), None);
}
