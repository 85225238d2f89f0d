//! The scenario of a kill, prepared for each one.

use super::fixture::Fixture;
use super::restores::Restored;
use super::shapes::Shape;
use super::strike::End;
use super::writers::Stored;
use crate::common::pgcellar::Run;

pub trait Scenario {
    /// The run that is killed.
    fn run(&self) -> Run;

    /// Fails if something is lost or incomplete after the killed run. A run that could clean up must have done so.
    fn must_be_sound(&self, end: &End);

    /// The next run, which must succeed.
    fn next(&self) -> Run;

    /// Fails unless that run did its work, and nothing of the killed one is left.
    fn must_be_whole(&self);
}

/// Prepares all that a run of this shape needs.
pub fn prepare<'a>(fixture: &'a Fixture, shape: &'static Shape) -> Box<dyn Scenario + 'a> {
    match shape.makes_database() {
        true => Box::new(Restored::prepare(fixture, shape)),
        false => Box::new(Stored::prepare(fixture, shape)),
    }
}
