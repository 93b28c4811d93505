//! Rejects keys that are set, but have no effect.

use super::{
    Resolved, Said,
    method::{CHOOSE_MASKS, is_like},
};
use crate::error::usage;
use serde_json::Value;

/// Keys that have an effect in some runs only.
struct Rule {
    /// Their names; a `*` at the end matches any ending.
    keys: &'static [&'static str],
    /// Whether a run uses them.
    is_read: fn(&Resolved) -> bool,
    /// The runs that use them, for messages.
    readers: &'static str,
    /// The keys that decide this; messages name the first.
    by: &'static [&'static str],
    /// How to make the keys effective.
    remedy: &'static str,
}

/// Keys of the section `prune` without a default value.
pub(super) const WITHOUT_DEFAULT: [&str; 13] = [
    "prune.begin_allocation",
    "prune.begin_by",
    "prune.criterion",
    "prune.dense_phase",
    "prune.freeze",
    "prune.grow*",
    "prune.initial_scale",
    "prune.last_dense_phase",
    "prune.remainder",
    "prune.renewal",
    "prune.sparse_phase",
    "prune.structure",
    "prune.swap_*",
];

const RULES: [Rule; 31] = [
    Rule {
        keys: &CHOOSE_MASKS,
        is_read: |r| r.method() != "finetune",
        readers: "methods that choose masks",
        by: &["prune.method"],
        remedy: "choose another method",
    },
    Rule {
        keys: &["prune.*"],
        is_read: |r| !r.is_dense(),
        readers: "methods that prune",
        // `dense-small` has the size of a network with this sparsity.
        by: &["prune.method", "prune.sparsity"],
        remedy: "choose another method",
    },
    Rule {
        keys: &[
            "prune.pins",
            "prune.allocation",
            "prune.begin_allocation",
            "prune.criterion",
            "prune.quantile",
            "prune.schedule",
            "prune.points",
            "prune.begin",
            "prune.end",
            "prune.initial",
            "prune.adapt*",
        ],
        is_read: |r| !r.finds_own(),
        readers: "methods with a given sparsity",
        by: &["prune.threshold"],
        remedy: "choose a threshold that is not learned",
    },
    Rule {
        keys: &["prune.sparsity"],
        is_read: |r| r.method() != "dense-small" || !r.has_own_width(),
        readers: "models without a given width",
        by: &["model"],
        remedy: "name the model without its width",
    },
    Rule {
        keys: &["train.keep_best", "train.early_stop"],
        is_read: |r| !r.finds_own(),
        readers: "methods with a given sparsity",
        by: &["prune.threshold", "prune.method"],
        remedy: "choose a threshold that is not learned",
    },
    Rule {
        keys: &["prune.adapt_*"],
        is_read: is_adaptive,
        readers: "adaptive schedules",
        by: &["prune.adapt"],
        remedy: "set prune.adapt",
    },
    Rule {
        keys: &["prune.drop_*"],
        is_read: |r| text(&r.prune().drop) != "none",
        readers: "permanent pruning",
        by: &["prune.drop"],
        remedy: "set prune.drop",
    },
    Rule {
        keys: &["prune.drop_end"],
        is_read: |r| text(&r.prune().drop_schedule) != "one-shot",
        readers: "gradual permanent pruning",
        by: &["prune.drop_schedule"],
        remedy: "set prune.drop_schedule to a curve such as linear",
    },
    Rule {
        keys: &["prune.drop_schedule"],
        is_read: |r| {
            let p = r.prune();
            p.drop_end > p.drop_begin || text(&p.drop_schedule) == "one-shot"
        },
        readers: "gradual permanent pruning",
        by: &["prune.drop_end", "prune.drop_begin"],
        remedy: "set prune.drop_end after prune.drop_begin",
    },
    Rule {
        keys: &["prune.schedule", "prune.begin"],
        is_read: |r| !has_points(r),
        readers: "schedules with a curve",
        by: &["prune.points"],
        remedy: "leave prune.points out",
    },
    Rule {
        // It is also the deadline, if no other is set.
        keys: &["prune.end"],
        is_read: |r| !has_points(r) || is_adaptive(r),
        readers: "schedules with a curve",
        by: &["prune.points", "prune.adapt"],
        remedy: "leave prune.points out",
    },
    Rule {
        keys: &["prune.end"],
        is_read: |r| text(&r.prune().schedule) != "one-shot" || is_adaptive(r),
        readers: "gradual schedules",
        by: &["prune.schedule", "prune.adapt"],
        remedy: "choose another curve",
    },
    Rule {
        keys: &["prune.adapt*"],
        is_read: |r| text(&r.prune().schedule) != "one-shot" || has_points(r),
        readers: "gradual schedules",
        by: &["prune.schedule"],
        remedy: "choose another curve",
    },
    Rule {
        keys: &["prune.schedule", "prune.adapt*"],
        is_read: |r| !is_jump(r),
        readers: "gradual schedules",
        by: &["prune.end", "prune.begin"],
        remedy: "set prune.end after prune.begin",
    },
    Rule {
        keys: &["prune.initial"],
        is_read: |r| !is_jump(r) || is_held(r) || falls(r),
        readers: "gradual schedules",
        by: &["prune.end", "prune.begin"],
        remedy: "set prune.end after prune.begin",
    },
    Rule {
        keys: &["prune.initial"],
        is_read: |r| match has_points(r) {
            true => r.prune().begin_allocation.is_some() || falls(r),
            false => is_curve(r) || is_held(r) || falls(r),
        },
        readers: "ramps",
        by: &["prune.schedule", "prune.points"],
        remedy: "choose a gradual curve, without prune.points",
    },
    Rule {
        keys: &["prune.begin_allocation"],
        is_read: |r| r.prune().initial.unwrap_or(0.0) > 0.0,
        readers: "ramps from an initial sparsity",
        by: &["prune.initial"],
        remedy: "set prune.initial above 0",
    },
    Rule {
        keys: &["prune.begin_allocation"],
        is_read: |r| is_curve(r) || has_points(r) || is_held(r),
        readers: "gradual schedules",
        by: &["prune.schedule", "prune.points"],
        remedy: "choose a gradual curve",
    },
    Rule {
        keys: &["prune.begin_allocation"],
        is_read: |r| !is_jump(r) || is_held(r),
        readers: "gradual schedules",
        by: &["prune.end", "prune.begin"],
        remedy: "set prune.end after prune.begin",
    },
    Rule {
        keys: &["prune.sparse_phase", "prune.dense_phase", "prune.last_dense_phase"],
        is_read: |r| text(&r.prune().schedule) == "phases",
        readers: "sparse and dense phases",
        by: &["prune.schedule"],
        remedy: "choose the method ac-dc",
    },
    Rule {
        keys: &["prune.swap_*", "prune.grow*", "prune.begin_by"],
        is_read: |r| text(&r.prune().renewal) == "swap",
        readers: "prune-and-regrow",
        by: &["prune.renewal"],
        remedy: "choose a method with prune-and-regrow, such as rigl",
    },
    Rule {
        keys: &["prune.swap_milestones"],
        is_read: |r| text(&r.prune().swap_decay).starts_with("step:"),
        readers: "a swapped fraction that falls in steps",
        by: &["prune.swap_decay"],
        remedy: "set prune.swap_decay to step:FACTOR",
    },
    Rule {
        keys: &["prune.freeze"],
        is_read: |r| text(&r.prune().threshold).starts_with("soft-top-k"),
        readers: "soft top-k",
        by: &["prune.threshold"],
        remedy: "set prune.threshold to soft-top-k:FROM:TO",
    },
    Rule {
        keys: &["prune.refresh_every"],
        is_read: |r| text(&r.prune().renewal) != "hold",
        readers: "masks that change during training",
        by: &["prune.renewal"],
        remedy: "choose another prune.renewal",
    },
    Rule {
        keys: &["prune.pruned_gradient"],
        is_read: |r| {
            let remainder = text(&r.prune().remainder);
            text(&r.prune().gradient).parse() != Ok(0.0) || remainder.starts_with("penalty:")
        },
        readers: "pruned weights that receive a gradient",
        by: &["prune.gradient", "prune.remainder"],
        remedy: "set prune.gradient above 0",
    },
    Rule {
        keys: &["prune.dead_filters"],
        is_read: |r| {
            let p = r.prune();
            text(&p.remainder) != "zero" || text(&p.dead_filters) == "reference"
        },
        readers: "pruned weights that receive a gradient",
        by: &["prune.remainder"],
        remedy: "set prune.remainder to alive",
    },
    Rule {
        keys: &["train.dampening", "train.nesterov"],
        is_read: |r| text(&r.train().optimizer) == "sgd",
        readers: "sgd",
        by: &["train.optimizer"],
        remedy: "choose sgd",
    },
    Rule {
        keys: &["train.momentum"],
        // Learned thresholds use momentum, whatever the optimizer of the weights.
        is_read: |r| text(&r.train().optimizer) == "sgd" || r.finds_own(),
        readers: "sgd",
        by: &["train.optimizer", "prune.threshold"],
        remedy: "choose sgd",
    },
    Rule {
        keys: &["train.beta1", "train.beta2", "train.eps"],
        is_read: |r| text(&r.train().optimizer) == "adamw",
        readers: "adamw",
        by: &["train.optimizer"],
        remedy: "choose adamw",
    },
    Rule {
        keys: &["train.ham_*"],
        is_read: |r| r.train().ham == Some(true),
        readers: "the hyperbolic steps of HAM",
        by: &["train.ham"],
        remedy: "set train.ham to true",
    },
    Rule {
        keys: &["train.milestones"],
        is_read: |r| text(&r.train().schedule).starts_with("step:"),
        readers: "step schedules of the learning rate",
        by: &["train.schedule"],
        remedy: "set train.schedule to step:FACTOR",
    },
];

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn is_adaptive(resolved: &Resolved) -> bool {
    text(&resolved.prune().adapt) != "none"
}

