//! Lines in a plane whose axes are both logarithmic, as SVG.

use std::path::Path;

use kitfox_benches::peers::Fault;
use plotters::prelude::*;

/// A line and its name.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a plot shows.
pub(crate) struct Plot {
    /// Of the file, without its ending.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Plot {
    /// Writes the file. There is none if there is nothing to show.
    pub(crate) fn write(&self, directory: &Path) -> Result<bool, Fault> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if points().next().is_none() {
            return Ok(false);
        }
        let around = |axis: fn(&(f64, f64)) -> f64| {
            let low = points().map(axis).fold(f64::INFINITY, f64::min);
            let high = points().map(axis).fold(0.0, f64::max);
            (low.max(f64::MIN_POSITIVE) / 1.3..high * 1.3).log_scale()
        };
        let file = directory.join(self.name).with_extension("svg");
        let root = SVGBackend::new(&file, (960, 560)).into_drawing_area();
        root.fill(&WHITE)?;
        // The legend stands beside the plane, where it hides nothing.
        let (plane, legend) = root.split_horizontally(700);
        let mut chart = ChartBuilder::on(&plane)
            .caption(self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(75)
            .build_cartesian_2d(around(|point| point.0), around(|point| point.1))?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .light_line_style(WHITE)
            .draw()?;
        for (number, line) in self.lines.iter().filter(|line| !line.points.is_empty()).enumerate() {
            let colour = Palette99::pick(number).mix(1.0);
            let style = colour.stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?;
            let y = 50 + 24 * i32::try_from(number)?;
            legend.draw(&PathElement::new(vec![(5, y), (30, y)], style))?;
            legend.draw(&Text::new(line.name.clone(), (36, y - 7), ("sans-serif", 14)))?;
        }
        root.present()?;
        Ok(true)
    }
}

/// A number as people write it.
pub(crate) fn short(number: f64) -> String {
    let (number, unit) = match number {
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e3 => (n / 1e3, " k"),
        n => (n, ""),
    };
    let digits = match number {
        n if n == 0.0 || n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}
