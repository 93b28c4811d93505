//! What the names of a pruning section stand for.

use super::{
    PruneSpec, TrainSpec,
    operator::Operators,
    ranges::number,
    renewal::{self, Renewals},
};
use crate::error::usage;
use taper::{
    core::{Sparsity, Step},
    prune::{
        DeadFilters, DropPolicy, DropRule, InitialScale, PrunedUpdate, Quantile, Remainder,
        allocation::{Allocation, Er, Erk, Given, Global, Uniform},
        criterion::{
            Criterion, Fisher, Gradient, GradientEma, Grasp, Inverted, Magnitude, Mest, Movement,
            Normalised, PerSign, Random, Saliency, ScaledMagnitude, SynFlow,
        },
        structure::{
            AllInputs, Blocks, Channels, FanIn, FilterUnits, MaxBlocks, NOfM, OutputNOfM,
            SharedInputs, Single, Structure,
        },
    },
    scale,
    schedule::{Adaptation, Curve, Rate, Reference, Signal},
};

/// The schedule that is no ramp.
const PHASES: &str = "phases";

/// The library's values for a section with a value for every key.
pub(super) struct Parts {
    pub(super) operator: Operators,
    pub(super) criterion: Box<dyn Criterion>,
    /// With ends that are shares of the steps.
    pub(super) renewal: Renewals,
    /// What becomes of pruned weights; begin and end of drops are shares of the steps.
    pub(super) remainder: Remainder,
    /// Of a ramp; none for phases.
    pub(super) curve: Option<Curve>,
    pub(super) initial: Sparsity,
    /// If the ramp's clock answers to the masks; its deadline is a share of the steps, which only the data give.
    pub(super) adaptation: Option<Adaptation>,
    pub(super) dead_filters: DeadFilters,
    pub(super) allocation: Box<dyn Allocation>,
    /// That of the sparsity which a ramp begins with, if it has one of its own.
    pub(super) begin_allocation: Option<Box<dyn Allocation>>,
    pub(super) structure: Box<dyn Structure>,
    pub(super) quantile: Quantile,
    pub(super) initial_scale: InitialScale,
}

impl Parts {
    /// Looks every name up; `seed` is that of the run.
    pub(super) fn of(p: &PruneSpec, t: &TrainSpec, seed: u64) -> anyhow::Result<Self> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let initial = Sparsity::new(p.initial.unwrap_or(0.0)).map_err(usage)?;
        let gradient = scale::by_name(&text(&p.gradient), initial)
            .map_err(|error| usage(format!("prune.gradient: {error}")))?;
        let schedule = text(&p.schedule);
        check_phases(p)?;
        let curve = match schedule == PHASES {
            true => None,
            false => Some(curve("schedule", &schedule)?),
        };
        let begin_allocation = begin_allocation(p)?;
        let allocation = allocation("allocation", &text(&p.allocation))?;
        let quantile = match text(&p.quantile).as_str() {
            "exact" => Quantile::Exact,
            "interpolated" => Quantile::Interpolated,
            other => return Err(unknown("quantile", other, &["exact", "interpolated"])),
        };
        let update = update(&text(&p.pruned_gradient), seed)?;
        let drop = match text(&p.drop).as_str() {
            "none" => None,
            rule => Some(drop_policy(p, rule, seed)?),
        };
        let dead_filters = named("dead_filters", &text(&p.dead_filters), &DeadFilters::ALL)?;
        let adaptation = match text(&p.adapt).as_str() {
            // What goes with a rate must be possible without one, too.
            "none" => adaptation(p, "reciprocal").map(|_| None)?,
            rate => Some(adaptation(p, rate)?),
        };
        check_measured(p, seed)?;
        Ok(Self {
            criterion: criterion("criterion", p.criterion.as_deref().unwrap_or("magnitude"), seed)?,
            renewal: renewal::of(p, t, seed, |key, name| criterion(key, name, seed))?,
            structure: structure(p.structure.as_deref().unwrap_or("single"))?,
            remainder: remainder(p, Remainder { gradient, update, drop, ..Remainder::default() })?,
            operator: Operators::of(p, t)?,
            curve,
            initial,
            adaptation,
            dead_filters,
            allocation,
            begin_allocation,
            quantile,
            initial_scale: match &p.initial_scale {
                Some(name) => named("initial_scale", name, &InitialScale::ALL)?,
                None => InitialScale::None,
            },
        })
    }
}

