//! [`Dataset`]: training and test images, opened by name or from a folder.

use crate::folder::{Layout, nothing, recognise};
use crate::hub::{MAIN, split_revision};
use crate::image_folder::{self, ImageFolder};
use crate::parquet::read_rows;
use crate::{
    Cifar, DataError, FetchProgress, Fetched, HubOptions, ImageShape, Normalisation, Origin,
    Result, Silent, Split, digits, fetch_file, read_binary,
};
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use taper_core::DATASETS;

/// A data set in memory.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// `digits`, `cifar10` or `cifar100`, also if the data set was read from a folder; the name of the folder for an image
    /// folder.
    pub name: String,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// Training images.
    pub train: Arc<Split>,
    /// Test images.
    pub test: Arc<Split>,
    /// The default normalisation: [`Normalisation::DIGITS`] for the digits, [`Normalisation::FEATHER`] for both CIFARs,
    /// [`Normalisation::IMAGENET`] for image folders, or that of the digits if their images are read as grey. Its scale
    /// is the largest pixel value.
    pub normalisation: Normalisation,
    /// The first 16 hexadecimal digits of the SHA-256 over shapes, counts, pixels and labels of both parts, in order.
    /// Data sets with equal content have equal fingerprints.
    pub fingerprint: String,
    /// The source of the data.
    pub origin: Origin,
}

/// Options for opening a data set. The default reads all images, reports no progress, and configures the hub from the
/// environment.
#[derive(Clone, Default)]
pub struct OpenOptions<'a> {
    /// Receives the progress of downloads.
    pub progress: Option<&'a dyn FetchProgress>,
    /// Maximum number of images; the first ones of the training part and of the test part are kept.
    pub limit: Option<usize>,
    /// Size to which the images of an image folder are resized and cropped. Other data sets have a fixed size.
    pub shape: Option<ImageShape>,
    /// The hub and its cache; `None` uses [`HubOptions::from_env`].
    pub hub: Option<HubOptions>,
}

impl OpenOptions<'_> {
    fn progress(&self) -> &dyn FetchProgress {
        self.progress.unwrap_or(&Silent)
    }
}

impl Dataset {
    /// Opens a data set: `digits`, `cifar10`, `cifar100`, or a folder.
    ///
    /// - `cifar10` and `cifar100` are fetched from the hub if they are not cached. `cifar10@REVISION` selects a branch,
    ///   a tag or a commit. The default is the branch `main`; if it is cached, at the cached commit. Both parts are
    ///   from the same commit.
    /// - A folder contains CIFAR's parquet or binary files, or exactly one subfolder with them.
    /// - Any other folder is an image folder: PNG and JPEG files of any size in `train/CLASS` and `test/CLASS` (or
    ///   `val/CLASS`), or in `CLASS`, where every fifth image of a class is a test image. The images are resized and
    ///   cropped to [`OpenOptions::shape`], see [`Picture::fit`](crate::Picture::fit), and kept in memory.
    ///
    /// A known name never means a folder; for a folder with such a name, write `./cifar10`.
    ///
    /// # Errors
    /// [`DataError::Unknown`] if the argument is neither a known name nor a folder; otherwise the errors of reading or
    /// fetching.
    pub fn open(name_or_dir: &str, options: &OpenOptions<'_>) -> Result<Self> {
        let limit = match options.limit {
            Some(0) => {
                return Err(DataError::Invalid(
                    "the limit is 0 images; it must be at least 1".into(),
                ));
            }
            limit => limit.unwrap_or(usize::MAX),
        };
        match Named::parse(name_or_dir)? {
            Some(Named::Digits) => Self::digits(limit),
            Some(Named::Cifar(cifar, revision)) => Self::from_hub(cifar, revision, options, limit),
            None => Self::from_folder(name_or_dir, options.shape, limit),
        }
    }

