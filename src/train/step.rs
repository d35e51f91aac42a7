//! What a training step of either network is made of: forward, backward and optimizer in one graph, in phases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, MadeCrops, MadeSamples};
use super::data::{DataMix, Sample, Stock};
use super::optimizer::{Clip, Optimizer, OptimizerValues, append_optimizer, fuse_step};
use super::run::Figures;
use super::schedule::Schedule;
use crate::device::{Cpu, Device};
use crate::graph::{Executor, Graph, Value};
use crate::muscle::Split;
use crate::nn::{self, Weights};
use crate::tensor::Element;
use crate::{Error, Result};

/// A stretch of a run: what is trained, how fast, on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Steps of this phase.
    pub steps: u64,
    /// Learning rate, by the step within the phase.
    pub schedule: Schedule,
    /// Parts that stay as they are: variables whose names begin so. Gradients still pass through them.
    pub frozen: Vec<String>,
    /// The recordings.
    pub data: DataMix,
}

impl Phase {
    /// The phase that a step of the run belongs to, and the step within it; after the end, the last phase goes on.
    fn locate(phases: &[Phase], step: u64) -> (usize, u64) {
        let mut left = step;
        for (index, phase) in phases.iter().enumerate() {
            if left < phase.steps || index + 1 == phases.len() {
                return (index, left);
            }
            left -= phase.steps;
        }
        (0, step)
    }

    fn freezes(&self, name: &str) -> bool {
        self.frozen.iter().any(|part| name.starts_with(part.as_str()))
    }
}

/// How gradients become steps, and in which phases.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub phases: Vec<Phase>,
    pub optimizer: Optimizer,
    pub clip_norm: f32,
    pub seed: u64,
}

/// A network in training. Each phase has a plan of its own, without gradients of what is frozen, and starts its optimizer
/// afresh (as Matterport's Mask R-CNN does, which compiles its model for each).
pub struct TrainingStep {
    device: Device,
    cpu: Arc<Cpu>,
    /// The network with its losses, before gradients are appended.
    network: Graph,
    /// The first is the one to minimise.
    losses: Vec<(&'static str, Value)>,
    recipe: Recipe,
    stocks: Vec<Stock>,
    shape: [usize; 3],
    variables: Vec<String>,
    phase: usize,
    executor: Executor,
    optimizer: OptimizerValues,
    /// Samples of the present phase made on the device, once they are asked for.
    samples: Option<Batch<MadeSamples>>,
    /// And crops of them.
    crops: Option<Batch<MadeCrops>>,
}

/// The inputs of a network that whole recordings with their truth are handed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleInputs {
    /// `[N, T, H, W, 1]`.
    pub recordings: Value,
    /// `[N, R, 4]`, in pixels.
    pub boxes: Option<Value>,
    /// `[N, R, H, W]`.
    pub masks: Option<Value>,
    /// `[N R, T]`, in units of the standardised recording.
    pub signals: Option<Value>,
}

