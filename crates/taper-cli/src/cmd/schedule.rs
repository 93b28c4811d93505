//! The command `taper schedule plot`: plots the sparsity and the gradient scale of an experiment.

use crate::{args::Plot, error::usage, existing::refuse_existing, term};
use anyhow::Context;
use std::{collections::BTreeMap, path::Path};
use taper::{
    core::{MaskFeedback, Sparsity, Step},
    record::{NAMES, RunFiles, masks::MaskChange, rows, write_file},
    scale::{GradientScale, Now},
    schedule::SparsitySchedule,
};
use taper_experiment::{Experiment, Resolved};
use taper_report::chart::{self, Area, Axis, Style, axes, dashes, legend, line};

/// Default number of steps.
const STEPS: u64 = 1000;
/// Maximum number of steps, the same as for `--steps`.
const MAX_STEPS: u64 = 10_000_000;
/// Number of weights of the simulated network for `--entered`.
const N_WEIGHTS: u64 = 1_000_000;
const PANEL_HEIGHT: i32 = 260;

/// Plots a schedule.
pub fn plot(args: &Plot) -> anyhow::Result<()> {
    if let Some(svg) = &args.svg {
        refuse_existing("--svg", svg, args.force)?;
    }
    let mut experiment =
        Experiment::given(args.experiment.as_deref(), &args.set_shared, &args.set)?;
    if let Some(sparsity) = args.sparsity {
        experiment = experiment.set("prune.sparsity", sparsity);
    }
    let resolved = experiment.resolve()?;
    if resolved.is_dense() {
        return Err(usage(format!(
            "method `{}` has no schedule; choose another with --set prune.method",
            resolved.method()
        )));
    }
    if resolved.finds_own() {
        return Err(usage(
            "learned thresholds (prune.threshold) decide the sparsity, so there is no schedule to plot; choose another prune.threshold or prune.method",
        ));
    }
    if resolved.sparsity().get() >= 1.0 {
        return Err(usage("prune.sparsity is 1, outside [0, 1), and would keep no weight"));
    }
    if let Some(share) = args.entered.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(usage(format!("--entered is {share}, outside [0, 1]")));
    }
    let trace = args.trace.as_deref().map(read_trace).transpose()?;
    let length = trace.as_ref().map(|trace| trace.length);
    let total = args.steps.or(length).unwrap_or(STEPS);
    let schedule = resolved.schedule(total)?;
    let window = schedule.window();
    if let Some((path, trace)) = args.trace.as_deref().zip(trace.as_ref())
        && schedule.clock(Step::ZERO).is_some()
        && let Some(apart) = trace.apart
        // A window ends at a mask update, so it can be longer than the configured one.
        && !(window..window + resolved.refresh_every()).contains(&apart)
    {
        return Err(usage(format!(
            "{} records mask changes over {apart} steps, but this schedule compares masks {window} steps apart; \
             pass --entered, or the trace of a run with the same prune.adapt_window",
            path.display()
        )));
    }
    let told = match trace {
        Some(trace) => Told::Recorded(trace.changes),
        None if args.entered.is_empty() => Told::Nothing,
        None => Told::Entered(args.entered.clone()),
    };
    let drawing = Drawing::of(&resolved, total, &told)?;
    let is_adaptive = drawing.plain.is_some();
    if !is_adaptive && !matches!(told, Told::Nothing) {
        term::line("this schedule is not adaptive; --trace and --entered have no effect");
    }
    if is_adaptive && matches!(told, Told::Nothing) {
        term::line(
            "this schedule is adaptive, but is plotted without adaptation; pass --trace or --entered",
        );
    }
    match args.json {
        true => term::print(drawing.json())?,
        false => term::print(drawing.text())?,
    }
    if let Some(path) = &args.svg {
        let svg = drawing.svg()?;
        write_file(path, svg.as_bytes())?;
        if !args.json {
            term::print(format_args!("wrote {}", path.display()))?;
        }
    }
    Ok(())
}

/// The mask feedback for an adaptive schedule.
enum Told {
    Nothing,
    /// Simulated mask churn: the fraction of kept weights that are new, per window.
    Entered(Vec<f64>),
    /// Recorded feedback by step.
    Recorded(BTreeMap<u64, MaskFeedback>),
}

