//! A folder of SciPy sparse matrices: one `.npz` for each weight of a layer, and `rest.safetensors` for all other
//! tensors.

mod matrix;

pub(crate) use matrix::weight;

use crate::{
    ElementType, ExportError, Network,
    numbers::Numbers,
    source::Source,
    sparse::{StatedShapes, shapes},
    stored,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use taper_train::checkpoint::RawFile;

/// Value of `kind` in the metadata of `rest.safetensors`.
const KIND: &str = "taper-npz-1";

/// File of all tensors that are not weights of layers.
const REST: &str = "rest.safetensors";

/// Key of the shapes in these metadata.
pub(crate) const SHAPES: &str = "npz";

/// Suffix of the files of weights.
const SUFFIX: &str = ".npz";

/// Characters of names that separate folders on some system, and the one that marks a replacement.
const REPLACED: [(char, &str); 4] = [('%', "%25"), ('/', "%2F"), ('\\', "%5C"), (':', "%3A")];

/// The file name of a weight. The names in ONNX files can contain `/` and `..`; the file stays in its folder, as `/` is
/// replaced by `%2F`.
fn file_name(weight: &str) -> String {
    let replaced =
        REPLACED.iter().fold(weight.to_owned(), |name, (c, code)| name.replace(*c, code));
    replaced + SUFFIX
}

/// The weight of a file name; `None` for other files.
fn weight_of(file_name: &str) -> Option<String> {
    let name = file_name.strip_suffix(SUFFIX)?;
    // `%` last: its code is a part of the others.
    Some(
        REPLACED
            .iter()
            .rev()
            .fold(name.to_owned(), |name, (c, code)| name.replace(code, &c.to_string())),
    )
}

/// Whether this crate has written `rest.safetensors`.
fn is_ours(rest: &RawFile) -> bool {
    rest.metadata.get("kind").is_some_and(|kind| kind == KIND)
}

/// Whether a folder contains only files of [`write()`]. Replacing it then loses nothing else.
pub(crate) fn is_ours_alone(folder: &Path) -> bool {
    let Ok(rest) = RawFile::load(&folder.join(REST)) else { return false };
    let shapes = rest.metadata.get(SHAPES).and_then(|text| serde_json::from_str(text).ok());
    let weights: serde_json::Map<String, serde_json::Value> = shapes.unwrap_or_default();
    let is_file_of_ours = |entry: std::io::Result<std::fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_weight = weight_of(&name).is_some_and(|name| weights.contains_key(&name));
        (name == REST || is_weight) && entry.file_type().is_ok_and(|kind| kind.is_file())
    };
    is_ours(&rest)
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_file_of_ours))
}

/// Writes the files into an existing folder.
pub(crate) fn write(network: &Network, folder: &Path) -> Result<(), ExportError> {
    let mut rest = RawFile { metadata: network.metadata().clone(), ..RawFile::default() };
    rest.metadata.insert("kind".into(), KIND.into());
    rest.metadata.insert(SHAPES.into(), shapes(network));
    rest.tensors = network.counters.clone();
    let layers = network.layers();
    for (name, tensor) in network.tensors() {
        if !layers.contains_key(&name[..]) {
            rest.tensors.insert(name.clone(), ElementType::F32.raw(name, tensor)?);
            continue;
        }
        let path = folder.join(file_name(name));
        let bytes = matrix::npz(tensor)?;
        taper_record::write_atomically(&path, |file| file.write_all(&bytes))
            .map_err(ExportError::io("write", &path))?;
    }
    rest.save(&folder.join(REST))?;
    Ok(())
}

/// An opened folder.
#[derive(Debug)]
pub(crate) struct Folder {
    rest: RawFile,
    stated: StatedShapes,
    /// Paths of the weights' files.
    weights: BTreeMap<String, PathBuf>,
}