fn unknown(key: &str, value: &str, names: &[&str]) -> anyhow::Error {
    usage(format!("prune.{key} `{value}` is unknown; it can be {}", names.join(", ")))
}

/// The value of this name.
fn named<T: Copy>(key: &str, name: &str, all: &[(&str, T)]) -> anyhow::Result<T> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        unknown(key, name, &names)
    })
}

/// The curve of a name.
fn curve(key: &str, name: &str) -> anyhow::Result<Curve> {
    let known = Curve::ALL.iter().find(|(known, _)| *known == name).map(|&(_, curve)| curve);
    let power = || Some(Curve::Power(name.strip_prefix("power:")?.parse().ok()?));
    known.or_else(power).ok_or_else(|| {
        let names = Curve::ALL.iter().map(|(name, _)| *name);
        let names = names.chain(["power:N with N from 1 to 255"]);
        let phases = (key == "schedule").then_some(PHASES);
        unknown(key, name, &names.chain(phases).collect::<Vec<_>>())
    })
}

/// The allocation of a name.
fn allocation(key: &str, text: &str) -> anyhow::Result<Box<dyn Allocation>> {
    let unknown = || {
        let names = [
            "global",
            "uniform",
            "erk",
            "erk:POWER with POWER from 0 to 10",
            "er",
            "given:NAME=DENSITY,NAME=DENSITY",
        ];
        unknown(key, text, &names)
    };
    Ok(match text {
        "global" => Box::new(Global),
        "uniform" => Box::new(Uniform),
        "er" => Box::new(Er),
        "erk" => Box::new(Erk::default()),
        other => match other.split_once(':') {
            Some(("erk", power)) => {
                Box::new(Erk { power: number(power, 0.0..=10.0).ok_or_else(unknown)? })
            }
            Some(("given", densities)) => {
                let densities = densities.split(',').map(|given| {
                    let (name, density) = given.split_once('=')?;
                    let density = density.trim().parse().ok()?;
                    (density > 0.0 && density <= 1.0).then(|| (name.trim().to_owned(), density))
                });
                let densities = densities.collect::<Option<Vec<(String, f64)>>>();
                Box::new(Given {
                    densities: densities.ok_or_else(|| {
                        usage(format!(
                            "prune.{key} `{text}` is no list of densities; give names of layers and numbers in (0, 1], as in given:conv1.weight=0.5,layer1.*=0.1"
                        ))
                    })?,
                })
            }
            _ => return Err(unknown()),
        },
    })
}

/// What `prune.begin_allocation` stands for.
fn begin_allocation(p: &PruneSpec) -> anyhow::Result<Option<Box<dyn Allocation>>> {
    let Some(name) = &p.begin_allocation else { return Ok(None) };
    if p.initial.unwrap_or(0.0) == 0.0 {
        return Err(usage(format!(
            "prune.begin_allocation is {name}, and prune.initial is 0, so that no weight is pruned where the ramp begins; set prune.initial \
             above 0, or leave begin_allocation out"
        )));
    }
    allocation("begin_allocation", name).map(Some)
}

