//! How do I keep something per key: a running average of each sensor?
//!
//! `process` opens the function once per subtask; there it declares its state, which is kept per key.
//! Every reading yields its sensor's average so far. (`avg` does just this in one word.)
//!
//! ```text
//! cargo run --bin running_average
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

#[record]
#[derive(Clone)]
struct Reading {
    sensor: String,
    celsius: f64,
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let readings = [
        ("roof", 4.0),
        ("cellar", 12.0),
        ("roof", 8.0),
        ("cellar", 12.0),
        ("roof", 3.0),
    ];
    let readings = readings.map(|(sensor, celsius)| Reading {
        sensor: sensor.to_owned(),
        celsius,
    });
    let averages = environment
        .from_collection(readings)
        .key_by(|reading| reading.sensor.clone())
        .process(|open| {
            let mut so_far = open.value_state::<(f64, u64)>("sum and count");
            move |reading: Reading, _context, out: &mut Collector<(String, f64)>| {
                so_far.update(|(sum, count)| {
                    *sum += reading.celsius;
                    *count += 1;
                })?;
                let (sum, count) = so_far.get()?.unwrap_or_default();
                out.emit((reading.sensor, sum / count as f64));
                Ok(())
            }
        });
    averages.name("running average").print();
    environment.execute("running average")?;
    Ok(())
}
