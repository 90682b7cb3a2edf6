//! What a backend knows about its node classes: the answer of `GET /object_info`, typed.
//!
//! Reads the V1 form (`[[choices], {…}]`) and the V3 form (`["COMBO", {"options": …}]` and the `COMFY_…_V3` types).
//! Lenient where custom nodes are careless: what has the wrong shape is left out, the rest is kept.

mod read;

use super::read::{Excess, excess, without_non_finite};
use super::value_type::ValueType;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

/// Most bytes of one `/object_info` answer. A backend with hundreds of custom packs sends some tens of megabytes.
pub const MAX_OBJECT_INFO_BYTES: usize = 256 * 1024 * 1024;

const MAX_OBJECT_INFO_DEPTH: usize = 120;

/// Most values of one answer. A backend with hundreds of custom packs has some hundred thousand.
const MAX_OBJECT_INFO_VALUES: usize = 8_000_000;

/// Most rows that a growing input has before anything is linked.
const MAX_ROWS: usize = 100;

/// The node classes of a backend, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectInfo {
    /// Class name → what it takes and gives.
    pub classes: IndexMap<String, NodeSpec>,
}

/// Why an `/object_info` answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectInfoError {
    /// More bytes than [`MAX_OBJECT_INFO_BYTES`].
    #[error("the node list has {bytes} bytes, more than the {MAX_OBJECT_INFO_BYTES} that are read")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not a JSON object.
    #[error(
        "the node list is not what ComfyUI's /object_info answers: {reason}; check the backend's address"
    )]
    NotObjectInfo {
        /// What is wrong with it.
        reason: String,
    },
}

/// One node class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeSpec {
    /// The class name.
    pub class_type: String,
    /// The name a person reads; the class name where the backend gives none.
    pub display_name: String,
    /// Menu path, for example `sampling`.
    pub category: String,
    /// What it does, as its author put it; may be empty.
    pub description: String,
    /// What it takes, in the editor's order: as the class's `input_order` has it, then the rest; hidden ones last.
    pub inputs: Vec<InputSpec>,
    /// Where in `inputs` the editor puts what its own extensions add to the required ones.
    pub(super) added_at: usize,
    /// How many inputs a node has at most before anything is linked, those of options and rows included.
    pub(super) grown_inputs: usize,
    /// What it gives, in order.
    pub outputs: Vec<OutputSpec>,
    /// Whether the backend runs it for its own sake.
    pub output_node: bool,
}

/// One output of a node class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputSpec {
    /// ComfyUI's type, for example `IMAGE`.
    pub type_name: String,
    /// The name beside the dot.
    pub name: String,
    /// For `COMFY_MATCHTYPE_V3`: the template whose type it takes on.
    pub match_template: Option<String>,
}

/// One input of a node class.
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent flags of the protocol, each off unless the node says so"
)]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputSpec {
    /// Its name, the key in a prompt.
    pub name: String,
    /// Whether it must be given.
    pub need: InputNeed,
    /// ComfyUI's type: `INT`, `COMBO`, `IMAGE`, `IMAGE,MASK`, `*`, …
    pub type_name: String,
    /// What it holds, with limits and choices.
    pub kind: InputKind,
    /// The value a new node has.
    pub default: Option<Value>,
    /// Help by the node's author.
    pub tooltip: Option<String>,
    /// The name a person reads, where it differs from `name`.
    pub display_name: Option<String>,
    /// Whether the editor puts a "control after generate" widget behind this one: where the node says so, and for whole
    /// numbers named `seed` or `noise_seed` of nodes that say nothing.
    pub control_after_generate: bool,
    /// Whether the node itself says `control_after_generate`.
    pub(super) control_declared: bool,
    /// Whether the editor expands `{a|b}` and strips comments before it sends the text.
    pub dynamic_prompts: bool,
    /// Whether the editor fetches its list from elsewhere, and so shows a switch for fetching it after each run.
    pub(super) is_remote: bool,
    /// Whether the editor shows a button to fetch the list again.
    pub(super) refresh_button: bool,
    /// Which kind of file can be uploaded for it.
    pub upload: Option<Upload>,
    /// Whether several files can be chosen at once.
    pub(super) allows_batch: bool,
    /// The backend's folder that its files lie in; none is the input folder.
    pub(super) folder: Option<String>,
    /// `forceInput`: it only takes links, although its type has a widget.
    pub force_input: bool,
    /// `socketless`: it never takes a link.
    pub socketless: bool,
    /// `widgetType`: the widget to use although the type says otherwise.
    pub widget_type: Option<String>,
}

/// Whether an input must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNeed {
    /// The backend refuses a prompt without it.
    Required,
    /// May be left out.
    Optional,
    /// Filled in by the backend.
    Hidden,
}

