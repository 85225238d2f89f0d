//! Any bytes as a script: nothing may panic, and pieces must make no difference.
#![no_main]

use std::io::{self, Write};

use libfuzzer_sys::fuzz_target;
use pgcellar_fuzz::postgres::script::{Script, ScriptScanner};

fn scan(bytes: &[u8], piece: usize) -> Script {
    let mut scanner = ScriptScanner::new(io::sink());
    bytes
        .chunks(piece)
        .for_each(|piece| scanner.write_all(piece).expect("a sink takes all"));
    scanner.finish().expect("a sink takes all").1
}

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(scan(bytes, 3), scan(bytes, bytes.len().max(1)));
});
