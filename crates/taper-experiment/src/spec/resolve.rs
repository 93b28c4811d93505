//! Fills in what an experiment leaves out, and checks it.

use super::{
    Method, PruneSpec, Said, Spec, TrainSpec, method::chooses_masks, operator::is_learned,
    parts::pattern, ranges, start::Start,
};
use crate::error::usage;
use serde_json::Value;
use taper::{
    core::{LayerInfo, Sparsity},
    data::{Dataset, Normalisation},
    zoo::{Architecture, Width},
};

/// The method that keeps the mask of the checkpoint that it starts from.
const FINETUNE: &str = "finetune";
/// The methods without pruning: the full network, and a narrower one.
const DENSE: &str = "dense";
const DENSE_SMALL: &str = "dense-small";

/// An experiment with a value for every key, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub(super) spec: Spec,
    sparsity: Sparsity,
    start: Option<Start>,
}

/// The defaults for a data set.
struct Defaults {
    model: &'static str,
    epochs: u64,
    batch_size: u64,
    lr: f64,
    augment: &'static str,
    normalise: &'static str,
}

impl Defaults {
    fn of(data: &str) -> Self {
        match data {
            "digits" => Self {
                model: "digits-cnn",
                epochs: 20,
                batch_size: 32,
                lr: 0.05,
                augment: "shift",
                normalise: "digits",
            },
            // Feather's protocol, including CIFAR-10's constants for CIFAR-100.
            _ => Self {
                model: "resnet20",
                epochs: 160,
                batch_size: 128,
                lr: 0.1,
                augment: "crop-flip",
                normalise: "cifar10",
            },
        }
    }
}

