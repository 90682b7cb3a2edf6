//! The two file formats of a project: the `project.ron` of a project folder, and the portable `NAME.orchestrator.json`.
//!
//! Bytes in, bytes out. Equal documents give equal bytes.

use super::check::{NodeFault, check_values};
use super::document::{Frame, Link, Project, WorkflowFile};
use super::id::ProjectId;
use super::links::Links;
use super::node::{Node, WorkflowName};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The format that this version writes. It reads this one and refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

/// Most bytes of a project file, read or written. A node takes 300-900 bytes.
pub const MAX_PROJECT_BYTES: usize = 128 * 1024 * 1024;

/// Levels of RON that are broken into lines: the file, its lists, the nodes, the fields of a node.
const RON_LINE_DEPTH: usize = 3;

/// Deepest nesting of RON that is read or written. The document itself needs fewer than 30.
const RON_DEPTH: usize = 96;

/// Why bytes are no project, or a project cannot become bytes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// More bytes than [`MAX_PROJECT_BYTES`].
    #[error(
        "it has {bytes} bytes, more than the {MAX_PROJECT_BYTES} that a project may have; split the project"
    )]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// A later version of this program wrote it.
    #[error(
        "it has format version {found}, but this program reads up to version {FORMAT_VERSION}; open it with a newer version of the program"
    )]
    NewerVersion {
        /// The version in the file.
        found: u64,
    },
    /// A node is of a kind that this program does not know.
    #[error(
        "it has a node of the unknown kind \"{kind}\"; known are workflow, input, fan_out, condition, merge, review and output. Open it with a newer version of the program"
    )]
    UnknownNodeKind {
        /// The kind in the file.
        kind: String,
    },
    /// The bytes are not in the format.
    #[error(
        "it is not a project in {format} form: {reason}. Restore an earlier version or correct it by hand"
    )]
    Malformed {
        /// Which format was expected.
        format: ProjectFormat,
        /// What the reader said, with line and column.
        reason: String,
    },
    /// Two things share an id.
    #[error("it has two {what} with the id {id}; give one of them another id")]
    DuplicateId {
        /// Nodes, links or frames.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// A node holds a value that no document may hold.
    #[error("its node \"{node}\" cannot be used: {fault}")]
    Node {
        /// The node's title.
        node: String,
        /// What is wrong.
        fault: NodeFault,
    },
    /// A frame's place or size is infinite or not a number.
    #[error(
        "the place or size of its frame \"{frame}\" is not a finite number; correct it by hand"
    )]
    FrameNotFinite {
        /// The frame's title.
        frame: String,
    },
}

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectFormat {
    /// `project.ron` in a project folder.
    Folder,
    /// `NAME.orchestrator.json`, workflows embedded.
    Portable,
}

impl fmt::Display for ProjectFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "project.ron",
            Self::Portable => ".orchestrator.json",
        })
    }
}

/// What `project.ron` holds. The workflows lie beside it, in `workflows/NAME.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderForm {
    format_version: u32,
    id: ProjectId,
    name: String,
    nodes: Vec<Node>,
    links: Vec<Link>,
    frames: Vec<Frame>,
}

/// A ComfyUI Orchestrator project in one file: the graph and the ComfyUI workflows that its nodes run.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ComfyUI Orchestrator project")]
struct PortableForm {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    format_version: u32,
    /// Identity of the project, the same through renames and copies.
    id: ProjectId,
    /// Name of the project, also the default output folder.
    name: String,
    /// The nodes. Ids are unique.
    nodes: Vec<Node>,
    /// The links. Ids are unique; their order decides the order in which a Merge appends.
    #[serde(default)]
    links: Vec<Link>,
    /// Titled rectangles behind nodes.
    #[serde(default)]
    frames: Vec<Frame>,
    /// Name → exact text of a ComfyUI workflow file, JSON as a string.
    #[serde(default)]
    workflows: BTreeMap<WorkflowName, String>,
    /// Name → what the page of ComfyUI's editor made of that workflow, for those that were saved from there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    page_prompts: BTreeMap<WorkflowName, KeptPrompt>,
}

/// A prompt that the page of ComfyUI's editor made of a workflow. It counts only for the text it was made of.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeptPrompt {
    /// BLAKE3 of the workflow's text, 64 hexadecimal digits.
    made_of: String,
    /// The prompt, JSON as a string.
    prompt: String,
}