    /// Shape of the images of a named data set, without opening it; `None` for a folder.
    pub fn shape_of(name: &str) -> Option<ImageShape> {
        match Named::parse(name).ok()?? {
            Named::Digits => Some(ImageShape::DIGITS),
            Named::Cifar(..) => Some(ImageShape::CIFAR),
        }
    }

    /// Returns whether `name` is an image folder. Its images are resized to the input of a network.
    pub fn is_image_folder(name: &str) -> bool {
        let dir = Path::new(name);
        matches!(Named::parse(name), Ok(None))
            && matches!(recognise(dir), Ok(None))
            && matches!(ImageFolder::find(dir), Ok(Some(_)))
    }

    /// Names of the classes of a named data set, without opening it; `None` for a folder.
    pub fn classes_of(name: &str) -> Option<Vec<String>> {
        match Named::parse(name).ok()?? {
            Named::Digits => Some(digits::class_names()),
            Named::Cifar(cifar, _) => {
                Some(cifar.class_names().iter().map(ToString::to_string).collect())
            }
        }
    }

    /// Downloads a data set if it is not cached, and returns its files. `digits` is embedded and has no files.
    ///
    /// # Errors
    /// [`DataError::Unknown`] for an unknown name; otherwise the errors of [`fetch_file`].
    pub fn fetch(name: &str, options: &OpenOptions<'_>) -> Result<Vec<Fetched>> {
        match Named::parse(name)? {
            Some(Named::Digits) => Ok(Vec::new()),
            Some(Named::Cifar(cifar, revision)) => {
                fetch_cifar(cifar, revision, options).map(Vec::from)
            }
            None => Err(unknown(name)),
        }
    }

    /// Shape of the images.
    pub fn shape(&self) -> ImageShape {
        self.train.shape()
    }

    fn digits(limit: usize) -> Result<Self> {
        let parts = digits::splits()?;
        let origin = Origin { name: "digits".into(), files: Vec::new() };
        let classes = digits::class_names();
        Ok(Self::assemble("digits", classes, parts, Normalisation::DIGITS, limit, origin))
    }

    fn from_hub(
        cifar: Cifar,
        revision: &str,
        options: &OpenOptions<'_>,
        limit: usize,
    ) -> Result<Self> {
        let files = fetch_cifar(cifar, revision, options)?;
        let read = |file: &Fetched| {
            read_shards(std::slice::from_ref(&file.path), Some(cifar), limit)
                .map(|(_, split)| split)
        };
        let parts = [read(&files[0])?, read(&files[1])?];
        let name = format!("{}@{}", cifar.name(), files[0].commit);
        Ok(Self::cifar(cifar, parts, limit, Origin { name, files: files.into() }))
    }

    fn from_folder(name: &str, shape: Option<ImageShape>, limit: usize) -> Result<Self> {
        let dir = Path::new(name);
        if !dir.is_dir() {
            if dir.exists() {
                return Err(DataError::file(dir, "is a file; give the folder that contains it"));
            }
            if name.contains(['/', '\\', '.']) {
                return Err(DataError::file(dir, "there is no such folder; check the path"));
            }
            return Err(unknown(name));
        }
        // Links are kept, because their target may change. A path with `..` is resolved: the folder before the `..` may
        // be deleted later.
        let path = match dir.components().any(|part| part == Component::ParentDir) {
            true => std::fs::canonicalize(dir),
            false => std::path::absolute(dir),
        };
        let path = path.map_err(|e| DataError::io(dir, e))?;
        let Some(name) = path.to_str() else {
            return Err(DataError::file(
                &path,
                "the path of a data set must be valid UTF-8, because runs record it; rename the folder",
            ));
        };
        let origin = Origin { name: name.to_owned(), files: Vec::new() };
        match recognise(dir)? {
            Some(Layout::Parquet { train, test }) => {
                let (cifar, train) = read_shards(&train, None, limit)?;
                let (_, test) = read_shards(&test, Some(cifar), limit)?;
                Ok(Self::cifar(cifar, [train, test], limit, origin))
            }
            Some(Layout::Binary { cifar, train, test }) => {
                let read =
                    |paths: &[PathBuf]| join(paths, limit, |path, _| read_binary(path, cifar));
                Ok(Self::cifar(cifar, [read(&train)?, read(&test)?], limit, origin))
            }
            None => {
                let images = ImageFolder::find(dir)?.ok_or_else(|| nothing(dir))?;
                let shape = shape.ok_or_else(|| {
                    DataError::file(dir, "these images have any size; say with OpenOptions::shape what to resize them to")
                })?;
                let read = |files: &[_]| image_folder::read(files, shape, limit);
                let parts = [read(&images.train)?, read(&images.test)?];
                let normalisation = Normalisation::name_for_images(shape.channels);
                let normalisation = Normalisation::by_name(normalisation)?.with_scale(255.0);
                let name = name_of(Path::new(&origin.name));
                Ok(Self::assemble(&name, images.classes, parts, normalisation, limit, origin))
            }
        }
    }

