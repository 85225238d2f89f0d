//! Any bytes as an archive: nothing may panic, and whatever can be rechunked is a complete archive, before and after.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use pgcellar_fuzz::postgres::archive::{Rechunker, read_toc, tar_toc, walk};

fuzz_target!(|bytes: &[u8]| {
    let walked = walk(bytes, |_| ());
    let mut rechunker = Rechunker::new(Vec::new());
    let rechunked = bytes.chunks(7).try_for_each(|piece| rechunker.write_all(piece)).and_then(|()| rechunker.finish());
    match (walked, rechunked) {
        (Ok(contents), Ok((bytes, rechunked, _))) => {
            assert_eq!(contents, rechunked);
            assert_eq!(walk(bytes.as_slice(), |_| ()).expect("rechunked archives are complete"), contents);
        }
        (Err(_), Err(_)) => {}
        (walked, rechunked) => {
            panic!("walked: {walked:?}, rechunked: {:?}", rechunked.map(|(_, contents, _)| contents))
        }
    }
    let _ = read_toc(bytes, |_| ());
    let _ = tar_toc(bytes, |_| ());
});