impl Resolved {
    /// Fills in and checks every key, except for checks that need the data.
    pub fn new(mut spec: Spec) -> anyhow::Result<Self> {
        let start = spec.from.as_deref().map(|path| Start::load(path.as_ref())).transpose()?;
        let data = match (&spec.data, &start) {
            (None, Some(start)) => start.data()?,
            (data, _) => data.clone(),
        };
        let data = data.unwrap_or_else(|| "digits".into());
        let defaults = Defaults::of(&data);
        let method = spec.prune.method.clone().unwrap_or_else(|| "feather".into());
        let mut part = Method::find(&method)?.prune;
        let is_dense = method == DENSE;
        let is_small = method == DENSE_SMALL;
        let is_finetune = method == FINETUNE;
        spec.prune = {
            let Said { in_file, by_flags } = &spec.said;
            let is_by_flag = by_flags.contains("prune.method");
            let prune = spec.prune.clone();
            prune.without(|key| {
                let key = format!("prune.{key}");
                // A method from the command line disables keys of the file. Keys of other files are for several methods.
                let is_unused = match is_finetune {
                    true => chooses_masks(&key) && (is_by_flag || !in_file.contains(&key)),
                    false => is_dense && is_by_flag && key != "prune.method",
                };
                is_unused && !by_flags.contains(&key)
            })?
        };
        if start.as_ref().is_some_and(Start::is_sparse) {
            // The first masks are those of the largest weights, not random ones.
            (part.begin_by, part.begin_allocation) = (None, None);
        }
        let threshold = spec.prune.threshold.as_ref().or(part.threshold.as_ref());
        let finds_own = threshold.is_some_and(|name| is_learned(name));
        let sparsity = match (is_dense, spec.prune.sparsity) {
            (_, asked) if is_finetune => finetuned(start.as_ref(), asked)?,
            (_, asked) if finds_own => learned(asked)?,
            (true, None | Some(0.0)) => 0.0,
            (true, Some(s)) => {
                return Err(usage(format!(
                    "method `dense` has no sparsity, but prune.sparsity is {s}; choose another method"
                )));
            }
            (false, Some(sparsity)) => sparsity,
            // A pattern fixes the sparsity.
            (false, None) => {
                let structure = spec.prune.structure.as_deref().or(part.structure.as_deref());
                structure.and_then(pattern).map_or(0.9, |pattern| pattern.sparsity().get())
            }
        };
        let of_method = part.initial.unwrap_or(0.0);
        let initial = match (spec.prune.initial, &start, Sparsity::new(sparsity)) {
            (Some(initial), ..) => initial,
            (None, Some(start), Ok(target)) if !is_dense && !is_small && !finds_own => {
                start.begin(target)?.max(of_method)
            }
            _ => of_method,
        };
        let model = spec.model.or_else(|| Some(start.as_ref()?.model().into()));
        let model = model.unwrap_or_else(|| defaults.model.into());
        // A width can be written in several ways.
        let architecture = Architecture::find(&model).map_err(usage)?;
        let model = architecture.name.into_owned();
        // Only for an experiment without the key: it lists the files of a folder.
        let channels = architecture.image[0];
        let normalise = || match Dataset::is_image_folder(&data) {
            true => Normalisation::name_for_images(channels),
            false => defaults.normalise,
        };
        if let Some(start) = start.as_ref().filter(|_| is_small) {
            return Err(usage(format!(
                "method `dense-small` trains a network of another width than checkpoint {}; leave --from out, or choose another method",
                start.path().display()
            )));
        }
        if let Some(start) = start.as_ref().filter(|start| start.model() != model) {
            return Err(usage(format!(
                "training cannot start from a checkpoint of {} for model {model}; leave --model out, or choose another --from",
                start.model()
            )));
        }
        let t = spec.train;
        let optimizer = t.optimizer.unwrap_or_else(|| "sgd".into());
        let is_adamw = optimizer == "adamw";
        // The step size of AdamW depends on the learning rate only, not on the size of the gradient.
        let lr = if is_adamw { 1e-3 } else { defaults.lr };
        let train = TrainSpec {
            epochs: t.epochs.or(Some(defaults.epochs)),
            max_steps: t.max_steps.or(Some(0)),
            batch_size: t.batch_size.or(Some(defaults.batch_size)),
            // A full learning rate would move trained weights too far.
            lr: t.lr.or(Some(if is_finetune { 0.1 * lr } else { lr })),
            schedule: t.schedule.or_else(|| Some("cosine".into())),
            milestones: t.milestones.or_else(|| Some(vec![0.5, 0.75])),
            warmup_epochs: t.warmup_epochs.or(Some(0.0)),
            momentum: t.momentum.or(Some(0.9)),
            dampening: t.dampening.or(Some(0.0)),
            nesterov: t.nesterov.or(Some(false)),
            beta1: t.beta1.or(Some(0.9)),
            beta2: t.beta2.or(Some(0.999)),
            eps: t.eps.or(Some(1e-8)),
            ham: t.ham.or(Some(false)),
            ham_alpha: t.ham_alpha.or(Some(200.0)),
            ham_beta: t.ham_beta.or(Some(1e-3)),
            weight_decay: t.weight_decay.or(Some(if is_adamw { 0.01 } else { 5e-4 })),
            optimizer: Some(optimizer),
            clip_norm: t.clip_norm.or(Some(3.0)),
            label_smoothing: t.label_smoothing.or(Some(0.0)),
            augment: t.augment.or_else(|| Some(defaults.augment.into())),
            normalise: t
                .normalise
                .or_else(|| start.as_ref()?.normalise().map(str::to_owned))
                .or_else(|| Some(normalise().into())),
            eval_every: t.eval_every.or(Some(1)),
            checkpoint_every: t.checkpoint_every.or(Some(0)),
            keep_last: t.keep_last.or(Some(2)),
            keep_best: t.keep_best.or(Some(false)),
            tensorboard: t.tensorboard.or(Some(false)),
            early_stop: t.early_stop.or(Some(0)),
            limit: t.limit.or(Some(0)),
            validation: t.validation.or(Some(0.0)),
        };
        let own = toml::Table::try_from(&spec.prune)?;
        let p = spec.prune.over(part)?;
        let prune = PruneSpec {
            method: Some(method),
            sparsity: Some(sparsity),
            threshold: p.threshold,
            gradient: p.gradient,
            pruned_gradient: p.pruned_gradient.or_else(|| Some("exact".into())),
            schedule: p.schedule.or_else(|| Some("cubic".into())),
            begin: p.begin.or(Some(0.0)),
            end: p.end.or(Some(0.5)),
            initial: Some(initial),
            points: p.points.or_else(|| Some(Vec::new())),
            adapt: p.adapt.or_else(|| Some("none".into())),
            adapt_signal: p.adapt_signal.or_else(|| Some("entered".into())),
            adapt_window: p.adapt_window.or(Some(100)),
            adapt_smoothing: p.adapt_smoothing.or(Some(0.5)),
            adapt_reference: p.adapt_reference.or_else(|| Some("median".into())),
            adapt_slow: p.adapt_slow.or(Some(0.25)),
            adapt_fast: p.adapt_fast.or(Some(2.0)),
            adapt_deadline: p.adapt_deadline.or(p.end).or(Some(0.5)),
            drop: p.drop.or_else(|| Some("none".into())),
            drop_schedule: p.drop_schedule.or_else(|| Some("one-shot".into())),
            drop_begin: p.drop_begin.or(Some(0.0)),
            drop_end: p.drop_end.or(p.drop_begin).or(Some(0.0)),
            drop_from: p.drop_from.or(Some(0.0)),
            dead_filters: p.dead_filters.or_else(|| Some("reference".into())),
            probes: p.probes.or(Some(0)),
            allocation: p.allocation.or_else(|| Some("global".into())),
            quantile: p.quantile.or_else(|| Some("exact".into())),
            refresh_every: p.refresh_every.or(Some(1)),
            pins: p.pins.or_else(|| Some(Default::default())),
            ..p
        };
        ranges::check(&train, &prune)?;
        if let (Some(start), Some(scale)) = (&start, &prune.initial_scale) {
            return Err(usage(format!(
                "prune.initial_scale is {scale}, which needs random initial weights, but training starts from checkpoint {} (from); leave one \
                 of them out",
                start.path().display()
            )));
        }
        let asked = Sparsity::new(sparsity).map_err(usage)?;
        let sparsity = if is_small { Sparsity::DENSE } else { asked };
        let spec = Spec {
            model: Some(model),
            data: Some(data),
            from: spec.from,
            seed: spec.seed.or(Some(0)),
            train,
            prune,
            said: spec.said,
        };
        let mut resolved = Self { spec, sparsity, start };
        resolved.remove_idle(|key| own.contains_key(key))?;
        // Every name is parsed once here, to report its errors early.
        resolved.augment()?;
        Normalisation::by_name(resolved.train().normalise.as_deref().unwrap_or_default())
            .map_err(usage)?;
        resolved.parts()?;
        resolved.optimizer()?;
        resolved.learning_rate(0, 0)?;
        resolved.check_together()?;
        resolved.check_idle()?;
        Ok(resolved)
    }

    /// The experiment of a [`record`](Self::record), without the checkpoint that it may have started from.
    ///
    /// # Errors
    /// If a value is unknown, as in a record of another version.
    pub fn recorded(record: &Value) -> anyhow::Result<Self> {
        let mut record = record.clone();
        if let Some(keys) = record.as_object_mut() {
            keys.retain(|key, _| !["data_fingerprint", "from"].contains(&key.as_str()));
        }
        let mut spec: Spec = serde_json::from_value(record)?;
        // `gmp` needs no checkpoint. The first masks of a sparse checkpoint, which the record does not have, were chosen.
        if spec.prune.method.as_deref() == Some(FINETUNE) {
            spec.prune.method = Some("gmp".into());
        }
        Self::new(spec)
    }

