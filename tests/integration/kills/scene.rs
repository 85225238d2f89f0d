//! What a kill happens in: it is laid out anew for each.

use super::ground::Ground;
use super::restored::Restored;
use super::shapes::Shape;
use super::stored::Stored;
use super::victims::End;
use crate::common::pgcellar::Run;

pub trait Scene {
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
pub fn lay<'a>(ground: &'a Ground, shape: &'static Shape) -> Box<dyn Scene + 'a> {
    match shape.makes_database() {
        true => Box::new(Restored::lay(ground, shape)),
        false => Box::new(Stored::lay(ground, shape)),
    }
}
