//! Recognises the data set in a folder from the names of its files.

use crate::{Cifar, DataError, Result};
use std::path::{Path, PathBuf};

/// The files of a data set in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Shards of the training and the test part, in order.
    Parquet { train: Vec<PathBuf>, test: Vec<PathBuf> },
    /// Files of CIFAR's binary version.
    Binary { cifar: Cifar, train: Vec<PathBuf>, test: Vec<PathBuf> },
}

const EXPECTED: &str = "expected parquet files named like train-00000-of-00001.parquet and \
     test-00000-of-00001.parquet, or CIFAR's binary files (data_batch_1.bin to data_batch_5.bin and test_batch.bin, or \
     train.bin and test.bin), or a folder of PNG and JPEG images for each class, in folders train and test or without";

/// Recognises the files of CIFAR in `dir`, or, if there are none, in the folders of `dir`; `None` if there are none either.
pub(crate) fn recognise(dir: &Path) -> Result<Option<Layout>> {
    let Listed { files, folders, .. } = list(dir)?;
    if let Some(layout) = layout(dir, &files)? {
        return Ok(Some(layout));
    }
    let mut found = Vec::new();
    for folder in folders.into_iter().filter(|folder| !is_hidden(folder)) {
        // Folders that cannot be listed are ignored.
        if let Ok(Listed { files, .. }) = list(&folder)
            && let Some(layout) = layout(&folder, &files)?
        {
            found.push((folder, layout));
        }
    }
    match found.len() {
        0 => Ok(None),
        1 => Ok(Some(found.remove(0).1)),
        _ => {
            let names: Vec<_> =
                found.iter().map(|(folder, _)| folder.display().to_string()).collect();
            Err(DataError::file(
                dir,
                format!("there are several data sets; give the path of one: {}", names.join(", ")),
            ))
        }
    }
}

/// The error of a folder without data.
pub(crate) fn nothing(dir: &Path) -> DataError {
    DataError::file(dir, format!("no data in this folder or its subfolders; {EXPECTED}"))
}

/// What a folder contains, sorted by name.
pub(crate) struct Listed {
    /// Names of its files.
    pub(crate) files: Vec<String>,
    /// Paths of its folders.
    pub(crate) folders: Vec<PathBuf>,
    /// Paths of files whose names are not UTF-8.
    pub(crate) unreadable: Vec<PathBuf>,
}

/// Lists a folder. Links count as their targets. Pipes and devices are left out, because reading them may never end.
pub(crate) fn list(dir: &Path) -> Result<Listed> {
    let (mut files, mut folders, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
        let entry = entry.map_err(|e| DataError::io(dir, e))?;
        let path = entry.path();
        // A broken link is listed; reading it results in an error with its name.
        let meta = std::fs::metadata(&path).ok();
        if meta.as_ref().is_some_and(|meta| meta.is_dir()) {
            folders.push(path);
        } else if meta.is_none_or(|meta| meta.is_file()) {
            match entry.file_name().into_string() {
                Ok(name) => files.push(name),
                Err(_) => unreadable.push(path),
            }
        }
    }
    files.sort();
    folders.sort();
    unreadable.sort();
    Ok(Listed { files, folders, unreadable })
}

/// Whether the name of a file or folder begins with a dot; it is no data then.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn layout(dir: &Path, files: &[String]) -> Result<Option<Layout>> {
    let files: Vec<String> =
        files.iter().filter(|file| !is_hidden(Path::new(file))).cloned().collect();
    let files = &files[..];
    if files.iter().any(|f| f.ends_with(".parquet")) {
        return Ok(Some(Layout::Parquet {
            train: shards(dir, files, "train")?,
            test: shards(dir, files, "test")?,
        }));
    }
    let has = |name: &str| files.iter().any(|f| f == name);
    let ten: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
    let (cifar, train, test) = if ten.iter().any(|f| has(f)) || has("test_batch.bin") {
        (Cifar::Ten, ten, "test_batch.bin")
    } else if has("train.bin") || has("test.bin") {
        (Cifar::Hundred, vec!["train.bin".to_owned()], "test.bin")
    } else {
        return Ok(None);
    };
    if let Some(missing) = train.iter().map(String::as_str).chain([test]).find(|f| !has(f)) {
        return Err(DataError::file(
            dir,
            format!("the file {missing} is missing; unpack the archive again"),
        ));
    }
    Ok(Some(Layout::Binary {
        cifar,
        train: train.iter().map(|f| dir.join(f)).collect(),
        test: vec![dir.join(test)],
    }))
}