/// The criterion of a name.
fn criterion(key: &str, text: &str, seed: u64) -> anyhow::Result<Box<dyn Criterion>> {
    let names = [
        "magnitude",
        "scaled-magnitude",
        "gradient",
        "saliency",
        "mest:LAMBDA with LAMBDA from 0 to 1000000",
        "per-sign",
        "gradient-ema:BETA with BETA from 0 to below 1",
        "fisher:BETA with BETA from 0 to below 1",
        "movement",
        "grasp:IMAGES with at least 1 of each class",
        "synflow:ROUNDS with ROUNDS from 1 to 10000",
        "random",
        "normalised:CRITERION",
        "inverted:CRITERION",
    ];
    if let Some((word @ ("normalised" | "inverted"), of)) = text.split_once(':') {
        // One within one is as deep as the text says, and nobody means more than both.
        if of.matches(':').count() > 2 {
            return Err(unknown(key, text, &names));
        }
        let of = criterion(key, of, seed)?;
        return Ok(match word {
            "normalised" if text.ends_with("movement") => {
                return Err(usage(format!(
                    "prune.{key} `{text}` divides scores whose order alone means anything; take movement as it is"
                )));
            }
            "normalised" => Box::new(Normalised { of }),
            _ if of.measure().is_some_and(|measure| measure.rounds() > 1) => {
                return Err(usage(format!(
                    "prune.{key} `{text}` inverts scores of several rounds, in which weights that have left would come back; take one \
                     round"
                )));
            }
            _ => Box::new(Inverted { of }),
        });
    }
    let count = |prefix: &str, most: usize| number(text.strip_prefix(prefix)?, 1..=most);
    if let Some(per_class) = count("grasp:", usize::MAX) {
        return Ok(Box::new(Grasp { per_class, ..Grasp::default() }));
    }
    if let Some(rounds) = count("synflow:", 10_000) {
        return Ok(Box::new(SynFlow { rounds: rounds as u32 }));
    }
    let beta = |prefix: &str| {
        let beta = text.strip_prefix(prefix)?.parse::<f32>().ok();
        beta.filter(|beta| (0.0..1.0).contains(beta))
    };
    if let Some(beta) = beta("gradient-ema:") {
        return Ok(Box::new(GradientEma { beta }));
    }
    if let Some(beta) = beta("fisher:") {
        return Ok(Box::new(Fisher { beta }));
    }
    Ok(match text {
        "magnitude" => Box::new(Magnitude),
        "movement" => Box::new(Movement),
        "scaled-magnitude" => Box::new(ScaledMagnitude),
        "gradient" => Box::new(Gradient),
        "saliency" => Box::new(Saliency),
        "per-sign" => Box::new(PerSign),
        "random" => Box::new(Random { seed }),
        other => {
            let lambda = other.strip_prefix("mest:").and_then(|text| number(text, 0.0..=1e6));
            Box::new(Mest { lambda: lambda.ok_or_else(|| unknown(key, other, &names))? })
        }
    })
}

/// Refuses criteria that are measured before masks are chosen where masks cannot wait for that.
fn check_measured(p: &PruneSpec, seed: u64) -> anyhow::Result<()> {
    let renewal = p.renewal.as_deref().unwrap_or("top-k");
    for (key, value) in [("criterion", &p.criterion), ("grow", &p.grow)] {
        let Some(name) = value.as_ref().filter(|name| !(key == "grow" && *name == "same")) else {
            continue;
        };
        if criterion(key, name, seed)?.measure().is_none() {
            continue;
        }
        let is_held = renewal == "top-k" && p.refresh_every > Some(1)
            || ["hold", "top-k-hold"].contains(&renewal);
        if !is_held {
            return Err(usage(format!(
                "prune.{key} `{name}` measures the network before masks are chosen, and prune.renewal = \"{renewal}\" chooses them too \
                 often; set the renewal to hold, or with swap say prune.begin_by = \"{name}\""
            )));
        }
        let threshold = p.threshold.as_deref().unwrap_or_default();
        if threshold != "hard" {
            return Err(usage(format!(
                "prune.{key} `{name}` sees weights as they are, and prune.threshold = \"{threshold}\" changes them; set the threshold to \
                 hard"
            )));
        }
    }
    Ok(())
}

