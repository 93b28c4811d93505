//! Finds the state dict in a pickle. Training checkpoints store it under a name, next to other values.

use super::{
    pickle::{Node, Pickle, Value, shown},
    rebuild::{Tensor, tensor},
};
use std::collections::{BTreeMap, HashMap};

/// Names that training scripts use for a state dict, the most likely first.
const NAMES: [&[u8]; 9] = [
    b"state_dict",
    b"model_state_dict",
    b"model",
    b"net",
    b"module",
    b"network",
    b"model_state",
    b"weights",
    b"params",
];

/// Dictionaries nested deeper are ignored.
const MOST_DEEP: usize = 3;

const ADVICE: &str = "save model.state_dict() with torch.save";

/// A dictionary, with its name in its parent.
struct Visited<'a> {
    value: Value<'a>,
    depth: usize,
    name: Option<&'a [u8]>,
}

/// The tensors of the state dict. This is the dictionary under one of the [`NAMES`]: the one nearest to the top, then
/// the one with the most likely name. Without these names it is the dictionary with the most tensors, as others belong
/// to an optimizer or to extra values.
///
/// # Errors
/// Names the content of the file, and what to save instead.
pub(super) fn state_dict<'a>(pickle: &Pickle<'a>) -> Result<BTreeMap<String, Tensor<'a>>, String> {
    let n_tensors = |dictionary: &Visited<'a>| {
        let items = pickle.items(dictionary.value).unwrap_or_default().iter();
        let named = items.filter(|(name, _)| matches!(name, Value::Text(_)));
        named.filter(|(_, value)| tensor(pickle, *value).is_some()).count()
    };
    let visited = visit(pickle);
    let found: Vec<(&Visited, usize)> =
        visited.iter().map(|v| (v, n_tensors(v))).filter(|(_, n)| *n > 0).collect();
    let rank = |dictionary: &Visited| Some((dictionary.depth, likelihood(dictionary.name)?));
    let likeliest = found.iter().filter(|(d, _)| rank(d).is_some()).min_by_key(|(d, _)| rank(d));
    let most = found.iter().map(|(_, n)| *n).max().ok_or_else(|| nothing(pickle))?;
    let largest: Vec<_> = found.iter().filter(|(_, n)| *n == most).collect();
    let (chosen, _) = match (likeliest, &largest[..]) {
        (Some(likeliest), _) => likeliest,
        (None, [largest]) => *largest,
        (None, several) => {
            let names = several.iter().take(6).filter_map(|(d, _)| d.name.map(shown));
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "it holds several state dicts, under {names}; save only one of them"
            ));
        }
    };
    let items = pickle.items(chosen.value).unwrap_or_default().iter();
    let named = items.filter_map(|&(name, value)| match name {
        Value::Text(name) => Some((String::from_utf8_lossy(name).into(), tensor(pickle, value)?)),
        _ => None,
    });
    Ok(named.collect())
}

/// Index of a name in [`NAMES`]; 0 is the most likely.
fn likelihood(name: Option<&[u8]>) -> Option<usize> {
    NAMES.iter().position(|&known| Some(known) == name)
}

/// The dictionaries that can be reached by names, from the top down. Each occurs once, under its most likely name.
fn visit<'a>(pickle: &Pickle<'a>) -> Vec<Visited<'a>> {
    let mut visited = vec![Visited { value: pickle.root, depth: 0, name: None }];
    let mut places = HashMap::new();
    let mut at = 0;
    while let Some(&Visited { value, depth, .. }) = visited.get(at) {
        for &(name, inner) in pickle.items(value).unwrap_or_default() {
            let (Value::Text(name), Value::Node(node)) = (name, inner) else { continue };
            let is_dictionary = pickle.items(inner).is_some_and(|items| !items.is_empty());
            if !is_dictionary || depth == MOST_DEEP {
                continue;
            }
            let name = Some(name);
            let next = visited.len();
            let place = *places.entry(node).or_insert(next);
            if place == next {
                visited.push(Visited { value: inner, depth: depth + 1, name });
            } else if likelihood(name)
                .is_some_and(|new| likelihood(visited[place].name).is_none_or(|old| new < old))
            {
                visited[place].name = name;
            }
        }
        at += 1;
    }
    visited
}