/// The file of a prompt that the page of ComfyUI's editor made of a workflow; none for one that was not saved there.
#[must_use]
pub fn write_page_prompt(file: &WorkflowFile) -> Option<String> {
    serde_json::to_string_pretty(&KeptPrompt::of(file)?).ok()
}

/// A workflow file with the prompt that was kept for it; without, when that belongs to another text or cannot be read.
#[must_use]
pub fn with_page_prompt(file: WorkflowFile, kept: &[u8]) -> WorkflowFile {
    match serde_json::from_slice::<KeptPrompt>(kept) {
        Ok(kept) => kept.give_to(file),
        Err(_) => file,
    }
}

impl KeptPrompt {
    fn of(file: &WorkflowFile) -> Option<Self> {
        Some(Self {
            made_of: file.text_hash().to_hex().to_string(),
            prompt: file.page_prompt.as_deref()?.to_owned(),
        })
    }

    fn give_to(self, file: WorkflowFile) -> WorkflowFile {
        match blake3::Hash::from_hex(&self.made_of) {
            Ok(text_hash) => file.with_kept_prompt(text_hash, self.prompt.into()),
            Err(_) => file,
        }
    }
}

/// The `project.ron` of a project. Its workflows are files of their own and not in it.
pub fn write_folder_form(project: &Project) -> Result<String, FormatError> {
    let form = FolderForm {
        format_version: FORMAT_VERSION,
        id: project.id,
        name: project.name.clone(),
        nodes: project.nodes.values().cloned().collect(),
        links: project.links.values().copied().collect(),
        frames: project.frames.values().cloned().collect(),
    };
    let style = ron::ser::PrettyConfig::new()
        .depth_limit(RON_LINE_DEPTH)
        .new_line("\n");
    let mut text = ron_options()
        .to_string_pretty(&form, style)
        .map_err(|error| malformed(ProjectFormat::Folder, &error))?;
    text.push('\n');
    within_limit(text.len())?;
    Ok(text)
}

/// Reads a `project.ron`. Its workflows are handed in: the exact texts of the files in `workflows/`.
pub fn read_folder_form(
    bytes: &[u8],
    workflows: BTreeMap<WorkflowName, WorkflowFile>,
) -> Result<Project, FormatError> {
    within_limit(bytes.len())?;
    let form: FolderForm = ron_options().from_bytes(bytes).map_err(|error| {
        let newer = ron_options()
            .from_bytes::<Version>(bytes)
            .ok()
            .filter(Version::is_newer);
        match (newer, error.code) {
            (Some(version), _) => version.refusal(),
            (
                None,
                ron::Error::NoSuchEnumVariant {
                    found,
                    outer: Some(outer),
                    ..
                },
            ) if outer == "NodeKind" => FormatError::UnknownNodeKind { kind: found },
            (None, code) => {
                let place = error.span.start;
                let reason = format!("line {}, column {}: {code}", place.line, place.col);
                malformed(ProjectFormat::Folder, &reason)
            }
        }
    })?;
    let parts = Parts {
        format_version: form.format_version,
        project: Project {
            workflows,
            ..Project::new(form.id, &form.name)
        },
        nodes: form.nodes,
        links: form.links,
        frames: form.frames,
    };
    parts.assemble()
}

/// The portable form of a project: one JSON file with everything in it.
pub fn write_portable_form(project: &Project) -> Result<String, FormatError> {
    let form = PortableForm {
        format_version: FORMAT_VERSION,
        id: project.id,
        name: project.name.clone(),
        nodes: project.nodes.values().cloned().collect(),
        links: project.links.values().copied().collect(),
        frames: project.frames.values().cloned().collect(),
        workflows: project
            .workflows
            .iter()
            .map(|(name, file)| (name.clone(), file.text.as_ref().to_owned()))
            .collect(),
        page_prompts: project
            .workflows
            .iter()
            .filter_map(|(name, file)| Some((name.clone(), KeptPrompt::of(file)?)))
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&form)
        .map_err(|error| malformed(ProjectFormat::Portable, &error))?;
    text.push('\n');
    within_limit(text.len())?;
    Ok(text)
}