impl Told {
    /// The feedback at a step, given the sparsities one window earlier and now.
    fn at(
        &self,
        step: u64,
        total: u64,
        window: u64,
        [before, now]: [Sparsity; 2],
    ) -> Option<MaskFeedback> {
        match self {
            Self::Nothing => None,
            Self::Recorded(trace) => trace.get(&step).copied(),
            Self::Entered(_) if step == 0 || !step.is_multiple_of(window) => None,
            Self::Entered(shares) => {
                let half = (2 * step / total.max(1)).min(shares.len() as u64 - 1);
                let (n_before, n_kept) = (before.n_kept(N_WEIGHTS), now.n_kept(N_WEIGHTS));
                let n_entered = (shares[half as usize] * n_kept as f64).round() as u64;
                let n_left = (n_before + n_entered).saturating_sub(n_kept);
                let (step, n_weights) = (Step(step), N_WEIGHTS);
                Some(MaskFeedback { step, n_weights, n_before, n_kept, n_entered, n_left })
            }
        }
    }
}

/// The mask changes that a run has recorded.
struct Trace {
    /// Feedback by step.
    changes: BTreeMap<u64, MaskFeedback>,
    /// Minimum number of steps between two changes: the window of an adaptive schedule, or else the interval of mask
    /// updates. `None` if an adaptive run recorded fewer than two changes.
    apart: Option<u64>,
    /// Number of steps of the run, from its `run.json`; without one, the number up to the last mask update.
    length: u64,
}

/// Reads a mask trace: the feedback that an adaptive schedule received, or else the change at each mask update.
fn read_trace(path: &Path) -> anyhow::Result<Trace> {
    let lines: Vec<MaskChange> = rows::read(path).with_context(|| {
        format!("{} is not the {} of a run with --mask-trace", path.display(), NAMES.masks)
    })?;
    let updated = lines.iter().map(|line| line.step.saturating_add(1)).max().unwrap_or(0);
    // A trace may have been copied away from its run.
    let run = RunFiles::new(path.parent().unwrap_or(Path::new(""))).run().unwrap_or_default();
    let length = run.map_or(updated, |run| run.steps.max(updated));
    if !(1..=MAX_STEPS).contains(&length) {
        anyhow::bail!("{} has {length} steps, outside 1 to {MAX_STEPS}", path.display());
    }
    let told = |line: &MaskChange| {
        Some(MaskFeedback {
            step: Step(line.step),
            n_weights: line.n_weights,
            n_before: line.told_before?,
            n_kept: line.told_kept?,
            n_entered: line.told_entered?,
            n_left: line.told_left?,
        })
    };
    let changes: BTreeMap<u64, MaskFeedback> =
        lines.iter().filter_map(|line| Some((line.step, told(line)?))).collect();
    if !changes.is_empty() {
        let apart = changes.keys().zip(changes.keys().skip(1)).map(|(a, b)| b - a).min();
        return Ok(Trace { changes, apart, length });
    }
    let changed = |line: &MaskChange| MaskFeedback {
        step: Step(line.step),
        n_weights: line.n_weights,
        n_before: line.n_before,
        n_kept: line.n_kept,
        n_entered: line.n_entered,
        n_left: line.n_left,
    };
    // The first masks are not a change.
    let later = lines.iter().filter(|line| line.n_before < line.n_weights);
    let changes = later.map(|line| (line.step, changed(line))).collect();
    let apart = lines.windows(2).map(|pair| pair[1].step.saturating_sub(pair[0].step)).min();
    Ok(Trace { changes, apart: apart.or(Some(1)), length })
}

/// The data of the plot, by step.
struct Drawing {
    title: String,
    target: Sparsity,
    /// Sparsity in percent.
    sparsity: Vec<(f64, f64)>,
    /// Sparsity in `[0, 1]`.
    asked: Vec<Sparsity>,
    /// Sparsity in percent without adaptation, if the schedule is adaptive.
    plain: Option<Vec<(f64, f64)>>,
    /// θ at the threshold and at zero.
    scale: [Vec<(f64, f64)>; 2],
}

impl Drawing {
    fn of(resolved: &Resolved, total: u64, told: &Told) -> anyhow::Result<Self> {
        let mut schedule = resolved.schedule(total)?;
        let plain = resolved.schedule(total)?;
        let gradient = resolved.gradient()?;
        let (window, target) = (schedule.window(), schedule.target());
        let mut asked = Vec::with_capacity(total as usize);
        let (mut sparsity, mut scale) = (Vec::new(), [Vec::new(), Vec::new()]);
        for t in 0..total {
            let now = schedule.sparsity(Step(t));
            let grad =
                gradient.at(&Now { achieved: now, target, progress: t as f64 / total as f64 });
            asked.push(now);
            sparsity.push((t as f64, 100.0 * now.get()));
            scale[0].push((t as f64, f64::from(grad.at_cut)));
            scale[1].push((t as f64, f64::from(grad.at_zero)));
            let before = asked[t.saturating_sub(window) as usize];
            if let Some(seen) = told.at(t, total, window, [before, now]) {
                schedule.observe(&seen);
            }
        }
        let is_adaptive = schedule.clock(Step::ZERO).is_some();
        let plain = is_adaptive.then(|| {
            (0..total).map(|t| (t as f64, 100.0 * plain.sparsity(Step(t)).get())).collect()
        });
        let title = format!(
            "{} on {}, {} at sparsity {}",
            resolved.model(),
            resolved.data(),
            resolved.method(),
            resolved.sparsity()
        );
        Ok(Self { title, target, sparsity, asked, plain, scale })
    }