    pub(super) fn train(&self) -> &TrainSpec {
        &self.spec.train
    }

    pub(super) fn prune(&self) -> &PruneSpec {
        &self.spec.prune
    }

    /// The architecture.
    pub fn model(&self) -> &str {
        self.spec.model.as_deref().unwrap_or_default()
    }

    /// The data set as given: a name or a folder.
    pub fn data(&self) -> &str {
        self.spec.data.as_deref().unwrap_or_default()
    }

    /// The name of the method.
    pub fn method(&self) -> &str {
        self.prune().method.as_deref().unwrap_or_default()
    }

    /// The seed of initial weights, image order and augmentation.
    pub fn seed(&self) -> u64 {
        self.spec.seed.unwrap_or(0)
    }

    /// Number of steps from which pruned weights are followed.
    pub fn n_probes(&self) -> u64 {
        self.prune().probes.unwrap_or(0)
    }

    /// Steps between mask updates.
    pub fn refresh_every(&self) -> u64 {
        self.prune().refresh_every.unwrap_or(1)
    }

    /// Whether nothing is pruned.
    pub fn is_dense(&self) -> bool {
        [DENSE, DENSE_SMALL].contains(&self.method())
    }

    /// The target sparsity; `None` for a dense run and for learned thresholds, which find their own sparsity.
    pub fn target(&self) -> Option<Sparsity> {
        (!self.is_dense() && !self.finds_own()).then_some(self.sparsity)
    }

    /// Explains why the final network keeps more or fewer of its `n` weights than the target; `None` if the counts
    /// agree within 0.5 %.
    pub fn misses(&self, n_kept: u64, n: u64) -> Option<String> {
        let target = self.target()?;
        let wanted = target.n_kept(n);
        if n_kept.abs_diff(wanted) as f64 <= (0.005 * wanted as f64).max(1.0) {
            return None;
        }
        let reason = match self.prune().structure.as_deref().unwrap_or("single") {
            "single" => "some of the kept weights are 0; train longer".to_owned(),
            structure => format!(
                "prune.structure {structure} keeps whole groups, at least one in each layer, and prune.pins keep layers denser; choose \
                 smaller groups, or pin fewer layers"
            ),
        };
        let reached = Sparsity::of(n_kept, n).get();
        Some(format!(
            "prune.sparsity is {target}, but the network has a sparsity of {reached:.4}, because {reason}"
        ))
    }

    /// Whether thresholds are learned, and so decide the sparsity.
    pub fn finds_own(&self) -> bool {
        self.prune().threshold.as_deref().is_some_and(is_learned)
    }

    /// The key and the name of a criterion that is measured on images of each class, and how many images of each.
    pub fn images_of_each_class(&self) -> Option<(&'static str, &str, usize)> {
        let prune = self.prune();
        let keys = [("criterion", &prune.criterion), ("begin_by", &prune.begin_by)];
        let is_swap = prune.renewal.as_deref() == Some("swap");
        keys.into_iter().filter(|(key, _)| *key != "begin_by" || is_swap).find_map(|(key, name)| {
            let (_, n) = name.as_deref()?.split_once("grasp:")?;
            Some((key, name.as_deref()?, n.parse().ok()?))
        })
    }

    /// The given sparsity; `dense-small` has as many parameters as a network with this sparsity.
    pub fn asked(&self) -> Option<f64> {
        self.prune().sparsity.filter(|_| self.method() != DENSE)
    }

    /// The network to train, for `classes` classes.
    ///
    /// For `dense-small`, it is the widest network with no more parameters than the experiment's network keeps at its
    /// sparsity. If the name of the model gives a width, as in the record of a run, that network is used unchanged.
    ///
    /// # Errors
    /// If no network is narrow enough.
    pub fn architecture(&self, classes: usize) -> anyhow::Result<Architecture> {
        let full = Architecture::find(self.model()).map_err(usage)?;
        if self.method() != DENSE_SMALL || self.has_own_width() {
            return Ok(full);
        }
        let asked = self.prune().sparsity.unwrap_or(0.0);
        let params = full.zeros(classes)?.params().clone();
        let n_prunable = params.layers().iter().map(LayerInfo::n_weights).sum();
        let n_kept = Sparsity::new(asked).map_err(usage)?.n_kept(n_prunable);
        let most = params.n_params() - n_prunable + n_kept;
        full.narrowed(classes, most)?.ok_or_else(|| {
            usage(format!(
                "prune.sparsity is {asked}, which leaves {most} parameters of {}, but every narrower network has more; set a lower sparsity",
                full.name
            ))
        })
    }

    /// Whether the name of the model gives a width.
    pub(super) fn has_own_width(&self) -> bool {
        Architecture::find(self.model()).is_ok_and(|found| found.width() != Width::FULL)
    }

    /// The checkpoint to start from; `None` for random weights.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// Whether training starts from a checkpoint with zeros.
    pub(super) fn is_sparse_start(&self) -> bool {
        self.start().is_some_and(Start::is_sparse)
    }

    /// Final sparsity.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// The experiment as every run records it. A data set is identified by its name and the fingerprint of its content,
    /// not by its place.
    pub fn record(&self, data: &Dataset) -> anyhow::Result<Value> {
        let mut record = self.settings()?;
        record["model"] = Value::String(self.architecture(data.classes.len())?.name.into_owned());
        record["data"] = Value::String(data.name.clone());
        record["data_fingerprint"] = Value::String(data.fingerprint.clone());
        Ok(record)
    }

    /// The experiment with a value for each key, before the data is read.
    pub fn settings(&self) -> anyhow::Result<Value> {
        let mut record = serde_json::to_value(&self.spec)?;
        // Keys of later versions are recorded only if they are set, to keep older records equal.
        if let Some(prune) = record["prune"].as_object_mut() {
            prune.retain(|_, value| !value.is_null());
        }
        if let Some(train) = record["train"].as_object_mut() {
            train.remove("tensorboard");
        }
        // A checkpoint is identified by its content, too.
        if let Some(record) = record.as_object_mut() {
            record.remove("from");
            if let Some(start) = &self.start {
                record.insert("from".into(), start.fingerprint().into());
            }
        }
        Ok(record)
    }
}