/// Refuses keys of phases without phases, and what phases cannot be joined with.
fn check_phases(p: &PruneSpec) -> anyhow::Result<()> {
    let schedule = p.schedule.as_deref().unwrap_or_default();
    if schedule != PHASES {
        let of_phases = [
            ("sparse_phase", p.sparse_phase),
            ("dense_phase", p.dense_phase),
            ("last_dense_phase", p.last_dense_phase),
        ];
        return match of_phases.iter().find(|(_, share)| share.is_some()) {
            Some((key, _)) => Err(usage(format!(
                "prune.{key} is for prune.schedule = \"{PHASES}\", and the schedule is `{schedule}`; leave the key out, or choose the \
                 method ac-dc"
            ))),
            None => Ok(()),
        };
    }
    if let Some(rate) = p.adapt.as_deref().filter(|&rate| rate != "none") {
        return Err(usage(format!(
            "prune.adapt is {rate}, which bends a ramp, and prune.schedule is {PHASES}; set prune.adapt to none, or choose a curve"
        )));
    }
    if !p.points.as_deref().unwrap_or_default().is_empty() {
        return Err(usage(format!(
            "prune.points is a schedule of its own, and prune.schedule is {PHASES}; leave one of them out"
        )));
    }
    Ok(())
}

/// What `prune.structure` stands for.
fn structure(text: &str) -> anyhow::Result<Box<dyn Structure>> {
    if let Some(pattern) = pattern(text) {
        // Whether it keeps some and not all is the same for every layer.
        let NOfM { n, m } = pattern;
        if n == 0 || n >= m {
            return Err(usage(format!(
                "prune.structure `{text}` keeps {n} of {m}; give at least 1, and fewer than all, such as 2:4"
            )));
        }
        return Ok(match text.ends_with(OUTPUT) {
            true => Box::new(OutputNOfM(pattern)),
            false => Box::new(pattern),
        });
    }
    let blocks = |size: &str| {
        let (rows, columns) = size.split_once('x')?;
        let [rows, columns] = [rows, columns].map(|text| number(text, 1..=65_536));
        Some(Blocks { rows: rows?, columns: columns? })
    };
    let found: Option<Box<dyn Structure>> = match text.split_once(':').unwrap_or((text, "")) {
        ("single", "") => Some(Box::new(Single)),
        ("filter", "") => Some(Box::new(FilterUnits)),
        ("fan-in", "") => Some(Box::new(FanIn)),
        ("fan-in", "all-inputs") => Some(Box::new(AllInputs)),
        ("shared-inputs", "") => Some(Box::new(SharedInputs)),
        ("channel", axis) => axis.parse().ok().map(|axis| Box::new(Channels { axis }) as _),
        ("block", size) => blocks(size).map(|blocks| Box::new(blocks) as _),
        ("block-max", size) => blocks(size).map(|blocks| Box::new(MaxBlocks(blocks)) as _),
        _ => None,
    };
    found.ok_or_else(|| {
        let names = [
            "single",
            "N:M such as 2:4",
            "N:M:output",
            "block:RxC such as block:4x4, of at most 65536 rows and columns",
            "block-max:RxC",
            "filter",
            "channel:AXIS with 0 for outputs and 1 for inputs",
            "fan-in",
            "fan-in:all-inputs",
            "shared-inputs",
        ];
        unknown("structure", text, &names)
    })
}

/// What follows a pattern along the output axis.
const OUTPUT: &str = ":output";

/// `N:M`, along either axis, if a structure is one.
pub(super) fn pattern(text: &str) -> Option<NOfM> {
    let (n, m) = text.strip_suffix(OUTPUT).unwrap_or(text).split_once(':')?;
    Some(NOfM { n: n.parse().ok()?, m: m.parse().ok()? })
}

