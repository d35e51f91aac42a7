//! Networks and runs small enough for tests.

use sarcomere::detector::{DetectorConfig, Stem};
use sarcomere::nn::Stage;
use sarcomere::ops::unmix::{NoiseWhitening, ProfileUnmix};
use sarcomere::train::{DetectorRun, TwitchRun};
use sarcomere::twitch::{Front, TwitchConfig};

/// A detector of the `lite` kind, a few channels wide.
pub fn small_detector() -> DetectorConfig {
    let lite = DetectorConfig::lite();
    let mut head = lite.mask_head.clone();
    if let Some(head) = &mut head {
        (head.width, head.deconv_width, head.convs) = (4, 4, 1);
    }
    let stage = |stride| Stage { blocks: 1, filters: vec![4, 4], stride };
    DetectorConfig {
        stem: Stem::NeighbourCorrelation { radii: vec![1, 3], smooth_frames: 5, floor: 0.02, filters: 4, blocks: 1 },
        stages: vec![stage(1), stage(2), stage(2)],
        fpn_width: 8,
        rpn_width: 8,
        box_head: [8, 8],
        rois_per_image: 16,
        proposals_training: 32,
        proposals_inference: 32,
        mask_head: head,
        ..lite
    }
}

/// Four steps of two recordings.
pub fn detector_run() -> DetectorRun {
    DetectorRun { network: small_detector(), batch: 2, validation_recordings: 1, ..DetectorRun::lite(4) }
}

/// Four steps of one recording.
pub fn twitch_run() -> TwitchRun {
    let front = Front::Unmixed {
        grid: [64, 64],
        surround: 16,
        ridge: 1e-4,
        components: 2,
        rounds: 1,
        cosines: 20,
        noise: NoiseWhitening { radius: 2, floor: 0.2 },
        profiles: ProfileUnmix::default(),
        width: 4,
        kernel: 5,
        residual_kernel: 3,
        dilations: vec![1, 2],
    };
    let network = TwitchConfig { front, gru: 4, ..TwitchConfig::lite() };
    TwitchRun { network, batch: 1, detected_share: 0.0, validation_recordings: 1, ..TwitchRun::lite(4) }
}
