//! Checks the invariants of ARCHITECTURE.md.

use super::imports;
use crate::support::{code, files, read, repository};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// For each crate, its dependencies within the workspace. The test requires exactly these edges.
const EDGES: &[(&str, &[&str])] = &[
    ("taper-core", &[]),
    ("taper-kernels", &[]),
    ("taper-schedule", &["taper-core"]),
    ("taper-scale", &["taper-core"]),
    ("taper-data", &["taper-core"]),
    ("taper-graph", &[]),
    ("taper-infer", &["taper-graph", "taper-kernels", "taper-onnx"]),
    ("taper-capi", &["taper-infer"]),
    ("taper-onnx", &["taper-graph"]),
    ("taper-distributed", &[]),
    ("taper-mpi", &["taper-distributed"]),
    ("taper-nn", &["taper-core", "taper-distributed", "taper-graph", "taper-kernels"]),
    ("taper-prune", &["taper-core", "taper-kernels", "taper-nn", "taper-scale", "taper-schedule"]),
    ("taper-zoo", &["taper-nn"]),
    (
        "taper-train",
        &[
            "taper-core",
            "taper-data",
            "taper-distributed",
            "taper-kernels",
            "taper-nn",
            "taper-prune",
            "taper-record",
            "taper-schedule",
        ],
    ),
    ("taper-export", &["taper-graph", "taper-nn", "taper-onnx", "taper-record", "taper-train"]),
    ("taper-record", &["taper-core"]),
    ("taper-report", &["taper-record"]),
    ("taper-host", &["taper-record"]),
    ("taper-compose", &["taper-core", "taper-host"]),
    ("taper-experiment", &["taper", "taper-compose", "taper-host"]),
    (
        "taper-suite",
        &[
            "taper-compose",
            "taper-core",
            "taper-distributed",
            "taper-host",
            "taper-record",
            "taper-report",
        ],
    ),
    (
        "taper",
        &[
            "taper-core",
            "taper-data",
            "taper-distributed",
            "taper-export",
            "taper-graph",
            "taper-infer",
            "taper-kernels",
            "taper-nn",
            "taper-onnx",
            "taper-prune",
            "taper-record",
            "taper-scale",
            "taper-schedule",
            "taper-train",
            "taper-zoo",
        ],
    ),
    (
        "taper-cli",
        &["taper", "taper-experiment", "taper-host", "taper-mpi", "taper-report", "taper-suite"],
    ),
    ("xtask", &["taper-compose", "taper-host", "taper-record", "taper-report", "taper-suite"]),
];

/// Crates that do not depend on candle.
const WITHOUT_CANDLE: &[&str] = &[
    "taper-core",
    "taper-kernels",
    "taper-schedule",
    "taper-scale",
    "taper-data",
    "taper-distributed",
    "taper-graph",
    "taper-infer",
    "taper-mpi",
    "taper-onnx",
    "taper-record",
    "taper-report",
    "taper-host",
    "taper-compose",
    "taper-suite",
    "taper-capi",
    "xtask",
];

/// Crates with unsafe code: the kernels, and the C API with its pointers.
const UNSAFE: &[&str] = &["taper-kernels", "taper-capi"];

/// Crates that parse arguments and print.
const OUTERMOST: &[&str] = &["taper-cli", "xtask"];

/// Crates with types that describe text files.
const OF_FILES: &[&str] = &["taper-record", "taper-compose", "taper-experiment", "taper-suite"];

/// Crates that read configuration and combine the errors of other crates into one sentence.
const OF_CONFIGURATION: &[&str] = &["taper-compose", "taper-experiment", "taper-suite"];

/// Features that every crate above candle forwards to its dependencies.
const FEATURES: &[&str] = &["accelerate", "cuda", "cudnn", "metal", "mkl"];

