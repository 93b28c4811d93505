//! Folders of golden values: where they are, and their JSON and safetensors files.

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A folder of golden values.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Whether `TAPER_GOLDEN` is set.
    pub(crate) fn is_chosen() -> bool {
        std::env::var_os("TAPER_GOLDEN").is_some()
    }

    /// The folder in `TAPER_GOLDEN`, or `testdata/golden` of this repository.
    pub(crate) fn of_tests() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        // Cargo runs tests in the folder of their crate; a relative path is relative to the repository.
        let path = match std::env::var_os("TAPER_GOLDEN") {
            Some(dir) => root.join(dir),
            None => root.join("testdata/golden"),
        };
        assert!(path.is_dir(), "there is no folder {} of golden values", path.display());
        Self(path)
    }

    /// The folder beside the repository. It also holds values of real images, which may not be committed. `None` if
    /// `TAPER_GOLDEN` is set; `None` with a message if the folder does not exist.
    pub(crate) fn beside() -> Option<Self> {
        if Self::is_chosen() {
            return None;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
        if path.is_dir() {
            return Some(Self(path));
        }
        eprintln!("skipped: values of real images, because there is no folder {}", path.display());
        None
    }

    /// A subfolder, if it exists.
    pub(crate) fn sub(&self, name: &str) -> Option<Self> {
        Some(Self(self.0.join(name))).filter(|folder| folder.0.is_dir())
    }

    /// The path of a file in this folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether the JSON and the safetensors file of this stem exist.
    pub(crate) fn has_pair(&self, stem: &str) -> bool {
        ["json", "safetensors"].iter().all(|end| self.path(&format!("{stem}.{end}")).is_file())
    }

    /// Stems of the JSON files whose name starts with `prefix`, sorted.
    pub(crate) fn stems(&self, prefix: &str) -> Vec<String> {
        let entries =
            std::fs::read_dir(&self.0).unwrap_or_else(|e| panic!("{}: {e}", self.0.display()));
        let mut stems: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .filter_map(|name| Some(name.strip_suffix(".json")?.to_string()))
            .collect();
        stems.sort();
        stems
    }

    /// The JSON file of this stem.
    pub(crate) fn json(&self, stem: &str) -> Value {
        let name = format!("{stem}.json");
        serde_json::from_slice(&self.read(&name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The safetensors file of this stem.
    pub(crate) fn tensors(&self, stem: &str) -> Tensors {
        let name = format!("{stem}.safetensors");
        Tensors::parse(&self.read(&name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name))
            .unwrap_or_else(|e| panic!("{}: {e}", self.path(name).display()))
    }
}

enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
}

/// The tensors of a file.
pub(crate) struct Tensors(HashMap<String, (Vec<usize>, Data)>);

impl Tensors {
    fn parse(bytes: &[u8]) -> Result<Self, safetensors::SafeTensorError> {
        let file = SafeTensors::deserialize(bytes)?;
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let bytes = view.data();
            let data = match view.dtype() {
                Dtype::F32 => {
                    Data::F32(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
                }
                Dtype::I64 => {
                    Data::I64(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect())
                }
                Dtype::U8 => Data::U8(bytes.to_vec()),
                other => panic!("tensor {name} has type {other:?}"),
            };
            (name, (view.shape().to_vec(), data))
        });
        Ok(Self(tensors.collect()))
    }

    fn entry(&self, name: &str) -> &(Vec<usize>, Data) {
        self.0.get(name).unwrap_or_else(|| panic!("there is no tensor {name}"))
    }

    /// The names that start with `prefix`, sorted, each with the part after the prefix.
    pub(crate) fn below<'a>(&'a self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let mut names: Vec<(&str, &str)> = self
            .0
            .keys()
            .filter_map(|name| Some((name.as_str(), name.strip_prefix(prefix)?)))
            .collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn shape(&self, name: &str) -> &[usize] {
        &self.entry(name).0
    }

    pub(crate) fn f32(&self, name: &str) -> &[f32] {
        match &self.entry(name).1 {
            Data::F32(values) => values,
            _ => panic!("tensor {name} is not F32"),
        }
    }

    pub(crate) fn u8(&self, name: &str) -> &[u8] {
        match &self.entry(name).1 {
            Data::U8(values) => values,
            _ => panic!("tensor {name} is not U8"),
        }
    }

    /// Labels, which are stored as I64.
    pub(crate) fn labels(&self, name: &str) -> Vec<u32> {
        match &self.entry(name).1 {
            Data::I64(values) => {
                values.iter().map(|&v| u32::try_from(v).expect("a label")).collect()
            }
            _ => panic!("tensor {name} is not I64"),
        }
    }

    /// A floating-point tensor as a candle tensor.
    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        Tensor::from_slice(self.f32(name), self.shape(name), &device()).expect("a tensor")
    }
}

/// The device of the tests: `TAPER_TEST_DEVICE` (`cpu`, `cuda` or `metal`), else the CPU. On `cuda` and `metal`,
/// layers are composed of candle operations.
pub(crate) fn device() -> Device {
    let device = match std::env::var("TAPER_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Ok(Device::Cpu),
        Ok("cuda") => Device::new_cuda(0),
        Ok("metal") => Device::new_metal(0),
        Ok(other) => panic!("TAPER_TEST_DEVICE is `{other}`; it can be cpu, cuda or metal"),
    };
    device.expect("the device of TAPER_TEST_DEVICE, with the feature of its name")
}

/// Fields of a JSON object; each panics if the field is missing.
pub(crate) trait Fields {
    fn field(&self, key: &str) -> &Value;

    /// A number; the text `inf` is infinity.
    fn real(&self, key: &str) -> f64 {
        real(self.field(key))
    }

    fn count(&self, key: &str) -> u64 {
        self.field(key).as_u64().unwrap_or_else(|| panic!("{key} is not a count"))
    }

    fn text(&self, key: &str) -> &str {
        self.field(key).as_str().unwrap_or_else(|| panic!("{key} is not a text"))
    }

    fn flag(&self, key: &str) -> bool {
        self.field(key).as_bool().unwrap_or_else(|| panic!("{key} is neither true nor false"))
    }

    fn list(&self, key: &str) -> &[Value] {
        self.field(key).as_array().unwrap_or_else(|| panic!("{key} is not a list"))
    }

    fn object(&self, key: &str) -> &Map<String, Value> {
        self.field(key).as_object().unwrap_or_else(|| panic!("{key} is not an object"))
    }

    /// A list of texts.
    fn texts(&self, key: &str) -> Vec<&str> {
        self.list(key).iter().map(|v| v.as_str().expect("a text")).collect()
    }

    /// A list of whole numbers.
    fn counts(&self, key: &str) -> Vec<u64> {
        self.list(key).iter().map(|v| v.as_u64().expect("a count")).collect()
    }
}

impl Fields for Value {
    fn field(&self, key: &str) -> &Value {
        self.get(key).unwrap_or_else(|| panic!("there is no {key} in the JSON"))
    }
}

/// A number; the text `inf` is infinity.
pub(crate) fn real(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        _ => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
    }
}
