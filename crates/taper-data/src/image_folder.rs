//! Image folders: a folder for each class, with images of any size in it.

use crate::folder::{Listed, is_hidden, list};
use crate::{DataError, ImageShape, Picture, Result, Split};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Extensions of images that are read, in lower case.
const READABLE: [&str; 5] = ["png", "jpg", "jpeg", "jpe", "jfif"];
/// Extensions of images that are not read. They are refused rather than skipped.
const UNREADABLE: [&str; 12] =
    ["avif", "bmp", "gif", "heic", "heif", "jp2", "jxl", "pgm", "ppm", "tif", "tiff", "webp"];
/// Folders with the parts of a data set.
const PARTS: [&str; 3] = ["train", "test", "val"];
/// In a folder without a test part, each image at a multiple of this position in its class, counted from 1, is for testing.
const TEST_EVERY: usize = 5;
/// Folders within a class that are searched, at most: links may lead back.
const DEEPEST: usize = 16;

/// The images of a data set, by class.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImageFolder {
    /// Names of the classes: those of the folders, sorted.
    pub classes: Vec<String>,
    /// Training images with their labels, one image of each class in turn. A limit therefore keeps classes balanced.
    pub train: Vec<(PathBuf, u32)>,
    /// Test images, in the same order.
    pub test: Vec<(PathBuf, u32)>,
}

impl ImageFolder {
    /// Lists the images below `dir`: `train/CLASS/…` and `test/CLASS/…` (or `val/CLASS/…`), or `CLASS/…`, of which every fifth
    /// image of each class is for testing. Files and folders whose names begin with a dot are left out. `None` if there is no
    /// image one folder below.
    ///
    /// # Errors
    /// If a part or the images of a class are missing, there is one class, a class contains parts, test images have a class
    /// without training images, or an image has a format that is not read or a name that is not UTF-8.
    pub fn find(dir: &Path) -> Result<Option<Self>> {
        let Listed { folders, .. } = list(dir)?;
        let parts = parts(&folders)?;
        if parts.iter().any(Option::is_some) {
            return Self::of_parts(dir, &parts);
        }
        let Some(classes) = classes(dir, folders)? else { return Ok(None) };
        let is_test = |position: usize| (position + 1).is_multiple_of(TEST_EVERY);
        let part = |want_test: bool| {
            let of_class = |images: &Vec<PathBuf>| {
                let chosen = images.iter().enumerate().filter(|&(i, _)| is_test(i) == want_test);
                chosen.map(|(_, path)| path.clone()).collect()
            };
            let chosen: Vec<Vec<PathBuf>> =
                classes.iter().map(|class| of_class(&class.images)).collect();
            in_turn(chosen.iter().enumerate().map(|(label, images)| (label as u32, images)))
        };
        let (train, test) = (part(false), part(true));
        if test.is_empty() {
            return Err(DataError::file(
                dir,
                format!(
                    "no class has {TEST_EVERY} images, of which one would be for testing; add images, or make folders train and test"
                ),
            ));
        }
        expect_several(dir, &classes)?;
        Ok(Some(Self { classes: names(classes), train, test }))
    }

    fn of_parts(dir: &Path, parts: &[Option<PathBuf>; 3]) -> Result<Option<Self>> {
        let (train, test) = match parts {
            [Some(train), Some(test), None] | [Some(train), None, Some(test)] => (train, test),
            [_, Some(_), Some(_)] => {
                return Err(DataError::file(
                    dir,
                    "there are folders test and val; keep one of the two",
                ));
            }
            [None, ..] => return Err(DataError::file(dir, "the folder train is missing")),
            [_, None, None] => {
                return Err(DataError::file(dir, "the folder test (or val) is missing"));
            }
        };
        let Some(known) = classes(train, list(train)?.folders)? else { return Ok(None) };
        let Some(tested) = classes(test, list(test)?.folders)? else {
            return Err(DataError::file(
                test,
                "no folder with PNG or JPEG files is in here; each class needs one",
            ));
        };
        let label = |name: &str| known.binary_search_by(|class| class.name.as_str().cmp(name));
        if let Some(Labelled { name, .. }) = tested.iter().find(|class| label(&class.name).is_err())
        {
            let problem =
                format!("the class {name} has test images, but no folder in {}", train.display());
            return Err(DataError::file(test, problem));
        }
        let images =
            in_turn(known.iter().enumerate().map(|(label, class)| (label as u32, &class.images)));
        let labelled = tested
            .iter()
            .filter_map(|class| Some((label(&class.name).ok()? as u32, &class.images)));
        let test = in_turn(labelled);
        expect_several(train, &known)?;
        Ok(Some(Self { classes: names(known), train: images, test }))
    }
}

