//! Reads tensors with data in a file next to the ONNX file.
//!
//! The path of the data comes from a file that may be hostile. So it must not leave the folder by `..` or by a link,
//! and it must be a regular file.

use crate::proto::StringStringEntryProto;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

/// The folder of an ONNX file.
#[derive(Debug)]
pub(crate) struct Beside {
    folder: PathBuf,
    /// Folders that may contain the data after links are resolved: the folder itself, and the folder of the ONNX file's
    /// target if that file is a link, as in the hub's cache.
    allowed: Vec<PathBuf>,
}

impl Beside {
    /// The folder of the file at a path.
    pub(crate) fn of(file: &Path) -> Self {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let behind_links = file.canonicalize().ok().and_then(|f| f.parent().map(Path::to_path_buf));
        let allowed = folder.canonicalize().ok().into_iter().chain(behind_links).collect();
        Self { folder, allowed }
    }

    /// Size of a file in bytes.
    ///
    /// # Errors
    /// If it is missing, or outside of the folder.
    pub(crate) fn size(&self, location: &str) -> Result<u64, String> {
        let file = self.open(location)?;
        file.metadata().map(|m| m.len()).map_err(|e| format!("{location}: {e}"))
    }

    /// The data of a tensor that takes `n` bytes.
    ///
    /// # Errors
    /// If the file is missing, outside of the folder, or too short.
    pub(crate) fn read(
        &self,
        entries: &[StringStringEntryProto],
        n: usize,
    ) -> Result<Vec<u8>, String> {
        let entry = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| match entry(key) {
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("its {key} is `{text}`, but must be a non-negative number")),
            None => Ok(None),
        };
        let location =
            entry("location").ok_or("its data are in another file, but no location is given")?;
        let mut file = self.open(location)?;
        let size = file.metadata().map_err(|e| format!("{location}: {e}"))?.len();
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or_else(|| size.saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!(
                "its data are {length} bytes from {offset} of {location}, which has only {size} bytes; copy that file again"
            ));
        }
        if length != n as u64 {
            return Err(format!("its data are {length} bytes of {location}, but {n} are needed"));
        }
        let mut data = Vec::with_capacity(n);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length).read_to_end(&mut data))
            .map_err(|e| format!("cannot read {location}: {e}"))?;
        Ok(data)
    }

    fn open(&self, location: &str) -> Result<File, String> {
        let relative = Path::new(location);
        let leads_out =
            || format!("its data are in `{location}`, outside of the ONNX file's folder");
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(leads_out());
        }
        let missing = |e| {
            format!(
                "its data are in `{location}`, which cannot be read ({e}); put it next to the ONNX file"
            )
        };
        let path = self.folder.join(relative).canonicalize().map_err(missing)?;
        if !self.allowed.iter().any(|folder| path.starts_with(folder)) {
            return Err(leads_out());
        }
        if !path.is_file() {
            return Err(format!("its data are in `{location}`, which is not a file"));
        }
        File::open(path).map_err(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        pairs
            .iter()
            .map(|(k, v)| StringStringEntryProto { key: (*k).into(), value: (*v).into() })
            .collect()
    }

    #[test]
    fn a_part_of_a_file_is_read_and_no_more_than_it_has() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.data"), [1, 2, 3, 4, 5, 6]).unwrap();
        let beside = Beside::of(&folder.path().join("a.onnx"));
        let read = |pairs: &[(&str, &str)], n: usize| beside.read(&entries(pairs), n);
        let part = [("location", "w.data"), ("offset", "1"), ("length", "4")];
        assert_eq!(read(&part, 4), Ok(vec![2, 3, 4, 5]));
        assert_eq!(read(&[("location", "./w.data")], 6), Ok(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(read(&[("location", "w.data"), ("offset", "4")], 2), Ok(vec![5, 6]));
        assert!(read(&part, 8).unwrap_err().contains("4 bytes of w.data, but 8"));
        let max = u64::MAX.to_string();
        for (offset, length) in [("3", "4"), (max.as_str(), "4"), ("1", max.as_str()), ("9", "0")] {
            let far = [("location", "w.data"), ("offset", offset), ("length", length)];
            assert!(read(&far, 4).unwrap_err().contains("which has only 6"), "{offset} {length}");
        }
        assert!(read(&[("location", "w.data"), ("offset", "-1")], 4).unwrap_err().contains("`-1`"));
        assert!(read(&[], 4).unwrap_err().contains("no location"));
        let missing = read(&[("location", "v.data")], 4).unwrap_err();
        assert!(missing.contains("`v.data`") && missing.contains("put it next to"), "{missing}");
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, [0; 4]).unwrap();
        let folder = outside.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        symlink(&secret, folder.join("link")).unwrap();
        symlink(outside.path(), folder.join("up")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        let beside = Beside::of(&folder.join("a.onnx"));
        let secret = secret.display().to_string();
        for location in
            ["../secret", "x/../../secret", "link", "up/secret", &secret, "/dev/zero", "zero"]
        {
            let error = beside.read(&entries(&[("location", location)]), 4).unwrap_err();
            assert!(error.contains("outside"), "{location}: {error}");
        }
        assert!(beside.read(&entries(&[("location", ".")]), 4).unwrap_err().contains("not a file"));
        // The hub's cache: files are links into one folder of blobs.
        let blobs = outside.path().join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        std::fs::write(blobs.join("1"), []).unwrap();
        std::fs::write(blobs.join("2"), [1, 2, 3, 4]).unwrap();
        symlink(blobs.join("1"), folder.join("b.onnx")).unwrap();
        symlink(blobs.join("2"), folder.join("b.data")).unwrap();
        let data = entries(&[("location", "b.data")]);
        assert_eq!(Beside::of(&folder.join("b.onnx")).read(&data, 4), Ok(vec![1, 2, 3, 4]));
    }
}
