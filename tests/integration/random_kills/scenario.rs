//! What a kill happens in: it is laid out anew for each.

use super::fixture::Fixture;
use super::restores::Restored;
use super::shapes::Shape;
use super::strike::End;
use super::writers::Stored;
use crate::common::pgcellar::Run;

pub trait Scenario {
    /// The run that is killed.
    fn run(&self) -> Run;

    /// Fails unless nothing is lost and nothing is half, however the run ended. One that could clean up has done so.
    fn must_be_sound(&self, end: &End);

    /// The run that comes next, and succeeds.
    fn next(&self) -> Run;

    /// Fails unless that run did what it is for, and nothing of the killed one is left.
    fn must_be_whole(&self);
}

/// Lays out all that a run of this shape needs.
pub fn prepare<'a>(fixture: &'a Fixture, shape: &'static Shape) -> Box<dyn Scenario + 'a> {
    match shape.makes_database() {
        true => Box::new(Restored::prepare(fixture, shape)),
        false => Box::new(Stored::prepare(fixture, shape)),
    }
}
