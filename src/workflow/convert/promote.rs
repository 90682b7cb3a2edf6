//! Subgraph instances: their slots, and the widgets of inner nodes that are promoted to them.

use super::ConvertError;
use super::graph::{Graph, Graphs, Input, Kind, Node, id_text};
use super::slots::{saved_inputs, slots, type_text};
use super::widgets::{Sending, Widget};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

impl<'a> Graphs<'a> {
    /// Gives the subgraph instances of a graph their slots, and a widget for each input that ends at a widget inside.
    pub fn promote_widgets(
        &mut self,
        index: usize,
        definitions: &'a [Value],
    ) -> Result<(), ConvertError> {
        let Some(graph) = self.list.get(index) else {
            return Ok(());
        };
        let instances: Vec<(usize, usize)> = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(position, node)| match node.kind {
                Kind::Subgraph(inner) => Some((position, inner)),
                _ => None,
            })
            .collect();
        for (position, inner_index) in instances {
            let Some(definition) = inner_index
                .checked_sub(1)
                .and_then(|at| definitions.get(at))
            else {
                continue;
            };
            let (Some(inner), Some(node)) = (
                self.list.get(inner_index),
                self.list
                    .get(index)
                    .and_then(|graph| graph.nodes.get(position)),
            ) else {
                continue;
            };
            // A definition further down the file has no nodes yet when this one is configured.
            let is_configured = index == 0 || inner_index < index;
            let (inputs, outputs, widgets) =
                instance_slots(definition, is_configured.then_some(inner), node);
            for value in widgets.iter().filter_map(|widget| widget.value.as_ref()) {
                self.spend(value)?;
            }
            if let Some(node) = self
                .list
                .get_mut(index)
                .and_then(|graph| graph.nodes.get_mut(position))
            {
                node.inputs = inputs;
                node.outputs = outputs;
                node.widgets = widgets;
            }
        }
        Ok(())
    }

    /// Once a definition is configured, instances of it in definitions further up the file get their widgets, but only
    /// those whose name is that of the widget inside, and with the values from inside.
    pub fn promote_late(
        &mut self,
        index: usize,
        definitions: &'a [Value],
    ) -> Result<(), ConvertError> {
        let Some(definition) = index.checked_sub(1).and_then(|at| definitions.get(at)) else {
            return Ok(());
        };
        let Some(inner) = self.list.get(index) else {
            return Ok(());
        };
        let mut promoted: HashMap<Cow<'a, str>, Widget<'a>> = HashMap::new();
        for slot in slots(definition, "inputs") {
            let found = (|| {
                let name = slot.get("name")?.as_str()?;
                let link = inner.link(id_text(slot.get("linkIds")?.get(0)?)?.as_ref())?;
                let node = inner.nodes.get(inner.node_index(&link.target)?)?;
                node.widgets.iter().find(|widget| widget.name == name)
            })();
            if let Some(widget) = found {
                let mut widget = widget.clone();
                widget.sending = Sending::AsIs;
                promoted.insert(widget.name.clone(), widget);
            }
        }
        let instances = self.list.iter().take(index).skip(1);
        let instances = instances.flat_map(|graph| &graph.nodes);
        let count = instances
            .filter(|node| matches!(node.kind, Kind::Subgraph(inner) if inner == index))
            .count();
        for value in promoted.values().filter_map(|widget| widget.value.as_ref()) {
            self.spend_times(value, count)?;
        }
        for graph in self.list.iter_mut().take(index).skip(1) {
            for node in &mut graph.nodes {
                if !matches!(node.kind, Kind::Subgraph(inner) if inner == index) {
                    continue;
                }
                for input in &mut node.inputs {
                    if let Some(widget) = promoted.get(input.name.as_ref()) {
                        input.widget = Some(input.name.clone());
                        node.widgets.push(widget.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The slots and promoted widgets of a subgraph instance.
fn instance_slots<'a>(
    definition: &'a Value,
    inner: Option<&Graph<'a>>,
    node: &Node<'a>,
) -> (Vec<Input<'a>>, Vec<Cow<'a, str>>, Vec<Widget<'a>>) {
    let saved = saved_inputs(node.raw);
    let mut links: HashMap<&str, &Option<Cow<'a, str>>> = HashMap::new();
    for input in &saved {
        links.insert(&input.name, &input.link);
    }
    let mut inputs = Vec::new();
    let mut widgets: Vec<Widget<'a>> = Vec::new();
    for slot in slots(definition, "inputs") {
        let Some(name) = slot.get("name").and_then(Value::as_str) else {
            continue;
        };
        let promoted = inner.and_then(|inner| promoted_value(slot, inner));
        inputs.push(Input {
            name: Cow::Borrowed(name),
            type_name: type_text(slot),
            link: links.get(name).and_then(|link| (*link).clone()),
            widget: promoted.is_some().then_some(Cow::Borrowed(name)),
        });
        if let Some(mut widget) = promoted {
            widget.name = Cow::Borrowed(name);
            widget.sending = Sending::AsIs;
            widgets.push(widget);
        }
    }
    let defined: HashSet<Cow<'a, str>> = inputs.iter().map(|input| input.name.clone()).collect();
    inputs.extend(
        saved
            .into_iter()
            .filter(|input| !defined.contains(&input.name)),
    );
    give_saved_values(node, &mut widgets);
    drop_shadowed(node, &mut widgets);
    let outputs = slots(definition, "outputs").iter().map(type_text).collect();
    (inputs, outputs, widgets)
}

/// The widget inside that a subgraph input ends at first, as it is there.
fn promoted_value<'a>(slot: &'a Value, inner: &Graph<'a>) -> Option<Widget<'a>> {
    slot.get("linkIds")?
        .as_array()?
        .iter()
        .filter_map(id_text)
        .find_map(|id| {
            let link = inner.links.get(&id)?;
            let node = inner.nodes.get(inner.node_index(&link.target)?)?;
            // Slots may have moved since the file was saved; the link id is certain.
            let input = node
                .inputs
                .iter()
                .find(|input| input.link.as_deref() == Some(id.as_ref()))
                .or_else(|| node.inputs.get(link.target_slot))?;
            let name = input.widget.as_ref()?;
            node.widgets
                .iter()
                .find(|widget| widget.name == *name)
                .cloned()
        })
}

/// The `proxyWidgets` of an instance: (inner node or `-1`, widget name). Saved as a list, or as the text of one.
fn proxies(node: &Node<'_>) -> Vec<(String, String)> {
    let parsed;
    let list = match node.property("proxyWidgets") {
        Some(Value::Array(list)) => list,
        Some(Value::String(text)) => {
            parsed = serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
            &parsed
        }
        _ => return Vec::new(),
    };
    list.iter()
        .filter_map(|proxy| {
            Some((
                id_text(proxy.get(0)?)?.into_owned(),
                proxy.get(1)?.as_str()?.to_owned(),
            ))
        })
        .collect()
}

/// A promoted widget disappears behind a proxy of the same name for a widget inside; the value inside counts then.
fn drop_shadowed(node: &Node<'_>, widgets: &mut Vec<Widget<'_>>) {
    // name → whether one of its entries is the instance's own widget
    let mut is_own: HashMap<String, bool> = HashMap::new();
    for (owner, name) in proxies(node) {
        *is_own.entry(name).or_default() |= owner == "-1";
    }
    widgets.retain(|widget| is_own.get(widget.name.as_ref()).copied().unwrap_or(true));
}

/// Deals the instance's saved values onto its promoted widgets: in order, and those of a `proxyWidgets` list that the
/// instance owns (`-1`) by name.
fn give_saved_values<'a>(node: &Node<'a>, widgets: &mut [Widget<'a>]) {
    let Some(saved) = node.raw.get("widgets_values") else {
        return;
    };
    match saved {
        Value::Array(values) => {
            for (widget, value) in widgets.iter_mut().zip(values) {
                widget.value = Some(value.clone());
            }
            let mut own: HashMap<String, &Value> = HashMap::new();
            for ((owner, name), value) in proxies(node).into_iter().zip(values) {
                if owner == "-1" && !value.is_null() {
                    own.insert(name, value);
                }
            }
            for widget in widgets {
                if let Some(value) = own.get(widget.name.as_ref()) {
                    widget.value = Some((*value).clone());
                }
            }
        }
        Value::Object(values) => {
            for widget in widgets {
                if let Some(value) = values.get(widget.name.as_ref()) {
                    widget.value = Some(value.clone());
                }
            }
        }
        _ => {}
    }
}
