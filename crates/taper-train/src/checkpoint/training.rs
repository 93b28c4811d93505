//! Training checkpoints: everything that is needed to resume a run.

use super::file::{CheckpointError, RawTensor, TensorFile};
use crate::{Optimizer, OptimizerState, Progress, PrunedSquares, Run, error::TrainError};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use taper_nn::Params;
use taper_prune::{ProbeState, Pruner, PrunerState};
use taper_schedule::State;

const KIND: &str = "taper-training-2";
const MODEL: &str = "model/";
const OPTIMIZER: &str = "optimizer/";
/// Prefix of SGD's velocity in checkpoints of versions that had only SGD.
const VELOCITY: &str = "velocity/";
const MASK: &str = "mask/";
/// The masks that the schedule received last.
const TOLD: &str = "told/";
const DROPPED: &str = "dropped/";
/// The step at which each weight was pruned.
const SINCE: &str = "since/";
const INITIAL: &str = "initial/";
/// What a probe recorded of each weight, and which weights were kept again since. The number of the probe follows.
const PROBE: &str = "probe-";
const BACK: &str = "back-";

/// The state of a run that a training checkpoint saves, borrowed from the run.
pub struct Snapshot<'a> {
    params: &'a Params,
    optimizer: &'a dyn Optimizer,
    pruner: Option<&'a Pruner>,
    pruned_squares: PrunedSquares,
    progress: &'a Progress,
}

impl<'a> Snapshot<'a> {
    /// The state of a run between two steps.
    pub fn of(run: &'a Run, progress: &'a Progress) -> Self {
        let (params, pruner, pruned_squares) =
            (run.model.params(), run.pruner.as_ref(), run.pruned_squares);
        Self { params, optimizer: &*run.optimizer, pruner, pruned_squares, progress }
    }

    /// The progress of the run.
    pub fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// A checksum of the state, together with its length. Ranks that train together must have the same digest.
    ///
    /// # Errors
    /// If a tensor cannot be copied, or the optimizer cannot be saved.
    pub fn digest(&self) -> Result<u64, CheckpointError> {
        let file = self.to_file(&Value::Null)?;
        let (mut checksum, mut len) = (0, 0u32);
        let mut add = |bytes: &[u8]| {
            checksum = crc32c::crc32c_append(checksum, bytes);
            len = len.wrapping_add(bytes.len() as u32);
        };
        for (name, tensor) in &file.tensors {
            add(name.as_bytes());
            add(&RawTensor::of(tensor)?.data);
        }
        for (name, text) in &file.metadata {
            add(name.as_bytes());
            add(text.as_bytes());
        }
        Ok(u64::from(len) << 32 | u64::from(checksum))
    }

