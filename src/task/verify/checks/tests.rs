use super::*;

#[test]
fn names_of_directory_files() {
    let cases = [
        ("a_20231231_020000/toc.dat", "toc.dat", Packing::Plain),
        ("a_20231231_020000/12.dat.gz", "12.dat", Packing::By(Method::Gzip)),
        ("a_20231231_020000/12.dat.zst.age", "12.dat", Packing::By(Method::Zstd)),
        ("a_20231231_020000/12.dat.lz4", "12.dat", Packing::Lz4),
        ("a_20231231_020000/blobs.toc.age", "blobs.toc", Packing::Plain),
    ];
    for (key, name, packing) in cases {
        assert_eq!(split(key), (name, packing), "{key}");
    }
}

#[test]
fn the_tail_is_the_end_however_it_is_written() {
    for piece in 1..12 {
        for length in [0, 1, 4, 9, 20] {
            let mut tail = Tail::new(length);
            let text = b"0123456789abcdef";
            text.chunks(piece).for_each(|chunk| tail.write_all(chunk).unwrap());
            assert_eq!(tail.bytes, text[text.len().saturating_sub(length)..], "{piece} {length}");
        }
    }
}
