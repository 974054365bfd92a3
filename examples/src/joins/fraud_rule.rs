//! How do I watch for a pattern under rules that change while the job runs?
//!
//! Rules are broadcast: every subtask keeps all of them in broadcast state. Payments are keyed by card
//! and wait in list state for a timer at their own event time: so they are judged in the order of time,
//! and not before the rules that were sent up to then are known. A small payment and a large one within
//! a minute are suspicious; each rule says for its currency what is small and what is large.
//!
//! ```text
//! cargo run --bin fraud_rule
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

/// How long after a small payment a large one is suspicious, seconds.
const WITHIN: i64 = 60;

#[record]
#[derive(Clone)]
struct Payment {
    card: u64,
    currency: String,
    amount: u64,
    second: i64,
}

#[record]
#[derive(Clone)]
struct Rule {
    currency: String,
    small: u64,
    large: u64,
}

/// Small, then large, within a minute.
struct SmallThenLarge {
    rules: BroadcastState<String, (u64, u64)>,
    waiting: ListState<u64, Payment>,
    /// When the card's last small payment was.
    small: ValueState<u64, i64>,
}

impl SmallThenLarge {
    fn judge(&mut self, payment: &Payment) -> Result<Option<String>, FunctionError> {
        let Some((small, large)) = self.rules.get(&payment.currency) else {
            return Ok(None);
        };
        let since = self.small.get()?.map(|small| payment.second - small);
        let suspicious = payment.amount >= large && since.is_some_and(|since| since <= WITHIN);
        if payment.amount <= small {
            self.small.set(payment.second)?;
        }
        let Payment {
            card,
            amount,
            currency,
            ..
        } = payment;
        let alarm = || format!("card {card}: {amount} {currency} soon after a small payment");
        Ok(suspicious.then(alarm))
    }
}

impl KeyedBroadcastProcessFunction<u64, Payment, Rule, String> for SmallThenLarge {
    fn process(
        &mut self,
        payment: Payment,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        context.timers().register_event_time(context.timestamp())?;
        self.waiting.add(payment)?;
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        rule: Rule,
        context: &BroadcastContext<'_, u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let limits = (rule.small, rule.large);
        self.rules.put(context, rule.currency, limits)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let all = self.waiting.get()?;
        let (due, later): (Vec<_>, Vec<_>) =
            (all.into_iter()).partition(|payment| payment.second * 1000 <= timer.at.0);
        self.waiting.update(later)?;
        for payment in &due {
            if let Some(alarm) = self.judge(payment)? {
                out.emit(alarm);
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let rules = [("EUR", 100, 50_000), ("YEN", 10_000, 5_000_000)];
    let rules = rules.map(|(currency, small, large)| Rule {
        currency: currency.to_owned(),
        small,
        large,
    });
    let payments = [
        (1, "EUR", 50, 0),
        (2, "EUR", 99, 1),
        (1, "EUR", 60_000, 20),
        (2, "EUR", 70_000, 90),
        (3, "YEN", 500, 91),
        (3, "YEN", 4_000_000, 92),
    ];
    let payments = payments.map(|(card, currency, amount, second)| Payment {
        card,
        currency: currency.to_owned(),
        amount,
        second,
    });
    let in_time = WatermarkStrategy::<Payment>::for_monotonous_timestamps()
        .with_timestamp_assigner(|payment, _| Timestamp(payment.second * 1000));
    let rules = environment.from_collection(rules).broadcast_stream();
    let alarms = environment
        .from_collection(payments)
        .assign_timestamps_and_watermarks(in_time)
        .key_by(|payment: &Payment| payment.card)
        .connect(rules)
        .process(|open: &mut BroadcastOpenContext<'_, u64>| SmallThenLarge {
            rules: open.broadcast_state("rules"),
            waiting: open.list_state("waiting"),
            small: open.value_state("small"),
        });
    alarms.print();
    environment.execute("fraud rule")?;
    Ok(())
}
