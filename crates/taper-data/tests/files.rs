//! Reading folders with parquet and binary files: valid, damaged and hostile ones.

mod common;

use common::{Row, parquet_file, planes, png, rows};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use std::path::Path;
use taper_data::{Cifar, DataError, Dataset, OpenOptions, Split, read_parquet};

fn read(bytes: &[u8]) -> Result<(Cifar, Split), DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.parquet");
    std::fs::write(&path, bytes).unwrap();
    read_parquet(&path)
}

fn complaint(rows: &[Row], hundred: bool) -> String {
    let message = read(&parquet_file(&[rows], hundred, true)).unwrap_err().to_string();
    assert!(message.contains("some.parquet"), "{message}");
    message
}

fn open(dir: &Path) -> Result<Dataset, DataError> {
    Dataset::open(dir.to_str().unwrap(), &OpenOptions::default())
}

#[test]
fn rows_become_images_and_labels() {
    for snappy in [false, true] {
        let (a, b) = (rows(true, 0, 70), rows(true, 70, 50));
        let (cifar, split) = read(&parquet_file(&[&a, &b], true, snappy)).unwrap();
        assert_eq!((cifar, split.len()), (Cifar::Hundred, 120));
        for i in 0..120 {
            assert_eq!(split.image(i).unwrap(), planes(i), "image {i}");
            assert_eq!(split.labels()[i] as usize, i % 100);
            assert_eq!(split.coarse().unwrap()[i] as usize, i % 20);
        }
        let (cifar, split) = read(&parquet_file(&[&rows(false, 5, 8)], false, snappy)).unwrap();
        assert_eq!(
            (cifar, split.labels(), split.coarse()),
            (Cifar::Ten, &[5, 6, 7, 8, 9, 0, 1, 2][..], None)
        );
    }
}

#[test]
fn equal_images_in_a_dictionary_are_read_up_to_a_limit() {
    let same = vec![rows(true, 4, 1).remove(0); 66_000];
    for n in [1000, 3000] {
        let (_, split) = read(&parquet_file(&[&same[..n]], true, true)).unwrap();
        assert_eq!((split.len(), split.image(n - 1).unwrap()), (n, &planes(4)[..]));
    }
    // A row count that is too large for the size of the file: without a limit, small files could allocate gigabytes.
    let message = read(&parquet_file(&[&same], true, true)).unwrap_err().to_string();
    assert!(
        message.contains("claims 66000 images") && message.contains("at most 65536"),
        "{message}"
    );
}

/// No compression, and each codec that writers use today.
fn compressions() -> [Compression; 6] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ]
}

#[test]
fn every_usual_compression_and_both_versions_of_pages_are_read() {
    // Equal images without a dictionary have the highest compression ratio.
    let mut rows = vec![rows(false, 3, 1).remove(0); 1500];
    rows.extend(common::rows(false, 0, 40));
    for compression in compressions().into_iter().chain([Compression::LZ4]) {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_compression(compression)
                .set_writer_version(version)
                .set_encoding(Encoding::PLAIN)
                .set_dictionary_enabled(false)
                .build();
            let file = common::cifar10_file(&rows, properties);
            let (_, split) = read(&file).unwrap_or_else(|e| panic!("{compression}: {e}"));
            assert_eq!(split.len(), 1540, "{compression}");
            assert_eq!(split.image(1499).unwrap(), planes(3), "{compression}");
            assert_eq!(split.image(1539).unwrap(), planes(39), "{compression}");
            assert_eq!(split.labels()[1500..1503], [0, 1, 2], "{compression}");
        }
    }
}

