//! The rules the house keeps by itself: `cargo test -p thalweg-tests --test tidy`.
//!
//! Reads the repository as text and holds what neither compiler nor linter can: the order of crates,
//! ceilings, module heads, the list of files with `unsafe`, where files are opened, names, the map; and
//! asks the compiler what it says of wrong programs. One rule is one test, and its message names file,
//! line, rule and how to mend. Beside each rule a test plants a violation and expects it to be found.
//! `tidy/ratchet.txt` lists exceptions and may only shrink.
#![forbid(unsafe_code)]

#[path = "tidy/ceilings.rs"]
mod ceilings;
#[path = "tidy/doors.rs"]
mod doors;
#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/finding.rs"]
mod finding;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/leavings.rs"]
mod leavings;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/map.rs"]
mod map;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/refusals.rs"]
mod refusals;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/unsafe_list.rs"]
mod unsafe_list;

use finding::{Finding, Ratchet};
use house::House;

/// Holds one rule against the repository.
fn hold(rule: &'static str, check: impl Fn(&House) -> Vec<Finding>) {
    let ratchet = Ratchet::parse(include_str!("tidy/ratchet.txt"));
    let report = ratchet.report(rule, check(&House::read()));
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn crates_see_only_the_floors_below() {
    hold(floors::RULE, floors::check);
}

#[test]
fn outside_crates_are_fenced() {
    hold(fences::RULE, fences::check);
}

#[test]
fn files_and_sockets_are_opened_in_few_rooms() {
    hold(doors::RULE, doors::check);
}

#[test]
fn files_keep_under_the_ceiling() {
    hold(ceilings::FILE, ceilings::files);
}

#[test]
fn most_files_are_small() {
    hold(ceilings::MOST, ceilings::most_files);
}

#[test]
fn folders_keep_under_the_ceiling() {
    hold(ceilings::FOLDER, ceilings::folders);
}

#[test]
fn the_function_ceiling_is_on_everywhere() {
    hold(ceilings::FUNCTION, ceilings::functions);
}

#[test]
fn every_file_says_what_it_is() {
    hold(modules::HEAD, modules::heads);
}

#[test]
fn no_file_is_dead() {
    hold(modules::DEAD, modules::dead_files);
}

#[test]
fn unsafe_is_only_in_the_listed_files() {
    hold(unsafe_list::LIST, unsafe_list::listed);
}

#[test]
fn other_crates_forbid_unsafe() {
    hold(unsafe_list::FORBID, unsafe_list::forbidden);
}

#[test]
fn nothing_unfinished_is_left() {
    hold(leavings::UNFINISHED, leavings::unfinished);
}

#[test]
fn no_large_binary_is_kept() {
    hold(leavings::BLOB, leavings::blobs);
}

#[test]
fn the_repository_stands_alone() {
    hold(leavings::ALONE, leavings::foreign);
}

#[test]
fn names_say_something() {
    hold(names::RULE, names::check);
}

#[test]
fn every_example_is_run_and_shown() {
    hold(examples::RULE, examples::check);
}

#[test]
fn the_map_shows_every_folder() {
    hold(map::MAP, map::folders);
}

#[test]
fn the_settings_page_is_the_generated_one() {
    hold(map::SETTINGS, |house| {
        map::settings(house, &thalweg_core::config::reference_markdown())
    });
}

#[test]
fn the_metrics_page_is_the_generated_one() {
    hold(map::METRICS, |house| {
        map::metrics(house, &thalweg_core::metrics::reference_markdown())
    });
}
