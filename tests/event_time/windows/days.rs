//! Days of time zones whose clocks are put forward and back, against the model.

use super::model::{Case, Kind};
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
    let case = draw(&mut trial.dice.clone());
    super::compare(trial, case)
}

#[test]
fn days_are_the_models_in_simulation() {
    trial::simulate(300, "days_are_the_models_in_simulation", days);
}

#[test]
fn days_are_the_models_on_shards() {
    trial::on_shards(200, "days_are_the_models_on_shards", days);
}