fn has_points(resolved: &Resolved) -> bool {
    resolved.prune().points.as_ref().is_some_and(|points| !points.is_empty())
}

fn is_curve(resolved: &Resolved) -> bool {
    !["one-shot", "phases"].contains(&text(&resolved.prune().schedule))
}

/// Whether the schedule is a curve that ends where it begins.
fn is_jump(resolved: &Resolved) -> bool {
    let p = resolved.prune();
    is_curve(resolved) && !has_points(resolved) && p.end <= p.begin
}

/// Whether a sparse checkpoint keeps its sparsity until the schedule begins.
fn is_held(resolved: &Resolved) -> bool {
    let is_ramp = text(&resolved.prune().schedule) != "phases" && !has_points(resolved);
    is_ramp && resolved.is_sparse_start() && resolved.prune().begin > Some(0.0)
}

/// Whether the gradient of pruned weights decreases from the initial sparsity on.
fn falls(resolved: &Resolved) -> bool {
    let gradient = text(&resolved.prune().gradient);
    let names = ["linear:", "power:", "cosine:", "exponential:", "sigmoid:"];
    !gradient.contains("annealed/") && names.iter().any(|name| gradient.contains(name))
}

impl Rule {
    fn is_of(&self, key: &str) -> bool {
        self.keys.iter().any(|name| is_like(key, name)) && !self.by.contains(&key)
    }