/// Which kind of file can be uploaded for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// `image_upload` (animated ones too).
    Image,
    /// `video_upload`.
    Video,
    /// `audio_upload`.
    Audio,
    /// `file_upload`: models in 3D and the like.
    File,
}

/// What an input holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InputKind {
    /// `INT`. Limits can lie outside `i64` and `u64`.
    Integer {
        /// Smallest value.
        min: Option<i128>,
        /// Largest value.
        max: Option<i128>,
        /// Distance of two clicks.
        step: Option<i128>,
    },
    /// `FLOAT`.
    Number {
        /// Smallest value.
        min: Option<f64>,
        /// Largest value.
        max: Option<f64>,
        /// Distance of two clicks.
        step: Option<f64>,
        /// What the editor rounds to.
        round: Option<f64>,
    },
    /// `BOOLEAN`.
    Boolean,
    /// `STRING`.
    Text {
        /// Whether it has several lines.
        multiline: bool,
    },
    /// A list to choose from.
    Choice {
        /// The choices; mostly strings.
        choices: Vec<Value>,
        /// Whether several may be chosen.
        multiselect: bool,
        /// Whether the editor fetches the list from elsewhere, so that `choices` says nothing.
        remote: bool,
    },
    /// `COMFY_DYNAMICCOMBO_V3`: the choice decides which further inputs exist.
    DynamicChoice {
        /// The choices with their inputs.
        options: Vec<DynamicOption>,
    },
    /// `COMFY_AUTOGROW_V3`: as many inputs as are linked.
    Autogrow(Autogrow),
    /// `COMFY_MATCHTYPE_V3`: inputs and outputs with the same template carry the same type.
    MatchType {
        /// Which template.
        template_id: String,
        /// The types it may become, comma-separated or `*`.
        allowed_types: String,
    },
    /// Any other type: takes a link, or has a widget we know nothing of.
    Other,
}

/// One choice of a dynamic combo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DynamicOption {
    /// The choice.
    pub key: String,
    /// The inputs it brings, named without the combo's prefix.
    pub inputs: Vec<InputSpec>,
}

/// The template of an autogrow input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Autogrow {
    /// The inputs of one row, named without prefix.
    pub inputs: Vec<InputSpec>,
    /// Names are this and a number from 0, when `names` is empty.
    pub prefix: String,
    /// The names themselves, where the node fixes them.
    pub names: Vec<String>,
    /// How many rows there are at least.
    pub min: usize,
    /// How many rows there are at most.
    pub max: usize,
}

impl Autogrow {
    /// How many rows a new node has.
    pub(super) fn first_rows(&self) -> usize {
        self.min.min(self.max).min(MAX_ROWS)
    }

    /// The name that an input of the template has in a row, counted from 0.
    pub(super) fn row_name(&self, input: &InputSpec, row: usize) -> String {
        match self.names.get(row) {
            Some(name) => name.clone(),
            None if self.inputs.len() == 1 => format!("{}{row}", self.prefix),
            None => format!("{}{row}", input.name),
        }
    }
}

impl ObjectInfo {
    /// Reads the body of `GET /object_info` (or of `/object_info/CLASS`).
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectInfoError> {
        if bytes.len() > MAX_OBJECT_INFO_BYTES {
            return Err(ObjectInfoError::TooLarge { bytes: bytes.len() });
        }
        let reason = match excess(bytes, MAX_OBJECT_INFO_DEPTH, MAX_OBJECT_INFO_VALUES) {
            Some(Excess::Depth) => {
                format!("it is nested more than {MAX_OBJECT_INFO_DEPTH} levels deep")
            }
            Some(Excess::Values) => format!("it holds more than {MAX_OBJECT_INFO_VALUES} values"),
            None => String::new(),
        };
        if !reason.is_empty() {
            return Err(ObjectInfoError::NotObjectInfo { reason });
        }
        let value = serde_json::from_slice::<Value>(bytes)
            .or_else(|_| serde_json::from_slice(&without_non_finite(bytes)))
            .map_err(|error| ObjectInfoError::NotObjectInfo {
                reason: error.to_string(),
            })?;
        Self::from_json(&value)
    }

    /// Reads the parsed body of `GET /object_info`.
    pub fn from_json(value: &Value) -> Result<Self, ObjectInfoError> {
        let Value::Object(classes) = value else {
            return Err(ObjectInfoError::NotObjectInfo {
                reason: "it is not a JSON object".to_owned(),
            });
        };
        let classes = classes
            .iter()
            .filter_map(|(name, class)| Some((name.clone(), NodeSpec::from_json(name, class)?)))
            .collect();
        Ok(Self { classes })
    }