    pub(super) fn to_file(&self, recipe: &Value) -> Result<TensorFile, CheckpointError> {
        let mut file = TensorFile::default();
        let mut put = |prefix: &str, name: &str, tensor: Tensor| {
            file.tensors.insert(format!("{prefix}{name}"), tensor)
        };
        for entry in self.params.entries() {
            put(MODEL, &entry.name, entry.var.as_tensor().clone());
        }
        let OptimizerState { tensors, numbers } = self.optimizer.state(self.params)?;
        for (name, tensor) in tensors {
            put(OPTIMIZER, &name, tensor);
        }
        // As text, because JSON has no infinities and no NaN.
        let numbers: BTreeMap<_, _> =
            numbers.into_iter().map(|(name, number)| (name, number.to_string())).collect();
        let optimizer = json!({ "name": self.optimizer.name(), "numbers": numbers });
        file.metadata.insert("optimizer".into(), optimizer.to_string());
        if let Some(pruner) = self.pruner {
            let state = pruner.state();
            let numbered = |prefix: &str, number: usize| format!("{prefix}{number}/");
            let mut masks = vec![(MASK.to_owned(), &state.masks)];
            masks.extend(state.told.iter().map(|(_, masks)| (TOLD.to_owned(), masks)));
            masks.extend(state.dropped.iter().map(|masks| (DROPPED.to_owned(), masks)));
            let probes = state.probes.iter().enumerate();
            masks.extend(probes.clone().map(|(i, probe)| (numbered(BACK, i), &probe.back)));
            for (prefix, masks) in masks {
                for (info, words) in pruner.layers().zip(masks) {
                    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                    let n = bytes.len();
                    put(&prefix, &info.name, Tensor::from_vec(bytes, n, &Device::Cpu)?);
                }
            }
            for (info, since) in pruner.layers().zip(state.since.iter().flatten()) {
                put(SINCE, &info.name, Tensor::new(&since[..], &Device::Cpu)?);
            }
            for (info, initial) in pruner.layers().zip(state.initial.iter().flatten()) {
                put(INITIAL, &info.name, Tensor::new(&initial[..], &Device::Cpu)?);
            }
            for (i, probe) in probes {
                for (info, codes) in pruner.layers().zip(&probe.codes) {
                    put(&numbered(PROBE, i), &info.name, Tensor::new(&codes[..], &Device::Cpu)?);
                }
            }
            put("", "cuts", Tensor::new(&state.cuts[..], &Device::Cpu)?);
            put("", "schedule", Tensor::new(&state.schedule.0[..], &Device::Cpu)?);
            if !state.memory.is_empty() {
                put("", "memory", Tensor::new(&state.memory[..], &Device::Cpu)?);
            }
            if !state.operator.is_empty() {
                put("", "operator", Tensor::new(&state.operator[..], &Device::Cpu)?);
            }
            let mut pruner = json!({
                "step": state.step,
                "sparsity": state.sparsity.to_string(),
                "has_dropped": state.dropped.is_some(),
                "has_since": state.since.is_some(),
                "has_initial": state.has_initial,
                "probes": state.probes.iter().map(|probe| probe.step).collect::<Vec<_>>(),
            });
            if let Some((step, _)) = state.told {
                pruner["told"] = step.into();
            }
            // Written only if present: most pruners have no initial values.
            if state.initial.is_some() {
                pruner["has_values"] = true.into();
            }
            if let Some(budget) = &state.budget {
                pruner["budget"] = budget[..].into();
            }
            file.metadata.insert("pruner".into(), pruner.to_string());
            let PrunedSquares { all, dead } = self.pruned_squares;
            let squares = json!([all.to_string(), dead.to_string()]);
            file.metadata.insert("pruned_squares".into(), squares.to_string());
        }
        file.metadata.insert("kind".into(), KIND.into());
        file.metadata.insert("recipe".into(), recipe.to_string());
        file.metadata.insert("progress".into(), self.progress.to_json().to_string());
        Ok(file)
    }
}

/// A training checkpoint that was read, but not restored yet.
#[derive(Debug)]
pub struct TrainingCheckpoint {
    path: PathBuf,
    file: TensorFile,
    /// The resolved recipe of the run that wrote it.
    pub recipe: Value,
    /// The progress of that run.
    pub progress: Progress,
}

impl TrainingCheckpoint {
    /// Whether `kind` is that of a training checkpoint, of this or another version.
    pub fn is_kind(kind: &str) -> bool {
        kind.starts_with("taper-training-")
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is missing, damaged, or of another kind.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = TensorFile::load(path)?;
        let kind = file.require("kind", path)?;
        if kind != KIND {
            let reason = format!("its kind is `{kind}`, but only `{KIND}` can be resumed");
            return Err(CheckpointError::malformed(path, reason));
        }
        let json = |key: &str| -> Result<Value, CheckpointError> {
            serde_json::from_str(file.require(key, path)?).map_err(|e| {
                CheckpointError::malformed(path, format!("its `{key}` is not JSON: {e}"))
            })
        };
        let recipe = json("recipe")?;
        let progress = Progress::from_json(&json("progress")?)
            .ok_or_else(|| CheckpointError::malformed(path, "its `progress` lacks a field"))?;
        Ok(Self { path: path.into(), file, recipe, progress })
    }

