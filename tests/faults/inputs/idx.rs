//! Malformed IDX files, alone and in a data folder.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use weft::data::download::NoProgress;
use weft::data::fashion_mnist::{DataError, FILES, Lookup, load};
use weft::data::idx::{
    IdxError, Images, decompress, read_images, read_labels, write_images, write_labels,
};

use crate::common::{assert_orderly, say};

/// Three images of 2x3 pixels: a header of 16 bytes, then 18.
fn images() -> Vec<u8> {
    write_images(&Images {
        n_images: 3,
        channels: 1,
        height: 2,
        width: 3,
        pixels: (0..18).collect(),
    })
}

/// Both readers, on the plain file and after the way through `decompress`.
fn outcomes(bytes: &[u8]) -> [Result<usize, IdxError>; 4] {
    let n_images = |images: Images| images.n_images;
    let n_labels = |labels: Vec<u8>| labels.len();
    [
        read_images(bytes).map(n_images),
        read_labels(bytes).map(n_labels),
        decompress(bytes).and_then(|content| read_images(&content).map(n_images)),
        decompress(bytes).and_then(|content| read_labels(&content).map(n_labels)),
    ]
}

fn assert_refused(bytes: &[u8], case: &str) {
    for outcome in outcomes(bytes) {
        assert_orderly(&outcome.expect_err(case).to_string());
    }
}

#[test]
fn every_wrong_byte_of_a_header_is_refused() {
    let mut n_cases = 0;
    for (good, header) in [(images(), 16), (write_labels(&[1, 0, 2]), 8)] {
        for at in 0..header {
            for byte in (0..=255).filter(|&byte| byte != good[at]) {
                let mut bytes = good.clone();
                bytes[at] = byte;
                assert_refused(&bytes, &format!("byte {at} is {byte}"));
                n_cases += 1;
            }
        }
    }
    say(&format!("idx header: {n_cases} wrong bytes, all refused"));
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for good in [images(), write_labels(&[1, 0, 2])] {
        for length in 0..good.len() {
            assert_refused(&good[..length], &format!("cut at {length}"));
        }
        for more in [1, 2, 4, 1000, 1 << 20] {
            let longer = [&good[..], &vec![0; more]].concat();
            assert_refused(&longer, &format!("{more} bytes more"));
        }
    }
    let large = write_images(&Images {
        n_images: 1000,
        channels: 1,
        height: 28,
        width: 28,
        pixels: vec![7; 784_000],
    });
    for length in (16..large.len()).step_by(large.len() / 400) {
        assert_refused(&large[..length], &format!("cut at {length}"));
    }
}

#[test]
fn dimensions_that_overflow_or_promise_terabytes_allocate_nothing() {
    let rank_3 = |sizes: [u32; 3]| {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes
    };
    let half = 1 << 31;
    for sizes in [
        [u32::MAX; 3],
        [half, half, 4],             // 2^64: zero in 64 bits
        [half, half, half],          // 2^93
        [1 << 16, 1 << 16, 1],       // 2^32: zero in 32 bits
        [1 << 20, 1 << 10, 1 << 10], // a terabyte
        [1, 1, (1 << 30) + 1],       // one more than is allowed
    ] {
        for outcome in [0, 2].map(|at| outcomes(&rank_3(sizes))[at].clone()) {
            let dimensions = sizes.to_vec();
            assert_eq!(outcome, Err(IdxError::TooLarge { dimensions }));
        }
    }
    // A gigabyte is allowed, but is not there.
    assert_refused(&rank_3([1 << 10, 1 << 10, 1 << 10]), "a promised gigabyte");
    for zero in 0..3 {
        let mut sizes = [3, 2, 3];
        sizes[zero] = 0;
        let dimensions = sizes.to_vec();
        assert_eq!(
            read_images(&rank_3(sizes)),
            Err(IdxError::Empty { dimensions })
        );
    }
    assert_refused(&rank_3([0, u32::MAX, u32::MAX]), "nothing, but large");
}

fn folder_with(files: [Vec<u8>; 4]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for ((name, _), bytes) in FILES.iter().zip(files) {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn error_of(folder: &Path) -> DataError {
    let request = folder.to_str().unwrap();
    let error = load(&Lookup::standard(request, None), &mut NoProgress).unwrap_err();
    assert_orderly(&error.to_string());
    error
}

#[test]
fn files_that_contradict_each_other_are_named() {
    let labels = |labels: &[u8]| write_labels(labels);
    let good = || [images(), labels(&[0, 1, 2]), images(), labels(&[2, 1, 0])];
    for (at, bytes) in [(1, labels(&[0, 1])), (3, labels(&[0, 1, 2, 0]))] {
        let mut files = good();
        files[at] = bytes;
        let folder = folder_with(files);
        match error_of(folder.path()) {
            DataError::Counts { path, .. } => assert!(path.ends_with(FILES[at].0)),
            other => panic!("{other}"),
        }
    }
    let folder = folder_with(good());
    fs::write(folder.path().join("classes.txt"), "a\nb\n").unwrap();
    match error_of(folder.path()) {
        DataError::Label {
            path,
            label: 2,
            image_index: 2,
            ..
        } => {
            assert!(path.ends_with(FILES[1].0));
        }
        other => panic!("{other}"),
    }
    for at in 0..4 {
        let mut files = good();
        files[at][3] ^= 2;
        match error_of(folder_with(files).path()) {
            DataError::Damaged { path, .. } => assert!(path.ends_with(FILES[at].0)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn class_names_without_an_end_are_refused() {
    let good = [
        images(),
        write_labels(&[0, 1, 2]),
        images(),
        write_labels(&[2, 1, 0]),
    ];
    let folder = folder_with(good);
    let classes = folder.path().join("classes.txt");
    let mut contents = vec![
        vec![b'x'; 2 << 20],
        vec![b'\n'; 2 << 20],
        b"caf\xe9\n".to_vec(),
    ];
    contents.push(b"a\nb\n".repeat(300));
    for content in contents {
        fs::write(&classes, content).unwrap();
        let error = error_of(folder.path()).to_string();
        assert!(error.contains("classes.txt"), "{error}");
    }
    #[cfg(unix)]
    {
        fs::remove_file(&classes).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &classes).unwrap();
        let error = error_of(folder.path()).to_string();
        assert!(error.contains("more than 1024 KiB"), "{error}");
    }
    fs::remove_file(&classes).unwrap();
    fs::create_dir(&classes).unwrap();
    assert!(error_of(folder.path()).to_string().contains("classes.txt"));
}
