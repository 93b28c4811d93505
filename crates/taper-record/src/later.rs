//! Compatibility of recipes: keys that later versions added, and keys that do not affect results.

use serde_json::Value;

/// Keys that do not affect results. A run may resume with other values of these keys.
pub const FREE: [&str; 3] = ["train.checkpoint_every", "train.keep_best", "train.keep_last"];

/// Keys that earlier versions did not have, with the value (as JSON) that describes what earlier versions did. Each
/// group was added at the same time; the oldest group comes first.
const LATER: [&[(&str, &str)]; 2] = [
    &[("train.validation", "0.0")],
    &[
        ("train.beta1", "0.9"),
        ("train.beta2", "0.999"),
        ("train.dampening", "0.0"),
        ("train.eps", "1e-8"),
        ("train.ham", "false"),
        ("train.ham_alpha", "200.0"),
        ("train.ham_beta", "0.001"),
        ("train.milestones", "[0.5,0.75]"),
        ("train.nesterov", "false"),
        ("train.optimizer", "\"sgd\""),
        ("train.schedule", "\"cosine\""),
    ],
];

/// The value that `key`, a dotted name, has in records without it. `None` if all versions have the key.
pub fn was_before(key: &str) -> Option<Value> {
    let (_, was) = LATER.iter().flat_map(|group| group.iter()).find(|(later, _)| *later == key)?;
    serde_json::from_str(was).ok()
}

/// The recipe as earlier versions record it, with sorted keys; the latest version first. Versions that do not support
/// the recipe are left out.
pub fn as_before(recipe: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let mut recipe = recipe.clone();
    for group in LATER.iter().rev() {
        for (key, _) in *group {
            let Some((section, name)) = key.split_once('.') else { continue };
            let section = recipe.get_mut(section).and_then(Value::as_object_mut);
            match section.and_then(|section| section.remove(name)) {
                Some(value) if Some(&value) != was_before(key).as_ref() => return found,
                _ => {}
            }
        }
        recipe.sort_all_objects();
        found.push(recipe.clone());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn recipes_of_earlier_versions_lack_keys_or_do_not_exist() {
        let recipe = json!({ "seed": 1, "train": { "lr": 0.1, "nesterov": false, "optimizer": "sgd", "validation": 0.0 } });
        let [before, long_before] = &as_before(&recipe)[..] else { panic!("two versions") };
        assert_eq!(before, &json!({ "seed": 1, "train": { "lr": 0.1, "validation": 0.0 } }));
        assert_eq!(long_before, &json!({ "seed": 1, "train": { "lr": 0.1 } }));
        let adamw = json!({ "train": { "optimizer": "adamw", "validation": 0.0 } });
        assert_eq!(as_before(&adamw), Vec::<Value>::new());
        let held_out = json!({ "train": { "optimizer": "sgd", "validation": 0.1 } });
        assert_eq!(as_before(&held_out), [json!({ "train": { "validation": 0.1 } })]);
        assert_eq!(was_before("train.eps"), Some(json!(1e-8)));
        assert_eq!(was_before("train.lr"), None);
    }
}