/// The sparsity of learned thresholds: it must not be given.
fn learned(asked: Option<f64>) -> anyhow::Result<f64> {
    match asked {
        None | Some(0.0) => Ok(0.0),
        Some(asked) => Err(usage(format!(
            "prune.sparsity is {asked}, but learned thresholds (prune.threshold) decide the sparsity; leave prune.sparsity \
             out; to prune more, raise S in prune.threshold = \"learned:S\", or raise train.weight_decay"
        ))),
    }
}

/// The sparsity of `finetune`, which keeps the zeros of its checkpoint.
fn finetuned(start: Option<&Start>, asked: Option<f64>) -> anyhow::Result<f64> {
    let Some(start) = start else {
        return Err(usage(
            "method `finetune` keeps the mask of a checkpoint; name its file with --from or with the key `from`",
        ));
    };
    let sparsity = start.sparsity();
    if asked.is_some_and(|asked| !Sparsity::new(asked).is_ok_and(|asked| start.is_at(asked))) {
        return Err(usage(format!(
            "method `finetune` keeps the sparsity of its checkpoint, {sparsity}; leave prune.sparsity out, or choose another method"
        )));
    }
    Ok(sparsity)
}

#[cfg(test)]
mod tests {
    use super::super::{idle, load, method, renewal::Renewals};
    use super::*;
    use taper::{
        core::Step,
        prune::renewal::{Factor, Renewal},
    };
    use taper_compose::Setting;

    fn resolve(sets: &[&str]) -> anyhow::Result<Resolved> {
        let overrides: Vec<_> = sets.iter().map(|s| Setting::parse(s).unwrap()).collect();
        Resolved::new(load(None, &[], &overrides)?)
    }

    #[test]
    fn defaults_are_those_of_the_published_protocol() {
        let settings = |sets: &[&str]| resolve(sets).unwrap().settings().unwrap();
        let of_feather = settings(&["data=cifar100"]);
        let train = [
            ("epochs", "160"),
            ("batch_size", "128"),
            ("lr", "0.1"),
            ("schedule", "\"cosine\""),
            ("warmup_epochs", "0.0"),
            ("optimizer", "\"sgd\""),
            ("momentum", "0.9"),
            ("weight_decay", "0.0005"),
            ("clip_norm", "3.0"),
            ("label_smoothing", "0.0"),
            ("augment", "\"crop-flip\""),
            ("normalise", "\"cifar10\""),
        ];
        for (key, value) in train {
            assert_eq!(of_feather["train"][key].to_string(), value, "{key}");
        }
        assert_eq!(of_feather["model"], "resnet20");
        let of_digits = settings(&["prune.adapt=reciprocal"]);
        for (key, value) in [
            ("epochs", "20"),
            ("batch_size", "32"),
            ("lr", "0.05"),
            ("augment", "\"shift\""),
            ("normalise", "\"digits\""),
        ] {
            assert_eq!(of_digits["train"][key].to_string(), value, "{key}");
        }
        for (key, value) in [
            ("sparsity", "0.9"),
            ("schedule", "\"cubic\""),
            ("begin", "0.0"),
            ("end", "0.5"),
            ("gradient", "\"feather\""),
            ("refresh_every", "1"),
            ("adapt_window", "100"),
            ("adapt_slow", "0.25"),
            ("adapt_fast", "2.0"),
        ] {
            assert_eq!(of_digits["prune"][key].to_string(), value, "{key}");
        }
    }

    #[test]
    fn every_key_of_a_resolved_experiment_has_a_value() {
        let resolved = resolve(&[]).unwrap();
        let record = serde_json::to_value(&resolved.spec).unwrap();
        let sections = [&record, &record["train"], &record["prune"]];
        for (key, value) in sections.iter().flat_map(|s| s.as_object().unwrap()) {
            // Weights are random without a checkpoint; the other keys are set by some methods only.
            let is_like = |name: &&str| method::is_like(&format!("prune.{key}"), name);
            let is_left_out = key == "from" || idle::WITHOUT_DEFAULT.iter().any(is_like);
            assert_eq!(value.is_null(), is_left_out, "{key}");
        }
        let settings = resolved.settings().unwrap();
        assert!(settings["prune"].as_object().unwrap().values().all(|value| !value.is_null()));
        assert!(settings["train"].get("tensorboard").is_none(), "tensorboard is not recorded");
        let settings =
            resolve(&["prune.method=rigl", "prune.grow=random"]).unwrap().settings().unwrap();
        assert_eq!(
            (&settings["prune"]["grow"], &settings["prune"]["swap_share"]),
            (&"random".into(), &0.3.into())
        );
        assert_eq!((resolved.model(), resolved.method()), ("digits-cnn", "feather"));
        assert_eq!(resolve(&["data=cifar100"]).unwrap().model(), "resnet20");
    }

    #[test]
    fn the_keys_that_the_book_sets_beside_other_libraries_exist() {
        let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/libraries.md");
        let book = std::fs::read_to_string(book).expect("the book of the repository");
        let mut n_keys = 0;
        for row in book.lines().filter(|line| line.starts_with('|')) {
            let ours = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            for (key, value) in ours.split('`').filter_map(|code| code.split_once(" = ")) {
                let base = match key {
                    "method" => "prune.sparsity=0.9",
                    "begin_allocation" => "prune.method=granet",
                    "swap_share" | "swap_decay" | "swap_begin" | "swap_end" | "grow"
                    | "grow_init" | "grow_momentum" | "initial_scale" => "prune.method=rigl",
                    _ => "prune.method=gmp",
                };
                let base = if value == "\"dense\"" { "seed=0" } else { base };
                let set = format!("prune.{key}={value}");
                // One input channel and ten classes are not multiples of 4.
                let pins = match key {
                    "structure" => "prune.pins={ \"conv1.weight\" = 0, \"linear.weight\" = 0 }",
                    _ => "seed=0",
                };
                resolve(&[base, &set, pins])
                    .unwrap_or_else(|error| panic!("{row}\n{set}: {error}"));
                n_keys += 1;
            }
        }
        assert!(n_keys > 50, "{n_keys}");
    }