struct Package {
    folder: PathBuf,
    /// The root file of each target: library, program, test, example, benchmark.
    roots: Vec<PathBuf>,
    /// Names of the dependencies, except those of tests and build scripts.
    dependencies: BTreeSet<String>,
    features: BTreeMap<String, Vec<String>>,
}

fn packages() -> BTreeMap<String, Package> {
    let output = taper_host::cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .filter(|d| d["kind"].is_null())
                .map(|d| text(&d["name"]))
                .collect();
            let features = package["features"].as_object().expect("features").iter();
            let features = features
                .map(|(name, on)| (name.clone(), list(on).iter().map(text).collect()))
                .collect();
            let folder = PathBuf::from(text(&package["manifest_path"]))
                .parent()
                .expect("a folder")
                .to_path_buf();
            let targets = list(&package["targets"]);
            let roots = targets.iter().map(|t| PathBuf::from(text(&t["src_path"]))).collect();
            (text(&package["name"]), Package { folder, roots, dependencies, features })
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_as_the_table_says() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(names, EDGES.iter().map(|e| e.0).collect(), "crates of the workspace");
    for (name, allowed) in EDGES {
        let found: BTreeSet<&str> = packages[*name]
            .dependencies
            .iter()
            .map(String::as_str)
            .filter(|d| names.contains(d))
            .collect();
        assert_eq!(found, allowed.iter().copied().collect(), "dependencies of {name}");
    }
}

#[test]
fn no_crate_has_a_forbidden_dependency() {
    for (name, package) in packages() {
        let depends_on = |other: &str| package.dependencies.contains(other);
        if WITHOUT_CANDLE.contains(&name.as_str()) {
            assert!(
                !package.dependencies.iter().any(|d| d.starts_with("candle")),
                "{name} depends on candle"
            );
        }
        if !OUTERMOST.contains(&name.as_str()) {
            for banned in ["anyhow", "clap", "serde", "toml", "indicatif", "tracing-subscriber"] {
                let is_in = |crates: &[&str]| crates.contains(&name.as_str());
                let may = match banned {
                    "serde" => is_in(OF_FILES),
                    "anyhow" | "toml" => is_in(OF_CONFIGURATION),
                    _ => false,
                };
                assert!(may || !depends_on(banned), "{name} depends on {banned}");
            }
        }
    }
}

