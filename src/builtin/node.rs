//! What a node class is given and what it gives back.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{
    execute::PromptRun,
    host::Host,
    latent::LatentBatch,
    picture::{ImageBatch, MaskBatch},
    python,
    queue::QueuedPrompt,
    sound::Sound,
};

/// A value that travels on a link.
#[derive(Clone, Debug)]
pub enum Datum {
    /// IMAGE.
    Image(Arc<ImageBatch>),
    /// MASK.
    Mask(Arc<MaskBatch>),
    /// LATENT.
    Latent(Arc<LatentBatch>),
    /// AUDIO.
    Sound(Arc<Sound>),
    /// Everything that is JSON: INT, FLOAT, STRING, BOOLEAN, COMBO.
    Plain(Value),
}

impl Datum {
    /// The value as it is shown in `current_inputs` and by `PreviewAny`.
    pub fn describe(&self) -> Value {
        match self {
            Self::Image(batch) => json!(format!(
                "IMAGE {} x {} x {} x {}",
                batch.frames, batch.height, batch.width, batch.channels
            )),
            Self::Mask(batch) => json!(format!(
                "MASK {} x {} x {}",
                batch.frames, batch.height, batch.width
            )),
            Self::Latent(batch) => json!(format!("LATENT {:?}", batch.shape)),
            Self::Sound(sound) => json!(format!(
                "AUDIO {} channels, {} samples at {} Hz",
                sound.channels.len(),
                sound.length(),
                sound.sample_rate
            )),
            Self::Plain(value @ (Value::Array(_) | Value::Object(_))) => json!(python::text(value)),
            Self::Plain(value) => value.clone(),
        }
    }
}

/// Why a node did not finish.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeFailure {
    /// Someone asked for an interrupt.
    Interrupted,
    /// The server is ending; nobody will hear of it.
    ServerStops,
    /// The node raised an exception.
    Raised {
        /// The Python name that ComfyUI would report, such as `RuntimeError`.
        exception_type: &'static str,
        /// What happened.
        message: String,
    },
}

/// The exception type by which ComfyUI reports that memory ran out.
pub const OUT_OF_MEMORY: &str = "torch.OutOfMemoryError";

impl NodeFailure {
    /// A raised exception.
    pub fn raised(exception_type: &'static str, message: impl Into<String>) -> Self {
        Self::Raised {
            exception_type,
            message: message.into(),
        }
    }
}

impl From<std::io::Error> for NodeFailure {
    fn from(error: std::io::Error) -> Self {
        let exception_type = match error.kind() {
            std::io::ErrorKind::NotFound => "FileNotFoundError",
            std::io::ErrorKind::PermissionDenied => "PermissionError",
            _ => "OSError",
        };
        Self::raised(exception_type, error.to_string())
    }
}

/// What a node gives back.
#[derive(Clone, Debug, Default)]
pub struct NodeOutput {
    /// One value per output slot.
    pub outputs: Vec<Datum>,
    /// What the frontend shows (`images`, `text`, …); it goes into `executed` and into the history.
    pub ui: Option<Map<String, Value>>,
}

impl NodeOutput {
    /// One IMAGE.
    pub fn image(batch: ImageBatch) -> Self {
        Self::values([Datum::Image(Arc::new(batch))])
    }

    /// One MASK.
    pub fn mask(batch: MaskBatch) -> Self {
        Self::values([Datum::Mask(Arc::new(batch))])
    }

    /// Values for the output slots, in order.
    pub fn values(outputs: impl IntoIterator<Item = Datum>) -> Self {
        Self {
            outputs: outputs.into_iter().collect(),
            ui: None,
        }
    }

    /// Only something to show.
    pub fn shown(ui: Value) -> Self {
        Self {
            outputs: Vec::new(),
            ui: match ui {
                Value::Object(members) => Some(members),
                _ => None,
            },
        }
    }
}

/// The code of a node class.
pub type RunNode = fn(&mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure>;

/// One execution of one node: its inputs, and its line to the outside.
pub struct NodeRun<'a> {
    pub(super) node_id: &'a str,
    pub(super) inputs: IndexMap<String, Datum>,
    pub(super) host: &'a Host,
    pub(super) prompt: &'a mut PromptRun,
    pub(super) queued: &'a QueuedPrompt,
    pub(super) steps_done: u32,
}

/// How long a sleeping node waits before it looks whether the server is ending.
const STOP_POLL: Duration = Duration::from_millis(10);

