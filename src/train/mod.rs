//! Training: schedules, optimizers, checkpoints, the loop, and the two networks' training steps.

mod batch;
pub mod checkpoint;
pub mod data;
mod detector;
mod graphs;
mod optimizer;
mod run;
mod schedule;
mod step;
mod twitch;

pub use detector::{DetectorRun, DetectorTask};
pub use graphs::{detector_step, twitch_step};
pub(crate) use optimizer::fuse_step;
pub use optimizer::{Clip, Optimizer, OptimizerValues, append_optimizer};
pub use run::{Figures, Progress, RunOptions, Task, run};
pub use schedule::Schedule;
pub use step::{Phase, TrainingStep};
pub use twitch::{TwitchRun, TwitchTask};
