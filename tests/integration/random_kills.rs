//! Runs that are killed at random moments, and an independent checker of the remaining state.
//!
//! The seed decides all of a kill: the shape of the run, which process gets which signal, and the moment, as a fraction
//! of the time that an undisturbed run of that shape takes. Kills have consecutive seeds, so each shape gets the same
//! number. A failure names its seed, and `PGCELLAR_TEST_KILLS=1 PGCELLAR_TEST_KILLS_SEED=…` repeats that kill; `make
//! soak KILLS=1000` runs many.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::keys;
use crate::common::process::new_folder;

mod checker;
mod fixture;
mod random;
mod restores;
mod scenario;
mod shapes;
mod strike;
mod writers;

use fixture::Fixture;
use random::Random;
use shapes::{SHAPES, Shape};
use strike::{Victim, strike};

/// Kills in a run of all tests.
const USUAL: u64 = 50;

/// Kills at once: one is checked while the other one loads.
const WORKERS: usize = 2;

/// A planned kill.
struct Kill {
    seed: u64,
    at: usize,
    victim: Victim,
    /// The moment, in thousandths of the time of an undisturbed run.
    moment: u32,
    random: Random,
}

impl Kill {
    fn of(seed: u64) -> Kill {
        let mut random = Random::new(seed);
        let at = usize::try_from(seed % SHAPES.len() as u64).unwrap();
        let victim = *random.pick(SHAPES[at].victims());
        // The programs of PostgreSQL have ended before the run's last part.
        let last = if victim == Victim::Child { 700 } else { 1000 };
        let moment = u32::try_from(random.below(last + 1)).unwrap();
        Kill { seed, at, victim, moment, random }
    }

    fn shape(&self) -> &'static Shape {
        &SHAPES[self.at]
    }

    /// Kills the run, checks the state, runs the same verb again and checks again. Returns a summary.
    fn happen(mut self, fixture: &Fixture) -> String {
        let usual = fixture.usual(self.at);
        let scenario = scenario::prepare(fixture, self.shape());
        let end = strike(scenario.run().start(), self.victim, usual * self.moment / 1000, &mut self.random);
        let summary = end.to_string();
        scenario.must_be_sound(&end);
        let next = scenario.next().succeeds();
        let looked = catch_unwind(AssertUnwindSafe(|| scenario.must_be_whole()));
        looked.unwrap_or_else(|panic| {
            panic!("{}\nthe killed run: {summary}\nthe next run: {next}", said(panic.as_ref()))
        });
        summary
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kill { seed, victim, moment, .. } = self;
        write!(formatter, "kill {seed}: {}, {victim:?} at {}.{} %", self.shape(), moment / 10, moment % 10)
    }
}

/// A number in the environment.
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {value}")))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn a_run_killed_at_any_moment_leaves_a_consistent_state() {
    let keys_folder = new_folder();
    let fixture = Fixture::new(keys::age(keys_folder.path(), "key"));
    let kills = number("PGCELLAR_TEST_KILLS").unwrap_or(USUAL);
    let first = number("PGCELLAR_TEST_KILLS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("{kills} kills from seed {first} on");
    let (next, faults) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= kills {
                return;
            }
            let kill = Kill::of(first.wrapping_add(at));
            let what = kill.to_string();
            match catch_unwind(AssertUnwindSafe(|| kill.happen(&fixture))) {
                Ok(summary) => println!("{what}: {summary}"),
                Err(panic) => {
                    println!("{what}: FAILED");
                    faults.lock().unwrap().push(format!("{what}\n{}", said(panic.as_ref())));
                }
            }
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {kills} kills:\n{}", faults.len(), faults.join("\n\n"));
}
