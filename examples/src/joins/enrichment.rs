//! How do I ask a service for each record without waiting for it?
//!
//! `async_io` has many requests under way at once. Here the service is a function that takes its time
//! and sometimes fails; failed requests are made again. Results keep the order of the records.
//!
//! ```text
//! cargo run --bin enrichment
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thalweg::operator::{AsyncIo, Retry};
use thalweg::prelude::*;

/// Where a city is. Every third call finds the line busy.
async fn country_of(city: &str, calls: &AtomicU32) -> Result<String, FunctionError> {
    let pause = Duration::from_millis(city.len() as u64);
    tokio::time::sleep(pause).await;
    if calls.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
        return Err(FunctionError::new("the line is busy"));
    }
    let country = match city {
        "Basel" => "Switzerland",
        "Koblenz" | "Köln" => "Germany",
        "Rotterdam" => "the Netherlands",
        _ => "nowhere we know of",
    };
    Ok(country.to_owned())
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let cities = ["Basel", "Koblenz", "Köln", "Rotterdam", "Atlantis"];
    let how = AsyncIo::ordered()
        .capacity(10)
        .timeout(Duration::from_secs(5))
        .retry(Retry::times(3).backoff(Duration::from_millis(5)));
    let calls = Arc::new(AtomicU32::new(0));
    environment
        .from_collection(cities.map(str::to_owned))
        .async_io(how, move |city: String| {
            let calls = Arc::clone(&calls);
            async move {
                let country = country_of(&city, &calls).await?;
                Ok([format!("{city} is in {country}")])
            }
        })
        .print();
    environment.execute("enrichment")?;
    Ok(())
}
