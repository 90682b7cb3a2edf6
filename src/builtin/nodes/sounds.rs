//! Nodes around sound.

use std::{fs, sync::Arc};

use serde_json::json;

use super::save::{metadata_texts, saved_as};
use crate::builtin::{
    flac,
    folders::Place,
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    sound::Sound,
    spec::{InputKind, NodeClass},
};

const MODULE: &str = "comfy_extras.nodes_audio";

pub fn classes() -> Vec<NodeClass> {
    vec![
        NodeClass::v3("EmptyAudio", MODULE, "audio", empty)
            .titled("Empty Audio")
            .float("duration", json!({
                "tooltip": "Duration of the empty audio clip in seconds",
                "default": 60.0, "min": 0.0, "max": u64::MAX, "step": 0.01,
            }))
            .int("sample_rate", json!({
                "tooltip": "Sample rate of the empty audio clip.",
                "default": 44_100, "min": 1, "max": 192_000,
            }))
            .int("channels", json!({
                "tooltip": "Number of audio channels (1 for mono, 2 for stereo).",
                "default": 2, "min": 1, "max": 2,
            }))
            .output("AUDIO"),
        NodeClass::v3("LoadAudio", MODULE, "audio", load)
            .titled("Load Audio")
            .files("audio", InputKind::InputSounds, json!({ "audio_upload": true }))
            .output("AUDIO"),
        NodeClass::v3("AudioAdjustVolume", MODULE, "audio", adjust_volume)
            .titled("Audio Adjust Volume")
            .typed("audio", "AUDIO", json!({}))
            .int("volume", json!({
                "tooltip": "Volume adjustment in decibels (dB). 0 = no change, +6 = double, -6 = half, etc",
                "default": 1, "min": -100, "max": 100,
            }))
            .output("AUDIO"),
        NodeClass::v3("SaveAudio", MODULE, "audio", save)
            .titled("Save Audio (FLAC)")
            .typed("audio", "AUDIO", json!({}))
            .text("filename_prefix", json!({ "default": "audio/ComfyUI", "multiline": false }))
            .with_metadata()
            .output_node(),
    ]
}

fn sound(sound: Sound) -> NodeOutput {
    NodeOutput::values([Datum::Sound(Arc::new(sound))])
}

fn empty(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let rate = run.size("sample_rate")?;
    // ComfyUI rounds half to even, as Python does.
    let length = (run.float("duration")? * rate as f64).round_ties_even();
    Sound::silence(rate as u32, run.size("channels")?, length as usize).map(sound)
}

fn load(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let name = run.text("audio")?;
    let path =
        run.host.folders.annotated_file(&name).ok_or_else(|| {
            NodeFailure::raised("ValueError", format!("Invalid audio file: {name}"))
        })?;
    Sound::read(&fs::read(path)?)
        .map(sound)
        .map_err(|text| NodeFailure::raised("av.error.InvalidDataError", format!("{name}: {text}")))
}

fn adjust_volume(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let factor = 10.0_f64.powf(run.int("volume")? as f64 / 20.0) as f32;
    let given = run.sound("audio")?;
    Ok(sound(Sound {
        sample_rate: given.sample_rate,
        channels: given
            .channels
            .iter()
            .map(|channel| channel.iter().map(|sample| sample * factor).collect())
            .collect(),
    }))
}

fn save(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let bytes = flac::write(&*run.sound("audio")?, &metadata_texts(run));
    let prefix = run.text("filename_prefix")?;
    let entry = saved_as(run, Place::Output, &prefix, "flac", &bytes)?;
    Ok(NodeOutput::shown(json!({ "audio": [entry] })))
}
