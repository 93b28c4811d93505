//! Images by name or folder; a folder is identified by its content.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use taper_core::{
    DATASETS,
    hash::{FNV, fnv1a_from},
};

/// A data set by name or folder.
#[derive(Clone, Debug)]
pub struct ImageSource {
    /// The data set for an experiment. A folder becomes absolute, because it is relative to the user's working
    /// directory, and runs are executed elsewhere.
    pub name: String,
    /// Identifies the data set in keys: the name, or a hash of the folder's content. Runs on other images are other
    /// runs, wherever the folder is.
    pub(super) id: String,
}

impl ImageSource {
    /// Whether a text names a data set, with or without a revision after `@`. A folder of that name is not meant.
    pub(super) fn is_name(text: &str) -> bool {
        DATASETS.contains(&text.split_once('@').map_or(text, |(name, _)| name))
    }

    /// A source from a name or a folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn of(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if Self::is_name(text) || !path.is_dir() {
            return Ok(Self { name: text.to_owned(), id: text.to_owned() });
        }
        let told = || format!("cannot read the data set in {}", path.display());
        let path = std::fs::canonicalize(path).with_context(told)?;
        let id = format!("content {:016x}", content(&path).with_context(told)?);
        Ok(Self { name: path.display().to_string(), id })
    }
}

/// Folders within a folder that are searched, at most: links may lead back.
const DEEPEST: usize = 20;

/// A hash of the names and bytes of all files below a folder, except for hidden files, pipes and devices.
fn content(folder: &Path) -> Result<u64> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        ensure!(depth <= DEEPEST, "{} is too deep; a link in it may lead back", folder.display());
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // Links in the hub's cache point to the files.
            let kind = std::fs::metadata(entry.path())?;
            if kind.is_dir() {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files.iter().try_fold(FNV, |hash, path| {
        let name: PathBuf = path.strip_prefix(folder)?.to_path_buf();
        let mut hash = fnv1a_from(hash, name.to_string_lossy().as_bytes());
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        loop {
            let bytes = reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(fnv1a_from(hash, &[0]));
            }
            hash = fnv1a_from(hash, bytes);
            let n = bytes.len();
            reader.consume(n);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_content_and_a_name_by_itself() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str, image: &[u8]| {
            let folder = root.path().join(name);
            std::fs::create_dir_all(folder.join("train")).expect("creates");
            std::fs::write(folder.join("train/0.bin"), image).expect("writes");
            std::fs::write(folder.join("test.bin"), [7; 9]).expect("writes");
            folder
        };
        let id = |path: &Path| ImageSource::of(&path.display().to_string()).expect("reads").id;
        let one = folder("one", &[1, 2, 3]);
        assert_eq!(id(&one), id(&folder("two", &[1, 2, 3])), "wherever it lies");
        assert_ne!(id(&one), id(&folder("three", &[1, 2, 4])), "other images");
        let before = id(&one);
        std::fs::write(one.join(".cache"), "x").expect("writes");
        assert_eq!(id(&one), before, "hidden files are not data");
        std::fs::rename(one.join("test.bin"), one.join("val.bin")).expect("renames");
        assert_ne!(id(&one), before, "other names");
        for name in ["cifar100", "cifar10@v1.0"] {
            assert_eq!(ImageSource::of(name).expect("a name").id, name);
        }
    }
}
