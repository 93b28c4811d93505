//! Finds the tensors of a network among the names of a file.
//!
//! PyTorch's wrappers change the names of a state dict. `torch.compile` inserts `_orig_mod`, `DataParallel` inserts
//! `module`, and a trainer inserts the name of the attribute with the network. PyTorch's pruning tools store a weight
//! `W` as the product of `W_orig` and `W_mask`.

use std::collections::{BTreeMap, BTreeSet};

/// Parts of a name that only wrappers insert.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// A message lists at most this many names.
const MOST_LISTED: usize = 6;

/// Where a tensor is stored, by names in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum At {
    Whole(String),
    Masked { weight: String, mask: String },
}

/// The tensors of a file under names without wrappers.
#[derive(Debug)]
pub(crate) struct Names {
    found: BTreeMap<String, At>,
    /// The prefixes that all names share, from the empty one to the longest.
    prefixes: Vec<String>,
}

/// Whether a tensor counts batches. Not every format stores these counters.
pub(crate) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

impl Names {
    pub(crate) fn of(stored: &BTreeSet<String>) -> Self {
        let mut plain: BTreeMap<String, &String> = BTreeMap::new();
        for name in stored {
            let short = without_wrappers(name);
            // Two different names must not become equal.
            let is_taken =
                short != *name && (stored.contains(&short) || plain.contains_key(&short));
            plain.insert(if is_taken { name.clone() } else { short }, name);
        }
        let mask_of = |name: &str| {
            let base = name.strip_suffix("_orig")?;
            let mask = plain.get(&format!("{base}_mask"))?;
            (!plain.contains_key(base)).then(|| (base.to_string(), (*mask).clone()))
        };
        let mut found = BTreeMap::new();
        let mut masks = BTreeSet::new();
        for (name, &weight) in &plain {
            if let Some((base, mask)) = mask_of(name) {
                masks.insert(format!("{base}_mask"));
                found.insert(base, At::Masked { weight: weight.clone(), mask });
            } else {
                found.insert(name.clone(), At::Whole(weight.clone()));
            }
        }
        found.retain(|name, _| !masks.contains(name));
        let prefixes = shared_prefixes(found.keys());
        Self { found, prefixes }
    }

    /// The tensor with this name after one of the shared prefixes.
    pub(crate) fn behind_any(&self, name: &str) -> Option<&At> {
        self.prefixes.iter().find_map(|prefix| self.behind(prefix, name))
    }

    /// The tensor with this name after a prefix.
    pub(crate) fn behind(&self, prefix: &str, name: &str) -> Option<&At> {
        self.found.get(&format!("{prefix}{name}"))
    }

    /// The prefix with which the file has exactly these names. Only counters of batches may be missing.
    ///
    /// # Errors
    /// Lists the missing names, and the names that the network does not have.
    pub(crate) fn prefix(&self, wanted: &BTreeSet<&str>) -> Result<&str, String> {
        let n_found =
            |prefix: &&String| wanted.iter().filter(|n| self.behind(prefix, n).is_some()).count();
        // The shortest of several prefixes that fit equally well.
        let best = self.prefixes.iter().rev().max_by_key(n_found);
        let prefix = best.map(String::as_str).unwrap_or_default();
        let is_wanted = |name: &str| name.strip_prefix(prefix).is_some_and(|n| wanted.contains(n));
        let foreign: Vec<&str> =
            self.found.keys().map(String::as_str).filter(|name| !is_wanted(name)).collect();
        let is_missing = |name: &&str| self.behind(prefix, name).is_none() && !is_counter(name);
        let missing: Vec<&str> = wanted.iter().copied().filter(is_missing).collect();
        match (&foreign[..], &missing[..]) {
            ([], []) => Ok(prefix),
            ([], missing) => Err(format!("{} missing", some(missing))),
            (foreign, []) => {
                Err(format!("{} not in the network{}", some(foreign), advice(foreign)))
            }
            (foreign, missing) => Err(format!(
                "{} not in the network, and {} missing{}",
                some(foreign),
                some(missing),
                advice(foreign)
            )),
        }
    }
}

fn without_wrappers(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    parts.join(".")
}

/// The shared prefixes of all names, in whole parts: none, the first part, the first two, …
fn shared_prefixes<'a>(mut names: impl Iterator<Item = &'a String> + Clone) -> Vec<String> {
    let all = names.clone();
    let first = names.next().map(String::as_str).unwrap_or_default();
    let cuts = first.match_indices('.').map(|(at, _)| &first[..=at]);
    let shared = cuts.take_while(|cut| all.clone().all(|name| name.starts_with(cut)));
    std::iter::once("").chain(shared).map(String::from).collect()
}

/// `tensor a is`, or `tensors a, b and 3 more are`.
fn some(names: &[&str]) -> String {
    match names {
        [name] => format!("tensor {name} is"),
        _ if names.len() <= MOST_LISTED => format!("tensors {} are", names.join(", ")),
        _ => {
            let (listed, rest) = names.split_at(MOST_LISTED);
            format!("tensors {} and {} more are", listed.join(", "), rest.len())
        }
    }
}

