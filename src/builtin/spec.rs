//! How a node class describes itself: the source of `/object_info` and of validation.

use serde_json::{Map, Value, json};

use super::{folders::Folders, node::RunNode};

/// Extensions of files that `LoadAudio` lists: sounds, and videos for their sound.
const SOUND_EXTENSIONS: [&str; 13] = [
    "flac", "mp3", "opus", "wav", "ogg", "m4a", "aac", "mp4", "webm", "mov", "mkv", "avi", "m4v",
];

/// Which of ComfyUI's two node interfaces a class is written for there; their descriptions differ in form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `INPUT_TYPES` classes: combos are lists, empty options are left out.
    V1,
    /// `define_schema` classes: combos are `COMBO` with options, more members.
    V3,
}

/// The type of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    /// A named type: `IMAGE`, `INT`, `*`, …
    Named(&'static str),
    /// A fixed list of choices.
    Choice(&'static [&'static str]),
    /// The images that lie in the input folder; any file there is valid, checked by name.
    InputImages,
    /// The files that lie in the input folder; any file there is valid, checked by name.
    InputFiles,
    /// The `.latent` files that lie in the input folder; any file there is valid, checked by name.
    InputLatents,
    /// The sounds and videos that lie in the input folder; any file there is valid, checked by name.
    InputSounds,
    /// The files that lie in a folder of models; checked against that list.
    Models(&'static str),
    /// A `COMBO` whose choices the frontend fetches; any file there is valid, checked by name.
    RemoteFiles,
}

impl InputKind {
    /// What ComfyUI calls a file of such an input in its messages; none for inputs that name no file.
    pub fn file_word(&self) -> Option<&'static str> {
        match self {
            Self::Named(_) | Self::Choice(_) | Self::Models(_) => None,
            Self::InputImages | Self::InputFiles | Self::RemoteFiles => Some("image"),
            Self::InputLatents => Some("latent"),
            Self::InputSounds => Some("audio"),
        }
    }
}

/// One input of a class.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: InputKind,
    /// Default, minimum, maximum, …
    pub options: Map<String, Value>,
    /// Whether a prompt must give it.
    pub required: bool,
}

/// A node class.
#[derive(Clone, Debug)]
pub struct NodeClass {
    /// The class name in prompts.
    pub name: &'static str,
    /// The title in the frontend, where ComfyUI has one.
    pub display_name: Option<&'static str>,
    /// The help text.
    pub description: &'static str,
    /// Where the class is defined in ComfyUI; `orchestrator` for our own.
    pub python_module: &'static str,
    /// The menu path.
    pub category: &'static str,
    /// The form of its description.
    pub interface: Interface,
    /// Its inputs, in order.
    pub inputs: Vec<InputSpec>,
    /// Hidden inputs: name and what the server fills in.
    pub hidden: Vec<(&'static str, &'static str)>,
    /// Type and name of each output slot.
    pub outputs: Vec<(&'static str, &'static str)>,
    /// Help for the output slots, where a V1 class has it.
    pub output_tooltips: &'static [&'static str],
    /// Whether a prompt may end in it.
    pub output_node: bool,
    /// ComfyUI advises against it.
    pub deprecated: bool,
    /// ComfyUI calls it experimental.
    pub experimental: bool,
    /// The code.
    pub run: RunNode,
}

impl NodeClass {
    /// A class with the V1 interface, from ComfyUI's core.
    pub fn v1(
        name: &'static str,
        display_name: &'static str,
        category: &'static str,
        run: RunNode,
    ) -> Self {
        Self {
            name,
            display_name: Some(display_name),
            description: "",
            python_module: "nodes",
            category,
            interface: Interface::V1,
            inputs: Vec::new(),
            hidden: Vec::new(),
            outputs: Vec::new(),
            output_tooltips: &[],
            output_node: false,
            deprecated: false,
            experimental: false,
            run,
        }
    }

