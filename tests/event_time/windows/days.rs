//! Days of time zones whose clocks are put forward and back, against the model.

use thalweg_connectors::Collects;

use super::model::{Case, Kind};
use super::{emitted, expected, program};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

fn draw(dice: &mut Dice) -> Case {
    loop {
        let case = super::draw(dice);
        if matches!(case.kind, Kind::Day(_)) {
            return case;
        }
    }
}

fn days(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let case = draw(&mut trial.dice.clone());
    let compared = trial.compare(expected(&case), |environment| {
        program(&case, emitted(&case), environment).collect()
    });
    compared.map_err(|difference| format!("{difference}\n\ncase: {case:?}"))
}

#[test]
fn days_are_the_models_in_simulation() {
    trial::simulate(300, "days_are_the_models_in_simulation", days);
}

#[test]
fn days_are_the_models_on_shards() {
    trial::on_shards(40, "days_are_the_models_on_shards", days);
}