    /// The classes of several backends together; where they differ, as the first says.
    #[must_use]
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut classes = IndexMap::new();
        for (name, class) in all.into_iter().flat_map(|info| &info.classes) {
            if !classes.contains_key(name) {
                classes.insert(name.clone(), class.clone());
            }
        }
        Self { classes }
    }

    /// The class, if the backend has it.
    #[must_use]
    pub fn get(&self, class_type: &str) -> Option<&NodeSpec> {
        self.classes.get(class_type)
    }
}

impl NodeSpec {
    /// The input of that name. Finds the inputs of dynamic combos and autogrow inputs by their full names
    /// (`resize_type.width`, `images.image0`) as well.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&InputSpec> {
        find_input(&self.inputs, name)
    }
}

impl InputSpec {
    /// Whether the editor puts an upload button for pictures or videos to it.
    pub(super) fn has_file_button(&self) -> bool {
        self.need == InputNeed::Required
            && self.type_name == "COMBO"
            && matches!(self.upload, Some(Upload::Image | Upload::Video))
    }

    /// The input with no more of a list than its first choice: what the class of a group node needs to know.
    pub(super) fn without_choices(&self) -> Self {
        let kind = match &self.kind {
            InputKind::Choice {
                choices,
                multiselect,
                remote,
            } => InputKind::Choice {
                choices: choices.first().cloned().into_iter().collect(),
                multiselect: *multiselect,
                remote: *remote,
            },
            other => other.clone(),
        };
        Self {
            name: self.name.clone(),
            need: self.need,
            type_name: self.type_name.clone(),
            kind,
            default: self.default.clone(),
            tooltip: None,
            display_name: None,
            control_after_generate: self.control_after_generate,
            control_declared: self.control_declared,
            dynamic_prompts: self.dynamic_prompts,
            is_remote: self.is_remote,
            refresh_button: self.refresh_button,
            upload: self.upload,
            allows_batch: self.allows_batch,
            folder: self.folder.clone(),
            force_input: self.force_input,
            socketless: self.socketless,
            widget_type: self.widget_type.clone(),
        }
    }

    /// Puts a "control after generate" widget behind it, as if the node said so.
    pub(super) fn set_control(&mut self) {
        self.control_after_generate = true;
        self.control_declared = true;
    }

    /// What its value is, as far as its type and its name tell.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match (&self.kind, self.upload) {
            (_, Some(Upload::Image)) => ValueType::Image,
            (_, Some(Upload::Video)) => ValueType::Video,
            (_, Some(Upload::Audio)) => ValueType::Audio,
            (_, Some(Upload::File)) => ValueType::File,
            (InputKind::Integer { .. }, None) => ValueType::Integer,
            (InputKind::Number { .. }, None) => ValueType::Number,
            (InputKind::Boolean, None) => ValueType::Boolean,
            (
                InputKind::Text { .. } | InputKind::Choice { .. } | InputKind::DynamicChoice { .. },
                None,
            ) => ValueType::Text,
            (_, None) => ValueType::of_comfy(&self.type_name),
        }
    }
}

fn find_input<'a>(inputs: &'a [InputSpec], name: &str) -> Option<&'a InputSpec> {
    if let Some(input) = inputs.iter().find(|input| input.name == name) {
        return Some(input);
    }
    let (parent, rest) = name.split_once('.')?;
    let parent = inputs.iter().find(|input| input.name == parent)?;
    match &parent.kind {
        InputKind::DynamicChoice { options } => options
            .iter()
            .find_map(|option| find_input(&option.inputs, rest)),
        InputKind::Autogrow(autogrow) => autogrow.inputs.first(),
        _ => None,
    }
}

/// How many inputs these become at most before anything is linked.
pub(super) fn grown(inputs: &[InputSpec]) -> usize {
    inputs.iter().fold(0_usize, |sum, input| {
        let inside = match &input.kind {
            InputKind::Autogrow(autogrow) => {
                grown(&autogrow.inputs).saturating_mul(autogrow.first_rows())
            }
            InputKind::DynamicChoice { options } => options
                .iter()
                .map(|option| grown(&option.inputs))
                .max()
                .unwrap_or(0),
            _ => 0,
        };
        sum.saturating_add(inside).saturating_add(1)
    })
}

/// A whole number of JSON, also where it was written as `8.0` or lies outside 64 bits.
pub(super) fn whole(value: &Value) -> Option<i128> {
    if let Some(small) = value.as_i64() {
        return Some(i128::from(small));
    }
    if let Some(large) = value.as_u64() {
        return Some(i128::from(large));
    }
    let float = value.as_f64()?;
    // Casting saturates at the ends of i128, which is what a limit wants.
    (float.fract() == 0.0).then_some(float as i128)
}