    /// A phrase that says when the target is reached.
    fn reached(&self) -> String {
        // The last step below the target counts: a schedule of phases also reaches the target before.
        match self.asked.iter().rposition(|&sparsity| sparsity < self.target) {
            Some(last) if last + 1 == self.asked.len() => {
                "the target is not reached at the end".to_owned()
            }
            last => format!("at the target from step {} on", last.map_or(0, |last| last + 1)),
        }
    }

    fn json(&self) -> serde_json::Value {
        let values = |points: &[(f64, f64)]| points.iter().map(|point| point.1).collect::<Vec<_>>();
        serde_json::json!({
            "sparsity": self.asked.iter().map(|s| s.get()).collect::<Vec<_>>(),
            "theta_at_cut": values(&self.scale[0]),
            "theta_at_zero": values(&self.scale[1]),
        })
    }

    fn text(&self) -> String {
        let plain = self.plain.as_deref().unwrap_or(&self.sparsity);
        let columns = term::columns();
        let reached = self.reached();
        let bend = match &self.plain {
            Some(plain) if *plain != self.sparsity => ", and without adaptation",
            _ => "",
        };
        let (cut, zero) = (&self.scale[0], &self.scale[1]);
        format!(
            "{}\n\nSparsity (%) by step{bend}; {reached}\n{}\n\nθ by step: fraction of the gradient for \
             pruned weights, at the threshold{}\n{}",
            self.title,
            chart::text(&[&self.sparsity, plain], columns),
            if cut == zero { "" } else { " and at zero" },
            chart::text(&[cut, zero], columns)
        )
    }

    fn alt(&self) -> String {
        format!(
            "Charts of sparsity and gradient scale by training step: {}. Sparsity rises to {:.4} %, {}; the scale changes \
             from {} to {}.",
            self.title,
            self.sparsity.last().map_or(0.0, |point| point.1),
            self.reached(),
            self.scale[0].first().map_or(0.0, |point| point.1),
            self.scale[0].last().map_or(0.0, |point| point.1),
        )
    }

    fn svg(&self) -> anyhow::Result<String> {
        Ok(chart::file(2 * PANEL_HEIGHT, &self.alt(), |_, area| {
            let panels = area.split_evenly((2, 1));
            self.paint_sparsity(&panels[0])?;
            self.paint_scale(&panels[1])
        })?)
    }

    fn step_axis(&self, label: &'static dyn Fn(&f64) -> String) -> Axis<'static> {
        let last = self.sparsity.last().map_or(1.0, |point| point.0).max(1.0);
        let mut x = Axis::covering(0.0, last, 5, "Step", label);
        x.ticks.retain(|tick| *tick <= last);
        x.to = last;
        x
    }

    fn paint_sparsity(&self, area: &Area) -> chart::Result<()> {
        let percent = |v: &f64| format!("{v:.0} %");
        let y = Axis::covering(0.0, 100.0, 4, "Sparsity", &percent);
        let mut chart = axes(area, self.step_axis(&|v| taper_report::format::count(*v)), y)?;
        let mut entries = vec![("sparsity", Style::series(2))];
        if let Some(plain) = &self.plain {
            dashes(&mut chart, plain, Style::BASELINE.line(1.5))?;
            entries.push(("without adaptation", Style::BASELINE));
        }
        line(&mut chart, &self.sparsity, Style::series(2).line(2.0))?;
        legend(area, (90, 9), &entries)
    }

    fn paint_scale(&self, area: &Area) -> chart::Result<()> {
        let plain = |v: &f64| format!("{v:.2}");
        let y = Axis::covering(0.0, 1.0, 4, "θ", &plain);
        let mut chart = axes(area, self.step_axis(&|v| taper_report::format::count(*v)), y)?;
        let [cut, zero] = &self.scale;
        line(&mut chart, cut, Style::series(0).line(2.0))?;
        if cut == zero {
            return legend(
                area,
                (90, 9),
                &[("fraction of the gradient for pruned weights", Style::series(0))],
            );
        }
        line(&mut chart, zero, Style::series(1).line(2.0))?;
        legend(
            area,
            (90, 9),
            &[("θ at the threshold", Style::series(0)), ("θ at zero", Style::series(1))],
        )
    }
}