    /// A class with the V3 interface, from ComfyUI's `comfy_extras`.
    pub fn v3(
        name: &'static str,
        python_module: &'static str,
        category: &'static str,
        run: RunNode,
    ) -> Self {
        Self {
            display_name: None,
            python_module,
            interface: Interface::V3,
            ..Self::v1(name, "", category, run)
        }
    }

    fn input(mut self, name: &'static str, kind: InputKind, options: Value) -> Self {
        self.inputs.push(InputSpec {
            name,
            kind,
            options: match options {
                Value::Object(members) => members,
                _ => Map::new(),
            },
            required: true,
        });
        self
    }

    /// An input of a named type.
    pub fn typed(self, name: &'static str, kind: &'static str, options: Value) -> Self {
        self.input(name, InputKind::Named(kind), options)
    }

    /// An IMAGE input.
    pub fn image(self, name: &'static str) -> Self {
        self.typed(name, "IMAGE", Value::Null)
    }

    /// A MASK input.
    pub fn mask(self, name: &'static str) -> Self {
        self.typed(name, "MASK", Value::Null)
    }

    /// An INT input.
    pub fn int(self, name: &'static str, options: Value) -> Self {
        self.typed(name, "INT", options)
    }

    /// A FLOAT input.
    pub fn float(self, name: &'static str, options: Value) -> Self {
        self.typed(name, "FLOAT", options)
    }

    /// A STRING input.
    pub fn text(self, name: &'static str, options: Value) -> Self {
        self.typed(name, "STRING", options)
    }

    /// A BOOLEAN input.
    pub fn boolean(self, name: &'static str, options: Value) -> Self {
        self.typed(name, "BOOLEAN", options)
    }

    /// An input with fixed choices.
    pub fn choice(self, name: &'static str, choices: &'static [&'static str]) -> Self {
        self.input(name, InputKind::Choice(choices), Value::Null)
    }

    /// An input whose choices are files.
    pub fn files(self, name: &'static str, kind: InputKind, options: Value) -> Self {
        self.input(name, kind, options)
    }

    /// Makes the input added last optional.
    pub fn optional(mut self) -> Self {
        if let Some(input) = self.inputs.last_mut() {
            input.required = false;
        }
        self
    }

    /// An output slot named as its type.
    pub fn output(self, kind: &'static str) -> Self {
        self.named_output(kind, kind)
    }

    /// An output slot.
    pub fn named_output(mut self, kind: &'static str, name: &'static str) -> Self {
        self.outputs.push((kind, name));
        self
    }

    /// Help for the output slots.
    pub fn outputs_described(mut self, tooltips: &'static [&'static str]) -> Self {
        self.output_tooltips = tooltips;
        self
    }

    /// A prompt may end in this class.
    pub fn output_node(mut self) -> Self {
        self.output_node = true;
        self
    }

    /// The class receives the prompt and the workflow, to write them into files.
    pub fn with_metadata(mut self) -> Self {
        self.hidden = vec![("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO")];
        self
    }

    /// A title.
    pub fn titled(mut self, display_name: &'static str) -> Self {
        self.display_name = Some(display_name);
        self
    }