/// The remedy for names that come from a reparametrization or an exporter.
fn advice(names: &[&str]) -> &'static str {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    if has(".parametrizations.") {
        "; call torch.nn.utils.parametrize.remove_parametrizations before saving"
    } else if has(".weight_g") && has(".weight_v") {
        "; call torch.nn.utils.remove_weight_norm before saving"
    } else if has("onnx::") {
        "; export with training=torch.onnx.TrainingMode.PRESERVE and do_constant_folding=False"
    } else if has(".weight_bias") {
        "; export with torch.onnx.export(..., optimize=False), which does not fold batch norm"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stored: &[&str]) -> Names {
        Names::of(&stored.iter().map(|name| (*name).to_string()).collect())
    }

    fn prefix(stored: &[&str], wanted: &[&str]) -> Result<String, String> {
        names(stored).prefix(&wanted.iter().copied().collect()).map(String::from)
    }

    #[test]
    fn wrappers_are_removed_in_any_order_and_a_networks_own_names_stay() {
        let wanted = ["a.weight", "b.weight", "b.num_batches_tracked"];
        for wrapper in
            ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net."]
        {
            let stored = ["a.weight", "b.weight"].map(|name| format!("{wrapper}{name}"));
            let found = Names::of(&stored.clone().into());
            let prefix = found.prefix(&wanted.into()).unwrap();
            assert_eq!(found.behind(prefix, "a.weight"), Some(&At::Whole(stored[0].clone())));
            assert_eq!(found.behind_any("b.weight"), Some(&At::Whole(stored[1].clone())));
        }
        // Only one module was compiled.
        assert_eq!(prefix(&["a._orig_mod.weight", "b.weight"], &wanted).unwrap(), "");
        // All names of a network begin with `module`, plain and wrapped.
        let own = ["module.a", "module.b"];
        assert_eq!(prefix(&own, &own).unwrap(), "");
        assert_eq!(prefix(&["module.module.a", "module.module.b"], &own).unwrap(), "module.");
        assert_eq!(prefix(&["m.a", "m.m.a"], &["a", "m.a"]).unwrap(), "m.");
        // The wrapped and the plain name are two tensors here.
        let twins = names(&["_orig_mod.a", "a"]);
        assert_eq!(twins.behind("", "_orig_mod.a"), Some(&At::Whole("_orig_mod.a".into())));
        assert_eq!(twins.behind("", "a"), Some(&At::Whole("a".into())));
    }

    #[test]
    fn a_weight_with_its_mask_is_one_tensor() {
        let masked = |weight: &str, mask: &str| {
            Some(At::Masked { weight: weight.into(), mask: mask.into() })
        };
        let pruned = names(&["module.a.weight_mask", "module.a.weight_orig", "module.a.bias"]);
        let at = pruned.behind_any("a.weight").cloned();
        assert_eq!(at, masked("module.a.weight_orig", "module.a.weight_mask"));
        assert_eq!(pruned.prefix(&["a.weight", "a.bias"].into()).unwrap(), "module.");
        // Not with one part alone, and not next to the whole weight.
        assert!(prefix(&["a.weight_orig"], &["a.weight"]).unwrap_err().contains("weight_orig is"));
        let whole = names(&["a.weight", "a.weight_mask", "a.weight_orig"]);
        assert_eq!(whole.found.len(), 3);
    }

    #[test]
    fn names_that_do_not_fit_are_listed() {
        let missing = prefix(&["a"], &["a", "b", "c", "n.num_batches_tracked"]).unwrap_err();
        assert_eq!(missing, "tensors b, c are missing");
        let foreign = prefix(&["a", "b"], &["a"]).unwrap_err();
        assert_eq!(foreign, "tensor b is not in the network");
        let both = prefix(&["x.a", "x.b"], &["c"]).unwrap_err();
        assert_eq!(both, "tensors x.a, x.b are not in the network, and tensor c is missing");
        let many: Vec<String> = (0..9).map(|i| format!("t{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let many = prefix(&many, &[]).unwrap_err();
        assert!(many.starts_with("tensors t0, t1, t2, t3, t4, t5 and 3 more are not in"), "{many}");
        assert_eq!(prefix(&[], &["a"]).unwrap_err(), "tensor a is missing");
        let advised = prefix(&["a.parametrizations.weight.original"], &["a.weight"]).unwrap_err();
        assert!(advised.ends_with("remove_parametrizations before saving"), "{advised}");
        let advised = prefix(&["a.weight_g", "a.weight_v"], &["a.weight"]).unwrap_err();
        assert!(advised.ends_with("remove_weight_norm before saving"), "{advised}");
        let advised = prefix(&["onnx::Conv_33"], &["a.weight"]).unwrap_err();
        assert!(advised.ends_with("do_constant_folding=False"), "{advised}");
        let advised = prefix(&["a.weight", "a.weight_bias"], &["a.weight", "n.bias"]).unwrap_err();
        assert!(advised.contains("optimize=False"), "{advised}");
    }
}