#[test]
fn the_decompressed_size_of_a_row_is_limited() {
    // Six images, each with a long text chunk that the decoder would skip: 96 MiB from a few kilobytes.
    let text = [[0, 0, 0, 0].as_slice(), b"tEXtc\0", &vec![b'a'; 16 << 20]].concat();
    let long = Row { png: Some([common::rgb(1), text].concat()), label: Some(1), coarse: None };
    for compression in [
        Compression::ZSTD(ZstdLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::GZIP(GzipLevel::default()),
    ] {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(1)
            .set_write_batch_size(1)
            .build();
        let file = common::cifar10_file(&vec![long.clone(); 6], properties);
        assert!(file.len() < 1 << 18, "{} bytes", file.len());
        let message = read(&file).unwrap_err().to_string();
        assert!(message.contains("decompresses to far more"), "{compression}: {message}");
    }
}

#[test]
fn errors_name_invalid_rows() {
    let mut bad = rows(true, 0, 9);
    bad[7].label = Some(100);
    assert!(complaint(&bad, true).contains(
        "row 7 (counted from 0): label 100 is out of range; cifar100 has labels 0 to 99"
    ));
    bad[7] = rows(true, 7, 1).remove(0);
    bad[3].coarse = Some(-1);
    assert!(complaint(&bad, true).contains("row 3 (counted from 0): coarse label -1"));
    bad[3].coarse = None;
    assert!(
        complaint(&bad, true)
            .contains("row 3 (counted from 0): column `coarse_label` has no value")
    );

    let mut bad = rows(false, 0, 9);
    bad[8].png = None;
    assert!(
        complaint(&bad, false).contains("row 8 (counted from 0): column `img.bytes` has no value")
    );
    bad[8].png = Some(png(28, 28, png::ColorType::Rgb, &[0; 2352]));
    assert!(
        complaint(&bad, false)
            .contains("row 8 (counted from 0): the image is 28 x 28 pixels, but must be 32 x 32")
    );
    // The error names the first of two invalid rows.
    bad[2].png = Some(png(32, 32, png::ColorType::Grayscale, &[0; 1024]));
    assert!(
        complaint(&bad, false)
            .contains("row 2 (counted from 0): the image has colour type Grayscale")
    );
    bad[1].png = Some(b"no picture".to_vec());
    assert!(complaint(&bad, false).contains("row 1 (counted from 0): the PNG cannot be decoded"));
}

#[test]
fn row_numbers_continue_over_row_groups() {
    let (a, mut b) = (rows(true, 0, 5), rows(true, 5, 5));
    b[2].label = Some(1000);
    let message = read(&parquet_file(&[&a, &b], true, true)).unwrap_err().to_string();
    assert!(message.contains("row 7"), "{message}");
}

#[test]
fn missing_columns_are_errors() {
    let message = |schema: &str| {
        read(&common::write(schema, &[&rows(false, 0, 2)], false, true)).unwrap_err().to_string()
    };
    let group = "optional group img { optional binary bytes; optional binary path (UTF8); }";
    assert!(
        message(&format!("message s {{ {group} optional int64 class; }}"))
            .contains("neither a column `fine_label` nor `label`")
    );
    let other = group.replace("img", "image");
    assert!(
        message(&format!("message s {{ {other} optional int64 label; }}"))
            .contains("no column `img.bytes`")
    );
    assert!(read(&parquet_file(&[], true, true)).unwrap_err().to_string().contains("no rows"));
}

#[test]
fn truncated_files_are_errors() {
    let whole = parquet_file(&[&rows(true, 0, 30)], true, true);
    for n in (0..whole.len()).step_by(97).chain([whole.len() - 1, 4, 7, 8, 12]) {
        let message = read(&whole[..n]).expect_err("the file is truncated").to_string();
        assert!(message.contains("some.parquet"), "{message}");
    }
    for text in ["", "PAR1", "PAR1PAR1", "version https://git-lfs.github.com/spec/v1\n"] {
        assert!(read(text.as_bytes()).unwrap_err().to_string().contains("download it again"));
    }
}

#[test]
fn damaged_files_never_panic_and_never_return_wrong_images() {
    let original = rows(false, 0, 12);
    for compression in compressions() {
        let properties = WriterProperties::builder().set_compression(compression);
        let whole = common::cifar10_file(&original, properties.build());
        let good = read(&whole).unwrap().1;
        let mut state = 1u64;
        let mut random = move |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for round in 0..600 {
            let mut bad = whole.clone();
            // Half of the damage is near the end, in the footer and page headers, where it has the most effect.
            let place =
                if round % 2 == 0 { bad.len() - 1 - random(900) } else { random(bad.len()) };
            for k in 0..1 + random(3) {
                let at = (place + k).min(whole.len() - 1);
                bad[at] = [0, 0xff, 0x7f, bad[at] ^ (1 << random(8))][random(4)];
            }
            if let Ok((_, split)) = read(&bad) {
                // PNGs have checksums, so every image that decodes is one of the original images.
                assert!(
                    (0..split.len())
                        .all(|i| (0..good.len()).any(|j| split.image(i) == good.image(j))),
                    "round {round}"
                );
                assert!(split.labels().iter().all(|&l| l < 10));
            }
        }
    }
}

#[test]
fn every_layout_of_a_folder_has_the_same_data() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let (train, test) = (rows(true, 0, 40), rows(true, 40, 10));
    write("one/data/train-00000-of-00001.parquet", &parquet_file(&[&train], true, true));
    write("one/data/test-00000-of-00001.parquet", &parquet_file(&[&test], true, true));
    write("two/train-00001-of-00002.parquet", &parquet_file(&[&train[15..]], true, false));
    write("two/train-00000-of-00002.parquet", &parquet_file(&[&train[..15]], true, true));
    write("two/test-00000-of-00001.parquet", &parquet_file(&[&test], true, true));
    let binary = |rows: std::ops::Range<usize>| {
        rows.flat_map(|i| [vec![(i % 20) as u8, (i % 100) as u8], planes(i)].concat())
            .collect::<Vec<u8>>()
    };
    write("three/cifar-100-binary/train.bin", &binary(0..40));
    write("three/cifar-100-binary/test.bin", &binary(40..50));

    let [one, two, three] =
        ["one", "two", "three"].map(|name| open(&dir.path().join(name)).unwrap());
    assert_eq!(
        (one.name.as_str(), one.classes.len(), one.train.len(), one.test.len()),
        ("cifar100", 100, 40, 10)
    );
    for other in [&two, &three] {
        assert_eq!(other.fingerprint, one.fingerprint);
        assert_eq!(other.train, one.train);
    }
    assert_eq!(one.normalisation, taper_data::Normalisation::FEATHER);
    assert_eq!(Path::new(&one.origin.name), dir.path().join("one"));
    assert!(one.origin.files.is_empty() && one.origin.commit().is_none());
    // A path with `..` leads through a folder that may be deleted.
    let by_way_of_two = open(&dir.path().join("two/../one")).unwrap();
    let place = dir.path().join("one").canonicalize().unwrap();
    assert_eq!(Path::new(&by_way_of_two.origin.name), place);

    let limit = OpenOptions { limit: Some(20), ..Default::default() };
    for name in ["two", "three"] {
        let few = Dataset::open(dir.path().join(name).to_str().unwrap(), &limit).unwrap();
        assert_eq!((few.train.len(), few.test.len()), (20, 10));
        assert_eq!(few.train.images(), &one.train.images()[..20 * 3072]);
    }
}