/// The shards of one part, complete and in order.
fn shards(dir: &Path, files: &[String], part: &str) -> Result<Vec<PathBuf>> {
    let whole = format!("{part}.parquet");
    let mut numbered: Vec<(usize, usize, &String)> =
        files.iter().filter_map(|f| shard(f, part).map(|(k, n)| (k, n, f))).collect();
    numbered.sort();
    let problem = |text: String| Err(DataError::file(dir, text));
    match numbered.first() {
        None if files.contains(&whole) => Ok(vec![dir.join(whole)]),
        None => {
            problem(format!("there are parquet files, but none for the {part} part; {EXPECTED}"))
        }
        Some((_, _, file)) if files.contains(&whole) => {
            problem(format!("{whole} and {file} are both in the folder; keep only one"))
        }
        Some(&(_, n, _)) => {
            if let Some((_, other, file)) = numbered.iter().find(|s| s.1 != n) {
                return problem(format!(
                    "{file} is one of {other} shards, but other files are of {n}; keep only one set"
                ));
            }
            if let Some(w) = numbered.windows(2).find(|w| w[0].0 == w[1].0) {
                return problem(format!(
                    "{} and {} are the same shard; keep only one",
                    w[0].2, w[1].2
                ));
            }
            if let Some(k) = (0..n).find(|&k| numbered.get(k).is_none_or(|s| s.0 != k)) {
                return problem(format!(
                    "shard {part}-{k:05}-of-{n:05}.parquet is missing; download it"
                ));
            }
            Ok(numbered.iter().map(|s| dir.join(s.2)).collect())
        }
    }
}

