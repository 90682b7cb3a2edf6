//! Reading workflow JSON of either format, within limits.

use super::prompt::{Prompt, PromptNode};
use super::ui::UiWorkflow;
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Most bytes of one workflow file. The largest files seen in the wild are a few megabytes.
pub const MAX_WORKFLOW_BYTES: usize = 64 * 1024 * 1024;

/// Deepest nesting of arrays and objects that is read; the JSON reader's own limit is 128.
pub const MAX_WORKFLOW_DEPTH: usize = 120;

/// Most nodes of one workflow, subgraph definitions included.
pub const MAX_WORKFLOW_NODES: usize = 100_000;

/// Most inputs of one node, and most outputs. Custom nodes that take a row for everything have some hundred.
pub const MAX_NODE_INPUTS: usize = 2_000;

/// Most values (numbers, texts, lists, objects) of one file: short ones take many times their size in memory.
pub const MAX_WORKFLOW_VALUES: usize = 4_000_000;

/// A workflow file, in whichever format it was saved.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkflowDocument {
    /// "Export (API)": what is POSTed to ComfyUI.
    Api(Prompt),
    /// What ComfyUI's editor saves: positions, links, widget values, subgraphs.
    Ui(UiWorkflow),
}

/// Why a workflow file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// The file is larger than [`MAX_WORKFLOW_BYTES`].
    #[error(
        "the workflow file has {bytes} bytes, more than the {MAX_WORKFLOW_BYTES} that are read; is it a workflow?"
    )]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// Arrays and objects are nested deeper than [`MAX_WORKFLOW_DEPTH`].
    #[error(
        "the JSON is nested more than {MAX_WORKFLOW_DEPTH} levels deep, which no workflow is; export it from ComfyUI again"
    )]
    TooDeep,
    /// More values than [`MAX_WORKFLOW_VALUES`].
    #[error(
        "the JSON holds more than {MAX_WORKFLOW_VALUES} values, which no workflow does; export it from ComfyUI again"
    )]
    TooManyValues,
    /// More nodes than [`MAX_WORKFLOW_NODES`].
    #[error("the workflow has {nodes} nodes, more than the {MAX_WORKFLOW_NODES} that are read")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// The bytes are not JSON.
    #[error("this is not JSON: {reason}; choose a workflow exported from ComfyUI")]
    NotJson {
        /// What the JSON reader said, with line and column.
        reason: String,
    },
    /// JSON, but neither format.
    #[error(
        "this JSON is not a ComfyUI workflow: {reason}; expected an editor file (with \"nodes\") or an API prompt (nodes with \"class_type\")"
    )]
    NotAWorkflow {
        /// What is there instead.
        reason: String,
    },
    /// A node id occurs twice in an API prompt.
    #[error("node id \"{id}\" occurs twice in the workflow; export it from ComfyUI again")]
    DuplicateNode {
        /// The id.
        id: String,
    },
    /// A node of an API prompt is malformed.
    #[error("node \"{id}\" of the workflow {reason}; export it from ComfyUI again")]
    BadNode {
        /// The id.
        id: String,
        /// What is wrong with it, as the predicate of a sentence.
        reason: String,
    },
    /// A part of an editor file has the wrong shape.
    #[error("{place} of the workflow {reason}; save it in ComfyUI again")]
    BadPart {
        /// Which part.
        place: String,
        /// What is wrong with it, as the predicate of a sentence.
        reason: String,
    },
}

/// Reads a workflow of either format.
///
/// Accepts what ComfyUI's editor accepts: a byte order mark, and the bare `NaN` and `Infinity` that Python writes (read
/// as null). A saved POST body (`{"prompt": {…}}`) is read as its prompt.
pub fn read(bytes: &[u8]) -> Result<WorkflowDocument, WorkflowError> {
    let entries = read_json_object(bytes)?;
    classify(entries)
}

/// Reads a workflow file together with the prompt that the editor's own page made of it, if that was kept. A prompt that
/// cannot be read counts for nothing: the file itself says what runs.
pub fn read_saved(
    text: &str,
    page_prompt: Option<&str>,
) -> Result<WorkflowDocument, WorkflowError> {
    let document = read(text.as_bytes())?;
    Ok(match (document, page_prompt) {
        (WorkflowDocument::Ui(workflow), Some(page_prompt)) => {
            WorkflowDocument::Ui(match read(page_prompt.as_bytes()) {
                Ok(WorkflowDocument::Api(page_prompt)) => workflow.with_page_prompt(page_prompt),
                _ => workflow,
            })
        }
        (document, _) => document,
    })
}

/// The top level of a JSON object with nothing lost: keys in order, duplicates kept.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

