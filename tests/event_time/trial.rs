//! One run of a program: settings drawn from a seed, in simulation or on the shards of this process.

use std::fmt::Debug;

use thalweg_connectors::Collected;
use thalweg_core::config::RuntimeMode;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::Environment;

use crate::random_graphs::dice::Dice;
use crate::random_graphs::every;
use crate::stage;

/// Says how many seeds a test on shards is run with at most.
pub(crate) const MOST_SEEDS: &str = "THALWEG_MOST_SEEDS_ON_SHARDS";

/// Runs a program of every seed in simulation and compares, `seeds` of them.
pub(crate) fn simulate(seeds: u64, test: &str, run: impl Fn(&mut Trial) -> Result<(), String>) {
    every(seeds, test, |seed| run(&mut Trial::simulated(seed)));
}

/// The same on the shards of this process; fewer seeds where the caller's environment says so.
pub(crate) fn on_shards(seeds: u64, test: &str, run: impl Fn(&mut Trial) -> Result<(), String>) {
    let most = std::env::var(MOST_SEEDS);
    let most = most.ok().and_then(|most| most.parse().ok());
    let seeds = seeds.min(most.unwrap_or(u64::MAX));
    every(seeds, test, |seed| run(&mut Trial::draw(seed)));
}

/// Whether tests run with as many seeds as they say, so that what they find can be counted.
pub(crate) fn runs_all_seeds() -> bool {
    let fewer = ["THALWEG_SEED", "THALWEG_SEEDS", MOST_SEEDS];
    !fewer.iter().any(|name| std::env::var_os(name).is_some())
}

/// The least memory that is tried, and the most, kB.
const LEAST: u64 = 1 << 10;
const MOST: u64 = 256 << 10;

/// How much memory a program has for its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Enough,
    /// As little as it can do with, the rest of the state being on disk.
    Little,
}

/// Whether the error of a run says that memory is too little.
fn lacks_memory(error: &str) -> bool {
    let message = error.split("\n\ntrial:").next();
    message.is_some_and(|message| message.contains("raise taskmanager.memory.managed.size"))
}

/// Settings, and the dice for the rest.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) seed: u64,
    pub(crate) dice: Dice,
    pub(crate) parallelism: u32,
    pub(crate) batch: bool,
    simulated: bool,
    settings: Vec<(&'static str, String)>,
    turn_budget_us: u64,
}

impl Trial {
    fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let hard = seed % 4 == 3;
        let parallelism = if hard { 8 } else { 1 + dice.below(8) as u32 };
        let turn_budget_us = dice.pick(&[1, 20, 200]);
        let segment = dice.pick(&["512b", "512b", "1kb", "32kb"]);
        let exclusive = if hard { 1 } else { dice.pick(&[1, 2, 4]) };
        let floating = if hard { 0 } else { dice.pick(&[0, 1, 8]) };
        let settings = vec![
            ("parallelism.default", parallelism.to_string()),
            ("thalweg.shard.count", (1 + dice.below(3)).to_string()),
            (
                "taskmanager.memory.segment-size",
                if hard { "512b" } else { segment }.to_owned(),
            ),
            (
                "taskmanager.network.memory.buffers-per-channel",
                exclusive.to_string(),
            ),
            (
                "taskmanager.network.memory.floating-buffers-per-gate",
                floating.to_string(),
            ),
            ("thalweg.shard.turn-budget", format!("{turn_budget_us}us")),
        ];
        Self {
            seed,
            parallelism,
            batch: dice.chance(20),
            simulated: false,
            settings,
            turn_budget_us,
            dice,
        }
    }

    /// All but where it runs drawn anew, from another seed, and this parallelism.
    pub(crate) fn again(&self, seed: u64, parallelism: u32) -> Self {
        let mut next = Self::draw(seed);
        next.simulated = self.simulated;
        next.parallelism = parallelism;
        next.set("parallelism.default", parallelism);
        next
    }

    /// Settings for a run in simulation.
    pub(crate) fn simulated(seed: u64) -> Self {
        let mut trial = Self::draw(seed);
        trial.simulated = true;
        trial
    }

    /// Runs the program that `build` writes and compares what it gathers, in any order, with what is
    /// expected.
    pub(crate) fn compare<T: Ord + Debug>(
        &self,
        mut expected: Vec<T>,
        build: impl FnOnce(&Environment) -> Collected<T>,
    ) -> Result<(), String> {
        let mut gathered = self.run(build)?;
        gathered.sort();
        expected.sort();
        if gathered == expected {
            return Ok(());
        }
        let first = (gathered.iter().zip(&expected)).find(|(got, wanted)| got != wanted);
        Err(format!(
            "{} results, expected {}; sorted, the first that differs and what was expected: \
             {first:?}\n\ntrial: {self:?}",
            gathered.len(),
            expected.len()
        ))
    }

    /// Runs it in so much memory. Answers what it gathers, and whether memory was too little to do without a disk.
    pub(crate) fn run_in<T>(
        &self,
        memory: Memory,
        build: impl Fn(&Environment) -> Collected<T>,
    ) -> Result<(Vec<T>, bool), String> {
        if memory == Memory::Enough {
            return Ok((self.run(build)?, false));
        }
        let run = |backend: &str, kb: u64| {
            let mut trial = self.clone();
            // As a batch, watermarks before the end are not given out.
            trial.batch = false;
            trial.set("state.backend.type", backend);
            trial.set("taskmanager.memory.managed.size", format!("{kb}kb"));
            trial.run(&build)
        };
        let mut kb = LEAST;
        let gathered = loop {
            match run("lsm", kb) {
                Ok(gathered) => break gathered,
                Err(error) if lacks_memory(&error) && kb < MOST => kb += kb / 2,
                Err(error) => return Err(error),
            }
        };
        match run("hashmap", kb) {
            Ok(_) => Ok((gathered, false)),
            Err(error) if lacks_memory(&error) => Ok((gathered, true)),
            Err(error) => Err(error),
        }
    }

    /// Changes a setting.
    pub(crate) fn set(&mut self, key: &'static str, value: impl ToString) {
        self.settings.push((key, value.to_string()));
    }

    /// Runs the program that `build` writes; answers what it gathers.
    pub(crate) fn run<T>(
        &self,
        build: impl FnOnce(&Environment) -> Collected<T>,
    ) -> Result<Vec<T>, String> {
        let settings: Vec<_> = (self.settings.iter())
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let (environment, token) = if self.simulated {
            let options = SimOptions {
                turn_budget_ns: self.turn_budget_us * 1000,
                ..SimOptions::default()
            };
            (stage::simulation(self.seed, options, &settings).0, None)
        } else {
            let (environment, token) = stage::shards(&settings);
            (environment, Some(token))
        };
        let _deadline = token.map(|token| stage::cancel_after(&token, stage::PATIENCE));
        environment.set_runtime_mode(match self.batch {
            true => RuntimeMode::Batch,
            false => RuntimeMode::Streaming,
        });
        let gathered = build(&environment);
        let ran = environment.execute("trial");
        ran.map_err(|error| format!("the job ended with: {error}\n\ntrial: {self:?}"))?;
        Ok(gathered.take())
    }
}
