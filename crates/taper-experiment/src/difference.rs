//! Finds the first difference between two recipes.

use serde_json::Value;
use taper::record::later::{FREE, was_before};

/// Keys that decide the defaults of other keys, by their names within their sections. Their differences are reported
/// first.
const DECISIVE: [&str; 2] = ["method", "optimizer"];

/// Finds the first key in which two recorded recipes differ, and reports both values. Ignores keys that change no
/// number. If the older record lacks a key of a later version, the key counts with the value that describes the old
/// behaviour.
pub fn difference(old: &Value, new: &Value) -> Option<String> {
    below(old, new, "")
}

fn below(old: &Value, new: &Value, path: &str) -> Option<String> {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort_by_key(|key| (!DECISIVE.contains(&key.as_str()), *key));
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let old = a.get(key).cloned().or_else(|| was_before(&path));
                below(&old.unwrap_or_default(), b.get(key).unwrap_or(&Value::Null), &path)
            })
        }
        _ if old == new || FREE.contains(&path) => None,
        _ => Some(format!("{path} was {old} and is now {new}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Resolved, load};
    use serde_json::json;
    use taper::record::later::as_before;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let old = json!({ "seed": 1, "train": { "lr": 0.1, "epochs": 3 } });
        assert_eq!(difference(&old, &old), None);
        let new = json!({ "seed": 1, "train": { "lr": 0.2, "epochs": 3 } });
        assert_eq!(difference(&old, &new).as_deref(), Some("train.lr was 0.1 and is now 0.2"));
        let [sgd, adamw] = [("sgd", 0.1), ("adamw", 1e-3)]
            .map(|(optimizer, lr)| json!({ "train": { "lr": lr, "optimizer": optimizer } }));
        let found = difference(&sgd, &adamw);
        assert_eq!(found.as_deref(), Some("train.optimizer was \"sgd\" and is now \"adamw\""));
        let new = json!({ "seed": 1, "train": { "lr": 0.1, "epochs": 3, "more": true } });
        assert_eq!(difference(&old, &new).as_deref(), Some("train.more was null and is now true"));
    }

    #[test]
    fn a_missing_key_counts_with_the_value_that_describes_the_old_behaviour() {
        let old = json!({ "train": { "lr": 0.1 } });
        let new = |n: f64| json!({ "train": { "lr": 0.1, "validation": n } });
        assert_eq!(difference(&old, &new(0.0)), None);
        let held_out = difference(&old, &new(0.1));
        assert_eq!(held_out.as_deref(), Some("train.validation was 0.0 and is now 0.1"));
        assert!(difference(&new(0.1), &old).is_some());
    }

    #[test]
    fn defaults_of_later_keys_describe_the_old_behaviour() {
        let now = Resolved::new(load(None, &[], &[]).unwrap()).unwrap().settings().unwrap();
        let before = as_before(&now);
        assert_eq!(before.len(), 2, "{now}");
        let old = before[1].clone();
        assert_eq!(difference(&old, &now), None);
        let mut other = now.clone();
        other["train"]["optimizer"] = "adamw".into();
        assert_eq!(
            difference(&old, &other).as_deref(),
            Some("train.optimizer was \"sgd\" and is now \"adamw\"")
        );
    }

    #[test]
    fn keys_that_change_no_number_are_ignored() {
        let record = |every: u64, last: u64, best: bool| json!({ "train": { "checkpoint_every": every, "keep_last": last, "keep_best": best } });
        assert_eq!(difference(&record(0, 2, false), &record(50, 9, true)), None);
        // The same name in another section is another key.
        let [old, new] = [1, 2].map(|n| json!({ "prune": { "keep_last": n } }));
        assert!(difference(&old, &new).is_some());
    }
}