    /// Whether a key has no effect in a run because of this rule.
    fn is_against(&self, key: &str, resolved: &Resolved) -> bool {
        self.is_of(key) && !(self.is_read)(resolved)
    }
}

impl Resolved {
    /// Removes keys of the method that other keys have made ineffective, unless they have a default value. Keys that
    /// `is_own` accepts are not the method's.
    pub(super) fn remove_idle(&mut self, is_own: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let is_idle = |key: &str| {
            WITHOUT_DEFAULT.iter().any(|name| is_like(key, name))
                && RULES.iter().any(|rule| rule.is_against(key, self))
        };
        let prune = self.prune().clone();
        self.spec.prune = prune.without(|key| !is_own(key) && is_idle(&format!("prune.{key}")))?;
        Ok(())
    }

    /// Rejects keys that are set, but have no effect.
    ///
    /// A flag may make a key of the file ineffective: `taper train my.toml --method dense`.
    pub(super) fn check_idle(&self) -> anyhow::Result<()> {
        let Said { in_file, by_flags } = &self.spec.said;
        let values = serde_json::to_value(&self.spec)?;
        let value = |key: &str| match key.split_once('.') {
            Some((section, name)) => &values[section][name],
            None => &values[key],
        };
        for key in in_file.union(by_flags).filter(|key| !says_none(value(key))) {
            let is_chosen_above = |rule: &Rule| {
                let method = key.starts_with("prune.").then_some("prune.method");
                !by_flags.contains(key)
                    && rule.by.iter().copied().chain(method).any(|by| by_flags.contains(by))
            };
            let rule =
                RULES.iter().find(|rule| rule.is_against(key, self) && !is_chosen_above(rule));
            if let Some(Rule { readers, by, remedy, .. }) = rule {
                let chosen = match value(by[0]) {
                    Value::String(text) => text.clone(),
                    Value::Null => "not set".into(),
                    other => other.to_string(),
                };
                return Err(usage(format!(
                    "{key} applies only to {readers}, but {} is {chosen}; leave it out, or {remedy}",
                    by[0]
                )));
            }
        }
        Ok(())
    }
}

