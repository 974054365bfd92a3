//! Loops with state per key: connected components by the smallest label, shortest ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_connectors::Collects;
use thalweg_dataflow::operator::CoProcessFunction;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::{ListState, ValueState};

use crate::event_time::script::Script;
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// A place and what is known of it: a label, or how far it is.
type Known = (u64, u64);
/// From, to, length.
type Road = (u64, u64, u64);

/// Roads between some places.
fn draw(dice: &mut Dice) -> (u64, Vec<Road>) {
    let places = dice.pick(&[1, 6, 40, 150]);
    let many = dice.below(2 * places);
    let roads = (0..many)
        .map(|_| (dice.below(places), dice.below(places), 1 + dice.below(20)))
        .collect();
    (places, roads)
}

/// The least that becomes known of each place, told step by step to the places it leads to.
fn spread(from: Vec<Known>, roads: &[Road], far: impl Fn(u64, u64) -> u64) -> BTreeMap<u64, u64> {
    let mut known = BTreeMap::new();
    let mut open = from;
    while let Some((place, told)) = open.pop() {
        if known.get(&place).is_some_and(|known| *known <= told) {
            continue;
        }
        known.insert(place, told);
        let leading = roads.iter().filter(|road| road.0 == place);
        open.extend(leading.map(|(_, to, length)| (*to, far(told, *length))));
    }
    known
}

/// The least of all that was told of each place.
fn least(told: Vec<Known>) -> BTreeMap<u64, u64> {
    let mut known = BTreeMap::new();
    for (place, told) in told {
        let least: &mut u64 = known.entry(place).or_insert(told);
        *least = told.min(*least);
    }
    known
}

fn compare(trial: &Trial, told: Vec<Known>, expected: &BTreeMap<u64, u64>) -> Result<(), String> {
    let known = least(told);
    match known == *expected {
        true => Ok(()),
        false => Err(format!(
            "{known:?}, expected {expected:?}\n\ntrial: {trial:?}"
        )),
    }
}

/// Lets through what is less than all that came before of a place.
fn lower(
    open: &mut OpenContext<u64>,
) -> impl FnMut(Known, &ProcessContext<u64>, &mut Collector<'_, Known>) -> Result<(), FunctionError>
+ use<> {
    let mut least: ValueState<u64, u64> = open.value_state("least");
    move |(place, told), _, out| {
        if least.get()?.is_none_or(|known| told < known) {
            least.set(told)?;
            out.emit((place, told));
        }
        Ok(())
    }
}

fn tell(
    roads: Arc<Vec<Road>>,
    lower: DataStream<Known, BoxedPipe<Known>>,
) -> DataStream<Known, BoxedPipe<Known>> {
    let told = lower.flat_map(move |(place, told): Known, out| {
        for (_, to, _) in roads.iter().filter(|road| road.0 == place) {
            out.emit((*to, told));
        }
    });
    told.boxed()
}

fn components(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let (places, mut roads) = draw(&mut dice);
    let back: Vec<Road> = roads
        .iter()
        .map(|(from, to, far)| (*to, *from, *far))
        .collect();
    roads.extend(back);
    let labels: Vec<Known> = (0..places).map(|place| (place, place)).collect();
    let expected = spread(labels.clone(), &roads, |label, _| label);
    let timed: Vec<(Known, i64)> = labels.into_iter().map(|label| (label, 0)).collect();
    let script = Script::draw(&mut dice, &timed, 1 + (trial.seed % 3) as u32, 0);
    let roads = Arc::new(roads);
    let keyed_loop = dice.chance(50);
    let told = trial.run(|environment: &Environment| {
        let labels = environment.source(script);
        if keyed_loop {
            let labels = labels.key_by(|label: &Known| label.0);
            let told = labels.iterate().close_with(|labels| {
                let lower = labels.process(lower).share();
                (tell(roads, lower.stream().boxed()), lower.stream())
            });
            return told.collect();
        }
        let told = labels.iterate().close_with(|labels| {
            let labels = labels.key_by(|label: &Known| label.0);
            let lower = labels.process(lower).share();
            (tell(roads, lower.stream().boxed()), lower.stream())
        });
        told.collect()
    })?;
    compare(trial, told, &expected)
}

#[test]
fn components_equal_the_model_in_simulation() {
    trial::simulate(300, "components_equal_the_model_in_simulation", components);
}

#[test]
fn components_equal_the_model_on_shards() {
    trial::on_shards(40, "components_equal_the_model_on_shards", components);
}

/// A place, how far it is, and whether that is to be told to the place.
type Told = (u64, u64, bool);

/// How far places are, over roads that come as a stream of their own, in any order with the rest.
struct Nearest {
    far: ValueState<u64, u64>,
    roads: ListState<u64, Road>,
}

impl CoProcessFunction<u64, Known, Road, Told> for Nearest {
    fn process_first(
        &mut self,
        (place, far): Known,
        _: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        if self.far.get()?.is_some_and(|known| known <= far) {
            return Ok(());
        }
        self.far.set(far)?;
        out.emit((place, far, false));
        for (_, to, length) in self.roads.get()? {
            out.emit((to, far + length, true));
        }
        Ok(())
    }

    fn process_second(
        &mut self,
        road: Road,
        _: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        if let Some(far) = self.far.get()? {
            out.emit((road.1, far + road.2, true));
        }
        self.roads.add(road)?;
        Ok(())
    }
}

fn ways(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let (places, roads) = draw(&mut dice);
    let start = dice.below(places);
    let expected = spread(vec![(start, 0)], &roads, |far, length| far + length);
    let timed: Vec<(Road, i64)> = roads.iter().map(|road| (*road, 0)).collect();
    let starts = Script::draw(&mut dice, &[((start, 0), 0)], 1, 0);
    let (splits, disorder) = (1 + dice.below(3) as u32, 0);
    let script = Script::draw(&mut dice, &timed, splits, disorder);
    let told = trial.run(|environment: &Environment| {
        let roads = environment.source(script);
        let starts = environment.source(starts);
        let told = starts.iterate().close_with(|known| {
            let known = known.key_by(|known: &Known| known.0);
            let both = known.connect(roads.key_by(|road: &Road| road.0));
            let nearer = both.process(|open: &mut OpenContext<u64>| Nearest {
                far: open.value_state("far"),
                roads: open.list_state("roads"),
            });
            let told = nearer.share();
            let on = told.stream().filter(|told| told.2);
            let known = told.stream().filter(|told| !told.2);
            let known = known.map(|(place, far, _): Told| (place, far));
            (on.map(|(place, far, _): Told| (place, far)), known)
        });
        told.collect()
    })?;
    compare(trial, told, &expected)
}

#[test]
fn ways_over_roads_that_join_the_body_equal_the_model_in_simulation() {
    let test = "ways_over_roads_that_join_the_body_equal_the_model_in_simulation";
    trial::simulate(200, test, ways);
}

#[test]
fn ways_over_roads_that_join_the_body_equal_the_model_on_shards() {
    let test = "ways_over_roads_that_join_the_body_equal_the_model_on_shards";
    trial::on_shards(30, test, ways);
}
