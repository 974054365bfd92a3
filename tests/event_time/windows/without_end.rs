//! Windows whose ends the records say, or that have none: sessions and global ones, against the model.

use super::model::{Case, Kind};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

fn draw(dice: &mut Dice, wanted: impl Fn(Kind) -> bool) -> Case {
    loop {
        let case = super::draw(dice);
        if wanted(case.kind) {
            return case;
        }
    }
}

fn sessions(trial: &mut Trial) -> Result<(), String> {
    let wanted = |kind| matches!(kind, Kind::Session { .. } | Kind::DynamicSession);
    let case = draw(&mut trial.dice.clone(), wanted);
    super::compare(trial, case)
}

fn global(trial: &mut Trial) -> Result<(), String> {
    let case = draw(&mut trial.dice.clone(), |kind| matches!(kind, Kind::Global));
    super::compare(trial, case)
}

#[test]
fn sessions_are_the_models_in_simulation() {
    trial::simulate(300, "sessions_are_the_models_in_simulation", sessions);
}

#[test]
fn sessions_are_the_models_on_shards() {
    trial::on_shards(200, "sessions_are_the_models_on_shards", sessions);
}

#[test]
fn global_windows_are_the_models_in_simulation() {
    trial::simulate(200, "global_windows_are_the_models_in_simulation", global);
}

#[test]
fn global_windows_are_the_models_on_shards() {
    trial::on_shards(200, "global_windows_are_the_models_on_shards", global);
}