    /// The rule for mask updates in a run of 100 steps.
    fn between(renewal: Renewals) -> Box<dyn Renewal> {
        let at = |share: f64| Step((100.0 * share) as u64);
        renewal.between([Step(3), Step(9)], Step(99), at, Factor::new(|_| 1.0))
    }

    #[test]
    fn parts_have_names_with_numbers() {
        for (set, wanted) in [
            ("prune.allocation=\"erk:0.5\"", "Erk { power: 0.5 }"),
            ("prune.allocation=er", "Er"),
            (
                "prune.allocation=\"given:lin*=0.5, conv1*=1\"",
                "[(\"lin*\", 0.5), (\"conv1*\", 1.0)]",
            ),
            ("prune.criterion=\"normalised:saliency\"", "Normalised { of: Saliency }"),
            ("prune.criterion=\"inverted:mest:0.5\"", "Inverted { of: Mest { lambda: 0.5 } }"),
            ("prune.structure=\"channel:1\"", "Channels { axis: 1 }"),
            ("prune.structure=\"fan-in\"", "FanIn"),
            ("prune.structure=\"fan-in:all-inputs\"", "AllInputs"),
            ("prune.structure=\"shared-inputs\"", "SharedInputs"),
            ("prune.structure=\"block-max:2x3\"", "MaxBlocks(Blocks { rows: 2, columns: 3 })"),
            ("prune.structure=\"1:2:output\"", "OutputNOfM(NOfM { n: 1, m: 2 })"),
            ("prune.schedule=\"power:2\"", "Power(2)"),
            ("prune.renewal=\"top-k-hold\"", "TopKHold { cadence: Cadence(10) }"),
        ] {
            let parts = resolve(&["prune.method=gmp", set]).unwrap().parts().unwrap();
            let renewal = between(parts.renewal);
            let (allocation, structure) = (parts.allocation, parts.structure);
            let said = format!("{:?} {:?}", parts.criterion, parts.curve);
            let said = format!("{said} {allocation:?} {structure:?} {renewal:?}");
            assert!(said.contains(wanted), "{set}: {said}");
        }
        let sets = ["prune.method=rigl", "prune.swap_decay=\"power:3\""];
        let parts = resolve(&sets).unwrap().parts().unwrap();
        let renewal = format!("{:?}", between(parts.renewal));
        assert!(renewal.contains("Power(3.0), from: Step(3), end: Step(9)"), "{renewal}");
        for (sets, wanted) in [
            (&["prune.swap_decay=learning-rate"][..], "decay: Along(Factor)"),
            (
                &["prune.swap_decay=\"step:0.5\"", "prune.swap_milestones=[0.25, 0.5]"],
                "Steps { factor: 0.5, milestones: [Step(25), Step(50)] }",
            ),
            (&["prune.grow=same"], "grow: None"),
            (&["prune.swap_bound=soft"], "is_soft: true"),
            (&["prune.swap_bound=hard"], "grow_init: None, is_soft: false"),
            (
                &["prune.grow_init=\"normal:10\"", "seed=3"],
                "GrowInit { value: Normal, divisor: 10.0, momentum: 0.0, seed: 3 }",
            ),
            (&["prune.grow_momentum=0.5"], "value: Zero, divisor: 1.0, momentum: 0.5"),
        ] {
            let renewal = resolve(&[&["prune.method=rigl"], sets].concat()).unwrap().parts();
            let renewal = format!("{:?}", between(renewal.unwrap().renewal));
            assert!(renewal.contains(wanted), "{sets:?}: {renewal}");
        }
        // A pattern along outputs fixes the sparsity, too.
        let pattern = resolve(&["prune.structure=\"1:2:output\"", "prune.method=gmp"]).unwrap();
        assert_eq!(pattern.sparsity().get(), 0.5);
    }