/// Whether a value means "none" or "off", which is valid for every run.
fn says_none(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "none",
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Null => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use std::path::Path;

    fn read(file: Option<&Path>, shared: &[&str], sets: &[&str]) -> anyhow::Result<Resolved> {
        let texts = |sets: &[&str]| sets.iter().map(|set| set.to_string()).collect::<Vec<_>>();
        Experiment::given(file, &texts(shared), &texts(sets))?.resolve()
    }

    fn refusal(sets: &[&str]) -> String {
        let error = read(None, &[], sets).map(drop).expect_err(&format!("{sets:?}"));
        assert_eq!(crate::error::exit_code(&error), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn dense_from_the_command_line_disables_all_pruning_keys_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let keys = "sparsity = 0.95\ninitial = 0.5\nbegin = 0.1\nend = 0.3\nsparse_phase = 0.1\ngrow = \"random\"\n\
                    drop = \"smallest:0.5\"\ndrop_from = 0.6\nfreeze = 0.9\n";
        std::fs::write(&file, format!("[prune]\n{keys}")).unwrap();
        let dense = read(Some(&file), &[], &["prune.method=dense"]).unwrap();
        assert_eq!((dense.sparsity().get(), dense.prune().initial), (0.0, Some(0.0)));
        let error = read(Some(&file), &[], &["prune.method=dense", "prune.sparsity=0.9"]);
        assert!(error.unwrap_err().to_string().contains("method `dense` has no sparsity"));
    }

    #[test]
    fn masks_do_not_freeze_before_the_target_is_reached() {
        for (sets, part) in [
            (&["prune.points=[[0, 0], [0.9, 0.9]]"][..], "the last of prune.points at 0.9"),
            (
                &[
                    "prune.points=[[0, 0], [0.5, 0.9]]",
                    "prune.adapt=reciprocal",
                    "prune.adapt_deadline=0.9",
                ],
                "prune.adapt_deadline at 0.9",
            ),
            (&["prune.schedule=one-shot", "prune.begin=0.9"], "prune.begin at 0.9"),
            (
                &["prune.adapt=reciprocal", "prune.adapt_deadline=0.9"],
                "prune.adapt_deadline at 0.9",
            ),
            (&["prune.end=0.9"], "prune.end at 0.9"),
        ] {
            let sets = [&["prune.method=spartan"], sets].concat();
            let said = refusal(&sets);
            assert!(said.contains("prune.freeze is 0.8") && said.contains(part), "{said}");
        }
    }

    #[test]
    fn keys_without_effect_are_rejected_with_the_key_that_decides_it() {
        for (sets, wanted) in [
            (
                &["prune.method=dense", "prune.end=0.25"][..],
                "prune.end applies only to methods that prune, but prune.method is dense; leave it out, or choose another method",
            ),
            (
                &["prune.method=dense-small", "prune.dead_filters=silent"],
                "prune.dead_filters applies only to",
            ),
            (
                &["prune.method=dense-small", "prune.sparsity=0.5", "model=\"digits-cnn@0.5\""],
                "prune.sparsity applies only to models without a given width, but model is digits-cnn@0.5",
            ),
            (
                &["prune.drop_begin=0.5"],
                "prune.drop_begin applies only to permanent pruning, but prune.drop is none; leave it out, or set prune.drop",
            ),
            (&["prune.drop_schedule=slow"], "prune.drop_schedule"),
            (&["prune.adapt_window=10"], "prune.adapt is none; leave it out, or set prune.adapt"),
            (&["prune.points=[[0.1, 0.9]]", "prune.begin=0.05"], "but prune.points is [[0.1,0.9]]"),
            (
                &["prune.points=[[0.1, 0.9]]", "prune.end=0.7"],
                "prune.end applies only to schedules with",
            ),
            (&["prune.points=[[0.1, 0.9]]", "prune.initial=0.7"], "without prune.points"),
            (&["prune.method=ac-dc", "prune.initial=0.5"], "but prune.schedule is phases"),
            (&["prune.method=snip", "prune.end=0.5"], "but prune.schedule is one-shot"),
            (
                &["prune.method=rigl", "prune.schedule=cubic"],
                "prune.schedule applies only to gradual schedules, but prune.end is 0.0; leave it out, or set prune.end after prune.begin",
            ),
            (
                &["prune.method=rigl", "prune.adapt=gate:2"],
                "prune.adapt applies only to gradual schedules",
            ),
            (&["prune.method=granet", "prune.end=0", "prune.initial=0.2"], "but prune.end is 0.0"),
            (&["prune.method=snip", "prune.refresh_every=5"], "but prune.renewal is hold"),
            (&["prune.method=gmp", "prune.pruned_gradient=every:2"], "but prune.gradient is 0"),
            (
                &["prune.method=str", "prune.pins={ \"conv1*\" = 0 }"],
                "prune.threshold is learned:-5",
            ),
            (
                &["prune.method=str", "prune.end=0.3"],
                "prune.end applies only to methods with a given sparsity",
            ),
            (&["prune.method=str", "prune.adapt=gate:2"], "prune.adapt applies only to methods"),
            (
                &["prune.method=str", "train.keep_best=true"],
                "train.keep_best applies only to methods with",
            ),
            (
                &["prune.method=str", "train.early_stop=3"],
                "train.early_stop applies only to methods with",
            ),
            (
                &["train.beta1=0.5"],
                "train.beta1 applies only to adamw, but train.optimizer is sgd; leave it out, or choose adamw",
            ),
            (&["train.eps=0.5"], "train.eps applies only to adamw"),
            (
                &["train.optimizer=adamw", "train.momentum=0.5"],
                "train.momentum applies only to sgd",
            ),
            (&["train.ham_alpha=1"], "but train.ham is false; leave it out, or set train.ham to"),
            (&["train.ham_beta=1"], "train.ham_beta applies only to the hyperbolic steps"),
            (&["train.milestones=[0.5]"], "but train.schedule is cosine"),
            (
                &["train.nesterov=true", "train.optimizer=adamw"],
                "train.nesterov applies only to sgd, but train.optimizer is adamw",
            ),
            (&["train.dampening=0.1", "train.optimizer=adamw"], "train.dampening applies only to"),
            (
                &["prune.grow=random"],
                "prune.grow applies only to prune-and-regrow, but prune.renewal is not set; leave it out, or choose a method with",
            ),
            (&["prune.swap_share=0.5"], "prune.swap_share applies only to prune-and-regrow"),
            (&["prune.begin_by=random"], "prune.begin_by applies only to prune-and-regrow"),
            (&["prune.sparse_phase=0.1"], "but prune.schedule is cubic; leave it out, or choose"),
            (&["prune.freeze=0.9"], "prune.freeze applies only to soft top-k, but prune.threshold"),
            (&["prune.begin_allocation=erk"], "but prune.initial is 0.0; leave it out, or set"),
            (
                &["prune.method=random", "prune.initial=0.5", "prune.begin_allocation=er"],
                "but prune.schedule is one-shot; leave it out, or choose a gradual curve",
            ),
            (
                &["prune.end=0", "prune.initial=0.5", "prune.begin_allocation=er"],
                "prune.begin_allocation applies only to gradual schedules, but prune.end is 0.0",
            ),
            (
                &[
                    "prune.points=[[0.1, 0.9]]",
                    "prune.initial=0.5",
                    "prune.gradient=\"annealed/linear:0\"",
                ],
                "prune.initial applies only to ramps",
            ),
            (
                &["prune.drop=\"smallest:0.5\"", "prune.drop_begin=0.5", "prune.drop_end=0.7"],
                "but prune.drop_schedule is one-shot; leave it out, or set prune.drop_schedule to",
            ),
            (
                &["prune.drop=\"smallest:0.5\"", "prune.drop_schedule=linear"],
                "but prune.drop_end is 0.0; leave it out, or set prune.drop_end after",
            ),
            (
                &["prune.method=rigl", "prune.dead_filters=silent"],
                "prune.dead_filters applies only to pruned weights that receive a gradient, but prune.remainder is zero",
            ),
            (
                &[
                    "prune.gradient=0",
                    "prune.remainder=\"decay:0.1\"",
                    "prune.pruned_gradient=every:2",
                ],
                "prune.pruned_gradient applies only to pruned weights that receive a gradient",
            ),
            (
                &["prune.method=rigl", "prune.swap_milestones=[0.5]"],
                "but prune.swap_decay is not set; leave it out, or set prune.swap_decay to step:FACTOR",
            ),
        ] {
            let said = refusal(sets);
            assert!(said.contains(wanted), "{sets:?}: {said}");
        }
    }

    #[test]
    fn keys_of_a_method_that_other_keys_make_ineffective_are_not_recorded() {
        for (method, set, left) in [
            (
                "ac-dc",
                "prune.schedule=cubic",
                &["sparse_phase", "dense_phase", "last_dense_phase"][..],
            ),
            ("rigl", "prune.renewal=hold", &["swap_share", "swap_end", "grow", "begin_by"]),
            ("set", "prune.renewal=top-k-hold", &["swap_share", "swap_decay", "swap_end", "grow"]),
            ("mest", "prune.renewal=hold", &["swap_decay", "swap_milestones", "begin_by"]),
            ("mest", "prune.swap_decay=cosine", &["swap_milestones"]),
            ("spartan", "prune.threshold=hard", &["freeze"]),
            ("st-3-sigma", "prune.threshold=\"learned:-5\"", &["criterion"]),
            ("granet", "prune.initial=0", &["begin_allocation"]),
            ("granet", "prune.end=0", &["begin_allocation"]),
        ] {
            let set_method = format!("prune.method={method}");
            let record = |sets: &[&str]| {
                let resolved = read(None, &[], &[&[&*set_method], sets].concat()).unwrap();
                resolved.settings().unwrap()
            };
            let (all, few) = (record(&[]), record(&[set]));
            for key in left {
                assert!(all["prune"].get(key).is_some(), "{method}: {key}");
                assert!(few["prune"].get(key).is_none(), "{method} {set}: {key}");
            }
            let again = Resolved::recorded(&few).unwrap().settings().unwrap();
            assert_eq!(again, few, "{method} {set}");
        }
        let shared = ["prune.freeze=0.9"];
        let sets = ["prune.method=spartan", "prune.threshold=hard"];
        let prune = read(None, &shared, &sets).unwrap().settings().unwrap()["prune"].clone();
        assert_eq!(prune["freeze"], 0.9, "a shared key is recorded");
        for (name, method) in super::super::methods().unwrap() {
            let set = format!("prune.method={name}");
            // The checkpoint of finetune is not there.
            let Ok(resolved) = read(None, &[], &[&set]) else { continue };
            let given = serde_json::to_value(&method.prune).unwrap();
            let found = serde_json::to_value(resolved.prune()).unwrap();
            for (key, value) in given.as_object().unwrap().iter().filter(|(_, v)| !v.is_null()) {
                assert_eq!(&found[key], value, "{name}: {key}");
            }
        }
    }

    #[test]
    fn keys_that_are_read_are_taken() {
        for sets in [
            &["prune.method=dense", "prune.sparsity=0", "prune.drop=none", "prune.pins={}"][..],
            &["prune.method=dense-small", "prune.sparsity=0.5"],
            &[
                "prune.adapt=reciprocal",
                "prune.adapt_window=10",
                "prune.points=[[0.1, 0.9]]",
                "prune.end=0.2",
            ],
            &["prune.drop=\"longest:0.5\"", "prune.drop_begin=0.5"],
            &[
                "prune.points=[[0.1, 0.9]]",
                "prune.initial=0.5",
                "prune.gradient=\"per-layer/linear:0\"",
            ],
            &["prune.method=top-kast", "prune.gradient=0", "prune.pruned_gradient=\"live:2\""],
            &["prune.method=str", "train.optimizer=adamw", "train.momentum=0.5"],
            &["train.ham=true", "train.ham_beta=1"],
            &["train.schedule=\"step:0.5\"", "train.milestones=[0.5]"],
        ] {
            read(None, &[], sets).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        }
    }

    #[test]
    fn keys_that_several_experiments_share_may_have_no_effect() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let base = write("base.toml", "[train]\nmomentum = 0.5\n[prune]\nadapt_window = 20\n");
        let row = write("row.toml", "extends = \"base.toml\"\n[prune]\nmethod = \"gmp\"\n");
        let resolved = read(Some(&row), &[], &[]).unwrap();
        assert_eq!(resolved.prune().adapt_window, Some(20), "and it is recorded");
        assert!(
            read(Some(&base), &[], &[]).unwrap_err().to_string().contains("prune.adapt is none")
        );
        let shared = [
            "prune.adapt_window=20",
            "prune.swap_share=0.5",
            "prune.begin_by=random",
            "prune.freeze=0.1",
            "prune.sparse_phase=0.1",
            "prune.begin_allocation=erk",
            "prune.adapt_deadline=0.7",
            "prune.drop_end=0.7",
            "prune.drop_begin=0.7",
            "prune.swap_begin=0.8",
            "prune.grow=\"grasp:10\"",
            "train.nesterov=true",
        ];
        for method in ["feather", "gmp", "dense", "ac-dc", "rigl", "spartan"] {
            let set = format!("prune.method={method}");
            let is_read = |key: &str| match method {
                "spartan" => key.contains("freeze"),
                "rigl" => key.contains("swap_begin") || key.contains("grow"),
                _ => false,
            };
            for shared in shared.iter().filter(|key| !is_read(key)) {
                let sets = [&*set, "train.optimizer=adamw"];
                read(None, &[shared], &sets).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
            }
        }
        // Epochs with different sparsities are never compared, even if shared settings ask for it.
        let best = ["train.keep_best=true", "train.early_stop=3"];
        let chosen = |method: &str| read(None, &best, &[method]).unwrap().choices();
        assert!(chosen("prune.method=gmp").is_some() && chosen("prune.method=str").is_none());
        // A flag may make a key of the file ineffective, but not another flag.
        let own = write("own.toml", "[train]\nmomentum = 0.5\n[prune]\nend = 0.25\n");
        assert!(read(Some(&own), &[], &["prune.method=dense"]).is_ok());
        assert!(read(Some(&own), &[], &["train.optimizer=adamw"]).is_ok());
        assert!(read(Some(&own), &[], &["prune.method=dense", "prune.end=0.25"]).is_err());
    }

    #[test]
    fn every_rule_names_existing_keys() {
        let known = serde_json::to_value(super::super::Spec::default()).unwrap();
        let is_there = |name: &str| {
            let (section, key) = name.split_once('.').unwrap_or(("", name));
            let keys = if section.is_empty() { &known } else { &known[section] };
            let mut keys = keys.as_object().unwrap().keys();
            keys.any(|known| match key.strip_suffix('*') {
                Some(begin) => known.starts_with(begin),
                None => known == key,
            })
        };
        for rule in &RULES {
            for name in rule.keys.iter().chain(rule.by) {
                assert!(is_there(name), "{name}");
            }
        }
    }

    #[test]
    fn records_are_read_whatever_their_keys() {
        for method in ["str", "dense", "snip", "gmp"] {
            let settings =
                read(None, &[], &[&format!("prune.method={method}")]).unwrap().settings();
            let again = Resolved::recorded(&settings.unwrap());
            assert!(again.is_ok(), "{method}: {:?}", again.err());
        }
    }
}
