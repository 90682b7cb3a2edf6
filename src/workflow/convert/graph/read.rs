//! Graphs and nodes as the editor has them after loading a file.

use super::super::super::object_info::ObjectInfo;
use super::super::group_nodes::GroupTypes;
use super::super::slots::{
    class_inputs, class_outputs, saved_inputs, saved_outputs, slots, type_text,
};
use super::super::widgets::{Saved, lay_out};
use super::{Graph, GraphOutput, Kind, Link, Mode, Node, Origin, SUBGRAPH_INPUTS};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// The classes and definitions that nodes can be instances of.
pub(super) struct Known<'a, 'b> {
    pub object_info: &'a ObjectInfo,
    pub subgraphs: &'b HashMap<&'a str, usize>,
    /// None inside a group node: the editor has no groups within groups.
    pub groups: Option<&'a GroupTypes<'a>>,
}

impl<'a> Graph<'a> {
    pub(super) fn read(
        name: &'a str,
        nodes: Option<&'a Value>,
        links: Option<&'a Value>,
        definition: Option<&'a Value>,
        known: &Known<'a, '_>,
    ) -> Self {
        let links: HashMap<_, _> = match links {
            Some(Value::Array(links)) => links.iter().filter_map(read_link).collect(),
            // A map by id, as some tools write it.
            Some(Value::Object(links)) => links.values().filter_map(read_link).collect(),
            _ => HashMap::new(),
        };
        let nodes: Vec<Node<'a>> = nodes
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|node| Node::read(node, known))
            .collect();
        let by_id = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.id.clone(), index))
            .collect();
        let ends = |key: &str| {
            definition
                .map(|definition| slots(definition, key))
                .unwrap_or_default()
        };
        let input_types = ends("inputs").iter().map(type_text).collect();
        let outputs = ends("outputs")
            .iter()
            .map(|output| GraphOutput {
                type_name: type_text(output),
                links: slots(output, "linkIds")
                    .iter()
                    .filter_map(id_text)
                    .collect(),
            })
            .collect();
        Self {
            name,
            nodes,
            by_id,
            links,
            input_types,
            outputs,
        }
    }
}

/// An id of the file as text: numbers and strings mean the same.
pub(in super::super) fn id_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        })),
        _ => None,
    }
}

pub(in super::super) fn slot_number(value: Option<&Value>) -> Option<usize> {
    let value = value?;
    let number = value
        .as_u64()
        .or_else(|| {
            value
                .as_f64()
                .filter(|slot| *slot >= 0.0)
                .map(|slot| slot as u64)
        })
        .or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(number).ok()
}

/// A link, in the list form of version 0.4 or the object form of version 1 and of subgraphs.
fn read_link(link: &Value) -> Option<(Cow<'_, str>, Link<'_>)> {
    let part = |index: usize, name: &str| match link {
        Value::Array(parts) => parts.get(index),
        Value::Object(parts) => parts.get(name),
        _ => None,
    };
    let origin = id_text(part(1, "origin_id")?)?;
    Some((
        id_text(part(0, "id")?)?,
        Link {
            origin: if origin == SUBGRAPH_INPUTS {
                Origin::SubgraphInputs
            } else {
                Origin::Node(origin)
            },
            origin_slot: slot_number(part(2, "origin_slot"))?,
            target: id_text(part(3, "target_id")?)?,
            target_slot: slot_number(part(4, "target_slot")).unwrap_or(0),
        },
    ))
}

/// The editor's spelling of a class name: old names are mended, characters that could be markup are taken out.
pub(in super::super) fn class_name(type_name: &str) -> Cow<'_, str> {
    match type_name {
        "T2IAdapterLoader" => Cow::Borrowed("ControlNetLoader"),
        "ConditioningAverage " => Cow::Borrowed("ConditioningAverage"),
        "SDV_img2vid_Conditioning" => Cow::Borrowed("SVD_img2vid_Conditioning"),
        "Load3DAnimation" => Cow::Borrowed("Load3D"),
        "Preview3DAnimation" => Cow::Borrowed("Preview3D"),
        other if other.contains(['&', '<', '>', '"', '\'', '`', '=']) => Cow::Owned(
            other
                .chars()
                .filter(|c| !['&', '<', '>', '"', '\'', '`', '='].contains(c))
                .collect(),
        ),
        other => Cow::Borrowed(other),
    }
}

impl<'a> Node<'a> {
    fn read(raw: &'a Value, known: &Known<'a, '_>) -> Option<Self> {
        Self::with_id(id_text(raw.get("id")?)?, raw, known)
    }

    fn with_id(id: Cow<'a, str>, raw: &'a Value, known: &Known<'a, '_>) -> Option<Self> {
        let type_name = raw.get("type")?.as_str()?;
        let class_type = class_name(type_name);
        let spec = known
            .object_info
            .get(&class_type)
            .or_else(|| known.object_info.get(type_name));
        let group = known.groups.and_then(|groups| groups.get(type_name));
        let kind = match (known.subgraphs.get(type_name), spec, group) {
            (Some(inner), _, _) => Kind::Subgraph(*inner),
            (None, _, Some(group)) => Kind::Group(group),
            (None, Some(spec), None) => Kind::Class(spec),
            (None, None, None) => match type_name {
                "Reroute" | "Reroute (rgthree)" | "SetNode" => Kind::Reroute,
                "PrimitiveNode" => Kind::Primitive,
                "GetNode" => Kind::Getter,
                "Note"
                | "MarkdownNote"
                | "Label (rgthree)"
                | "Bookmark (rgthree)"
                | "Fast Groups Muter (rgthree)"
                | "Fast Groups Bypasser (rgthree)"
                | "Fast Muter (rgthree)"
                | "Fast Bypasser (rgthree)" => Kind::Note,
                _ => Kind::Unknown,
            },
        };
        let mode = match raw.get("mode").and_then(Value::as_i64) {
            Some(2) => Mode::Muted,
            Some(4) => Mode::Bypassed,
            _ => Mode::Active,
        };
        let of_class = match kind {
            Kind::Class(spec) => Some(spec),
            Kind::Group(group) => Some(&group.spec),
            _ => None,
        };
        let (inputs, outputs, widgets) = match of_class {
            Some(spec) => {
                let widgets = lay_out(spec, &Saved::of(spec, raw.get("widgets_values")));
                (
                    class_inputs(spec, raw, &widgets),
                    class_outputs(spec, raw),
                    widgets,
                )
            }
            None => (saved_inputs(raw), saved_outputs(raw), Vec::new()),
        };
        let inner = match kind {
            Kind::Group(group) => {
                let known = Known {
                    groups: None,
                    ..*known
                };
                let nodes = group.nodes.iter().enumerate();
                nodes
                    .filter_map(|(index, raw)| Self::with_id(index.to_string().into(), raw, &known))
                    .collect()
            }
            _ => Vec::new(),
        };
        Some(Self {
            id,
            class_type,
            title: raw.get("title").and_then(Value::as_str).unwrap_or_default(),
            mode,
            kind,
            inputs,
            outputs,
            widgets,
            inner,
            raw,
        })
    }
}
