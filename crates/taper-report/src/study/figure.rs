//! The figure of the study: accuracy and cost against φ, and revival of pruned weights by magnitude and by age.

use super::{Revival, Share, Study};
use crate::{
    chart::{self, Area, Axis, Screen, Style, axes, bar, dashes, legend_above, line, marker},
    format,
};
use taper_record::fate::FateRow;

impl Study {
    /// Height of [`paint`](Self::paint) in CSS pixels.
    pub fn height(screen: Screen) -> i32 {
        match screen {
            Screen::Wide => 620,
            Screen::Narrow => 4 * 260,
        }
    }

    /// Draws the study: accuracy against φ, cost against φ, and revival of pruned weights by magnitude and by age.
    ///
    /// # Errors
    /// [`ChartError`](chart::ChartError) if it cannot be drawn.
    pub fn paint(&self, screen: Screen, area: &Area) -> chart::Result<()> {
        let panels = area.split_evenly(if screen == Screen::Wide { (2, 2) } else { (4, 1) });
        self.paint_accuracy(&panels[0])?;
        self.paint_cost(&panels[1])?;
        let tenth = |decile: u64| format!("0.{decile}");
        let magnitude = "Magnitude relative to threshold, |w|/T";
        self.paint_revival(&panels[2], magnitude, |fate| fate.decile, &tenth)?;
        self.paint_revival(&panels[3], "Steps since pruned", |fate| fate.age, &|age| {
            age.to_string()
        })
    }

    fn paint_accuracy(&self, area: &Area) -> chart::Result<()> {
        let shares = self.shares();
        let bounds = |share: &Share| {
            let d = share.accuracy.deviation.unwrap_or(0.0);
            [100.0 * (share.accuracy.mean - d), 100.0 * (share.accuracy.mean + d)]
        };
        let all = || shares.iter().flat_map(bounds);
        let (low, high) =
            (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        if !(low.is_finite() && high.is_finite()) {
            return Ok(());
        }
        let percent = |v: &f64| format!("{} %", format::rounded(*v));
        let y = Axis::covering(low, high, 4, "Test accuracy", &percent);
        let rules = self.rules();
        let mut chart = axes(&legend_above(area, &named(&rules))?, share_axis(), y)?;
        for (i, rule) in rules.iter().enumerate() {
            let (style, shares) = (Style::series(i), self.of_rule(rule));
            let points: Vec<(f64, f64)> =
                shares.iter().map(|share| (share.share, 100.0 * share.accuracy.mean)).collect();
            line(&mut chart, &points, style.line(2.0))?;
            for (share, &point) in shares.iter().zip(&points) {
                bar(&mut chart, point.0, bounds(share), style)?;
                marker(&mut chart, point, style)?;
            }
            if let Some(knee) = self.knee(rule) {
                dashes(&mut chart, &[(knee, low), (knee, high)], style.line(1.0))?;
            }
        }
        Ok(())
    }

    /// Gradient positions, and time if it was measured, of each rule relative to φ = 0.
    fn paint_cost(&self, area: &Area) -> chart::Result<()> {
        let percent = |v: &f64| format!("{v:.0} %");
        let rules = self.rules();
        let relative = |rule: &str, of: fn(&Share) -> Option<f64>| -> Vec<(f64, f64)> {
            let shares = self.of_rule(rule);
            let none = shares.first().filter(|share| share.share == 0.0);
            let Some(whole) = none.and_then(of) else { return Vec::new() };
            let point = |share: &Share| Some((share.share, 100.0 * of(share)? / whole));
            shares.iter().filter_map(point).collect()
        };
        let of_rule = |rule: &String| {
            let live = relative(rule, |share| Some(share.live.mean));
            (live, relative(rule, |share| Some(share.step_seconds?.mean)))
        };
        let costs: Vec<_> = rules.iter().map(of_rule).collect();
        let all = costs.iter().flat_map(|(live, time)| live.iter().chain(time));
        let most = all.fold(100.0, |most: f64, point| most.max(point.1));
        let y = Axis::covering(0.0, most, 4, "Positions / time (dashed), φ = 0: 100 %", &percent);
        let mut chart = axes(&legend_above(area, &named(&rules))?, share_axis(), y)?;
        for (i, (live, time)) in costs.iter().enumerate() {
            let style = Style::series(i);
            line(&mut chart, live, style.line(2.0))?;
            dashes(&mut chart, time, style.line(2.0))?;
            live.iter().chain(time).try_for_each(|&point| marker(&mut chart, point, style))?;
        }
        Ok(())
    }

    fn paint_revival(
        &self,
        area: &Area,
        title: &str,
        by: impl Fn(&FateRow) -> u64 + Copy,
        label: &dyn Fn(u64) -> String,
    ) -> chart::Result<()> {
        let found = self.revival(by);
        let mut values: Vec<u64> = found.keys().map(|(_, value)| *value).collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            return Ok(());
        }
        // All values have the same width: tenths of the threshold, and ages, which double.
        let place = |value: u64| values.partition_point(|&v| v < value) as f64;
        let name = |v: &f64| match values.get(v.round() as usize) {
            Some(&value) => label(value),
            None => String::new(),
        };
        let percent = |v: &f64| format!("{} %", format::rounded(*v));
        let most = found.values().map(Revival::back).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let x = Axis {
            from: -0.3,
            to: values.len() as f64 - 0.7,
            ticks: (0..values.len()).step_by(1 + values.len() / 12).map(|i| i as f64).collect(),
            title: title.to_owned(),
            label: &name,
        };
        let y = Axis::covering(
            0.0,
            (100.0 * most).max(0.01),
            4,
            "Returned / kept at end (dashed)",
            &percent,
        );
        let steps: Vec<u64> = self.by_step().into_keys().collect();
        let labels: Vec<String> = steps.iter().map(|step| format!("step {step}")).collect();
        let mut chart = axes(&legend_above(area, &named(&labels))?, x, y)?;
        for (i, &step) in steps.iter().enumerate() {
            let style = Style::series(i);
            let points = |share: fn(&Revival) -> f64| -> Vec<(f64, f64)> {
                let here = found.iter().filter(|((at, _), _)| *at == step);
                here.map(|((_, value), r)| (place(*value), 100.0 * share(r))).collect()
            };
            let (back, kept) = (points(Revival::back), points(Revival::significant));
            line(&mut chart, &back, style.line(2.0))?;
            back.iter().try_for_each(|&point| marker(&mut chart, point, style))?;
            dashes(&mut chart, &kept, style.line(1.5))?;
        }
        Ok(())
    }
}

/// Series in their order, for a legend.
fn named(names: &[String]) -> Vec<(&str, Style)> {
    names.iter().enumerate().map(|(i, name)| (&name[..], Style::series(i))).collect()
}

fn share_axis<'a>() -> Axis<'a> {
    Axis {
        from: -0.03,
        to: 1.03,
        ticks: (0..=4).map(|i| f64::from(i) * 0.25).collect(),
        title: "Dropped fraction φ of the pruned weights".to_owned(),
        label: &|v| format::percent_short(*v),
    }
}