/// The folders `train`, `test` and `val` among these. Capitals count only if there are parts for training and for
/// testing: a folder `Train` alone may be a class.
fn parts(folders: &[PathBuf]) -> Result<[Option<PathBuf>; 3]> {
    let is_named = |folder: &&PathBuf, part: &str| {
        folder.file_name().is_some_and(|name| name.eq_ignore_ascii_case(part))
    };
    let mut parts = [None, None, None];
    for (found, part) in parts.iter_mut().zip(PARTS) {
        let mut named = folders.iter().filter(|folder| is_named(folder, part));
        *found = named.next().cloned();
        if let (Some(first), Some(second)) = (found, named.next()) {
            let problem = format!("there is also {}; keep one of the two", second.display());
            return Err(DataError::file(first, problem));
        }
    }
    let [train, test, val] = &parts;
    if train.is_none() || (test.is_none() && val.is_none()) {
        for (found, part) in parts.iter_mut().zip(PARTS) {
            found.take_if(|folder| folder.file_name().is_some_and(|name| name != part));
        }
    }
    Ok(parts)
}

/// A class and its images.
struct Labelled {
    name: String,
    images: Vec<PathBuf>,
}

/// Rejects a single class: any network is right then.
fn expect_several(dir: &Path, classes: &[Labelled]) -> Result<()> {
    match classes {
        [Labelled { name, .. }] => Err(DataError::file(
            dir,
            format!(
                "{name} is the only folder with images, so there is one class; make a folder for each of at least two classes"
            ),
        )),
        _ => Ok(()),
    }
}

fn names(classes: Vec<Labelled>) -> Vec<String> {
    classes.into_iter().map(|class| class.name).collect()
}

/// The classes of the folders in a folder, sorted by name; `None` if none of them has images.
fn classes(dir: &Path, folders: Vec<PathBuf>) -> Result<Option<Vec<Labelled>>> {
    let mut within = Vec::new();
    let mut classes = Vec::new();
    for folder in folders.into_iter().filter(|folder| !is_hidden(folder)) {
        let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let Some(name) = name else {
            return Err(DataError::file(
                &folder,
                "the name of a class must be valid UTF-8; rename the folder",
            ));
        };
        let mut images = Vec::new();
        within.push((collect(&folder, &mut images, 0)?, folder));
        classes.push(Labelled { name, images });
    }
    if classes.iter().all(|class| class.images.is_empty()) {
        return Ok(None);
    }
    for (folders, class) in &within {
        if parts(folders)?.iter().any(Option::is_some) {
            return Err(DataError::file(
                class,
                "it contains parts of a data set, such as train, so it is not a class; give its path",
            ));
        }
    }
    if let Some(empty) = classes.iter().find(|class| class.images.is_empty()) {
        return Err(DataError::file(
            &dir.join(&empty.name),
            "no PNG or JPEG file is in here, but each folder beside it is a class with images; add images or remove the folder",
        ));
    }
    Ok(Some(classes))
}

/// Appends the images in a folder and the folders in it, in the order of their names. Returns its folders.
fn collect(dir: &Path, images: &mut Vec<PathBuf>, depth: usize) -> Result<Vec<PathBuf>> {
    if depth > DEEPEST {
        return Err(DataError::file(dir, "the folder is too deep; a link in it may lead back"));
    }
    let Listed { files, folders, unreadable } = list(dir)?;
    let extension = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.unwrap_or_default().to_ascii_lowercase()
    };
    let is_image = |path: &&PathBuf| {
        !is_hidden(path)
            && READABLE.iter().chain(&UNREADABLE).any(|&known| known == extension(path))
    };
    if let Some(path) = unreadable.iter().find(is_image) {
        return Err(DataError::file(
            path,
            "the name of an image must be valid UTF-8; rename the file",
        ));
    }
    for path in files.into_iter().map(|file| dir.join(file)).filter(|path| !is_hidden(path)) {
        let extension = extension(&path);
        if UNREADABLE.contains(&extension.as_str()) {
            return Err(DataError::file(
                &path,
                "only PNG and JPEG images are read; convert it, or remove it",
            ));
        }
        if READABLE.contains(&extension.as_str()) {
            images.push(path);
        }
    }
    for folder in folders.iter().filter(|folder| !is_hidden(folder)) {
        collect(folder, images, depth + 1)?;
    }
    Ok(folders)
}

