//! Methods as data: values for the keys of the section `prune`.

use super::{
    PruneSpec,
    keys::{finite, nearest},
};
use crate::error::usage;
use serde::{Deserialize, Serialize};

/// A pruning method, mostly from a paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What it does, in one line.
    pub summary: String,
    /// The paper.
    pub paper: Option<String>,
    /// Differences from the paper.
    pub differs: Option<String>,
    /// The keys of the section `prune` that it sets.
    pub prune: PruneSpec,
}

/// All methods, sorted by name.
pub fn methods() -> anyhow::Result<Vec<(String, Method)>> {
    let table: toml::Table = include_str!("methods.toml").parse()?;
    table.into_iter().map(|(name, method)| Ok((name, method.try_into()?))).collect()
}

impl Method {
    /// Finds a method by its name.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let methods = methods()?;
        let found = methods.iter().find(|(known, _)| known == name);
        found.map(|(_, method)| method.clone()).ok_or_else(|| {
            let names: Vec<&str> = methods.iter().map(|(name, _)| &**name).collect();
            usage(match nearest(name, &names) {
                Some(nearest) => format!("unknown method `{name}`; did you mean `{nearest}`?"),
                None => format!("unknown method `{name}`; the methods are {}", names.join(", ")),
            })
        })
    }
}

/// Keys that choose masks. `finetune` keeps those of its checkpoint.
pub(super) const CHOOSE_MASKS: [&str; 12] = [
    "prune.pins",
    "prune.allocation",
    "prune.begin_allocation",
    "prune.begin_by",
    "prune.criterion",
    "prune.structure",
    "prune.schedule",
    "prune.points",
    "prune.begin",
    "prune.end",
    "prune.initial",
    "prune.adapt*",
];

/// Whether a key chooses masks.
pub(super) fn chooses_masks(key: &str) -> bool {
    CHOOSE_MASKS.iter().any(|name| is_like(key, name))
}

/// Whether a key is named; a `*` at the end of the name matches any ending.
pub(super) fn is_like(key: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(begin) => key.starts_with(begin),
        None => key == name,
    }
}

impl PruneSpec {
    /// Without the keys that `is_left_out` accepts.
    pub(super) fn without(self, is_left_out: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        // TOML, because JSON has no NaN, which is rejected later.
        let mut keys = toml::Table::try_from(self)?;
        keys.retain(|key, _| !is_left_out(key));
        Ok(keys.try_into()?)
    }

    /// Fills in the keys that this section leaves out from another section.
    pub(super) fn over(self, below: Self) -> anyhow::Result<Self> {
        // The range check of the sparsity gives a better message.
        let said = toml::Table::try_from(&self)?.into_iter().filter(|(key, _)| key != "sparsity");
        said.into_iter().try_for_each(|(key, value)| finite(&value, &format!("prune.{key}")))?;
        let (mut keys, below) = (serde_json::to_value(self)?, serde_json::to_value(below)?);
        for (key, value) in keys.as_object_mut().into_iter().flatten() {
            if value.is_null() {
                *value = below[key].clone();
            }
        }
        Ok(serde_json::from_value(keys)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_is_an_error_with_a_suggestion() {
        let error = |name: &str| Method::find(name).unwrap_err().to_string();
        assert_eq!(error("fether"), "unknown method `fether`; did you mean `feather`?");
        assert!(error("zzz").contains("the methods are ac-dc, dense"), "{}", error("zzz"));
    }

    #[test]
    fn each_method_can_be_read_and_is_found_by_its_name() {
        let methods = methods().unwrap();
        assert!(methods.len() >= 12);
        for (name, method) in methods {
            assert_eq!(Method::find(&name).unwrap(), method);
        }
    }

    #[test]
    fn the_book_has_a_row_for_each_method_with_its_paper() {
        // The book is not part of the package.
        let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/methods.md");
        let book = std::fs::read_to_string(book).expect("the book of the repository");
        for (name, method) in methods().unwrap() {
            let row = book.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the book"));
            let number = method.paper.as_deref().and_then(|paper| paper.split("arXiv:").nth(1));
            let number = number.map(|rest| rest.trim_end_matches(')'));
            assert_eq!(row.contains("arXiv"), number.is_some(), "{name}");
            assert!(number.is_none_or(|number| row.contains(number)), "{name}: {row}");
        }
    }

    #[test]
    fn methods_have_the_numbers_of_their_papers() {
        for (name, key, number) in [
            ("set", "refresh_every", "100"),
            ("set", "swap_share", "0.3"),
            ("set", "swap_decay", "\"constant\""),
            ("set", "swap_end", "1.0"),
            ("rigl", "refresh_every", "100"),
            ("rigl", "swap_share", "0.3"),
            ("rigl", "swap_end", "0.75"),
            ("rigl", "allocation", "\"erk\""),
            ("snfs", "swap_share", "0.5"),
            ("snfs", "grow", "\"gradient-ema:0.9\""),
            ("snfs", "allocation", "\"uniform\""),
            ("granet", "initial", "0.5"),
            ("granet", "end", "0.6875"),
            ("granet", "swap_share", "0.5"),
            ("mest", "criterion", "\"mest:0.01\""),
            ("mest", "swap_share", "0.2"),
            ("mest", "swap_decay", "\"step:0.5\""),
            ("mest", "swap_milestones", "[0.5625]"),
            ("filter", "refresh_every", "10"),
            ("gmp", "refresh_every", "10"),
            ("movement", "begin", "0.06"),
            ("movement", "end", "0.88"),
            ("movement", "allocation", "\"uniform\""),
            ("sr-ste", "structure", "\"2:4\""),
            ("sr-ste", "remainder", "\"decay:0.0002\""),
            ("top-kast", "pruned_gradient", "\"live:1\""),
            ("top-kast", "remainder", "\"penalty:0.0001\""),
            ("top-kast", "allocation", "\"erk\""),
            ("grasp", "criterion", "\"grasp:10\""),
            ("synflow", "criterion", "\"synflow:100\""),
            ("ac-dc", "begin", "0.05"),
            ("ac-dc", "end", "0.85"),
            ("ac-dc", "sparse_phase", "0.1"),
            ("ac-dc", "dense_phase", "0.1"),
            ("st-3", "begin", "0.03125"),
            ("str", "threshold", "\"learned:-5\""),
            ("spartan", "threshold", "\"soft-top-k:1:20\""),
            ("spartan", "end", "0.2"),
            ("spartan", "freeze", "0.8"),
            ("powerpropagation", "threshold", "\"power-propagation:2\""),
            ("feather", "gradient", "\"feather\""),
            ("feather", "threshold", "\"feather\""),
        ] {
            let prune = serde_json::to_value(Method::find(name).unwrap().prune).unwrap();
            assert_eq!(prune[key].to_string(), number, "{name} {key}");
        }
    }

    #[test]
    fn an_experiment_overrides_its_method() {
        let own = PruneSpec { grow: Some("random".into()), ..PruneSpec::default() };
        let all = own.over(Method::find("rigl").unwrap().prune).unwrap();
        assert_eq!((all.grow.as_deref(), all.renewal.as_deref()), (Some("random"), Some("swap")));
    }
}