fn read_json_object(bytes: &[u8]) -> Result<Vec<(String, Value)>, WorkflowError> {
    if bytes.len() > MAX_WORKFLOW_BYTES {
        return Err(WorkflowError::TooLarge { bytes: bytes.len() });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match excess(bytes, MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_VALUES) {
        Some(Excess::Depth) => return Err(WorkflowError::TooDeep),
        Some(Excess::Values) => return Err(WorkflowError::TooManyValues),
        None => {}
    }
    match first_byte(bytes) {
        None => {
            return Err(WorkflowError::NotJson {
                reason: "the file is empty".to_owned(),
            });
        }
        Some(b'<') => {
            return Err(WorkflowError::NotJson {
                reason: "it starts with \"<\", like a web page".to_owned(),
            });
        }
        Some(_) => {}
    }
    let parse = |bytes: &[u8]| serde_json::from_slice::<Entries>(bytes);
    let parsed = parse(bytes).or_else(|error| match without_non_finite(bytes) {
        Cow::Owned(cleaned) => parse(&cleaned),
        Cow::Borrowed(_) => Err(error),
    });
    match parsed {
        Ok(Entries(entries)) => Ok(entries),
        Err(error) if error.is_data() => Err(WorkflowError::NotAWorkflow {
            reason: match first_byte(bytes) {
                Some(b'[') => "it is a list".to_owned(),
                _ => "it is a single value".to_owned(),
            },
        }),
        Err(error) => Err(WorkflowError::NotJson {
            reason: error.to_string(),
        }),
    }
}

fn first_byte(bytes: &[u8]) -> Option<u8> {
    bytes
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// What a JSON text has too much of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Arrays and objects within each other.
    Depth,
    /// Values.
    Values,
}

/// Looks for too much nesting or too many values in one pass, without recursion and before anything is built.
pub(super) fn excess(bytes: &[u8], max_depth: usize, max_values: usize) -> Option<Excess> {
    let mut depth = 0_usize;
    let mut values = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > max_depth {
                    return Some(Excess::Depth);
                }
            }
            b',' => values += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if values > max_values {
            return Some(Excess::Values);
        }
    }
    None
}

/// The JSON with the bare words `NaN`, `Infinity` and `-Infinity` outside strings replaced by `null`, as ComfyUI's
/// editor does; borrowed when there are none.
pub(super) fn without_non_finite(bytes: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut cleaned: Option<Vec<u8>> = None;
    let mut in_string = false;
    let mut escaped = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if let Some(word) = WORDS
            .iter()
            .find(|word| bytes.get(at..).is_some_and(|rest| rest.starts_with(word)))
        {
            let cleaned =
                cleaned.get_or_insert_with(|| bytes.get(..at).unwrap_or_default().to_vec());
            cleaned.extend_from_slice(b"null");
            at += word.len();
            continue;
        }
        if let Some(cleaned) = &mut cleaned {
            cleaned.push(byte);
        }
        at += 1;
    }
    cleaned.map_or(Cow::Borrowed(bytes), Cow::Owned)
}

fn classify(entries: Vec<(String, Value)>) -> Result<WorkflowDocument, WorkflowError> {
    if entries.is_empty() {
        return Err(WorkflowError::NotAWorkflow {
            reason: "it is an empty object".to_owned(),
        });
    }
    let looks_ui = entries
        .iter()
        .any(|(key, value)| key == "nodes" && value.is_array());
    if looks_ui {
        let mut raw = Map::with_capacity(entries.len());
        for (key, value) in entries {
            raw.insert(key, value);
        }
        return UiWorkflow::from_json(raw).map(WorkflowDocument::Ui);
    }
    let with_class = entries
        .iter()
        .filter(|(_, value)| value.get("class_type").is_some())
        .count();
    if with_class > 0 {
        return prompt_from_entries(entries).map(WorkflowDocument::Api);
    }
    for (key, value) in entries {
        if key == "prompt"
            && let Value::Object(nodes) = value
        {
            return prompt_from_entries(nodes.into_iter().collect()).map(WorkflowDocument::Api);
        }
    }
    Err(WorkflowError::NotAWorkflow {
        reason: "it has neither a list of nodes nor any class_type".to_owned(),
    })
}

fn prompt_from_entries(entries: Vec<(String, Value)>) -> Result<Prompt, WorkflowError> {
    if entries.len() > MAX_WORKFLOW_NODES {
        return Err(WorkflowError::TooManyNodes {
            nodes: entries.len(),
        });
    }
    let mut nodes = IndexMap::with_capacity(entries.len());
    for (id, value) in entries {
        let node = prompt_node(value).map_err(|reason| WorkflowError::BadNode {
            id: id.clone(),
            reason,
        })?;
        if nodes.contains_key(&id) {
            return Err(WorkflowError::DuplicateNode { id });
        }
        nodes.insert(id, node);
    }
    Ok(Prompt { nodes })
}

fn prompt_node(value: Value) -> Result<PromptNode, String> {
    let Value::Object(mut members) = value else {
        return Err("is not an object".to_owned());
    };
    let class_type = match members.shift_remove("class_type") {
        Some(Value::String(class_type)) if !class_type.is_empty() => class_type,
        Some(_) => return Err("has a class_type that is not a name".to_owned()),
        None => return Err("has no class_type".to_owned()),
    };
    let inputs = match members.shift_remove("inputs") {
        Some(Value::Object(inputs)) => inputs,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err("has inputs that are not an object".to_owned()),
    };
    if inputs.len() > MAX_NODE_INPUTS {
        return Err(format!(
            "has {} inputs, more than the {MAX_NODE_INPUTS} that are read",
            inputs.len()
        ));
    }
    Ok(PromptNode {
        class_type,
        inputs,
        meta: members.shift_remove("_meta"),
    })
}