    #[test]
    fn values_out_of_range_are_rejected_with_key_and_range() {
        for (set, wanted) in [
            ("prune.sparsity=1.1", "prune.sparsity is 1.1, outside [0, 1)"),
            ("prune.sparsity=98", "it is a fraction: did you mean 0.98?"),
            ("prune.sparsity=-0.1", "outside [0, 1)"),
            ("prune.sparsity=nan", "prune.sparsity is NaN"),
            ("train.lr=0", "train.lr is 0"),
            ("train.epochs=0", "train.epochs is 0, outside 1"),
            ("train.momentum=1", "outside [0, 1)"),
            ("prune.method=fether", "did you mean `feather`?"),
            ("prune.criterion=size", "prune.criterion `size` is unknown; it can be magnitude"),
            ("prune.criterion=\"mest:-1\"", "mest:LAMBDA with LAMBDA from 0 to 1000000"),
            ("prune.criterion=\"grasp:0\"", "grasp:IMAGES with at least 1 of each class"),
            ("prune.criterion=\"inverted:synflow:9\"", "inverts scores of several rounds"),
            ("prune.criterion=\"synflow:10001\"", "synflow:ROUNDS with ROUNDS from 1 to 10000"),
            (
                "prune.criterion=\"synflow:9\"",
                "prune.criterion `synflow:9` measures the network before masks are chosen, but prune.renewal = \"top-k\"",
            ),
            ("prune.schedule=phase", "phases"),
            (
                "prune.renewal=never",
                "prune.renewal `never` is unknown; it can be top-k, top-k-hold, swap, hold",
            ),
            ("prune.structure=\"4:4\"", "prune.structure `4:4` keeps 4 of 4"),
            ("prune.structure=\"block:0x4\"", "block:RxC such as block:4x4"),
            ("prune.structure=\"channel:first\"", "channel:AXIS with 0 for outputs"),
            ("prune.structure=\"filter:2\"", "prune.structure `filter:2` is unknown"),
            ("prune.structure=\"3:2:output\"", "prune.structure `3:2:output` keeps 3 of 2"),
            ("prune.criterion=\"inverted:size\"", "prune.criterion `size` is unknown"),
            (
                "prune.criterion=\"inverted:inverted:inverted:inverted:random\"",
                "inverted:CRITERION",
            ),
            ("prune.allocation=\"erk:much\"", "erk:POWER"),
            ("prune.allocation=\"erk:-1\"", "erk:POWER with POWER from 0 to 10"),
            ("prune.allocation=\"erk:11\"", "erk:POWER with POWER from 0 to 10"),
            ("prune.remainder=\"decay:1e30\"", "LAMBDA from 0 to 100"),
            ("prune.criterion=\"mest:1e30\"", "mest:LAMBDA with LAMBDA from 0 to 1000000"),
            ("prune.structure=\"block:4x65537\"", "of at most 65536 rows and columns"),
            ("prune.pruned_gradient=\"every:1001\"", "every:N with N from 1 to 1000"),
            ("prune.pruned_gradient=\"sampled:1e-9\"", "a share from 0.001 to 1"),
            ("prune.pruned_gradient=\"live:1e9\"", "a margin from 0 to 1000000"),
            ("prune.threshold=\"power:17\"", "power:P with P above 1 and up to 16"),
            ("prune.threshold=\"power-propagation:17\"", "ALPHA from 1 to 16"),
            ("prune.threshold=\"learned:11\"", "learned:S:DECAY with S up to 10"),
            ("prune.threshold=\"learned:-5:101\"", "DECAY from 0 to 100"),
            ("prune.threshold=\"soft-top-k:1:1e5\"", "sharpness above 0 and up to 10000"),
            ("prune.allocation=\"given:fc=2\"", "layer names with densities in (0, 1]"),
            ("prune.schedule=\"power:0\"", "power:N with N from 1 to 255"),
            ("prune.remainder=gone", "it can be alive, zero, decay:LAMBDA, penalty:LAMBDA"),
            (
                "prune.remainder=zero",
                "prune.gradient is feather, but prune.remainder is zero: pruned weights that are 0 have no gradient",
            ),
            ("prune.swap_share=0", "prune.swap_share is 0, outside (0, 1]"),
            ("prune.swap_end=1.5", "prune.swap_end is 1.5, outside (0, 1]"),
            ("train.dampening=1", "train.dampening is 1, outside [0, 1)"),
            ("train.beta1=1", "train.beta1 is 1, outside [0, 1)"),
            ("train.beta2=-0.5", "train.beta2 is -0.5, outside [0, 1)"),
            ("train.eps=0", "train.eps is 0, outside 0 (exclusive) to 1"),
            ("train.ham_alpha=-1", "train.ham_alpha is -1, outside 0 to 1000000"),
            ("train.ham_beta=inf", "train.ham_beta is inf, outside 0 to 1000"),
            ("train.optimizer=adam", "train.optimizer `adam` is unknown; it can be sgd, adamw"),
            ("train.schedule=linear", "train.schedule `linear` is unknown; it can be cosine"),
            ("train.schedule=step:0", "step:FACTOR with a factor in (0, 1)"),
            ("train.schedule=\"step:1\"", "step:FACTOR with a factor in (0, 1)"),
            ("train.milestones=[0.5, 0.5]", "train.milestones has 0.5 after 0.5"),
            ("train.milestones=[1.0]", "train.milestones has 1, outside (0, 1)"),
            ("prune.threshold=power:1", "must be above 1"),
            ("prune.threshold=cubic", "it can be soft, hard, feather"),
            ("prune.gradient=2", "prune.gradient: θ is 2, outside [0, 1]"),
            ("prune.gradient=\"linear:1.5\"", "prune.gradient: the last θ is 1.5, outside [0, 1]"),
            ("prune.gradient=\"falling\"", "linear:END"),
            ("prune.adapt=\"faster\"", "prune.adapt `faster` is unknown; it can be reciprocal"),
            ("prune.adapt_fast=0.9", "prune.adapt_fast is 0.9, outside [1, inf)"),
            ("prune.pruned_gradient=\"sampled:0\"", "sampled:SHARE"),
            ("prune.pruned_gradient=\"every:0\"", "every:N"),
            ("prune.pruned_gradient=\"often\"", "live:MARGIN"),
            (
                "prune.drop=\"smallest:1.5\"",
                "prune.drop `smallest:1.5`: the fraction of pruned weights to drop is 1.5, outside",
            ),
            (
                "prune.drop=\"oldest:0.5\"",
                "it can be none, smallest:SHARE, longest:SHARE, random:SHARE",
            ),
            ("prune.drop_end=-1", "prune.drop_end is -1, outside [0, 1]"),
            ("prune.drop_begin=1", "prune.drop_begin is 1, outside [0, 1)"),
            ("prune.drop_from=1", "prune.drop_from is 1, outside [0, 1)"),
            ("prune.dead_filters=\"mute\"", "it can be reference, silent, unclipped"),
            ("prune.probes=101", "prune.probes is 101, outside 0 to 100"),
            ("prune.points=[[0.1, 0.5], [0.1, 0.9]]", "fractions of the steps must increase"),
            ("prune.points=[[0.1, 0.5], [0.2, 0.4]]", "sparsities must not decrease"),
            ("prune.points=[[0.1, 0.5], [1.2, 0.9]]", "prune.points has [1.2, 0.9], outside"),
            ("prune.points=[[0.1, 0.5]]", "prune.points ends below 0.9"),
            ("prune.schedule=log", "it can be linear, cubic"),
            ("prune.allocation=local", "global, uniform, erk"),
            ("prune.begin=0.8", "prune.end is 0.5, before prune.begin at 0.8"),
            ("prune.initial=0.95", "prune.initial is 0.95"),
            ("prune.pins={ \"a\" = 1.5 }", "prune.pins.\"a\" is 1.5"),
            ("model=resnet21", "the models are resnet20"),
            ("model=resnet20@5", "no width in (0, 4]"),
            ("prune.freeze=nan", "prune.freeze is NaN; give a finite number"),
            ("prune.swap_share=inf", "prune.swap_share is inf; give a finite number"),
            ("prune.points=[[0.1, nan]]", "prune.points is NaN"),
            ("prune.pins={ \"conv1.weight\" = nan }", "prune.pins is NaN"),
            ("prune.remainder=\"penalty:nan\"", "penalty:LAMBDA with LAMBDA from 0 to 100"),
            ("train.augment=mixup", "crop-flip"),
            ("train.normalise=mnist", "cifar10"),
            (
                "train.validation=1.5",
                "train.validation is 1.5, outside 0 (none), a fraction in (0, 1)",
            ),
            ("train.validation=-0.1", "train.validation is -0.1, outside"),
            ("train.validation=nan", "train.validation is NaN, outside"),
        ] {
            let error = resolve(&[set]).expect_err(set);
            assert!(error.to_string().contains(wanted), "{set}: {error}");
            assert_eq!(crate::error::exit_code(&error), 2, "{set}");
        }
        for (set, wanted) in [
            ("prune.adapt_fast=0.5", "prune.adapt_fast is 0.5, outside [1, inf)"),
            ("prune.adapt_slow=1.5", "prune.adapt_slow is 1.5, outside [0, 1]"),
            ("prune.adapt_window=0", "prune.adapt_window is 0, outside [1, inf)"),
            ("prune.adapt_smoothing=1", "prune.adapt_smoothing is 1, outside [0, 1)"),
            ("prune.adapt_reference=0", "prune.adapt_reference is 0, outside (0, inf)"),
            ("prune.adapt_reference=\"mean\"", "it can be median"),
            ("prune.adapt_signal=\"churn\"", "entered, jaccard, hamming"),
            ("prune.adapt=\"gate:0.5\"", "prune.adapt: bound is 0.5, outside [1, inf)"),
        ] {
            let error = resolve(&["prune.adapt=\"reciprocal\"", set]).expect_err(set).to_string();
            assert!(error.contains(wanted), "{set}: {error}");
        }
        let points = "prune.points=[[0.0, 0.0], [0.5, 0.6], [0.75, 0.9]]";
        let late = resolve(&[points, "prune.adapt=\"reciprocal\""]).unwrap_err().to_string();
        assert!(late.contains("before the last of prune.points"), "{late}");
        for (set, wanted) in [
            ("prune.drop_from=0.95", "prune.drop_from is 0.95, outside [0, 0.9]"),
            (
                "prune.drop_begin=0.5\nprune.drop_end=0.4",
                "prune.drop_end is 0.4, before prune.drop_begin at 0.5",
            ),
        ] {
            let sets: Vec<&str> = set.lines().chain(["prune.drop=\"smallest:0.5\""]).collect();
            let error = resolve(&sets).expect_err(set).to_string();
            assert!(error.contains(wanted), "{set}: {error}");
        }
        let late_drop = resolve(&["prune.drop=\"smallest:0.5\"", "prune.drop_begin=0.5"]).unwrap();
        assert_eq!(late_drop.prune().drop_end, Some(0.5), "a jump there by default");
        let drops = resolve(&["prune.drop=\"random:0.5\"", "prune.drop_schedule=\"slow\""]);
        assert!(drops.unwrap_err().to_string().contains("prune.drop_schedule `slow` is unknown"));
        for (sets, wanted) in [
            (
                ["train.nesterov=true", "train.momentum=0"],
                "train.nesterov is true, but train.momentum is 0",
            ),
            (
                ["train.nesterov=true", "train.dampening=0.5"],
                "train.nesterov is true, but train.dampening is 0.5",
            ),
            (
                ["train.dampening=0.5", "train.momentum=0"],
                "train.dampening is 0.5, but train.momentum is 0",
            ),
        ] {
            let error = resolve(&sets).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{sets:?}: {error}");
        }
        for (sets, wanted) in [
            (
                ["prune.method=grasp", "prune.renewal=swap"],
                "prune.renewal = \"swap\" chooses them too often; set prune.renewal to hold, or with swap set prune.begin_by",
            ),
            (
                ["prune.method=synflow", "prune.threshold=soft"],
                "prune.criterion `synflow:100` measures unchanged weights, but prune.threshold = \"soft\"",
            ),
            (
                ["prune.method=rigl", "prune.grow=\"grasp:3\""],
                "prune.grow `grasp:3` measures the network before masks are chosen",
            ),
            (
                ["prune.method=ac-dc", "prune.adapt=reciprocal"],
                "prune.adapt is reciprocal, which adapts a ramp, but prune.schedule is phases",
            ),
            (
                ["prune.method=ac-dc", "prune.points=[[0.1, 0.9]]"],
                "prune.points defines a schedule, but prune.schedule is phases",
            ),
            (
                ["prune.method=ac-dc", "prune.sparse_phase=0"],
                "prune.sparse_phase is 0, outside (0, 1]",
            ),
        ] {
            let error = resolve(&sets).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{sets:?}: {error}");
        }
        for (sets, wanted) in [
            (
                ["prune.grow_momentum=0.5", "train.optimizer=adamw"],
                "prune.grow_momentum is 0.5, but train.optimizer is adamw, which has no momentum buffer",
            ),
            (
                ["prune.grow_momentum=0.5", "train.momentum=0"],
                "prune.grow_momentum is 0.5, but train.momentum is 0",
            ),
            (
                ["prune.swap_decay=\"step:0.5\"", "seed=0"],
                "prune.swap_decay is step:0.5, but prune.swap_milestones is not set",
            ),
            (
                ["prune.swap_decay=cosine", "prune.swap_milestones=[0.5]"],
                "prune.swap_milestones applies only to a swapped fraction that falls in steps, but prune.swap_decay is cosine",
            ),
            (
                ["prune.swap_decay=\"step:1\"", "seed=0"],
                "prune.swap_decay `step:1` is unknown; it can be cosine, constant, learning-rate",
            ),
            (
                ["prune.swap_decay=\"step:0.5\"", "prune.swap_milestones=[1.0]"],
                "prune.swap_milestones has 1, outside (0, 1)",
            ),
            (
                ["prune.grow_init=\"normal:0\"", "seed=0"],
                "prune.grow_init `normal:0` is unknown; it can be zero, initial, normal",
            ),
            (["prune.grow_momentum=-1", "seed=0"], "prune.grow_momentum is -1, outside [0, 100]"),
            (
                ["prune.adapt_deadline=0.4", "prune.method=feather\nprune.adapt=gate:2"],
                "prune.adapt_deadline is 0.4, outside [0.5, 1)",
            ),
            (
                ["prune.adapt_deadline=1", "prune.method=feather\nprune.adapt=gate:2"],
                "prune.adapt_deadline is 1, outside [0.5, 1)",
            ),
            (
                ["prune.swap_begin=1", "prune.swap_end=1"],
                "prune.swap_begin is 1, outside [0, 1) (before prune.swap_end)",
            ),
            (
                ["prune.initial_scale=fan-in", "prune.renewal=top-k\nprune.method=gmp"],
                "prune.initial_scale is fan-in, but prune.schedule is cubic",
            ),
            // Schedules that begin late, or fall late.
            (
                [
                    "prune.method=gmp\nprune.refresh_every=1",
                    "prune.criterion=saliency\nprune.begin=0.1",
                ],
                "many steps in a row",
            ),
            (
                ["prune.method=ac-dc", "prune.threshold=\"power-propagation:2\""],
                "weights that are regrown from 0 would stay 0",
            ),
            (["prune.initial_scale=big", "seed=0"], "prune.initial_scale `big` is unknown"),
            (["prune.grow_init=\"normal:1e-9\"", "seed=0"], "a divisor from 0.01 to 1000000"),
            (["prune.swap_decay=\"power:101\"", "seed=0"], "power:N with N above 0 and up to 100"),
            (["prune.swap_bound=firm", "seed=0"], "prune.swap_bound `firm` is unknown"),
            (
                ["prune.swap_bound=soft", "prune.swap_end=1.0"],
                "prune.swap_bound is soft, but prune.swap_end is 1",
            ),
            (
                ["prune.swap_bound=soft", "prune.grow=same"],
                "prune.swap_bound is soft, but prune.grow is same",
            ),
            (
                ["prune.grow=random", "prune.grow_momentum=0.5\nprune.refresh_every=1"],
                "prune.grow_momentum is 0.5, but prune.refresh_every is 1",
            ),
            (
                ["prune.grow=random", "prune.grow_init=\"sign:10\"\nprune.refresh_every=1"],
                "prune.grow_init is sign:10, but prune.refresh_every is 1",
            ),
        ] {
            let sets: Vec<&str> = sets.iter().flat_map(|set| set.lines()).collect();
            let sets = [&["prune.method=rigl"], &sets[..]].concat();
            let error = resolve(&sets).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{sets:?}: {error}");
        }
        assert!(resolve(&["prune.method=rigl", "prune.begin_by=\"synflow:9\""]).is_ok());
        assert!(resolve(&["prune.adapt=\"reciprocal\""]).is_ok());
        assert!(resolve(&["prune.method=dense", "prune.sparsity=0.5"]).is_err());
    }

