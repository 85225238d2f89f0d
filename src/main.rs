//! The `pgcellar` command.
fn main() {}