    /// Restores the state into a run that was built from the same recipe.
    ///
    /// # Errors
    /// [`TrainError`] if the state does not fit the model, the optimizer or the pruner of the run.
    pub fn restore(&self, run: &mut Run) -> Result<Progress, TrainError> {
        let (saved, state) = self.optimizer_state()?;
        let given = run.optimizer.name();
        if saved != given {
            return Err(TrainError::Optimizer { saved, given });
        }
        let params = run.model.params();
        self.load_into(params)?;
        run.optimizer
            .restore(params, &state)
            .map_err(|error| CheckpointError::malformed(&self.path, error))?;
        if let Some(pruner) = &mut run.pruner {
            pruner.restore(self.pruner_state(pruner)?)?;
        }
        run.pruned_squares = self.pruned_squares()?;
        Ok(self.progress.clone())
    }

    /// Shape of a tensor of the model; `None` if there is no tensor with this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file.tensors.get(&format!("{MODEL}{name}")).map(Tensor::dims)
    }

    /// Loads the network into a model of the same structure. `pruner` writes the zeros; for a dense run, pass `None`.
    /// The state of the optimizer is not read.
    ///
    /// # Errors
    /// [`TrainError`] if the state does not fit the model or the pruner.
    pub fn bake_into(&self, params: &Params, pruner: Option<Pruner>) -> Result<(), TrainError> {
        self.load_into(params)?;
        if let Some(mut pruner) = pruner {
            pruner.restore(self.pruner_state(&pruner)?)?;
            pruner.bake()?;
        }
        Ok(())
    }

    /// Name and state of the saved optimizer.
    fn optimizer_state(&self) -> Result<(String, OptimizerState), CheckpointError> {
        let mut state = OptimizerState::default();
        let Some(text) = self.file.metadata.get("optimizer") else {
            let old = self.file.tensors.iter().filter(|(name, _)| name.starts_with(VELOCITY));
            state.tensors = old.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
            return Ok(("sgd".into(), state));
        };
        for (name, tensor) in &self.file.tensors {
            if let Some(name) = name.strip_prefix(OPTIMIZER) {
                state.tensors.insert(name.into(), tensor.clone());
            }
        }
        let saved = serde_json::from_str::<Value>(text).ok();
        let parsed = saved.as_ref().and_then(|saved| {
            for (name, number) in saved.get("numbers")?.as_object()? {
                state.numbers.insert(name.clone(), number.as_str()?.parse().ok()?);
            }
            saved.get("name")?.as_str()
        });
        let name = parsed.ok_or_else(|| {
            let reason = format!("its `optimizer` is {text}, not a name with numbers");
            CheckpointError::malformed(&self.path, reason)
        })?;
        Ok((name.into(), state))
    }

    /// Loads the weights into a model of the same structure.
    fn load_into(&self, params: &Params) -> Result<(), CheckpointError> {
        let find = |name: &str| self.file.tensors.get(&format!("{MODEL}{name}")).cloned();
        params.load(find).map_err(|e| CheckpointError::malformed(&self.path, e))
    }

    /// The state of clipping. It is empty in a checkpoint of a dense run, or of an earlier version.
    fn pruned_squares(&self) -> Result<PrunedSquares, CheckpointError> {
        let Some(text) = self.file.metadata.get("pruned_squares") else {
            return Ok(PrunedSquares::default());
        };
        let parsed: Option<[f64; 2]> = serde_json::from_str::<[String; 2]>(text)
            .ok()
            .and_then(|[all, dead]| Some([all.parse().ok()?, dead.parse().ok()?]));
        match parsed {
            Some([all, dead]) if all >= 0.0 && dead >= 0.0 => Ok(PrunedSquares { all, dead }),
            _ => {
                let reason = format!(
                    "its `pruned_squares` is {text}, but must be two numbers of at least 0"
                );
                Err(CheckpointError::malformed(&self.path, reason))
            }
        }
    }

    fn pruner_state(&self, pruner: &Pruner) -> Result<PrunerState, CheckpointError> {
        let malformed = |reason: &str| CheckpointError::malformed(&self.path, reason);
        let tensor = |name: &str| {
            self.file
                .tensors
                .get(name)
                .ok_or_else(|| malformed(&format!("tensor {name} of the pruner is missing")))
        };
        let scalars: Value = serde_json::from_str(self.file.require("pruner", &self.path)?)
            .map_err(|_| malformed("its `pruner` is not JSON"))?;
        let read = |key: &str| {
            scalars.get(key).ok_or_else(|| malformed(&format!("its `pruner` has no `{key}`")))
        };
        let layers = |prefix: &str| {
            let prefix = prefix.to_owned();
            pruner.layers().map(move |info| tensor(&format!("{prefix}{}", info.name)))
        };
        let masks = |prefix: &str| {
            layers(prefix)
                .map(|saved| {
                    let bytes = saved?.flatten_all()?.to_vec1::<u8>()?;
                    Ok(bytes
                        .chunks_exact(8)
                        .map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes")))
                        .collect())
                })
                .collect::<Result<Vec<Vec<u64>>, CheckpointError>>()
        };
        let is_set = |key: &str| scalars.get(key).and_then(Value::as_bool).unwrap_or(false);
        let dropped = is_set("has_dropped").then(|| masks(DROPPED)).transpose()?;
        let since = is_set("has_since").then(|| {
            let since = layers(SINCE).map(|saved| Ok(saved?.flatten_all()?.to_vec1::<u32>()?));
            since.collect::<Result<_, CheckpointError>>()
        });
        let steps = read("probes")?.as_array();
        let steps = steps.ok_or_else(|| malformed("the pruner's `probes` is not a list"))?;
        let probes = steps.iter().enumerate().map(|(i, step)| {
            let codes = layers(&format!("{PROBE}{i}/"))
                .map(|saved| Ok(saved?.flatten_all()?.to_vec1::<u8>()?))
                .collect::<Result<_, CheckpointError>>()?;
            let step = step.as_u64();
            let step = step.ok_or_else(|| malformed("the step of a probe is not a number"))?;
            Ok(ProbeState { step, codes, back: masks(&format!("{BACK}{i}/"))? })
        });
        let probes = probes.collect::<Result<_, CheckpointError>>()?;
        let told = match scalars.get("told") {
            None => None,
            Some(step) => {
                let step = step.as_u64();
                let step = step.ok_or_else(|| malformed("the pruner's `told` is not a number"))?;
                Some((step, masks(TOLD)?))
            }
        };
        let initial = is_set("has_values").then(|| {
            let initial =
                layers(INITIAL).map(|saved| Ok(saved?.flatten_all()?.to_vec1::<f32>()?));
            initial.collect::<Result<_, CheckpointError>>()
        });
        let budget = scalars.get("budget").map(|budget| {
            let budget = budget.as_array().and_then(|n| n.iter().map(Value::as_u64).collect());
            budget.ok_or_else(|| malformed("the pruner's `budget` is not a list of numbers"))
        });
        let numbers = |name: &str| {
            let saved = self.file.tensors.get(name);
            saved.map_or(Ok(Vec::new()), |saved| saved.flatten_all()?.to_vec1())
        };
        Ok(PrunerState {
            operator: numbers("operator")?,
            memory: numbers("memory")?,
            // Checkpoints of earlier versions do not have this key.
            has_initial: scalars.get("has_initial").and_then(Value::as_bool).unwrap_or(true),
            step: read("step")?
                .as_u64()
                .ok_or_else(|| malformed("the pruner's `step` is not a number"))?,
            sparsity: read("sparsity")?
                .as_str()
                .and_then(|s| s.parse().ok())
                .ok_or_else(|| malformed("the pruner's `sparsity` is not a number"))?,
            cuts: tensor("cuts")?.flatten_all()?.to_vec1()?,
            masks: masks(MASK)?,
            initial: initial.transpose()?,
            budget: budget.transpose()?,
            told,
            dropped,
            since: since.transpose()?,
            probes,
            schedule: State(tensor("schedule")?.flatten_all()?.to_vec1()?),
        })
    }
}