impl Folder {
    /// Reads `rest.safetensors`, and lists the files of the weights.
    ///
    /// # Errors
    /// If it cannot be read, or is not the folder of an exported network.
    pub(crate) fn open(path: &Path) -> Result<Self, ExportError> {
        let malformed = |reason: String| ExportError::malformed(path)(reason);
        if !path.join(REST).is_file() {
            return Err(malformed(format!(
                "it is a folder without {REST}, so not an exported network; name a file"
            )));
        }
        let rest = RawFile::load(&path.join(REST))?;
        if !is_ours(&rest) {
            return Err(malformed(format!(
                "its {REST} is not from an exported network; export the network again"
            )));
        }
        let mut weights = BTreeMap::new();
        for entry in std::fs::read_dir(path).map_err(ExportError::io("list", path))? {
            let file = entry.map_err(ExportError::io("list", path))?.path();
            let Some(name) = file.file_name().and_then(|name| weight_of(name.to_str()?)) else {
                continue;
            };
            // Links to files are followed. Pipes are skipped, as they may have no end.
            let metadata = std::fs::metadata(&file).map_err(ExportError::io("read", &file))?;
            if metadata.is_file() {
                weights.insert(name, file.clone());
            }
        }
        let stated = StatedShapes::of(&rest.metadata, SHAPES);
        Ok(Self { rest, stated, weights })
    }
}

impl Source for Folder {
    fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.rest.metadata)
    }

    fn names(&self) -> BTreeSet<String> {
        self.rest.tensors.keys().chain(self.weights.keys()).cloned().collect()
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let is_plain = !self.weights.contains_key(name);
        Ok(is_plain.then(|| stored::shape(&self.rest, name)).flatten())
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String> {
        let Some(path) = self.weights.get(name) else { return stored::numbers(&self.rest, name) };
        self.stated.check(name, shape)?;
        let bytes =
            std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let values = weight(&bytes, shape).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Numbers::Floats(values))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use taper_graph::{Graph, Op, Tensor};

    #[test]
    fn files_stay_in_their_folder_whatever_the_names_of_weights() {
        for name in ["../../victim", "/tmp/victim", "a/b.weight", "50%2F", "c:\\d", "..", "%252F"] {
            let file = file_name(name);
            let path = std::path::Path::new(&file);
            assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(&*file), "{name}");
            assert_eq!(weight_of(&file).as_deref(), Some(name));
        }
        assert_eq!(file_name("conv.weight"), "conv.weight.npz");
        assert_eq!(weight_of(REST), None);

        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b/out");
        std::fs::create_dir_all(&out).unwrap();
        let mut graph = Graph::new(&[2, 1, 1]);
        graph.add_tensor("../../victim", Tensor::new(&[1, 2], [0.0, 1.0]).unwrap());
        let linear = Op::Linear { weight: "../../victim".into(), bias: None };
        let x = graph.push(Op::Reshape(vec![2]), &[Graph::INPUT]).unwrap();
        graph.output = graph.push(linear, &[x]).unwrap();
        write(&Network::from(graph), &out).unwrap();
        assert!(is_ours_alone(&out));
        assert!(!folder.path().join("a/victim.npz").exists());
        let opened = Folder::open(&out).unwrap();
        assert_eq!(opened.numbers("../../victim", &[1, 2]), Ok(Numbers::Floats(vec![0.0, 1.0])));
    }

    #[test]
    fn links_to_files_are_followed_and_broken_links_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let network = folder.path().join("network");
        std::fs::create_dir(&network).unwrap();
        let metadata = [("kind", KIND), (SHAPES, r#"{"a.weight": {"shape": [2, 3]}}"#)];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
        let rest = RawFile { metadata: metadata.into(), ..RawFile::default() };
        rest.save(&network.join(REST)).unwrap();
        let tensor = Tensor::new(&[2, 3], [0.0, 1.0, 0.0, 2.0, 0.0, 0.0]).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, matrix::npz(&tensor).unwrap()).unwrap();
        symlink(&elsewhere, network.join("a.weight.npz")).unwrap();
        // A folder is not a matrix.
        symlink(folder.path(), network.join("b.weight.npz")).unwrap();
        let opened = Folder::open(&network).unwrap();
        assert_eq!(opened.names(), ["a.weight".to_string()].into());
        let numbers = opened.numbers("a.weight", &[2, 3]).unwrap();
        assert_eq!(numbers, Numbers::Floats(vec![0.0, 1.0, 0.0, 2.0, 0.0, 0.0]));
        std::fs::remove_file(&elsewhere).unwrap();
        let error = Folder::open(&network).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("a.weight.npz"), "{error}");
    }
}