/// The crates that a package is built from, with its default features and the given `--target` arguments.
fn crates_of(package: &str, targets: &[&str]) -> BTreeSet<String> {
    let output = taper_host::cargo()
        .args(["tree", "--package", package, "--edges", "normal,build"])
        .args(["--no-dedupe", "--prefix", "none", "--offline"])
        .args(targets)
        .current_dir(repository())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates = String::from_utf8(output.stdout).expect("text");
    crates.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn compiled_inference_needs_few_crates() {
    let crates = crates_of("taper-infer", &["--target", "all"]);
    assert!(crates.contains("taper-onnx") && crates.len() <= 15, "{crates:?}");
    let is_banned = |name: &&String| name.starts_with("candle") || name.starts_with("rayon");
    assert_eq!(crates.iter().find(is_banned), None, "crates of taper-infer");
}

#[test]
fn the_program_contains_no_mpi_by_default() {
    for package in ["taper-cli", "taper-mpi", "taper-train"] {
        let crates = crates_of(package, &[]);
        assert!(crates.contains("taper-distributed"), "{crates:?}");
        for banned in ["mpi", "mpi-sys", "bindgen"] {
            assert!(!crates.contains(banned), "{package} is built from {banned}");
        }
    }
}

#[test]
fn every_crate_above_candle_forwards_the_device_features() {
    for (name, package) in packages() {
        let knows_candle = package.dependencies.iter().any(|d| d.starts_with("candle"));
        let forwarding: Vec<&String> = package
            .dependencies
            .iter()
            .filter(|d| {
                d.starts_with("candle")
                    || [
                        "taper-nn",
                        "taper-prune",
                        "taper-train",
                        "taper-zoo",
                        "taper",
                        "taper-experiment",
                    ]
                    .contains(&d.as_str())
            })
            .collect();
        if !knows_candle && forwarding.is_empty() {
            continue;
        }
        for feature in FEATURES {
            let on = package
                .features
                .get(*feature)
                .unwrap_or_else(|| panic!("{name} has no feature {feature}"));
            for dependency in &forwarding {
                assert!(
                    on.contains(&format!("{dependency}/{feature}")),
                    "{name}: {feature} stops before {dependency}"
                );
            }
        }
        let default = package.features.get("default");
        assert!(default.is_none_or(Vec::is_empty), "{name} has default features");
    }
}

#[test]
fn the_page_lists_the_crates_without_candle() {
    let page = read(&repository().join("ARCHITECTURE.md"));
    let line = page.lines().find(|line| line.starts_with("- **No candle** in ")).expect("a line");
    let sentence = line.split(". ").next().unwrap_or_default();
    let mut listed: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
    let mut checked = WITHOUT_CANDLE.to_vec();
    listed.sort_unstable();
    checked.sort_unstable();
    assert_eq!(listed, checked);
}

#[test]
fn sources_keep_the_rules_of_their_crate() {
    for (name, package) in packages() {
        let sources = files(&package.folder.join("src"), ".rs");
        assert!(!sources.is_empty(), "{name} has no sources");
        for path in &sources {
            let (text, shown) = (read(path), path.display());
            assert!(text.starts_with("//!"), "{shown} does not start with a `//!` header");
            let device_folder = package.folder.ends_with("taper-nn")
                && path.starts_with(package.folder.join("src/ops"));
            if !device_folder {
                for feature in ["cuda", "metal"] {
                    assert!(
                        !text.contains(&format!("feature = \"{feature}\"")),
                        "{shown} has code for a device"
                    );
                }
                if ["taper-zoo", "taper-train"].contains(&name.as_str()) {
                    let asks = ["is_cpu(", "is_cuda(", "is_metal("];
                    assert!(
                        !asks.iter().any(|ask| text.contains(ask)),
                        "{shown} asks for a device"
                    );
                }
            }
            if !OUTERMOST.contains(&name.as_str()) {
                for (i, line) in text.lines().enumerate() {
                    let code = line.trim_start();
                    let prints = ["println!", "eprintln!", "print!", "eprint!"]
                        .iter()
                        .any(|p| code.contains(p));
                    assert!(
                        !prints || code.starts_with("//"),
                        "{shown}:{}: a library prints",
                        i + 1
                    );
                }
            }
        }
        let root = ["lib.rs", "main.rs"]
            .iter()
            .map(|f| package.folder.join("src").join(f))
            .find(|p| p.exists());
        let root = read(&root.expect("a crate root"));
        if UNSAFE.contains(&name.as_str()) {
            assert!(!root.contains("forbid(unsafe_code)"));
        } else {
            assert!(root.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
        }
        if name != "xtask" {
            let readme = read(&package.folder.join("README.md"));
            assert!(readme.len() > 300, "the README of {name} is too short");
            let is_library = name != "taper-cli" && name != "taper-capi";
            assert!(
                !is_library || !code(&readme, "rust").is_empty(),
                "the README of {name} has no example that compiles"
            );
            let language = if name == "taper-capi" { ".c" } else { ".rs" };
            let examples = files(&package.folder.join("examples"), language);
            assert!(name == "taper-cli" || !examples.is_empty(), "{name} has no runnable example");
        }
    }
    for path in files(&repository().join("tests"), ".rs") {
        assert!(read(&path).starts_with("//!"), "{} has no `//!` header", path.display());
    }
}

/// Whether a crate depends on another, directly or through others.
fn depends(name: &str, on: &str) -> bool {
    let direct = EDGES.iter().find(|edge| edge.0 == name).map_or(&[][..], |edge| edge.1);
    direct.iter().any(|crate_| *crate_ == on || depends(crate_, on))
}

#[test]
fn the_figure_of_the_architecture_shows_every_crate_and_only_dependencies() {
    let figures = repository().join("docs/src/figures");
    let (dot, svg) =
        (read(&figures.join("architecture.dot")), read(&figures.join("architecture.svg")));
    let quoted = |text: &str| -> Vec<String> {
        text.split('"').skip(1).step_by(2).map(ToString::to_string).collect()
    };
    let crates: BTreeSet<&str> = EDGES.iter().map(|edge| edge.0).collect();
    let mut seen = BTreeSet::new();
    for line in dot.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let names = quoted(line);
        let names: Vec<&String> =
            names.iter().filter(|name| crates.contains(name.as_str())).collect();
        seen.extend(names.iter().map(|name| (*name).clone()));
        if line.contains("->") {
            let [from, to] = names[..] else { panic!("an arrow between two crates: {line}") };
            assert!(depends(to, from), "{to} does not depend on {from}");
            // As Graphviz escapes it.
            let arrow = format!("{from}->{to}").replace('-', "&#45;").replace('>', "&gt;");
            let title = format!("<title>{arrow}</title>");
            assert!(
                svg.contains(&title),
                "{from} -> {to} is not in architecture.svg: run dot again"
            );
        }
    }
    assert_eq!(
        seen,
        crates.iter().map(ToString::to_string).collect(),
        "crates in architecture.dot"
    );
    let n_arrows = dot
        .lines()
        .filter(|line| line.contains("->") && !line.trim_start().starts_with("//"))
        .count();
    assert_eq!(
        svg.matches("class=\"edge\"").count(),
        n_arrows,
        "architecture.svg is old: run dot again"
    );
}

#[test]
fn no_file_imports_in_a_circle() {
    let root = repository();
    let roots: Vec<PathBuf> = packages().into_values().flat_map(|p| p.roots).collect();
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let circles = imports::circles(&roots, &read);
    let shown = |path: &PathBuf| {
        path.strip_prefix(&root).unwrap_or(path).display().to_string().replace('\\', "/")
    };
    let found: Vec<String> = circles
        .iter()
        .map(|circle| {
            let files: Vec<String> = circle.files.iter().map(shown).collect();
            format!("{files:?}\n{}", circle.uses)
        })
        .collect();
    assert!(roots.len() > 30 && found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
}

/// Names that types of one crate share, and why.
const SHARED_NAMES: &[(&str, &str, &str)] = &[
    ("taper-zoo", "Block", "each architecture has its own"),
    ("taper-zoo", "Unit", "each architecture has its own"),
    ("xtask", "Args", "the arguments of each command"),
];

/// Names that public types of several crates share, and why.
const SHARED_PUBLIC_NAMES: &[(&str, &str)] = &[
    ("Options", "the settings of a crate, used with its name: `onnx::Options`"),
    ("Result", "the result type with a crate's own error"),
];

#[test]
fn type_names_are_unique() {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let (mut n_types, mut public) = (0, BTreeMap::<String, BTreeSet<PathBuf>>::new());
    let mut shared = BTreeSet::new();
    for (package, Package { folder, roots, .. }) in packages() {
        let mut by_name = BTreeMap::<String, Vec<PathBuf>>::new();
        for root in roots.iter().filter(|root| root.starts_with(folder.join("src"))) {
            for imports::Type { name, file, is_public } in imports::types(root, &read) {
                n_types += 1;
                if is_public {
                    public.entry(name.clone()).or_default().insert(file.clone());
                }
                by_name.entry(name).or_default().push(file);
            }
        }
        for (name, files) in by_name.into_iter().filter(|(_, files)| files.len() > 1) {
            let is_known = SHARED_NAMES.iter().any(|known| (known.0, known.1) == (&package, &name));
            assert!(is_known, "{package} has several types {name}: {files:?}");
            shared.insert((package.clone(), name));
        }
    }
    let public: Vec<_> = public.into_iter().filter(|(_, files)| files.len() > 1).collect();
    for (name, files) in &public {
        let is_known = SHARED_PUBLIC_NAMES.iter().any(|known| known.0 == name);
        assert!(is_known, "several crates have a public type {name}: {files:?}");
    }
    assert!(n_types > 500, "{n_types}");
    assert_eq!(shared.len(), SHARED_NAMES.len(), "{shared:?}");
    assert_eq!(public.len(), SHARED_PUBLIC_NAMES.len(), "{public:?}");
}

/// Modules with circular imports, by crate. Their single files have none.
const MODULE_CIRCLES: &[(&str, &[&str])] = &[
    ("taper-export", &["network", "onnx"]),
    ("taper-infer", &["conv", "draft"]),
    ("taper-nn", &["ops", "params", "traced"]),
    ("taper-train", &["checkpoint", "error", "eval", "oracle", "recipe", "run"]),
];

#[test]
fn modules_have_only_the_circular_imports_of_the_table() {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let mut found = BTreeSet::new();
    for (package, Package { roots, .. }) in packages() {
        for circle in imports::circles_of_modules(&roots, &read) {
            let name = |path: &PathBuf| path.file_name().expect("a name").display().to_string();
            let names: Vec<String> = circle.files.iter().map(name).collect();
            let is_known =
                MODULE_CIRCLES.iter().any(|(of, known)| *of == package && names == *known);
            assert!(is_known, "{package}: {names:?}\n{}", circle.uses);
            found.insert(package.clone());
        }
    }
    assert_eq!(found.len(), MODULE_CIRCLES.len(), "{found:?}");
}

#[test]
fn sources_include_only_files_of_their_own_crate() {
    let mut n_includes = 0;
    for package in packages().into_values() {
        for path in files(&package.folder.join("src"), ".rs") {
            let text = read(&path);
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let included = ["include_str!(\"", "include_bytes!(\"", "include!(\""]
                    .iter()
                    .find_map(|call| line.split(call).nth(1)?.split('"').next());
                // Pages of the book are included as documentation; a build of the package alone does not read them.
                let Some(included) = included.filter(|_| !line.starts_with("#[doc = ")) else {
                    continue;
                };
                let target = path.parent().expect("a folder").join(included).canonicalize();
                let is_inside = target.is_ok_and(|target| target.starts_with(&package.folder));
                assert!(is_inside, "{} includes {included}, which no archive has", path.display());
                n_includes += 1;
            }
        }
    }
    assert!(n_includes >= 4, "{n_includes}");
}

#[test]
fn what_architecture_names_exists() {
    let root = repository();
    let text = read(&root.join("ARCHITECTURE.md"));
    let sources: String = files(&root.join("crates"), ".rs").iter().map(|p| read(p)).collect();
    let (mut n_items, mut n_paths) = (0, 0);
    for quoted in text.split('`').skip(1).step_by(2) {
        if quoted.contains(['\n', ' ', '*', '<', '=', '(', '{']) {
            continue;
        }
        if quoted.contains('/') {
            assert!(
                root.join(quoted.trim_end_matches('/')).exists(),
                "ARCHITECTURE.md names {quoted}, which is not there"
            );
            n_paths += 1;
        } else if quoted.starts_with(|c: char| c.is_ascii_uppercase())
            && quoted.chars().all(char::is_alphanumeric)
            && quoted.chars().any(char::is_lowercase)
        {
            let is_defined = ["struct", "enum", "trait", "type"].iter().any(|kind| {
                ["", "<", "(", ";", " ", ":"]
                    .iter()
                    .any(|end| sources.contains(&format!("pub {kind} {quoted}{end}")))
            });
            assert!(is_defined, "ARCHITECTURE.md names {quoted}, which no crate defines");
            n_items += 1;
        }
    }
    assert!(n_items > 10 && n_paths > 5, "only {n_items} items and {n_paths} paths were checked");
}
