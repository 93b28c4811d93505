//! CIFAR's binary version. A record is one label byte (CIFAR-10) or two (CIFAR-100: coarse, then fine), followed by
//! 3,072 pixels: the red, the green and the blue plane.

use crate::{Cifar, DataError, ImageShape, Result, Split};
use std::path::Path;

/// Reads one file of the binary version, in the format of `cifar`.
///
/// # Errors
/// - [`DataError::Io`] if the file cannot be read.
/// - [`DataError::File`] if the file is empty, or its length is not a whole number of records.
/// - [`DataError::Row`] if a label is out of range.
pub fn read_binary(path: &Path, cifar: Cifar) -> Result<Split> {
    let bytes = std::fs::read(path).map_err(|e| DataError::io(path, e))?;
    let n_labels = match cifar {
        Cifar::Ten => 1,
        Cifar::Hundred => 2,
    };
    let record = n_labels + ImageShape::CIFAR.len();
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(DataError::file(
            path,
            format!(
                "{} bytes are not a whole number of {record}-byte records; the file is truncated or not from {}, download it again",
                bytes.len(),
                cifar.name()
            ),
        ));
    }
    let n = bytes.len() / record;
    let mut images = Vec::with_capacity(n * ImageShape::CIFAR.len());
    let mut labels = Vec::with_capacity(n);
    let mut coarse = Vec::new();
    for (row, record) in bytes.chunks_exact(record).enumerate() {
        let (label, above) = match cifar {
            Cifar::Ten => (record[0], None),
            Cifar::Hundred => (record[1], Some(record[0])),
        };
        cifar
            .check(label.into(), above.map(i64::from))
            .map_err(|problem| DataError::row(path, row, problem))?;
        labels.push(u32::from(label));
        coarse.extend(above.map(u32::from));
        images.extend_from_slice(&record[n_labels..]);
    }
    Split::new(ImageShape::CIFAR, images, labels, (cifar == Cifar::Hundred).then_some(coarse))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], cifar: Cifar) -> Result<Split> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bin");
        std::fs::write(&path, bytes).unwrap();
        read_binary(&path, cifar)
    }

    fn record(labels: &[u8], fill: u8) -> Vec<u8> {
        let mut r = labels.to_vec();
        r.extend(std::iter::repeat_n(fill, 3071));
        r.push(fill + 1);
        r
    }

    #[test]
    fn records_become_images_and_labels() {
        let split = read(&[record(&[9], 4), record(&[0], 6)].concat(), Cifar::Ten).unwrap();
        assert_eq!((split.labels(), split.coarse()), (&[9, 0][..], None));
        assert_eq!(split.image(1).unwrap()[3070..], [6, 7]);
        let split = read(&record(&[19, 99], 4), Cifar::Hundred).unwrap();
        assert_eq!((split.labels(), split.coarse()), (&[99][..], Some(&[19][..])));
    }

    #[test]
    fn errors_name_invalid_labels_and_lengths() {
        let message = |bytes: &[u8], cifar| read(bytes, cifar).unwrap_err().to_string();
        assert!(
            message(&[record(&[9], 0), record(&[10], 0)].concat(), Cifar::Ten).contains("row 1")
        );
        assert!(message(&record(&[20, 0], 0), Cifar::Hundred).contains("coarse label 20"));
        assert!(message(&record(&[1], 0)[1..], Cifar::Ten).contains("3072 bytes"));
        assert!(message(&[], Cifar::Hundred).contains("0 bytes"));
    }
}