impl NodeRun<'_> {
    fn input(&self, name: &str) -> Result<&Datum, NodeFailure> {
        self.inputs.get(name).ok_or_else(|| {
            NodeFailure::raised(
                "TypeError",
                format!("missing 1 required positional argument: '{name}'"),
            )
        })
    }

    /// An input of type IMAGE.
    pub fn image(&self, name: &str) -> Result<Arc<ImageBatch>, NodeFailure> {
        match self.input(name)? {
            Datum::Image(batch) => Ok(Arc::clone(batch)),
            other => Err(wrong_type(name, "an IMAGE", other)),
        }
    }

    /// An input of type MASK.
    pub fn mask(&self, name: &str) -> Result<Arc<MaskBatch>, NodeFailure> {
        match self.input(name)? {
            Datum::Mask(batch) => Ok(Arc::clone(batch)),
            other => Err(wrong_type(name, "a MASK", other)),
        }
    }

    /// An input of type LATENT.
    pub fn latent(&self, name: &str) -> Result<Arc<LatentBatch>, NodeFailure> {
        match self.input(name)? {
            Datum::Latent(batch) => Ok(Arc::clone(batch)),
            other => Err(wrong_type(name, "a LATENT", other)),
        }
    }

    /// An input of type AUDIO.
    pub fn sound(&self, name: &str) -> Result<Arc<Sound>, NodeFailure> {
        match self.input(name)? {
            Datum::Sound(sound) => Ok(Arc::clone(sound)),
            other => Err(wrong_type(name, "an AUDIO", other)),
        }
    }

    /// An optional input of type MASK.
    pub fn optional_mask(&self, name: &str) -> Result<Option<Arc<MaskBatch>>, NodeFailure> {
        if self.inputs.contains_key(name) {
            self.mask(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Any input, as it is.
    pub fn datum(&self, name: &str) -> Result<&Datum, NodeFailure> {
        self.input(name)
    }

    fn plain(&self, name: &str) -> Result<&Value, NodeFailure> {
        match self.input(name)? {
            Datum::Plain(value) => Ok(value),
            other => Err(wrong_type(name, "a value", other)),
        }
    }

    /// An INT.
    pub fn int(&self, name: &str) -> Result<i128, NodeFailure> {
        python::int(self.plain(name)?).map_err(|text| NodeFailure::raised("TypeError", text))
    }

    /// An INT that counts or measures: negative values and those linked in beyond any sensible size are refused.
    pub fn size(&self, name: &str) -> Result<usize, NodeFailure> {
        let value = self.int(name)?;
        u32::try_from(value)
            .map(|value| value as usize)
            .map_err(|_| {
                NodeFailure::raised("ValueError", format!("{name} is {value}, out of range"))
            })
    }

    /// A FLOAT.
    pub fn float(&self, name: &str) -> Result<f64, NodeFailure> {
        python::float(self.plain(name)?).map_err(|text| NodeFailure::raised("TypeError", text))
    }

    /// A STRING or a COMBO choice.
    pub fn text(&self, name: &str) -> Result<String, NodeFailure> {
        self.plain(name).map(python::text)
    }

    /// A BOOLEAN.
    pub fn boolean(&self, name: &str) -> Result<bool, NodeFailure> {
        self.plain(name).map(python::truthy)
    }

    /// Reports `value` of `max` steps, with a picture to show; ends here when an interrupt was asked for.
    pub fn progress(
        &mut self,
        value: u32,
        max: u32,
        preview: Option<&ImageBatch>,
    ) -> Result<(), NodeFailure> {
        self.host.check_interrupt()?;
        self.steps_done += 1;
        self.prompt
            .report_progress(self.host, self.node_id, value, max, preview);
        Ok(())
    }

    /// Shows a text at the node while it runs.
    pub fn text_progress(&self, text: &str) {
        self.prompt.send_text(self.host, self.node_id, text);
    }

    /// Waits; an interrupt does not cut it short (ComfyUI looks only at progress points), the server's end does.
    pub fn sleep(&self, duration: Duration) -> Result<(), NodeFailure> {
        let until = Instant::now() + duration;
        loop {
            if self.host.stops.load(Ordering::Relaxed) {
                return Err(NodeFailure::ServerStops);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(STOP_POLL));
        }
    }

    /// Waits as long as the server's options say that a step takes.
    pub fn step_delay(&self) -> Result<(), NodeFailure> {
        self.sleep(self.host.options.step_delay)
    }
}

fn wrong_type(name: &str, wanted: &str, got: &Datum) -> NodeFailure {
    let got = python::text(&got.describe());
    let got: String = got.chars().take(80).collect();
    NodeFailure::raised(
        "TypeError",
        format!("input {name} needs {wanted}, but got {got}"),
    )
}
