//! Any bytes as an archive: nothing may panic, and what joins must be as whole as what is walked.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use pgcellar::postgres::archive::{Rechunker, read_toc, tar_toc, walk};

fuzz_target!(|bytes: &[u8]| {
    let walked = walk(bytes, |_| ());
    let mut rechunker = Rechunker::new(Vec::new());
    let joined = bytes
        .chunks(7)
        .try_for_each(|piece| rechunker.write_all(piece))
        .and_then(|()| rechunker.finish());
    match (walked, joined) {
        (Ok(contents), Ok((bytes, joined, _))) => {
            assert_eq!(contents, joined);
            assert_eq!(
                walk(bytes.as_slice(), |_| ()).expect("joined archives are whole"),
                contents
            );
        }
        (Err(_), Err(_)) => {}
        (walked, joined) => panic!(
            "walked: {walked:?}, joined: {:?}",
            joined.map(|(_, contents, _)| contents)
        ),
    }
    let _ = read_toc(bytes, |_| ());
    let _ = tar_toc(bytes, |_| ());
});