/// `(k, n)` of `PART-0000k-of-0000n.parquet` or `PART-0000k-of-0000n-HASH.parquet`, if `k < n`.
fn shard(file: &str, part: &str) -> Option<(usize, usize)> {
    let rest = file.strip_suffix(".parquet")?.strip_prefix(part)?.strip_prefix('-')?;
    let (k, rest) = rest.split_once("-of-")?;
    let n = rest.split_once('-').map_or(rest, |(n, _)| n);
    let (k, n) = (k.parse().ok()?, n.parse().ok()?);
    (k < n).then_some((k, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[&str]) -> Result<Layout> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let layout = recognise(dir.path())?.ok_or_else(|| nothing(dir.path()))?;
        Ok(match layout {
            Layout::Parquet { train, test } => {
                Layout::Parquet { train: relative(&dir, train), test: relative(&dir, test) }
            }
            Layout::Binary { cifar, train, test } => {
                Layout::Binary { cifar, train: relative(&dir, train), test: relative(&dir, test) }
            }
        })
    }

    fn relative(dir: &tempfile::TempDir, paths: Vec<PathBuf>) -> Vec<PathBuf> {
        paths.iter().map(|p| p.strip_prefix(dir.path()).unwrap().to_owned()).collect()
    }

    fn complaint(files: &[&str]) -> String {
        look(files).unwrap_err().to_string()
    }

    #[test]
    fn hidden_files_and_folders_are_no_data() {
        let files = ["train.parquet", "test.parquet", "._train.parquet", ".cache/x.parquet"];
        let Layout::Parquet { train, .. } = look(&files).unwrap() else { panic!("parquet") };
        assert_eq!(train, [Path::new("train.parquet")]);
        assert!(complaint(&["cat/1.png", ".cache/x.parquet"]).contains("no data in this folder"));
    }

    #[test]
    fn shards_are_put_in_order() {
        let layout = look(&[
            "p/test-00000-of-00001.parquet",
            "p/train-00001-of-00002-ab12.parquet",
            "p/train-00000-of-00002-cd34.parquet",
            "README.md",
        ]);
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            layout.unwrap(),
            Layout::Parquet {
                train: paths(&[
                    "p/train-00000-of-00002-cd34.parquet",
                    "p/train-00001-of-00002-ab12.parquet"
                ]),
                test: paths(&["p/test-00000-of-00001.parquet"]),
            }
        );
        let Layout::Parquet { train, .. } = look(&["train.parquet", "test.parquet"]).unwrap()
        else {
            panic!()
        };
        assert_eq!(train, paths(&["train.parquet"]));
    }

    #[test]
    fn errors_name_missing_and_duplicate_shards() {
        let test = "test-00000-of-00001.parquet";
        let missing = |name: &str| format!("{name}.parquet is missing");
        assert!(
            complaint(&[test, "train-00000-of-00002.parquet"])
                .contains(&missing("train-00001-of-00002"))
        );
        assert!(
            complaint(&[test, "train-00001-of-00002.parquet"])
                .contains(&missing("train-00000-of-00002"))
        );
        let two =
            complaint(&[test, "train-00000-of-00002.parquet", "train-00000-of-00001.parquet"]);
        assert!(two.contains("one of 2 shards"), "{two}");
        let twice =
            complaint(&[test, "train-00000-of-00001-a.parquet", "train-00000-of-00001-b.parquet"]);
        assert!(twice.contains("same shard"), "{twice}");
        assert!(complaint(&["train-00000-of-00001.parquet"]).contains("none for the test part"));
        let both = complaint(&[test, "train.parquet", "train-00000-of-00001.parquet"]);
        assert!(both.contains("train.parquet and train-00000-of-00001.parquet are both"), "{both}");
        // A huge number of shards in a name must not cause a long loop or a large allocation.
        assert!(
            complaint(&[test, "train-0-of-18446744073709551615.parquet"]).contains("is missing")
        );
    }

    #[test]
    fn binary_versions_are_recognised_one_level_below() {
        let files: Vec<String> =
            (1..=5).map(|i| format!("cifar-10-batches-bin/data_batch_{i}.bin")).collect();
        let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
        files.push("cifar-10-batches-bin/test_batch.bin");
        assert!(
            matches!(look(&files).unwrap(), Layout::Binary { cifar: Cifar::Ten, train, .. } if train.len() == 5)
        );
        files.remove(2);
        assert!(complaint(&files).contains("data_batch_3.bin is missing"));
        assert!(matches!(
            look(&["train.bin", "test.bin"]).unwrap(),
            Layout::Binary { cifar: Cifar::Hundred, .. }
        ));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_pipes_are_not_read() {
        use std::os::unix::{fs::symlink, net::UnixListener};
        let elsewhere = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["train.bin", "test.bin"] {
            std::fs::write(elsewhere.path().join(name), "").unwrap();
            symlink(elsewhere.path().join(name), dir.path().join(name)).unwrap();
        }
        assert!(matches!(
            recognise(dir.path()),
            Ok(Some(Layout::Binary { cifar: Cifar::Hundred, .. }))
        ));
        symlink(elsewhere.path(), dir.path().join("again")).unwrap();
        std::fs::remove_file(dir.path().join("train.bin")).unwrap();
        std::fs::remove_file(dir.path().join("test.bin")).unwrap();
        assert!(matches!(
            recognise(dir.path()),
            Ok(Some(Layout::Binary { cifar: Cifar::Hundred, .. }))
        ));
        // A socket is neither a file nor a folder, and is ignored.
        let _socket = UnixListener::bind(dir.path().join("train.parquet")).unwrap();
        assert!(matches!(
            recognise(dir.path()),
            Ok(Some(Layout::Binary { cifar: Cifar::Hundred, .. }))
        ));
    }

    #[test]
    fn no_data_set_and_several_data_sets_are_errors() {
        assert!(complaint(&["a.txt"]).contains("expected parquet files"));
        let both = complaint(&["a/train.bin", "a/test.bin", "b/train.parquet", "b/test.parquet"]);
        assert!(both.contains("several data sets") && both.contains("/b"), "{both}");
    }
}
