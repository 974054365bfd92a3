//! How do I check events against rules that change while the job runs?
//!
//! Rules and events are one enum. `rules.broadcast()` brings every rule to every subtask, and `union`
//! keeps that for the part of the stream that was broadcast; each subtask keeps the rules it has seen.
//! Order between rules and events is not promised: an event that comes before a rule is held back here
//! until the rules are complete.
//!
//! ```text
//! cargo run --bin broadcast_rules
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

#[record]
#[derive(Clone)]
enum Message {
    /// Payments above the limit are reported in this country.
    Rule {
        country: String,
        limit: u64,
    },
    /// No rule follows.
    RulesEnd,
    Payment(Payment),
}

#[record]
#[derive(Clone)]
struct Payment {
    number: u64,
    country: String,
    cents: u64,
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(2);
    let rule = |country: &str, limit| Message::Rule {
        country: country.to_owned(),
        limit,
    };
    let rules = [rule("NL", 500), rule("PT", 900), Message::RulesEnd];
    let rules = environment.from_collection(rules);
    let payments = environment.generate(12, |number| {
        let country = if number % 2 == 0 { "NL" } else { "PT" };
        Message::Payment(Payment {
            number,
            country: country.to_owned(),
            cents: number * 100,
        })
    });
    let messages = rules.broadcast().union(payments);
    let alarms = messages.process(|_open| {
        let mut judge = Judge::default();
        move |message: Message, _context, out: &mut Collector<Payment>| {
            judge.take(message, out);
            Ok(())
        }
    });
    alarms.name("judge").print_with(|payment, text| {
        text.push_str(&format!(
            "payment {}: {} cents in {}",
            payment.number, payment.cents, payment.country
        ));
    });
    environment.execute("broadcast rules")?;
    Ok(())
}

/// What one subtask knows.
#[derive(Default)]
struct Judge {
    limits: Vec<(String, u64)>,
    complete: bool,
    held_back: Vec<Payment>,
}

impl Judge {
    fn take(&mut self, message: Message, out: &mut Collector<Payment>) {
        match message {
            Message::Rule { country, limit } => self.limits.push((country, limit)),
            Message::RulesEnd => self.complete = true,
            Message::Payment(payment) => self.held_back.push(payment),
        }
        if self.complete {
            let limits = &self.limits;
            let too_much = |p: &Payment| {
                limits
                    .iter()
                    .any(|(c, limit)| *c == p.country && p.cents > *limit)
            };
            self.held_back
                .drain(..)
                .filter(too_much)
                .for_each(|payment| out.emit(payment));
        }
    }
}
