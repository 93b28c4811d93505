//! Parses the names in the section `prune`.

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

/// The schedule that is not a ramp.
const PHASES: &str = "phases";

/// The library's values for a resolved `prune` section.
pub(super) struct Parts {
    pub(super) operator: Operators,
    pub(super) criterion: Box<dyn Criterion>,
    /// Its begin and end are fractions of the steps.
    pub(super) renewal: Renewals,
    /// Treatment of pruned weights. Begin and end of permanent pruning are fractions of the steps.
    pub(super) remainder: Remainder,
    /// The curve of a ramp; `None` for phases.
    pub(super) curve: Option<Curve>,
    pub(super) initial: Sparsity,
    /// For adaptive ramps. The deadline is set later, since only the data gives the number of steps.
    pub(super) adaptation: Option<Adaptation>,
    pub(super) dead_filters: DeadFilters,
    pub(super) allocation: Box<dyn Allocation>,
    /// The allocation at the initial sparsity of a ramp, if it has a separate one.
    pub(super) begin_allocation: Option<Box<dyn Allocation>>,
    pub(super) structure: Box<dyn Structure>,
    pub(super) quantile: Quantile,
    pub(super) initial_scale: InitialScale,
}

impl Parts {
    /// Parses every name; `seed` is the seed of the run.
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
            // The other keys of the adaptation must be valid without a rate, too.
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

/// Finds the value with this name.
fn named<T: Copy>(key: &str, name: &str, all: &[(&str, T)]) -> anyhow::Result<T> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        unknown(key, name, &names)
    })
}

/// Parses a curve.
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

/// Parses an allocation.
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
                            "prune.{key} `{text}` is not a list of densities; give layer names with densities in (0, 1], as in given:conv1.weight=0.5,layer1.*=0.1"
                        ))
                    })?,
                })
            }
            _ => return Err(unknown()),
        },
    })
}

/// Parses `prune.begin_allocation`; `None` if it has no effect.
fn begin_allocation(p: &PruneSpec) -> anyhow::Result<Option<Box<dyn Allocation>>> {
    // Without an initial sparsity, no weight is pruned when the ramp begins.
    let is_used = p.initial.unwrap_or(0.0) > 0.0;
    let Some(name) = p.begin_allocation.as_ref().filter(|_| is_used) else { return Ok(None) };
    allocation("begin_allocation", name).map(Some)
}

/// Parses a criterion.
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
        // Each prefix nests a criterion; more than both prefixes is not useful.
        if of.matches(':').count() > 2 {
            return Err(unknown(key, text, &names));
        }
        let of = criterion(key, of, seed)?;
        return Ok(match word {
            "normalised" if text.ends_with("movement") => {
                return Err(usage(format!(
                    "prune.{key} `{text}` normalises scores, but only the order of movement scores has a meaning; use movement"
                )));
            }
            "normalised" => Box::new(Normalised { of }),
            _ if of.measure().is_some_and(|measure| measure.rounds() > 1) => {
                return Err(usage(format!(
                    "prune.{key} `{text}` inverts scores of several rounds, so pruned weights would return; use one \
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

/// Rejects criteria that measure the network before masks are chosen, if masks change too often for that.
fn check_measured(p: &PruneSpec, seed: u64) -> anyhow::Result<()> {
    let renewal = p.renewal.as_deref().unwrap_or("top-k");
    for (key, value) in [("criterion", &p.criterion), ("grow", &p.grow)] {
        // Only prune-and-regrow reads `grow`; `same` is the other key.
        let is_read = |name: &&String| key != "grow" || renewal == "swap" && *name != "same";
        let Some(name) = value.as_ref().filter(is_read) else { continue };
        if criterion(key, name, seed)?.measure().is_none() {
            continue;
        }
        let is_held = renewal == "top-k" && p.refresh_every > Some(1)
            || ["hold", "top-k-hold"].contains(&renewal);
        if !is_held {
            return Err(usage(format!(
                "prune.{key} `{name}` measures the network before masks are chosen, but prune.renewal = \"{renewal}\" chooses them too \
                 often; set prune.renewal to hold, or with swap set prune.begin_by = \"{name}\""
            )));
        }
        let threshold = p.threshold.as_deref().unwrap_or_default();
        if threshold != "hard" {
            return Err(usage(format!(
                "prune.{key} `{name}` measures unchanged weights, but prune.threshold = \"{threshold}\" changes them; set it to \
                 hard"
            )));
        }
    }
    Ok(())
}

/// Rejects choices that phases exclude.
fn check_phases(p: &PruneSpec) -> anyhow::Result<()> {
    let schedule = p.schedule.as_deref().unwrap_or_default();
    if schedule != PHASES {
        return Ok(());
    }
    if let Some(rate) = p.adapt.as_deref().filter(|&rate| rate != "none") {
        return Err(usage(format!(
            "prune.adapt is {rate}, which adapts a ramp, but prune.schedule is {PHASES}; set prune.adapt to none, or choose a curve"
        )));
    }
    if !p.points.as_deref().unwrap_or_default().is_empty() {
        return Err(usage(format!(
            "prune.points defines a schedule, but prune.schedule is {PHASES}; leave prune.points out, or choose another method"
        )));
    }
    Ok(())
}

/// Parses `prune.structure`.
fn structure(text: &str) -> anyhow::Result<Box<dyn Structure>> {
    if let Some(pattern) = pattern(text) {
        // The pattern must keep some weights, but not all. This does not depend on the layer.
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

/// The suffix of a pattern along the output axis.
const OUTPUT: &str = ":output";

/// Parses `N:M`, along either axis; `None` for other structures.
pub(super) fn pattern(text: &str) -> Option<NOfM> {
    let (n, m) = text.strip_suffix(OUTPUT).unwrap_or(text).split_once(':')?;
    Some(NOfM { n: n.parse().ok()?, m: m.parse().ok()? })
}

/// Parses `prune.remainder`, and adds it to the choices of other keys.
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

/// Parses the adaptation of the schedule, with a rate of this name.
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

/// Parses `prune.drop` and its keys.
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

/// Parses `prune.pruned_gradient`.
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