    fn cifar(cifar: Cifar, parts: [Split; 2], limit: usize, origin: Origin) -> Self {
        let classes = cifar.class_names().iter().map(|&name| name.to_owned()).collect();
        Self::assemble(cifar.name(), classes, parts, Normalisation::FEATHER, limit, origin)
    }

    fn assemble(
        name: &str,
        classes: Vec<String>,
        [mut train, mut test]: [Split; 2],
        normalisation: Normalisation,
        limit: usize,
        origin: Origin,
    ) -> Self {
        train.truncate(limit);
        test.truncate(limit);
        let mut hash = Sha256::new();
        train.feed(&mut hash);
        test.feed(&mut hash);
        let mut fingerprint = crate::hex(&hash.finalize());
        fingerprint.truncate(16);
        Self {
            name: name.into(),
            classes,
            train: train.into(),
            test: test.into(),
            normalisation,
            fingerprint,
            origin,
        }
    }
}

/// A data set with a known name.
enum Named<'a> {
    Digits,
    /// A data set of the hub, at a revision.
    Cifar(Cifar, &'a str),
}

impl<'a> Named<'a> {
    /// `None` if the name is unknown.
    fn parse(text: &'a str) -> Result<Option<Self>> {
        let (name, revision) = split_revision(text);
        let cifar = |cifar| Ok(Some(Self::Cifar(cifar, revision.unwrap_or(MAIN))));
        match (name, revision) {
            ("digits", None) => Ok(Some(Self::Digits)),
            ("digits", Some(_)) => Err(DataError::Invalid(format!(
                "`{text}` names a revision, but the digits are embedded and have none; use `digits`"
            ))),
            ("cifar10", _) => cifar(Cifar::Ten),
            ("cifar100", _) => cifar(Cifar::Hundred),
            _ => Ok(None),
        }
    }
}

fn fetch_cifar(cifar: Cifar, revision: &str, options: &OpenOptions<'_>) -> Result<[Fetched; 2]> {
    let hub = match &options.hub {
        Some(hub) => hub.clone(),
        None => HubOptions::from_env()?,
    };
    let [train, test] = cifar.hub_files();
    let fetch = |file, revision: &str| {
        fetch_file(&format!("{}@{revision}", cifar.repository()), file, &hub, options.progress())
    };
    let train = fetch(train, revision)?;
    let test = fetch(test, &train.commit)?;
    Ok([train, test])
}

/// Reads the shards of one part. All of them must be from the same data set.
fn read_shards(paths: &[PathBuf], expected: Option<Cifar>, limit: usize) -> Result<(Cifar, Split)> {
    let mut kind = expected;
    let split = join(paths, limit, |path, left| {
        let (cifar, split) = read_rows(path, left)?;
        match *kind.get_or_insert(cifar) {
            k if k == cifar => Ok(split),
            k => Err(DataError::file(
                path,
                format!(
                    "has the columns of {}, but {} was expected; keep only one data set in a folder",
                    cifar.name(),
                    k.name()
                ),
            )),
        }
    })?;
    let kind = kind.ok_or_else(|| DataError::Invalid("there are no files to read".into()))?;
    Ok((kind, split))
}

