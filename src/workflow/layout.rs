//! Prompt → editor format: nodes placed left to right by dependency, links and widget values as ComfyUI's editor saves
//! them.

use super::convert::{
    ConvertError, default_title, refuse_too_many_inputs, saved_inputs_of, saved_values,
};
use super::object_info::{NodeSpec, ObjectInfo};
use super::patch::link_source;
use super::prompt::{Prompt, PromptNode};
use super::ui::UiWorkflow;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// Width of a node in the editor's units.
const NODE_WIDTH: f64 = 320.0;
/// Space between two columns.
const COLUMN_GAP: f64 = 80.0;
/// Space between two nodes of a column, the title bar of the lower one included.
const ROW_GAP: f64 = 70.0;
/// Height of a slot or of a one-line widget.
const LINE_HEIGHT: f64 = 26.0;
/// Height of a text widget with several lines.
const TEXT_HEIGHT: f64 = 120.0;

/// Lays a prompt out as an editor file that opens in ComfyUI and converts back to the prompt.
///
/// Needs every class, since only the backend knows the order of a node's widgets. Node ids stay as they are. What has no
/// place in an editor file is lost: inputs that a class does not have, `//` and a backslash before a brace within texts
/// whose field takes comments and choices, and carriage returns in fields of several lines; [`diff`](super::diff) of the prompt and of what it converts back to tells.
pub fn to_editor(prompt: &Prompt, object_info: &ObjectInfo) -> Result<UiWorkflow, ConvertError> {
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut specs: IndexMap<&str, (&PromptNode, &NodeSpec)> = IndexMap::new();
    for (id, node) in &prompt.nodes {
        match object_info.get(&node.class_type) {
            Some(spec) => {
                specs.insert(id, (node, spec));
            }
            None => unknown
                .entry(node.class_type.clone())
                .or_default()
                .push(id.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(ConvertError::UnknownClasses { classes: unknown });
    }
    refuse_too_many_inputs(specs.values().map(|(_, spec)| *spec))?;
    let columns = columns(&specs);
    let mut links: Vec<Value> = Vec::new();
    // (id of the node, slot) → ids of the links that leave there
    let mut leaving: HashMap<(&str, usize), Vec<usize>> = HashMap::new();
    let mut inputs_of: HashMap<&str, Vec<Value>> = HashMap::new();
    for (id, (node, spec)) in &specs {
        let mut inputs = Vec::new();
        for (slot, input) in saved_inputs_of(spec, node).into_iter().enumerate() {
            let linked = node
                .inputs
                .get(&input.name)
                .and_then(link_source)
                .filter(|(source, _)| specs.contains_key(source));
            let mut saved = Map::new();
            saved.insert("name".to_owned(), input.name.clone().into());
            saved.insert("type".to_owned(), input.type_name.clone().into());
            if input.has_widget {
                saved.insert("widget".to_owned(), json!({ "name": input.name }));
            }
            let link = linked.map(|(source, source_slot)| {
                let link = links.len() + 1;
                let type_name = specs
                    .get(source)
                    .and_then(|(_, spec)| spec.outputs.get(source_slot))
                    .map_or(input.type_name.as_str(), |output| output.type_name.as_str());
                links.push(json!([
                    link,
                    editor_id(source),
                    source_slot,
                    editor_id(id),
                    slot,
                    type_name
                ]));
                if let Some((source, _)) = specs.get_key_value(source) {
                    leaving.entry((source, source_slot)).or_default().push(link);
                }
                link
            });
            saved.insert("link".to_owned(), json!(link));
            inputs.push(Value::Object(saved));
        }
        inputs_of.insert(id, inputs);
    }
    // What is linked beyond the outputs that a class has is kept.
    let mut highest_slots: HashMap<&str, usize> = HashMap::new();
    for (source, slot) in leaving.keys() {
        let highest = highest_slots.entry(source).or_default();
        *highest = slot.saturating_add(1).max(*highest);
    }
    let mut nodes = Vec::with_capacity(specs.len());
    let mut order = 0;
    let mut x = 0.0;
    for column in &columns {
        let mut y = 0.0;
        for id in column {
            let Some((node, spec)) = specs.get(id) else {
                continue;
            };
            let inputs = inputs_of.remove(id).unwrap_or_default();
            let values = saved_values(spec, node);
            let highest_slot = highest_slots.get(id).copied().unwrap_or(0);
            let outputs: Vec<Value> = (0..spec.outputs.len().max(highest_slot.min(MAX_OUTPUTS)))
                .map(|slot| {
                    let known = spec.outputs.get(slot);
                    json!({
                        "name": known.map_or("*", |output| output.name.as_str()),
                        "type": known.map_or("*", |output| output.type_name.as_str()),
                        "slot_index": slot,
                        "links": leaving.get(&(*id, slot)),
                    })
                })
                .collect();
            let height = height(&inputs, &outputs, &values);
            let mut saved = Map::new();
            saved.insert("id".to_owned(), editor_id(id));
            saved.insert("type".to_owned(), node.class_type.clone().into());
            saved.insert("pos".to_owned(), json!([x, y]));
            saved.insert("size".to_owned(), json!([NODE_WIDTH, height]));
            saved.insert("flags".to_owned(), json!({}));
            saved.insert("order".to_owned(), json!(order));
            saved.insert("mode".to_owned(), json!(0));
            saved.insert("inputs".to_owned(), inputs.into());
            saved.insert("outputs".to_owned(), outputs.into());
            if !matches!(node.title(), "") && node.title() != default_title(spec) {
                saved.insert("title".to_owned(), node.title().into());
            }
            saved.insert(
                "properties".to_owned(),
                json!({ "Node name for S&R": node.class_type }),
            );
            saved.insert("widgets_values".to_owned(), values.into());
            nodes.push(Value::Object(saved));
            order += 1;
            y += height + ROW_GAP;
        }
        x += NODE_WIDTH + COLUMN_GAP;
    }
    let last_node_id = prompt
        .nodes
        .keys()
        .flat_map(|id| id.split(':'))
        .filter_map(|id| id.parse::<u32>().ok())
        .max()
        .unwrap_or(0);
    let file = json!({
        "last_node_id": last_node_id,
        "last_link_id": links.len(),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    });
    let raw = match file {
        Value::Object(raw) => raw,
        _ => Map::new(),
    };
    Ok(UiWorkflow::from_checked(raw))
}

/// Most outputs a node is given because links leave there; a class has some tens at most.
const MAX_OUTPUTS: usize = 1000;

/// An id as the editor has it: a number where it is one.
fn editor_id(id: &str) -> Value {
    match id.parse::<u32>() {
        Ok(number) if number.to_string() == id => number.into(),
        _ => id.into(),
    }
}

fn height(inputs: &[Value], outputs: &[Value], values: &[Value]) -> f64 {
    let sockets = inputs
        .iter()
        .filter(|input| input.get("widget").is_none())
        .count()
        .max(outputs.len());
    let widgets: f64 = values
        .iter()
        .map(|value| match value.as_str() {
            Some(text) if text.len() > 60 || text.contains('\n') => TEXT_HEIGHT,
            _ => LINE_HEIGHT,
        })
        .sum();
    LINE_HEIGHT * (sockets as f64 + 1.0) + widgets
}

/// The nodes by column: each one right of everything it depends on, beside the middle of what feeds it.
fn columns<'a>(specs: &IndexMap<&'a str, (&'a PromptNode, &'a NodeSpec)>) -> Vec<Vec<&'a str>> {
    let sources: Vec<Vec<usize>> = specs
        .values()
        .map(|(node, _)| {
            node.inputs
                .values()
                .filter_map(|value| specs.get_index_of(link_source(value)?.0))
                .collect()
        })
        .collect();
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); specs.len()];
    let mut waiting: Vec<usize> = vec![0; specs.len()];
    for (index, sources) in sources.iter().enumerate() {
        for source in sources {
            if let (Some(consumers), Some(waiting)) =
                (consumers.get_mut(*source), waiting.get_mut(index))
            {
                consumers.push(index);
                *waiting += 1;
            }
        }
    }
    // Nodes of a cycle never become ready and stay in the first column.
    let mut column = vec![0_usize; specs.len()];
    let mut ready: Vec<usize> = (0..specs.len())
        .filter(|index| waiting.get(*index) == Some(&0))
        .collect();
    while let Some(index) = ready.pop() {
        let next = column.get(index).copied().unwrap_or_default() + 1;
        for consumer in consumers.get(index).into_iter().flatten() {
            if let (Some(column), Some(waiting)) =
                (column.get_mut(*consumer), waiting.get_mut(*consumer))
            {
                *column = (*column).max(next);
                *waiting -= 1;
                if *waiting == 0 {
                    ready.push(*consumer);
                }
            }
        }
    }
    let count = column.iter().max().map_or(0, |last| last + 1);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, column) in column.iter().enumerate() {
        if let Some(column) = columns.get_mut(*column) {
            column.push(index);
        }
    }
    let mut row = vec![0.0_f64; specs.len()];
    for nodes in &mut columns {
        let middle = |index: usize, row: &[f64]| {
            let sources = sources.get(index).map(Vec::as_slice).unwrap_or_default();
            if sources.is_empty() {
                return f64::MAX;
            }
            let sum: f64 = sources.iter().filter_map(|source| row.get(*source)).sum();
            sum / sources.len() as f64
        };
        nodes.sort_by(|a, b| middle(*a, &row).total_cmp(&middle(*b, &row)));
        for (at, index) in nodes.iter().enumerate() {
            if let Some(row) = row.get_mut(*index) {
                *row = at as f64;
            }
        }
    }
    columns
        .into_iter()
        .map(|nodes| {
            nodes
                .into_iter()
                .filter_map(|index| specs.get_index(index).map(|(id, _)| *id))
                .collect()
        })
        .collect()
}
