//! Malformed gzip streams of IDX files.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use weft::data::idx::{IdxError, Images, decompress, write_images};
use weft::random::Stream;

use crate::common::{assert_orderly, cases, say};

const SAMPLE: &[u8] = include_bytes!("../../../assets/sample/t10k-images-idx3-ubyte.gz");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn small() -> Vec<u8> {
    write_images(&Images {
        n_images: 2,
        channels: 1,
        height: 1,
        width: 3,
        pixels: vec![1, 2, 3, 4, 5, 6],
    })
}

fn assert_refused(bytes: &[u8], case: &str) {
    assert_orderly(&decompress(bytes).expect_err(case).to_string());
}

#[test]
fn a_stream_cut_at_any_kib_is_refused() {
    let mut lengths: Vec<usize> = (0..SAMPLE.len()).step_by(1024).collect();
    // The gzip header, the end of the data, the checksum and the size.
    lengths.extend(1..32);
    lengths.extend(SAMPLE.len() - 32..SAMPLE.len());
    for &length in &lengths {
        assert_refused(&SAMPLE[..length], &format!("cut at {length}"));
    }
    say(&format!("gzip: {} lengths, all refused", lengths.len()));
}

#[test]
fn a_flipped_bit_is_refused_or_of_no_consequence() {
    let content = decompress(SAMPLE).unwrap();
    let mut stream = Stream::new(&[1]);
    let n_cases = cases(1000);
    let mut refused = 0;
    for case in 0..n_cases {
        // Every tenth in the header, where a bit may mean something else.
        let range = if case % 10 == 0 { 20 } else { SAMPLE.len() };
        let at = stream.below(range as u64) as usize;
        let mut bytes = SAMPLE.to_vec();
        bytes[at] ^= 1 << (case % 8);
        match decompress(&bytes) {
            Ok(read) => assert!(read == content, "byte {at}: other images, and no error"),
            Err(error) => {
                assert_orderly(&error.to_string());
                refused += 1;
            }
        }
    }
    say(&format!(
        "gzip: {n_cases} flipped bits, {refused} refused, 0 other images"
    ));
}

#[test]
fn a_bomb_stops_at_what_its_header_says() {
    // 256 MiB of zeros in 1 MiB, and that again in 5 KiB.
    let bomb = gzip(&[small(), vec![0; 256 << 20]].concat());
    assert!(bomb.len() < 4 << 20);
    let (expected, found) = (22, 23);
    assert_eq!(
        decompress(&bomb),
        Err(IdxError::TrailingBytes { expected, found })
    );
    let twice = gzip(&bomb);
    assert!(matches!(decompress(&twice), Err(IdxError::Magic { .. })));
    let promise = [&[0, 0, 8, 3][..], &[0xff; 12], &[0; 1 << 20]].concat();
    assert!(matches!(
        decompress(&gzip(&promise)),
        Err(IdxError::TooLarge { .. })
    ));
}

#[test]
fn members_are_read_on_and_garbage_is_refused() {
    let plain = small();
    let good = gzip(&plain);
    for garbage in [
        &b"garbage"[..],
        &[0; 512],
        &[0x1f],
        &[0x1f, 0x8b],
        &[0x1f, 0x8b, 8, 0xff],
    ] {
        assert_refused(&[&good[..], garbage].concat(), &format!("{garbage:?}"));
    }
    for cut in 1..plain.len() {
        let members = [gzip(&plain[..cut]), gzip(&plain[cut..])].concat();
        assert_eq!(decompress(&members), Ok(plain.clone()), "divided at {cut}");
    }
    // Neither the stack nor time may grow out of hand with empty members.
    let empty = gzip(&[]).repeat(50_000);
    let many = [&empty[..], &good, &empty].concat();
    assert_eq!(decompress(&many), Ok(plain.clone()));
    assert_refused(&[&good[..], &good].concat(), "the same member again");
    assert_refused(&empty, "nothing but empty members");
    // A name and a comment in the header that never end.
    for flag in [8, 16] {
        let mut endless = vec![0x1f, 0x8b, 8, flag, 0, 0, 0, 0, 0, 3];
        endless.extend([b'x'; 1 << 20]);
        assert_refused(&endless, "an endless name");
    }
}