    /// A help text.
    pub fn described(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// The module it is defined in.
    pub fn in_module(mut self, python_module: &'static str) -> Self {
        self.python_module = python_module;
        self
    }

    /// Whether the cache must tell apart nodes of this class with equal inputs.
    pub fn knows_its_id(&self) -> bool {
        self.hidden.iter().any(|(_, what)| *what == "UNIQUE_ID")
    }

    /// The type of an input as `/object_info` writes it.
    pub fn type_value(&self, input: &InputSpec, folders: &Folders) -> Value {
        match (&input.kind, self.interface) {
            (InputKind::Named(name), _) => json!(name),
            (InputKind::Choice(choices), Interface::V1) => json!(choices),
            (
                InputKind::Choice(_) | InputKind::InputSounds | InputKind::Models(_),
                Interface::V3,
            )
            | (InputKind::RemoteFiles, _) => json!("COMBO"),
            (InputKind::Models(folder), Interface::V1) => json!(folders.model_files(folder)),
            (InputKind::InputImages, _) => json!(folders.input_images()),
            (InputKind::InputFiles, _) => json!(folders.input_files()),
            (InputKind::InputLatents, _) => json!(folders.input_files_of(&["latent"])),
            (InputKind::InputSounds, _) => json!(folders.input_files_of(&SOUND_EXTENSIONS)),
        }
    }

    /// The options of an input as `/object_info` writes them.
    pub fn options_value(&self, input: &InputSpec, folders: &Folders) -> Map<String, Value> {
        let choices = match (&input.kind, self.interface) {
            (InputKind::Choice(choices), Interface::V3) => json!(choices),
            (InputKind::Models(folder), Interface::V3) => json!(folders.model_files(folder)),
            (InputKind::InputSounds, Interface::V3) => {
                json!(folders.input_files_of(&SOUND_EXTENSIONS))
            }
            _ => return input.options.clone(),
        };
        let mut options = Map::new();
        options.insert("multiselect".to_owned(), json!(false));
        options.insert("options".to_owned(), choices);
        options.extend(input.options.clone());
        options
    }

    /// The entry of `/object_info`.
    pub fn describe(&self, folders: &Folders) -> Value {
        let mut sections = Map::new();
        let mut order = Map::new();
        for (section, required) in [("required", true), ("optional", false)] {
            let inputs: Vec<&InputSpec> = self
                .inputs
                .iter()
                .filter(|input| input.required == required)
                .collect();
            if inputs.is_empty() && !required {
                continue;
            }
            let described: Map<String, Value> = inputs
                .iter()
                .map(|input| {
                    let options = self.options_value(input, folders);
                    let kind = self.type_value(input, folders);
                    let bare = options.is_empty()
                        && self.interface == Interface::V1
                        && input.kind != InputKind::Named("*");
                    let config = if bare {
                        json!([kind])
                    } else {
                        json!([kind, options])
                    };
                    (input.name.to_owned(), config)
                })
                .collect();
            order.insert(
                section.to_owned(),
                inputs.iter().map(|input| json!(input.name)).collect(),
            );
            sections.insert(section.to_owned(), Value::Object(described));
        }
        if !self.hidden.is_empty() {
            let hidden: Map<String, Value> = self
                .hidden
                .iter()
                .map(|(name, what)| {
                    let what = match self.interface {
                        Interface::V1 => json!(what),
                        Interface::V3 => json!([what]),
                    };
                    ((*name).to_owned(), what)
                })
                .collect();
            order.insert(
                "hidden".to_owned(),
                self.hidden.iter().map(|(name, _)| json!(name)).collect(),
            );
            sections.insert("hidden".to_owned(), Value::Object(hidden));
        }
        let types: Vec<&str> = self.outputs.iter().map(|(kind, _)| *kind).collect();
        let names: Vec<&str> = self.outputs.iter().map(|(_, name)| *name).collect();
        let mut entry = Map::new();
        let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        put("input", Value::Object(sections));
        put("input_order", Value::Object(order));
        put("output", json!(types));
        put("output_is_list", json!(vec![false; types.len()]));
        put("output_name", json!(names));
        if self.interface == Interface::V3 {
            put("output_tooltips", json!(vec![Value::Null; types.len()]));
            put("output_matchtypes", Value::Null);
        }
        if !self.output_tooltips.is_empty() {
            put("output_tooltips", json!(self.output_tooltips));
        }
        put("name", json!(self.name));
        put("display_name", json!(self.display_name));
        put("description", json!(self.description));
        put("python_module", json!(self.python_module));
        put("category", json!(self.category));
        put("output_node", json!(self.output_node));
        if self.interface == Interface::V3 || self.deprecated {
            put("deprecated", json!(self.deprecated));
        }
        if self.interface == Interface::V3 || self.experimental {
            put("experimental", json!(self.experimental));
        }
        if self.interface == Interface::V3 {
            put("api_node", json!(false));
        }
        Value::Object(entry)
    }
}