/// The message for a pickle without a state dict.
fn nothing(pickle: &Pickle) -> String {
    if tensor(pickle, pickle.root).is_some() {
        return format!("it holds a single tensor, not a state dict; {ADVICE}");
    }
    let class_of = |value| match pickle.node(value) {
        Some(Node::Call { callable, .. }) => pickle.class(*callable),
        _ => None,
    };
    let is_named = |name: Value| matches!(name, Value::Text(name) if NAMES.contains(&name));
    let items = pickle.items(pickle.root).unwrap_or_default().iter();
    let inner = items.filter(|(name, _)| is_named(*name)).find_map(|(_, value)| class_of(*value));
    match class_of(pickle.root).or(inner) {
        Some((module, name)) => format!(
            "it holds an object of class {}.{}, not a state dict; {ADVICE}",
            shown(module),
            shown(name)
        ),
        None if pickle.values(pickle.root).is_some() => {
            format!("it holds a list or tuple, not a state dict; {ADVICE}")
        }
        None => format!("it holds no tensors; {ADVICE}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pickle of nested dictionaries in a small language: `{` and `}`, names, `*` for a tensor, and `put` and `get`.
    fn found_in(text: &str) -> Result<Vec<String>, String> {
        let mut bytes = b"\x80\x02".to_vec();
        for word in text.split_whitespace() {
            match word {
                "{" => bytes.extend(b"}("),
                "}" => bytes.push(b'u'),
                "[]" => bytes.push(b']'),
                // Store the last value in the memo, and load it.
                "put" => bytes.extend(b"q\0"),
                "get" => bytes.extend(b"h\0"),
                "object" => bytes.extend(b"cnets\nNet\n)\x81"),
                "old" => bytes.extend(b"(X\x06\0\0\0modulecnets\nNet\nNNtQ)\x81"),
                "*" => {
                    bytes.extend(b"ctorch._utils\n_rebuild_tensor\n(");
                    bytes
                        .extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000NK\x01tQ");
                    bytes.extend(b"K\0))tR");
                }
                name => {
                    bytes.extend([b'U', name.len() as u8]);
                    bytes.extend(name.as_bytes());
                }
            }
        }
        bytes.push(b'.');
        state_dict(&Pickle::read(&bytes)?.0).map(|found| found.into_keys().collect())
    }

    #[test]
    fn the_most_likely_name_wins_and_then_the_largest() {
        for (text, want) in [
            ("{ a * b * }", "a b"),
            ("{ epoch [] state_dict { a * } }", "a"),
            // Next to other tensors, in either order, and next to a larger dictionary.
            ("{ best_acc1 * state_dict { a * } }", "a"),
            ("{ model { a * b * } rng_state * }", "a b"),
            ("{ rng_state * mine { a * b * } }", "a b"),
            ("{ a * b * extra { c * } }", "a b"),
            ("{ model_ema { a * b * } model { c * } }", "c"),
            ("{ model { a * } state_dict { b * } }", "b"),
            ("{ checkpoint { net { a * } ema { b * } } }", "a"),
            ("{ optimizer { state_dict { b * } } net { a * } }", "a"),
            ("{ state_dict [] model { a * } }", "a"),
            ("{ state_dict { } model { a * } }", "a"),
            // One dictionary under two names, the more likely last or first.
            ("{ best { a * } put ema { b * } state_dict get }", "a"),
            ("{ net { a * } put ema { b * } best get }", "a"),
            ("{ net { a * } put model { b * } state_dict get }", "a"),
        ] {
            assert_eq!(found_in(text).map(|found| found.join(" ")), Ok(want.into()), "{text}");
        }
    }

    #[test]
    fn other_contents_are_named() {
        for (text, part) in [
            ("{ student { a * } teacher { a * } }", "several state dicts, under student, teacher;"),
            ("{ epoch [] }", "it holds no tensors"),
            ("object", "an object of class nets.Net, not a state dict"),
            ("old", "an object of class nets.Net, not a state dict"),
            ("*", "a single tensor, not a state dict"),
            ("{ epoch [] model object }", "an object of class nets.Net"),
            ("[]", "a list or tuple, not a state dict"),
            ("{ a { b { c { d { e * } } } } }", "it holds no tensors"),
        ] {
            let error = found_in(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