/// Reads files in order until there are `limit` images, and concatenates them.
fn join(
    paths: &[PathBuf],
    limit: usize,
    mut read: impl FnMut(&Path, usize) -> Result<Split>,
) -> Result<Split> {
    let mut whole: Option<Split> = None;
    for path in paths {
        let left = limit - whole.as_ref().map_or(0, Split::len).min(limit);
        if left == 0 {
            break;
        }
        let next = read(path, left)?;
        match &mut whole {
            None => whole = Some(next),
            Some(w) if w.coarse().is_some() == next.coarse().is_some() => w.append(next),
            Some(_) => {
                return Err(DataError::file(
                    path,
                    "only some shards have a column `coarse_label`; download them again",
                ));
            }
        }
    }
    whole.ok_or_else(|| DataError::Invalid("there are no files to read".into()))
}

/// What an image folder is called: by its name, unless that is the name of another data set.
fn name_of(dir: &Path) -> String {
    let name = dir.file_name().map_or_else(|| "images".into(), |name| name.to_string_lossy());
    match DATASETS.contains(&&*name) {
        true => format!("{name}-images"),
        false => name.into_owned(),
    }
}

fn unknown(name: &str) -> DataError {
    let nearest = DATASETS
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, known)| known);
    DataError::Unknown { name: name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_have_a_fixed_fingerprint() {
        let data = Dataset::open("digits", &OpenOptions::default()).unwrap();
        assert_eq!((data.name.as_str(), data.classes.len()), ("digits", 10));
        assert_eq!((data.train.len(), data.test.len()), (1442, 355));
        assert_eq!(data.fingerprint, "eed3666bccdaf4cb");
        assert!(Dataset::fetch("digits", &OpenOptions::default()).unwrap().is_empty());
    }

    #[test]
    fn classes_are_known_by_name() {
        assert_eq!(Dataset::classes_of("digits").unwrap().len(), 10);
        assert_eq!(Dataset::classes_of("cifar10@main").unwrap()[3], "cat");
        assert_eq!(Dataset::classes_of("cifar100").unwrap().len(), 100);
        assert_eq!(Dataset::classes_of("./folder"), None);
    }

    #[test]
    fn a_limit_changes_counts_and_fingerprint() {
        let open = |limit| Dataset::open("digits", &OpenOptions { limit, ..Default::default() });
        let few = open(Some(20)).unwrap();
        assert_eq!((few.train.len(), few.test.len()), (20, 20));
        let all = open(None).unwrap();
        assert_eq!(few.train.images(), &all.train.images()[..20 * 64]);
        assert_ne!(few.fingerprint, all.fingerprint);
        assert_eq!(open(Some(usize::MAX)).unwrap().fingerprint, all.fingerprint);
        assert!(open(Some(0)).unwrap_err().to_string().contains("at least 1"));
    }

    #[test]
    fn unknown_names_get_a_suggestion_and_the_list() {
        let message =
            |name: &str| Dataset::open(name, &OpenOptions::default()).unwrap_err().to_string();
        let text = message("cifer100");
        assert!(text.contains("did you mean `cifar100`") && text.contains("`digits`"), "{text}");
        assert!(!message("imagenet").contains("did you mean"));
        assert!(message("digits@main").contains("have none; use `digits`"));
        assert!(message("cifar10@../x").contains("not a valid revision"));
        assert!(message("no/such/folder").contains("no such folder"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(message(file.path().to_str().unwrap()).contains("is a file"));
        assert!(matches!(
            Dataset::fetch("mnist", &OpenOptions::default()),
            Err(DataError::Unknown { .. })
        ));
    }
}
