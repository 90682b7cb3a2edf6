//! Nodes of our own: pictures from a seed, waiting, needing a model, and failing on purpose.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;

use crate::builtin::{
    node::{NodeFailure, NodeOutput, NodeRun, OUT_OF_MEMORY},
    paint::{Painting, Scene},
    picture::ImageBatch,
    spec::{InputKind, NodeClass},
};

const MODULE: &str = "orchestrator";
const CATEGORY: &str = "orchestrator";
/// The longest wait that a node can be asked for: an hour.
const MAXIMUM_SECONDS: f64 = 3_600.0;
/// How the failing node fails.
const FAILURES: [&str; 6] = [
    "error",
    "out of memory",
    "out of memory until freed",
    "hang",
    "hang until interrupted",
    "exit",
];
/// How often a hanging node looks whether it is interrupted.
const HANG_POLL: Duration = Duration::from_millis(50);
/// The longer side of a preview picture.
const PREVIEW_SIDE_PIXELS: usize = 192;

pub fn classes() -> Vec<NodeClass> {
    let side = || json!({ "default": 512, "min": 16, "max": 4096, "step": 8 });
    let seconds = |default: f64| json!({ "default": default, "min": 0.0, "max": MAXIMUM_SECONDS, "step": 0.01 });
    let any_seed =
        || json!({ "default": 0, "min": 0, "max": u64::MAX, "control_after_generate": true });
    vec![
        NodeClass::v3("OrchestratorPicture", MODULE, CATEGORY, picture)
            .titled("Procedural Picture")
            .described(
                "Paints a picture from a seed and a few words, step by step, on the CPU. Equal inputs give equal pixels on every server. It is no diffusion model.",
            )
            .int("seed", any_seed())
            .text("text", json!({
                "default": "harbour at dusk, rain",
                "multiline": true,
                "tooltip": "The words choose the colours; rain, fog, snow, night, dawn and storm also change the weather.",
            }))
            .int("width", side())
            .int("height", side())
            .int("steps", json!({ "default": 20, "min": 1, "max": 1000 }))
            .choice("style", &Scene::NAMES)
            .float("detail", json!({ "default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01 }))
            .output("IMAGE"),
        NodeClass::v3("OrchestratorSleep", MODULE, CATEGORY, sleep)
            .titled("Sleep")
            .described("Waits in steps, with progress, and passes its input on.")
            .float("seconds", seconds(1.0))
            .int("steps", json!({ "default": 10, "min": 1, "max": 1000 }))
            .int("seed", any_seed())
            .typed("anything", "*", json!({}))
            .optional()
            .named_output("*", "anything"),
        NodeClass::v3("OrchestratorModel", MODULE, CATEGORY, model)
            .titled("Model")
            .described(
                "Names a file in the folder of checkpoints and passes its input on. Nothing is loaded: it stands for a workflow that runs only where its model lies.",
            )
            .files("model", InputKind::Models("checkpoints"), json!(null))
            .typed("anything", "*", json!({}))
            .optional()
            .named_output("*", "anything"),
        NodeClass::v3("OrchestratorFail", MODULE, CATEGORY, fail)
            .titled("Fail")
            .described(
                "Fails on purpose: raises an error, runs out of memory (always, or until memory was freed), hangs (until the server ends, or until it is interrupted), or ends the server. Can be limited to one server by its name.",
            )
            .choice("mode", &FAILURES)
            .text("message", json!({ "default": "deliberate failure" }))
            .float("after_seconds", seconds(0.0))
            .text("only_on", json!({ "default": "", "tooltip": "The name of the server that fails; empty for every one." }))
            .optional()
            .typed("anything", "*", json!({}))
            .optional()
            .named_output("*", "anything"),
    ]
}

fn picture(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let (width, height) = (run.size("width")?, run.size("height")?);
    let steps = run.size("steps")?.max(1) as u32;
    // A seed linked in may have any sign; its bits choose the picture.
    let seed = run.int("seed")? as u64;
    let scene = Scene::parse(&run.text("style")?);
    let painting = Painting::new(seed, &run.text("text")?, scene, run.float("detail")? as f32);
    let mut batch = ImageBatch::filled(1, height, width, 3, 0.0)?;

    let longer = width.max(height);
    let scaled = |side: usize| (side * PREVIEW_SIDE_PIXELS.min(longer) / longer).max(1);
    let mut sketch = ImageBatch::filled(1, scaled(height), scaled(width), 3, 0.0)?;
    painting.paint_rows(&mut sketch, 0..scaled(height));

    let mut painted = 0;
    for step in 1..=steps {
        let until = height * step as usize / steps as usize;
        painting.paint_rows(&mut batch, painted..until);
        painted = until;
        run.step_delay()?;
        let preview = painting.unfinished(&sketch, step, steps);
        run.progress(step, steps, Some(&preview))?;
    }
    Ok(NodeOutput::image(batch))
}

fn wait(run: &NodeRun<'_>, seconds: f64) -> Result<(), NodeFailure> {
    run.sleep(Duration::from_secs_f64(seconds.clamp(0.0, MAXIMUM_SECONDS)))
}

fn passed_on(run: &NodeRun<'_>) -> NodeOutput {
    NodeOutput::values(run.datum("anything").ok().cloned())
}

fn sleep(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let steps = run.size("steps")?.max(1) as u32;
    let each = run.float("seconds")? / f64::from(steps);
    for step in 1..=steps {
        wait(run, each)?;
        run.progress(step, steps, None)?;
    }
    Ok(passed_on(run))
}

fn model(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    run.progress(1, 1, None)?;
    Ok(passed_on(run))
}

fn fail(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let message = run.text("message")?;
    let only_on = run.text("only_on").unwrap_or_default();
    if !only_on.is_empty() && only_on != run.host.options.name {
        return Ok(passed_on(run));
    }
    wait(run, run.float("after_seconds")?)?;
    match run.text("mode")?.as_str() {
        "out of memory" => Err(NodeFailure::raised(OUT_OF_MEMORY, message)),
        "out of memory until freed" => {
            if run.host.memory_was_freed.swap(false, Ordering::SeqCst) {
                Ok(passed_on(run))
            } else {
                Err(NodeFailure::raised(OUT_OF_MEMORY, message))
            }
        }
        "hang" => loop {
            run.sleep(Duration::from_secs(1))?;
        },
        "hang until interrupted" => loop {
            run.sleep(HANG_POLL)?;
            run.host.check_interrupt()?;
        },
        "exit" => {
            run.host.crashed.store(true, Ordering::SeqCst);
            run.host.stop();
            Err(NodeFailure::ServerStops)
        }
        _ => Err(NodeFailure::raised("RuntimeError", message)),
    }
}