/// The first image of each class, then the second of each, and so on.
fn in_turn<'a>(classes: impl Iterator<Item = (u32, &'a Vec<PathBuf>)>) -> Vec<(PathBuf, u32)> {
    let mut images: Vec<(usize, u32, &PathBuf)> = classes
        .flat_map(|(label, images)| {
            images.iter().enumerate().map(move |(i, path)| (i, label, path))
        })
        .collect();
    images.sort();
    images.into_iter().map(|(_, label, path)| (path.clone(), label)).collect()
}

/// Decodes the first `limit` images and fits them to a shape, see [`Picture::fit`].
///
/// # Errors
/// If a file cannot be read or decoded; the first one in order is named.
pub(crate) fn read(files: &[(PathBuf, u32)], shape: ImageShape, limit: usize) -> Result<Split> {
    let files = &files[..files.len().min(limit)];
    let decode = |(path, _): &(PathBuf, u32)| {
        let bytes = std::fs::read(path).map_err(|error| DataError::io(path, error))?;
        let picture = Picture::decode(&bytes).map_err(|error| match error {
            DataError::Image(problem) => DataError::file(path, problem),
            other => other,
        })?;
        picture.fit(shape)
    };
    // Errors are taken in order afterwards: which thread fails first is chance.
    let images: Vec<Result<Vec<u8>>> = files.par_iter().map(decode).collect();
    let mut pixels = Vec::with_capacity(files.len().saturating_mul(shape.len()));
    for image in images {
        pixels.extend(image?);
    }
    Split::new(shape, pixels, files.iter().map(|&(_, label)| label).collect(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, each an image of one grey pixel that is as bright as its place in the list.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (grey, file) in files.iter().enumerate() {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.write_header().unwrap().write_image_data(&[grey as u8]).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn complaint(files: &[&str]) -> String {
        ImageFolder::find(folder(files).path()).unwrap_err().to_string()
    }

    /// Brightness and label of each image.
    fn seen(files: &[(PathBuf, u32)], limit: usize) -> Vec<(u8, u32)> {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let split = read(files, shape, limit).unwrap();
        split.images().iter().copied().zip(split.labels().iter().copied()).collect()
    }

    #[test]
    fn a_data_set_one_folder_deeper_is_no_class() {
        let outer: Vec<String> = ["train", "test"]
            .iter()
            .flat_map(|part| ["a", "b"].map(|class| format!("set/{part}/{class}/1.png")))
            .collect();
        let outer: Vec<&str> = outer.iter().map(String::as_str).collect();
        let error = complaint(&outer);
        assert!(error.contains("set: it contains parts of a data set"), "{error}");
        let one: Vec<String> = (0..5).map(|i| format!("a/{i}.png")).collect();
        let one: Vec<&str> = one.iter().map(String::as_str).collect();
        let error = complaint(&one);
        assert!(error.contains("a is the only folder with images"), "{error}");
        let error = complaint(&["train/a/1.png", "test/a/1.png"]);
        assert!(error.contains("a is the only folder with images"), "{error}");
    }

    #[test]
    fn parts_may_be_in_capitals_and_hidden_images_do_not_count() {
        let files = ["Train/a/1.png", "Train/b/1.png", "TEST/a/2.png", "TEST/b/2.png"];
        let hidden = ["Train/a/.checkpoints/3.png", "Train/a/._1.png", "TEST/.cache/4.png"];
        let dir = folder(&[&files[..], &hidden[..]].concat());
        let found = ImageFolder::find(dir.path()).unwrap().unwrap();
        assert_eq!((found.classes.len(), found.train.len(), found.test.len()), (2, 2, 2));
    }

    // Other systems do not distinguish these names.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_part_is_there_only_once() {
        let error = complaint(&["Train/a/1.png", "test/a/2.png", "train/a/1.png"]);
        assert!(error.contains("there is also") && error.contains("keep one"), "{error}");
    }

    #[test]
    fn a_class_may_have_the_name_of_a_part_in_capitals() {
        let files: Vec<String> = ["Boat", "Train"]
            .iter()
            .flat_map(|class| (0..5).map(move |i| format!("{class}/{i}.png")))
            .collect();
        let dir = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let found = ImageFolder::find(dir.path()).unwrap().unwrap();
        assert_eq!(found.classes, ["Boat", "Train"]);
        let error = complaint(&["train/a/1.png", "a/1.png"]);
        assert!(error.contains("the folder test (or val) is missing"), "{error}");
    }

    // Other systems have no such names.
    #[cfg(target_os = "linux")]
    #[test]
    fn names_of_images_that_are_not_utf_8_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let dir = folder(&["a/1.png", "a/2.png", "a/3.png", "a/4.png", "a/5.png", "b/1.png"]);
        let write = |name| {
            let name = std::ffi::OsStr::from_bytes(name);
            std::fs::write(dir.path().join("b").join(name), "").unwrap();
        };
        write(b"\xdcbersicht.txt");
        write(b".caf\xe9.png");
        ImageFolder::find(dir.path()).unwrap().unwrap();
        write(b"caf\xe9.png");
        let error = ImageFolder::find(dir.path()).unwrap_err().to_string();
        assert!(error.contains("must be valid UTF-8; rename the file"), "{error}");
    }

    #[test]
    fn parts_and_classes_are_folders() {
        for test in ["test", "val"] {
            let names = [
                "train/dog/b.png",
                "train/dog/a.PNG",
                "train/cat/x/c.jpeg",
                "val/dog/d.jpg",
                "train/dog/notes.txt",
            ];
            let names = names.map(|name| name.replace("val", test));
            let dir = folder(&names.each_ref().map(String::as_str));
            let found = ImageFolder::find(dir.path()).unwrap().unwrap();
            assert_eq!(found.classes, ["cat", "dog"]);
            assert_eq!(seen(&found.train, 9), [(2, 0), (1, 1), (0, 1)]);
            assert_eq!(seen(&found.train, 2), [(2, 0), (1, 1)]);
            assert_eq!(seen(&found.test, 9), [(3, 1)]);
        }
    }

    #[test]
    fn every_fifth_image_is_for_testing_where_there_are_no_parts() {
        let names: Vec<String> = (0..11).map(|i| format!("cat/{i:02}.png")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.extend(["dog/a.png", ".cache/x.png"]);
        let dir = folder(&names);
        let found = ImageFolder::find(dir.path()).unwrap().unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(seen(&found.test, 9), [(4, 0), (9, 0)]);
        assert_eq!(seen(&found.train, 3), [(0, 0), (11, 1), (1, 0)]);
        assert_eq!(found.train.len(), 10);
        assert!(complaint(&names[..4]).contains("no class has 5 images"));
    }

    #[test]
    fn folders_without_images_are_left_to_others() {
        for files in
            [&["README.md", "a.png"][..], &["docs/a.txt"], &["train/README.md", "test/x/a.txt"]]
        {
            assert_eq!(ImageFolder::find(folder(files).path()).unwrap(), None, "{files:?}");
        }
    }

    #[test]
    fn what_is_missing_or_cannot_be_read_is_named() {
        let (train, test) = ("train/cat/a.png", "test/cat/a.png");
        assert!(complaint(&[train]).contains("the folder test (or val) is missing"));
        assert!(complaint(&[test]).contains("the folder train is missing"));
        assert!(complaint(&[train, test, "val/cat/a.png"]).contains("keep one of the two"));
        assert!(complaint(&[train, "test/a.png"]).contains("each class needs one"));
        let text = complaint(&[train, test, "test/dog/a.png"]);
        assert!(text.contains("the class dog has test images"), "{text}");
        let text = complaint(&[train, test, "train/dog/a.txt"]);
        assert!(text.contains("dog") && text.contains("no PNG or JPEG"), "{text}");
        let text = complaint(&[train, test, "train/cat/b.webp"]);
        assert!(text.contains("b.webp") && text.contains("convert it"), "{text}");
        let dir = folder(&[train, test, "train/dog/a.png"]);
        std::fs::write(dir.path().join("train/cat/b.png"), "no image").unwrap();
        let found = ImageFolder::find(dir.path()).unwrap().unwrap();
        let text = read(&found.train, ImageShape::CIFAR, 9).unwrap_err().to_string();
        assert!(text.contains("b.png") && text.contains("neither PNG nor JPEG"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_ends() {
        let dir = folder(&["train/cat/a.png", "test/cat/a.png"]);
        std::os::unix::fs::symlink(dir.path().join("train/cat"), dir.path().join("train/cat/back"))
            .unwrap();
        let text = ImageFolder::find(dir.path()).unwrap_err().to_string();
        assert!(text.contains("too deep"), "{text}");
    }
}