/// Reads the portable form.
pub fn read_portable_form(bytes: &[u8]) -> Result<Project, FormatError> {
    within_limit(bytes.len())?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let form: PortableForm = serde_json::from_slice(bytes).map_err(|error| {
        let newer = serde_json::from_slice::<Version>(bytes)
            .ok()
            .filter(Version::is_newer);
        if let Some(version) = newer {
            return version.refusal();
        }
        match unknown_kind(bytes) {
            Some(kind) => FormatError::UnknownNodeKind { kind },
            None => malformed(ProjectFormat::Portable, &error),
        }
    })?;
    let mut page_prompts = form.page_prompts;
    let workflows = form
        .workflows
        .into_iter()
        .map(|(name, text)| {
            let file = WorkflowFile::new(text);
            let file = match page_prompts.remove(&name) {
                Some(kept) => kept.give_to(file),
                None => file,
            };
            (name, file)
        })
        .collect();
    let parts = Parts {
        format_version: form.format_version,
        project: Project {
            workflows,
            ..Project::new(form.id, &form.name)
        },
        nodes: form.nodes,
        links: form.links,
        frames: form.frames,
    };
    parts.assemble()
}

/// JSON Schema of the portable form, as committed in `docs/project.schema.json`.
#[must_use]
pub fn portable_schema() -> serde_json::Value {
    schemars::schema_for!(PortableForm).to_value()
}

/// The one field that every version of the formats has.
#[derive(Deserialize)]
struct Version {
    format_version: u64,
}

impl Version {
    fn is_newer(&self) -> bool {
        self.format_version > u64::from(FORMAT_VERSION)
    }

    fn refusal(&self) -> FormatError {
        FormatError::NewerVersion {
            found: self.format_version,
        }
    }
}

/// The first node kind in a portable file that this version does not know.
fn unknown_kind(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Kinds {
        nodes: Vec<KindOnly>,
    }
    #[derive(Deserialize)]
    struct KindOnly {
        #[allow(
            clippy::zero_sized_map_values,
            reason = "serde reads an externally tagged enum as a map"
        )]
        kind: BTreeMap<String, IgnoredAny>,
    }
    let known = [
        "workflow",
        "input",
        "output",
        "condition",
        "fan_out",
        "merge",
        "review",
    ];
    let kinds: Kinds = serde_json::from_slice(bytes).ok()?;
    kinds
        .nodes
        .into_iter()
        .flat_map(|node| node.kind.into_keys())
        .find(|kind| !known.contains(&kind.as_str()))
}

/// What a file holds, before its ids are known to be unique.
struct Parts {
    format_version: u32,
    project: Project,
    nodes: Vec<Node>,
    links: Vec<Link>,
    frames: Vec<Frame>,
}

impl Parts {
    fn assemble(self) -> Result<Project, FormatError> {
        let version = Version {
            format_version: u64::from(self.format_version),
        };
        if version.is_newer() {
            return Err(version.refusal());
        }
        let mut project = self.project;
        for node in self.nodes {
            check_values(&node).map_err(|fault| FormatError::Node {
                node: node.title.clone(),
                fault,
            })?;
            if let Some(node) = project.nodes.insert(node.id, node) {
                return Err(duplicate("nodes", node.id));
            }
        }
        let mut links = Links::new();
        for link in self.links {
            if let Some(link) = links.insert(link) {
                return Err(duplicate("links", link.id));
            }
        }
        project.links = links;
        for frame in self.frames {
            let mut lengths = frame.pos_world.iter().chain(&frame.size_world);
            if !lengths.all(|length| length.is_finite()) {
                return Err(FormatError::FrameNotFinite { frame: frame.title });
            }
            if let Some(frame) = project.frames.insert(frame.id, frame) {
                return Err(duplicate("frames", frame.id));
            }
        }
        Ok(project)
    }
}

fn duplicate(what: &'static str, id: impl fmt::Display) -> FormatError {
    FormatError::DuplicateId {
        what,
        id: id.to_string(),
    }
}

fn malformed(format: ProjectFormat, reason: &impl fmt::Display) -> FormatError {
    FormatError::Malformed {
        format,
        reason: reason.to_string(),
    }
}

fn within_limit(bytes: usize) -> Result<(), FormatError> {
    if bytes > MAX_PROJECT_BYTES {
        Err(FormatError::TooLarge { bytes })
    } else {
        Ok(())
    }
}

fn ron_options() -> ron::Options {
    ron::Options::default().with_recursion_limit(RON_DEPTH)
}
