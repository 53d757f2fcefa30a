//! How one metric is declared. A name that is not well formed, or used twice, is a mistake that any test finds.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::words::Label;

/// Seconds; from a row read to a call that met its deadline.
const CALLS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a request to the end of what it asked for: one second to seven days.
pub(super) const LIVES: [f64; 16] = [
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0,
    345_600.0, 604_800.0,
];
/// A run of reconciliation: from an empty one to one that takes an hour.
pub(super) const RUNS: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 150.0, 300.0, 900.0, 3_600.0];

pub(super) struct Declare<'a>(pub(super) &'a Registry);

/// Metrics that belong together.
pub(super) trait Group {
    fn declared(declare: &Declare<'_>) -> Self;
}

impl Declare<'_> {
    pub(super) fn counter(&self, name: &str, help: &str, labels: &[Label]) -> IntCounterVec {
        begun(self.register(IntCounterVec::new(Opts::new(name, help), &names(labels))), labels)
    }

    pub(super) fn single(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[Label]) -> IntGaugeVec {
        begun(self.register(IntGaugeVec::new(Opts::new(name, help), &names(labels))), labels)
    }

    pub(super) fn measure(&self, name: &str, help: &str, labels: &[Label]) -> GaugeVec {
        begun(self.register(GaugeVec::new(Opts::new(name, help), &names(labels))), labels)
    }

    pub(super) fn level(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// 1 or 0, and 1 until it is known otherwise: nobody is woken for what was not looked at.
    pub(super) fn fact(&self, name: &str, help: &str) -> IntGauge {
        let gauge = self.level(name, help);
        gauge.set(1);
        gauge
    }

    pub(super) fn histogram(&self, name: &str, help: &str, labels: &[Label]) -> HistogramVec {
        self.histogram_of(&CALLS, name, help, labels)
    }

    pub(super) fn histogram_of(&self, buckets: &[f64], name: &str, help: &str, labels: &[Label]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        begun(self.register(HistogramVec::new(options, &names(labels))), labels)
    }

    pub(super) fn one_histogram(&self, buckets: &[f64], name: &str, help: &str) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    pub(super) fn group<T: Group>(&self) -> T {
        T::declared(self)
    }

    fn register<T: Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let metric = made.expect("the name is well formed");
        self.0.register(Box::new(metric.clone())).expect("the name is used once");
        metric
    }
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

/// Every combination of the words is there, at 0; none where a label's words are not known.
fn begun<T: MetricVecBuilder>(vector: MetricVec<T>, labels: &[Label]) -> MetricVec<T> {
    let each = |sets: Vec<Vec<&'static str>>, (_, words): &Label| {
        let with =
            |set: &Vec<&'static str>| words.iter().map(|word| [set.as_slice(), &[*word]].concat()).collect::<Vec<_>>();
        sets.iter().flat_map(with).collect()
    };
    for set in labels.iter().fold(vec![Vec::new()], each) {
        drop(vector.with_label_values(&set));
    }
    vector
}