impl TrainingStep {
    /// Plans the first phase and initialises the weights. The first of `losses` is minimised.
    pub(super) fn new(
        device: &Device,
        network: Graph,
        losses: Vec<(&'static str, Value)>,
        recipe: Recipe,
    ) -> Result<Self> {
        check(&recipe, &network)?;
        let stock = |phase: &Phase| Stock::new(&phase.data, recipe.seed, Split::Train);
        let stocks: Vec<Stock> = recipe.phases.iter().map(stock).collect::<Result<_>>()?;
        let shape = stocks[0].shape();
        if stocks.iter().any(|stock| stock.shape() != shape) {
            return Err(Error::value("phases.data.presets", "expected presets whose recordings have one shape"));
        }
        let variables: Vec<String> = network.variables().iter().map(|(name, _)| (*name).to_owned()).collect();
        let (mut executor, optimizer) = plan(device, &network, &losses, &recipe, 0)?;
        nn::initialise(&mut executor, &variables, recipe.seed)?;
        let (device, cpu) = (device.clone(), device.host());
        Ok(Self {
            device,
            cpu,
            network,
            losses,
            recipe,
            stocks,
            shape,
            variables,
            phase: 0,
            executor,
            optimizer,
            samples: None,
            crops: None,
        })
    }

    /// Steps of all phases together.
    pub fn steps(&self) -> u64 {
        self.recipe.phases.iter().map(|phase| phase.steps).sum()
    }

    /// `[T, H, W]` of the recordings.
    pub fn recording_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Holds all variables: the network's and the state of the optimizer.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// As [`TrainingStep::executor`].
    pub fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Starts from given weights instead of random ones.
    pub fn start_from(&mut self, weights: &Weights) -> Result<()> {
        weights.set_into(&mut self.executor, &self.variables)
    }

    /// The network's weights, without the optimizer's state.
    pub fn weights(&self, kind: &str, config: &impl Serialize) -> Result<Weights> {
        Weights::from_executor(kind, config, &self.executor, &self.variables)
    }

    /// Goes into the phase that a step belongs to; the network stays as it is.
    pub fn enter(&mut self, step: u64) -> Result<()> {
        let (phase, _) = Phase::locate(&self.recipe.phases, step);
        if phase != self.phase {
            let (mut executor, optimizer) = plan(&self.device, &self.network, &self.losses, &self.recipe, phase)?;
            for name in &self.variables {
                executor.set(name, &self.executor.get(name)?)?;
            }
            (self.phase, self.executor, self.optimizer) = (phase, executor, optimizer);
            (self.samples, self.crops) = (None, None);
        }
        Ok(())
    }

    /// Fills `recordings`, `[N, T, H, W]`, with the present phase's samples from number `first` on.
    pub(super) fn samples(&self, first: u64, recordings: &mut [f32]) -> Vec<Sample> {
        self.stocks[self.phase].fill(&self.cpu, first, recordings)
    }

    /// Makes the present phase's samples from number `first` on, where the network is trained, and hands them in. Returns how many
    /// units each has.
    pub(super) fn feed_samples(&mut self, first: u64, max_units: usize, inputs: SampleInputs) -> Result<Vec<i32>> {
        let stock = &self.stocks[self.phase];
        let pairs = |made: &MadeSamples| {
            let all = [
                (Some(inputs.recordings), made.recordings),
                (inputs.boxes, made.boxes),
                (inputs.masks, made.masks),
                (inputs.signals, made.signals),
            ];
            all.into_iter().filter_map(|(input, made)| Some((input?, made)))
        };
        let batch = match &mut self.samples {
            Some(batch) => batch,
            none => {
                let samples = self.network.shape(inputs.recordings)[0];
                let wanted = |made: &MadeSamples| pairs(made).map(|(_, made)| made).collect();
                none.insert(Batch::of_samples(&self.device, stock, (samples, max_units), wanted)?)
            }
        };
        let counts = batch.make(stock, first)?;
        for (input, made) in pairs(&batch.made) {
            self.executor.feed_from(input, batch.executor(), made)?;
        }
        Ok(counts)
    }

    /// Makes crops of the present phase's samples from number `first` on, where the network is trained, each round the unit that
    /// `pick` says, and hands them in with the units' true signals.
    pub(super) fn feed_crops(
        &mut self,
        first: u64,
        max_units: usize,
        [crops, signals]: [Value; 2],
        pick: impl FnMut(u32) -> u32,
    ) -> Result<()> {
        let stock = &self.stocks[self.phase];
        let batch = match &mut self.crops {
            Some(batch) => batch,
            none => {
                let shape = self.network.shape(crops);
                let (samples, size) = (shape[0], [shape[2], shape[3]]);
                none.insert(Batch::of_crops(&self.device, stock, (samples, max_units), size)?)
            }
        };
        batch.make(stock, first, pick)?;
        self.executor.feed_from(crops, batch.executor(), batch.made.crops)?;
        self.executor.feed_from(signals, batch.executor(), batch.made.signals)
    }

    /// Hands in an input for the next run.
    pub(super) fn feed<T: Element>(&mut self, input: Value, values: &[T]) -> Result<()> {
        self.executor.feed_values(input, values)
    }

    /// Runs forward, backward and optimizer of a step of the present phase on what was fed.
    pub(super) fn run(&mut self, step: u64) -> Result<Figures> {
        let (phase, within) = Phase::locate(&self.recipe.phases, step);
        let rate = self.recipe.phases[phase].schedule.rate(within);
        let executor = &mut self.executor;
        executor.feed_values(self.optimizer.rate, &[rate])?;
        executor.feed_values(self.optimizer.step, &[within as i32 + 1])?;
        executor.run_fed()?;
        let mut figures = Figures::new();
        for (name, value) in &self.losses {
            figures.push((name, f64::from(executor.scalar(*value)?)));
        }
        figures.push(("gradient_norm", f64::from(executor.scalar(self.optimizer.gradient_norm)?)));
        figures.push(("learning_rate", f64::from(rate)));
        Ok(figures)
    }
}

/// Refuses runs that train nothing, and frozen parts that are none.
fn check(recipe: &Recipe, network: &Graph) -> Result<()> {
    if recipe.phases.is_empty() || recipe.phases.iter().any(|phase| phase.steps == 0) {
        return Err(Error::value("phases", "expected at least one, each of at least one step"));
    }
    let trainable = nn::trainable(network);
    for phase in &recipe.phases {
        for part in &phase.frozen {
            if !trainable.iter().any(|name| name.starts_with(part.as_str())) {
                let first = trainable.first().map_or("", |name| name);
                let message = format!("expected how a variable's name begins (the first is '{first}'), got '{part}'");
                return Err(Error::value("phases.frozen", message));
            }
        }
        if trainable.iter().all(|name| phase.freezes(name)) {
            return Err(Error::value("phases.frozen", "leaves nothing to train: freeze less"));
        }
    }
    Ok(())
}

/// The network of a phase with gradients and optimizer, ready to run.
fn plan(
    device: &Device,
    network: &Graph,
    losses: &[(&'static str, Value)],
    recipe: &Recipe,
    phase: usize,
) -> Result<(Executor, OptimizerValues)> {
    let mut g = network.clone();
    let mut trained = nn::trainable(&g);
    trained.retain(|name| !recipe.phases[phase].freezes(name));
    let optimizer = append_optimizer(&mut g, losses[0].1, &trained, &recipe.optimizer, Clip::Global(recipe.clip_norm))?;
    let mut targets: Vec<Value> = losses.iter().map(|(_, value)| *value).collect();
    targets.push(optimizer.gradient_norm);
    targets.extend(&optimizer.updates);
    fuse_step(&mut g, &targets);
    Ok((Executor::new(device, Arc::new(g), &targets)?, optimizer))
}