#[test]
fn cifar10_opens_from_its_five_batches() {
    let dir = tempfile::tempdir().unwrap();
    let record = |i: usize| [vec![(i % 10) as u8], planes(i)].concat();
    for b in 0..5 {
        std::fs::write(
            dir.path().join(format!("data_batch_{}.bin", b + 1)),
            [record(2 * b), record(2 * b + 1)].concat(),
        )
        .unwrap();
    }
    std::fs::write(dir.path().join("test_batch.bin"), record(10)).unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!((data.name.as_str(), data.test.len()), ("cifar10", 1));
    assert_eq!(data.train.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(data.train.image(9).unwrap(), planes(9));
}

#[test]
fn parts_of_different_data_sets_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("train.parquet"),
        parquet_file(&[&rows(true, 0, 3)], true, true),
    )
    .unwrap();
    std::fs::write(
        dir.path().join("test.parquet"),
        parquet_file(&[&rows(false, 0, 3)], false, true),
    )
    .unwrap();
    let message = open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("test.parquet") && message.contains("cifar10, but cifar100 was expected"),
        "{message}"
    );
}

#[test]
fn the_real_cifar100_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cifar100");
    if !dir.is_dir() {
        eprintln!("skipped: there is no CIFAR-100 at {}", dir.display());
        return;
    }
    let data = open(&dir).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.classes.len()), (50_000, 10_000, 100));
    for (split, each) in [(&data.train, 500), (&data.test, 100)] {
        let mut n = [0; 100];
        let mut above = [None; 100];
        for (&label, &coarse) in split.labels().iter().zip(split.coarse().unwrap()) {
            n[label as usize] += 1;
            assert_eq!(
                *above[label as usize].get_or_insert(coarse),
                coarse,
                "a class has one superclass"
            );
        }
        assert_eq!(n, [each; 100]);
    }
}
