//! The command `taper methods`: lists the pruning methods.

use crate::{args::Methods, term};
use serde_json::{Map, Value, json};
use taper_experiment::{Method, methods};

/// Lists the methods, or prints the configuration of one.
pub fn run(args: &Methods) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        return one(name, &Method::find(name)?, args.json);
    }
    let methods = methods()?;
    if args.json {
        let rows: Map<String, Value> = methods
            .into_iter()
            .map(|(name, method)| Ok((name, said(&method)?)))
            .collect::<anyhow::Result<_>>()?;
        return term::print(format_args!("{}", serde_json::to_string_pretty(&rows)?));
    }
    let width = methods.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, method) in methods {
        term::print(format_args!("{name:<width$} {}", method.summary))?;
    }
    term::print(format_args!("\n`taper methods NAME` prints the configuration of a method."))
}

/// A method as JSON, without the keys that it does not set.
fn said(method: &Method) -> anyhow::Result<Value> {
    let mut prune = serde_json::to_value(&method.prune)?;
    if let Some(keys) = prune.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
    let Method { summary, paper, differs, .. } = method;
    Ok(json!({ "summary": summary, "paper": paper, "differs": differs, "prune": prune }))
}

fn one(name: &str, method: &Method, is_json: bool) -> anyhow::Result<()> {
    let value = said(method)?;
    if is_json {
        return term::print(format_args!("{}", serde_json::to_string_pretty(&value)?));
    }
    term::print(format_args!("{name}: {}", method.summary))?;
    for (what, text) in [("from", &method.paper), ("differs", &method.differs)] {
        if let Some(text) = text {
            term::print(format_args!("{what}: {text}"))?;
        }
    }
    term::print(format_args!("\n[prune]\nmethod = \"{name}\""))?;
    for (key, value) in value["prune"].as_object().into_iter().flatten() {
        term::print(format_args!("{key} = {value}"))?;
    }
    term::print(format_args!(
        "\nOther keys have their defaults; `taper train --dry-run` prints all keys of an experiment."
    ))
}
