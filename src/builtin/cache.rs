//! Outputs kept from one prompt to the next: a node with the same class and inputs, all the way up, is not run again.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{host::Host, node::Datum, spec::NodeClass};

/// What one node made.
#[derive(Debug)]
pub struct CacheEntry {
    /// One value per slot.
    pub outputs: Vec<Datum>,
    /// What it showed, and who it was then.
    pub shown: Option<Shown>,
}

/// What a node showed.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Goes to the history's `meta`.
    pub meta: Value,
    /// Goes to the history's `outputs` and into `executed`.
    pub output: Value,
}

type Signature = blake3::Hash;

/// The cache of one worker. Like ComfyUI's default, it keeps only what the latest prompt could use.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Signature, Arc<CacheEntry>>,
    /// Of the prompt at hand; nodes that must always run have none.
    signatures: HashMap<String, Signature>,
}

/// The `[node id, slot]` of a link.
pub fn as_link(value: &Value) -> Option<(&str, usize)> {
    match value.as_array()?.as_slice() {
        [Value::String(node), Value::Number(slot)] => {
            let slot = slot
                .as_u64()
                .or_else(|| slot.as_f64().map(|slot| slot as u64))?;
            Some((node, slot as usize))
        }
        _ => None,
    }
}

/// The inputs of a node in a prompt.
pub fn inputs_of<'a>(
    prompt: &'a Map<String, Value>,
    node_id: &str,
) -> Option<&'a Map<String, Value>> {
    prompt.get(node_id)?.get("inputs")?.as_object()
}

/// The class of a node in a prompt.
pub fn class_of<'a>(
    host: &'a Host,
    prompt: &Map<String, Value>,
    node_id: &str,
) -> Option<&'a NodeClass> {
    let name = prompt.get(node_id)?.get("class_type")?.as_str()?;
    host.classes.get(name)
}

impl Cache {
    /// Turns to the next prompt: computes the signatures of its nodes and forgets what none of them could use.
    pub fn begin(&mut self, host: &Host, prompt: &Map<String, Value>) {
        self.signatures = signatures(host, prompt);
        let used: HashSet<Signature> = self.signatures.values().copied().collect();
        self.entries.retain(|signature, _| used.contains(signature));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// What is kept for a node of the prompt at hand.
    pub fn get(&self, node_id: &str) -> Option<&Arc<CacheEntry>> {
        self.entries.get(self.signatures.get(node_id)?)
    }

    /// Keeps what a node of the prompt at hand made.
    pub fn set(&mut self, node_id: &str, entry: &Arc<CacheEntry>) {
        if let Some(signature) = self.signatures.get(node_id) {
            self.entries.insert(*signature, Arc::clone(entry));
        }
    }
}

enum Visit {
    Enter(String),
    Leave(String),
}

/// A signature covers the class, the inputs and the signatures of the nodes linked in. Nodes in a cycle, or below a
/// node that is missing, have none.
fn signatures(host: &Host, prompt: &Map<String, Value>) -> HashMap<String, Signature> {
    let mut done: HashMap<String, Option<Signature>> = HashMap::new();
    let mut open: HashSet<String> = HashSet::new();
    for root in prompt.keys() {
        let mut stack = vec![Visit::Enter(root.clone())];
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(node_id) => {
                    if done.contains_key(&node_id) || !open.insert(node_id.clone()) {
                        continue;
                    }
                    stack.push(Visit::Leave(node_id.clone()));
                    for value in inputs_of(prompt, &node_id)
                        .into_iter()
                        .flat_map(Map::values)
                    {
                        if let Some((from, _)) = as_link(value)
                            && prompt.contains_key(from)
                        {
                            stack.push(Visit::Enter(from.to_owned()));
                        }
                    }
                }
                Visit::Leave(node_id) => {
                    let signature = signature(host, prompt, &node_id, &done);
                    open.remove(&node_id);
                    done.insert(node_id, signature);
                }
            }
        }
    }
    done.into_iter()
        .filter_map(|(node_id, signature)| Some((node_id, signature?)))
        .collect()
}

fn signature(
    host: &Host,
    prompt: &Map<String, Value>,
    node_id: &str,
    done: &HashMap<String, Option<Signature>>,
) -> Option<Signature> {
    let class = class_of(host, prompt, node_id)?;
    let inputs = inputs_of(prompt, node_id)?;
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(class.name.as_bytes());
    if class.knows_its_id() {
        part(node_id.as_bytes());
    }
    for input in &class.inputs {
        if let (Some(_), Some(Value::String(name))) =
            (input.kind.file_word(), inputs.get(input.name))
        {
            let bytes = fs::read(host.folders.annotated_file(name)?).ok()?;
            part(blake3::hash(&bytes).as_bytes());
        }
    }
    let mut names: Vec<&String> = inputs.keys().collect();
    names.sort();
    for name in names {
        part(name.as_bytes());
        let value = inputs.get(name)?;
        if let Some((from, slot)) = as_link(value) {
            part(done.get(from).copied().flatten()?.as_bytes());
            part(&(slot as u64).to_le_bytes());
        } else {
            part(value.to_string().as_bytes());
        }
    }
    Some(hasher.finalize())
}
