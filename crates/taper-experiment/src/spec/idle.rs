//! Keys that are said and that nothing reads.

use super::{Resolved, Said};
use crate::error::usage;
use serde_json::Value;

/// Keys that a choice has readers for.
struct Rule {
    /// Their names; a `*` at the end stands for any end.
    keys: &'static [&'static str],
    /// Whether a run reads them.
    is_read: fn(&Resolved) -> bool,
    /// The runs that do.
    readers: &'static str,
    /// The keys that decide it, the first one in messages.
    by: &'static [&'static str],
    /// What to set for them to be read.
    remedy: &'static str,
}

const RULES: [Rule; 18] = [
    Rule {
        keys: &["prune.*"],
        is_read: |r| !r.is_dense(),
        readers: "methods that prune",
        // `dense-small` is as small as a network of that sparsity.
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
        readers: "masks of a given sparsity",
        by: &["prune.threshold"],
        remedy: "choose a threshold that is not learned",
    },
    Rule {
        keys: &["prune.sparsity"],
        is_read: |r| r.method() != "dense-small" || !r.has_own_width(),
        readers: "networks whose width it decides",
        by: &["model"],
        remedy: "name the model without its width",
    },
    Rule {
        keys: &["train.keep_best", "train.early_stop"],
        is_read: |r| !r.finds_own(),
        readers: "epochs of one sparsity, which it compares",
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
        readers: "weights that leave for good",
        by: &["prune.drop"],
        remedy: "set prune.drop",
    },
    Rule {
        keys: &["prune.schedule", "prune.begin"],
        is_read: |r| !has_points(r),
        readers: "schedules along a curve",
        by: &["prune.points"],
        remedy: "leave prune.points out",
    },
    Rule {
        // Where no deadline is said, it is there.
        keys: &["prune.end"],
        is_read: |r| !has_points(r) || is_adaptive(r),
        readers: "schedules along a curve",
        by: &["prune.points"],
        remedy: "leave prune.points out",
    },
    Rule {
        keys: &["prune.end"],
        is_read: |r| text(&r.prune().schedule) != "one-shot" || is_adaptive(r),
        readers: "schedules that rise",
        by: &["prune.schedule"],
        remedy: "choose another curve",
    },
    Rule {
        keys: &["prune.adapt*"],
        is_read: |r| text(&r.prune().schedule) != "one-shot" || has_points(r),
        readers: "schedules that rise",
        by: &["prune.schedule"],
        remedy: "choose another curve",
    },
    Rule {
        keys: &["prune.schedule", "prune.initial", "prune.adapt*"],
        is_read: |r| {
            let is_curve = !["one-shot", "phases"].contains(&text(&r.prune().schedule));
            !is_curve || has_points(r) || r.prune().end > r.prune().begin
        },
        readers: "schedules that rise",
        by: &["prune.end", "prune.begin"],
        remedy: "let it be after prune.begin",
    },
    Rule {
        keys: &["prune.initial"],
        is_read: |r| {
            let is_ramp = !["one-shot", "phases"].contains(&text(&r.prune().schedule));
            is_ramp && !has_points(r) || r.prune().begin_allocation.is_some() || falls(r)
        },
        readers: "ramps",
        by: &["prune.schedule", "prune.points"],
        remedy: "choose a curve that rises, without prune.points",
    },
    Rule {
        keys: &["prune.refresh_every"],
        is_read: |r| text(&r.prune().renewal) != "hold",
        readers: "masks that change now and then",
        by: &["prune.renewal"],
        remedy: "choose another renewal",
    },
    Rule {
        keys: &["prune.pruned_gradient"],
        is_read: |r| {
            let remainder = text(&r.prune().remainder);
            text(&r.prune().gradient).parse() != Ok(0.0) || remainder.contains(':')
        },
        readers: "pruned weights that learn",
        by: &["prune.gradient"],
        remedy: "set a gradient above 0",
    },
    Rule {
        keys: &["train.momentum", "train.dampening", "train.nesterov"],
        // What is learned beside the weights moves with momentum, whatever moves these.
        is_read: |r| text(&r.train().optimizer) == "sgd" || r.finds_own(),
        readers: "sgd",
        by: &["train.optimizer"],
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
        readers: "hyperbolic steps",
        by: &["train.ham"],
        remedy: "set train.ham to true",
    },
    Rule {
        keys: &["train.milestones"],
        is_read: |r| text(&r.train().schedule).starts_with("step:"),
        readers: "steps of the learning rate",
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

/// Whether the gradient of pruned weights falls from the initial sparsity on.
fn falls(resolved: &Resolved) -> bool {
    let gradient = text(&resolved.prune().gradient);
    ["linear:", "power:", "cosine:", "exponential:", "sigmoid:"]
        .iter()
        .any(|name| gradient.contains(name))
}

impl Rule {
    fn is_of(&self, key: &str) -> bool {
        let matches = |name: &&str| match name.strip_suffix('*') {
            Some(begin) => key.starts_with(begin),
            None => key == *name,
        };
        self.keys.iter().any(matches) && !self.by.contains(&key)
    }
}

impl Resolved {
    /// Refuses keys that are said and that nothing reads.
    ///
    /// A key of the file is left alone where a flag chooses what does not read it: `taper train my.toml --method dense`.
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
            let rule = RULES
                .iter()
                .find(|rule| rule.is_of(key) && !(rule.is_read)(self) && !is_chosen_above(rule));
            if let Some(Rule { readers, by, remedy, .. }) = rule {
                let chosen = match value(by[0]) {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                return Err(usage(format!(
                    "{key} is for {readers}, and {} is {chosen}; leave it out, or {remedy}",
                    by[0]
                )));
            }
        }
        Ok(())
    }
}

/// What says that something is not there is true of every run.
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
    fn keys_that_nothing_reads_are_refused_with_what_decides_it() {
        for (sets, wanted) in [
            (
                &["prune.method=dense", "prune.end=0.25"][..],
                "prune.end is for methods that prune, and prune.method is dense; leave it out, or choose another method",
            ),
            (&["prune.method=dense-small", "prune.dead_filters=silent"], "prune.dead_filters is"),
            (
                &["prune.method=dense-small", "prune.sparsity=0.5", "model=\"digits-cnn@0.5\""],
                "prune.sparsity is for networks whose width it decides, and model is digits-cnn@0.5",
            ),
            (
                &["prune.drop_begin=0.5"],
                "prune.drop_begin is for weights that leave for good, and prune.drop is none; leave it out, or set prune.drop",
            ),
            (&["prune.drop_schedule=slow"], "prune.drop_schedule"),
            (&["prune.adapt_window=10"], "prune.adapt is none; leave it out, or set prune.adapt"),
            (&["prune.points=[[0.1, 0.9]]", "prune.begin=0.05"], "and prune.points is [[0.1,0.9]]"),
            (&["prune.points=[[0.1, 0.9]]", "prune.end=0.7"], "prune.end is for schedules along"),
            (&["prune.points=[[0.1, 0.9]]", "prune.initial=0.7"], "without prune.points"),
            (&["prune.method=ac-dc", "prune.initial=0.5"], "and prune.schedule is phases"),
            (&["prune.method=snip", "prune.end=0.5"], "and prune.schedule is one-shot"),
            (
                &["prune.method=rigl", "prune.schedule=cubic"],
                "prune.schedule is for schedules that rise, and prune.end is 0.0; leave it out, or let it be after prune.begin",
            ),
            (
                &["prune.method=rigl", "prune.adapt=gate:2"],
                "prune.adapt is for schedules that rise",
            ),
            (&["prune.method=granet", "prune.end=0", "prune.initial=0.2"], "and prune.end is 0.0"),
            (&["prune.method=snip", "prune.refresh_every=5"], "and prune.renewal is hold"),
            (&["prune.method=gmp", "prune.pruned_gradient=every:2"], "and prune.gradient is 0"),
            (
                &["prune.method=str", "prune.pins={ \"conv1*\" = 0 }"],
                "prune.threshold is learned:-5",
            ),
            (&["prune.method=str", "prune.end=0.3"], "prune.end is for masks of a given sparsity"),
            (&["prune.method=str", "prune.adapt=gate:2"], "prune.adapt is for masks"),
            (&["prune.method=str", "train.keep_best=true"], "train.keep_best is for epochs of one"),
            (&["prune.method=str", "train.early_stop=3"], "train.early_stop is for epochs of one"),
            (
                &["train.beta1=0.5"],
                "train.beta1 is for adamw, and train.optimizer is sgd; leave it out, or choose adamw",
            ),
            (&["train.eps=0.5"], "train.eps is for adamw"),
            (&["train.optimizer=adamw", "train.momentum=0.5"], "train.momentum is for sgd"),
            (&["train.ham_alpha=1"], "and train.ham is false; leave it out, or set train.ham to"),
            (&["train.ham_beta=1"], "train.ham_beta is for hyperbolic steps"),
            (&["train.milestones=[0.5]"], "and train.schedule is cosine"),
        ] {
            let said = refusal(sets);
            assert!(said.contains(wanted), "{sets:?}: {said}");
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
                "prune.gradient=\"annealed/linear:0\"",
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
    fn what_is_said_for_other_experiments_as_well_may_have_no_reader() {
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
        assert!(read(None, &["prune.adapt_window=20"], &[]).is_ok());
        // Nothing compares epochs of different sparsities, whoever asks for it.
        let best = ["train.keep_best=true", "train.early_stop=3"];
        let chosen = |method: &str| read(None, &best, &[method]).unwrap().choices();
        assert!(chosen("prune.method=gmp").is_some() && chosen("prune.method=str").is_none());
        // A flag that lies on top of a file chooses among what it says; one beside another does not.
        let own = write("own.toml", "[train]\nmomentum = 0.5\n[prune]\nend = 0.25\n");
        assert!(read(Some(&own), &[], &["prune.method=dense"]).is_ok());
        assert!(read(Some(&own), &[], &["train.optimizer=adamw"]).is_ok());
        assert!(read(Some(&own), &[], &["prune.method=dense", "prune.end=0.25"]).is_err());
    }

    #[test]
    fn every_rule_is_of_keys_that_there_are() {
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