    #[test]
    fn a_small_dense_network_has_as_many_parameters_as_a_pruned_one() {
        let of = |sets: &[&str], classes| {
            let resolved = resolve(sets).unwrap();
            assert!(resolved.is_dense() && resolved.sparsity().is_dense());
            resolved.architecture(classes).map(|a| (a.name.to_string(), a.zeros(classes).unwrap()))
        };
        // 2,382 of 23,824 weights, and 234 other parameters.
        let small = ["prune.method=dense-small", "prune.sparsity=0.9"];
        let (name, model) = of(&small, 10).unwrap();
        assert!(name.starts_with("digits-cnn@0.") && model.params().n_params() <= 2_616, "{name}");
        assert!(model.params().n_params() > 2_400, "{name} has {}", model.params().n_params());
        assert_eq!(of(&small[..1], 10).unwrap().0, name, "0.9 by default");
        assert_ne!(of(&small, 100).unwrap().0, name, "more classes leave less for the rest");
        // The record of a run gives the width, which is not narrowed again.
        let mut record = resolve(&small).unwrap().settings().unwrap();
        record["model"] = name.as_str().into();
        let again = Resolved::recorded(&record).unwrap().architecture(10).unwrap();
        assert_eq!(again.name, name);
        let none = of(&[small[0], "prune.sparsity=1"], 1_000).map(drop).unwrap_err().to_string();
        assert!(none.contains("prune.sparsity is 1") && none.contains("lower sparsity"), "{none}");
        assert_eq!(resolve(&["model=digits-cnn@1.0"]).unwrap().model(), "digits-cnn");
    }
}