/// What `prune.remainder` stands for, over what other keys say.
fn remainder(p: &PruneSpec, said: Remainder) -> anyhow::Result<Remainder> {
    let name = p.remainder.as_deref().unwrap_or("alive");
    let lambda = |what: &str| number::<f32>(name.strip_prefix(what)?, 0.0..=100.0);
    match (name, lambda("decay:"), lambda("penalty:")) {
        ("alive", ..) => Ok(said),
        ("zero", ..) => Ok(Remainder { is_zero: true, ..said }),
        (_, Some(decay), _) => Ok(Remainder { decay, ..said }),
        (_, _, Some(penalty)) => Ok(Remainder { penalty, ..said }),
        (other, None, None) => {
            let of_lambda = "decay:LAMBDA, penalty:LAMBDA with LAMBDA from 0 to 100";
            Err(unknown("remainder", other, &["alive", "zero", of_lambda]))
        }
    }
}

/// How a clock answers to the masks, with a rate of this name.
fn adaptation(p: &PruneSpec, rate: &str) -> anyhow::Result<Adaptation> {
    let rate: Rate =
        rate.parse().map_err(|error| usage(format!("prune.adapt {error}, or none")))?;
    let signal = p.adapt_signal.as_deref().unwrap_or_default();
    let reference = match p.adapt_reference.as_deref().unwrap_or_default() {
        "median" => Reference::RunningMedian,
        value => Reference::Absolute(
            value
                .parse()
                .map_err(|_| unknown("adapt_reference", value, &["median", "a number above 0"]))?,
        ),
    };
    let adaptation = Adaptation {
        signal: named("adapt_signal", signal, &Signal::ALL)?,
        window: p.adapt_window.unwrap_or(0),
        smoothing: p.adapt_smoothing.unwrap_or(0.0),
        reference,
        rate,
        slow: p.adapt_slow.unwrap_or(0.0),
        fast: p.adapt_fast.unwrap_or(0.0),
        deadline: Step::ZERO,
    };
    adaptation.check().map_err(|error| {
        usage(match error.name() {
            "gain" | "power" | "bound" => format!("prune.adapt: {error}"),
            _ => format!("prune.adapt_{error}"),
        })
    })?;
    Ok(adaptation)
}

/// What `prune.drop` stands for, and the keys that go with it.
fn drop_policy(p: &PruneSpec, text: &str, seed: u64) -> anyhow::Result<DropPolicy> {
    let found = text.split_once(':').and_then(|(rule, share)| {
        let rule = DropRule::by_name(rule, seed)?;
        Some(DropPolicy::constant(rule, share.parse().ok()?))
    });
    let policy = found.ok_or_else(|| {
        let rules = DropRule::NAMES.map(|rule| format!("{rule}:SHARE"));
        unknown("drop", text, &["none", &rules.join(", ")])
    })?;
    policy.check().map_err(|error| usage(format!("prune.drop `{text}`: {error}")))?;
    Ok(DropPolicy {
        curve: curve("drop_schedule", p.drop_schedule.as_deref().unwrap_or_default())?,
        from: Sparsity::new(p.drop_from.unwrap_or(0.0)).map_err(usage)?,
        ..policy
    })
}

/// What `prune.pruned_gradient` stands for.
fn update(text: &str, seed: u64) -> anyhow::Result<PrunedUpdate> {
    let found = match text.split_once(':') {
        None if text == "exact" => Some(PrunedUpdate::EveryStep),
        Some(("every", n)) => number(n, 1..=1000).map(PrunedUpdate::EveryNth),
        Some(("sampled", share)) => {
            number(share, 0.001..=1.0).map(|share| PrunedUpdate::Sampled { share, seed })
        }
        Some(("live", margin)) => {
            number(margin, 0.0..=1e6).map(|margin| PrunedUpdate::Live { margin })
        }
        _ => None,
    };
    found.ok_or_else(|| {
        usage(format!(
            "prune.pruned_gradient `{text}` is unknown; it can be exact, every:N with N from 1 to 1000, sampled:SHARE with a \
             share from 0.001 to 1, or live:MARGIN with a margin from 0 to 1000000"
        ))
    })
}
