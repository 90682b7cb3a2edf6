//! Searches with a list: the command palette, and the search for a node to add.

use super::modal_from_top;
use crate::app::actions::{ACTIONS, Action, LookedAt, NewNode};
use crate::app::apply::new_node;
use crate::app::catalog::{InnerNode, WorkflowFacts};
use crate::app::icons;
use crate::app::search::fuzzy_score;
use crate::app::shell::PanelContext;
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::ListRow;
use crate::project::{DataType, NodeId, NodeKindName, PortRef};
use bevy_egui::egui::{self, Color32, Context, Key, Margin, RichText, ScrollArea, Sense, TextEdit};

/// Rows shown at once.
const ROWS: usize = 200;

/// A search that is open.
#[derive(Clone, Debug)]
pub struct Finder {
    what: What,
    query: String,
    chosen: usize,
    fresh: bool,
}

#[derive(Clone, Debug)]
enum What {
    Commands,
    Nodes {
        pos_world: Option<[f32; 2]>,
        connect: Option<PortRef>,
    },
    InnerNodes {
        node_id: NodeId,
        items: LookedAt,
        inner: Vec<InnerNode>,
    },
}

impl Finder {
    /// Search through every action, the nodes of the graph, and what can be added.
    #[must_use]
    pub fn commands() -> Self {
        Self::of(What::Commands)
    }

    /// Search for a node to add.
    #[must_use]
    pub fn nodes(pos_world: Option<[f32; 2]>, connect: Option<PortRef>) -> Self {
        Self::of(What::Nodes { pos_world, connect })
    }

    /// Search for a node inside the workflow of a node, to run the workflow up to there.
    #[must_use]
    pub fn inner_nodes(node_id: NodeId, items: LookedAt, inner: Vec<InnerNode>) -> Self {
        Self::of(What::InnerNodes {
            node_id,
            items,
            inner,
        })
    }

    fn of(what: What) -> Self {
        Self {
            what,
            query: String::new(),
            chosen: 0,
            fresh: true,
        }
    }
}

struct Found {
    icon: &'static str,
    color: Color32,
    title: String,
    note: String,
    action: Action,
    enabled: bool,
    score: i32,
}

/// Draws the search, if one is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut finder) = panel.dialogs.finder.take() else {
        return;
    };
    let mut rows = match &finder.what {
        What::Commands => {
            let mut rows = commands(panel, &finder.query);
            rows.extend(graph_nodes(panel, &finder.query));
            rows
        }
        What::Nodes { pos_world, connect } => addable(panel, &finder.query, *pos_world, *connect),
        What::InnerNodes {
            node_id,
            items,
            inner,
        } => inner_rows(panel, &finder.query, (*node_id, items), inner),
    };
    if !finder.query.is_empty() {
        rows.sort_by_key(|row| std::cmp::Reverse(row.score));
    }
    rows.truncate(ROWS);

    let (down, up, enter) = ctx.input_mut(|input| {
        (
            input.consume_key(egui::Modifiers::NONE, Key::ArrowDown),
            input.consume_key(egui::Modifiers::NONE, Key::ArrowUp),
            input.consume_key(egui::Modifiers::NONE, Key::Enter),
        )
    });
    if down {
        finder.chosen = (finder.chosen + 1).min(rows.len().saturating_sub(1));
    }
    if up {
        finder.chosen = finder.chosen.saturating_sub(1);
    }
    let mut done = if enter {
        rows.get(finder.chosen)
            .filter(|row| row.enabled)
            .map(|row| row.action.clone())
    } else {
        None
    };
    let theme = panel.theme;
    let at = match finder.what {
        What::Nodes {
            pos_world: Some(pos_world),
            ..
        } => place_of(ctx, panel, pos_world),
        _ => None,
    };
    let list_height = (ctx.content_rect().height() * 0.84 - 150.0).clamp(90.0, 360.0);
    let closed = modal_from_top(ctx, panel.theme, "finder", 480.0, at, |ui| {
        let hint = match finder.what {
            What::Commands => "Search for an action or a node",
            What::Nodes { .. } => "Search for a node or a workflow to add",
            What::InnerNodes { .. } => "Run the workflow up to…",
        };
        let response = ui.add(
            TextEdit::singleline(&mut finder.query)
                .hint_text(format!("{}  {hint}", icons::MAGNIFYING_GLASS))
                .font(egui::FontId::proportional(15.0))
                .desired_width(f32::INFINITY)
                .char_limit(200)
                .margin(Margin::symmetric(10, 8)),
        );
        if finder.fresh || !response.has_focus() {
            response.request_focus();
            finder.fresh = false;
        }
        if response.changed() {
            finder.chosen = 0;
        }
        ui.add_space(6.0);
        ui.spacing_mut().item_spacing.y = 1.0;
        ScrollArea::vertical()
            .max_height(list_height)
            .min_scrolled_height(list_height.min(200.0))
            .show(ui, |ui| {
                if rows.is_empty() {
                    ui.label(RichText::new("Nothing fits").color(theme.dim));
                }
                for (index, found) in rows.iter().enumerate() {
                    ui.add_enabled_ui(found.enabled, |ui| {
                        let row = ListRow {
                            title_lines: 1,
                            icon: found.icon,
                            icon_color: if found.enabled {
                                found.color
                            } else {
                                theme.faint
                            },
                            title: &found.title,
                            note: &found.note,
                            selected: index == finder.chosen,
                            indent: 0.0,
                        }
                        .show(ui, theme, Sense::click());
                        if index == finder.chosen && (down || up) {
                            row.scroll_to_me(None);
                        }
                        if row.clicked() && found.enabled {
                            done = Some(found.action.clone());
                        }
                    });
                }
            });
        ui.add_space(6.0);
        ui.label(
            RichText::new("↑ ↓ to choose · Enter to do it · Esc to close")
                .size(TEXT_SMALL)
                .color(theme.dim),
        );
    });
    match done {
        Some(action) => panel.act(action),
        None if closed => {}
        None => panel.dialogs.finder = Some(finder),
    }
}

/// Where a point of the canvas is seen, in points of the window.
fn place_of(ctx: &Context, panel: &PanelContext<'_>, pos_world: [f32; 2]) -> Option<egui::Pos2> {
    let rect = panel.canvas_rect?;
    let scale = panel.view.zoom / ctx.zoom_factor();
    let center = panel.view.center_world;
    let offset = egui::vec2(pos_world[0] - center.x, pos_world[1] - center.y) * scale;
    Some(rect.center() + offset)
}

fn commands(panel: &PanelContext<'_>, query: &str) -> Vec<Found> {
    let context = panel.action_context();
    ACTIONS
        .iter()
        .filter(|spec| spec.action != Action::CommandPalette)
        .filter_map(|spec| {
            let score = fuzzy_score(query, spec.title).or_else(|| {
                fuzzy_score(query, &format!("{} {}", spec.category.title(), spec.title))
                    .map(|score| score - 8)
            })?;
            let shortcut = panel.keymap.shown(spec.id);
            let note = if shortcut.is_empty() {
                spec.category.title().to_owned()
            } else {
                shortcut
            };
            Some(Found {
                icon: if spec.icon.is_empty() {
                    icons::COMMAND
                } else {
                    spec.icon
                },
                color: panel.theme.dim,
                title: spec.title.to_owned(),
                note,
                action: spec.action.clone(),
                enabled: spec.needs.met(&context),
                score,
            })
        })
        .collect()
}

/// Nodes inside a workflow; what gives nothing to look at says so.
fn inner_rows(
    panel: &PanelContext<'_>,
    query: &str,
    (node_id, items): (NodeId, &LookedAt),
    inner: &[InnerNode],
) -> Vec<Found> {
    inner
        .iter()
        .filter_map(|one| {
            let score = fuzzy_score(query, &one.title)?;
            let (note, action) = match &one.output {
                Ok(output) => (
                    output.name.clone(),
                    Action::RunInto {
                        node_id,
                        inner: Box::new(output.clone()),
                        items: items.clone(),
                    },
                ),
                Err(_) => ("nothing to look at".to_owned(), Action::RunUpTo(node_id)),
            };
            Some(Found {
                icon: icons::EYE,
                color: panel.theme.dim,
                title: one.title.clone(),
                note,
                action,
                enabled: one.output.is_ok(),
                score,
            })
        })
        .collect()
}

fn graph_nodes(panel: &PanelContext<'_>, query: &str) -> Vec<Found> {
    if query.is_empty() {
        return Vec::new();
    }
    panel
        .document
        .project()
        .nodes
        .values()
        .filter_map(|node| {
            let kind = node.kind.name();
            Some(Found {
                icon: icons::of_kind(kind),
                color: panel.theme.kind_color(kind),
                title: node.title.clone(),
                note: "on the canvas".to_owned(),
                action: Action::RevealNode(node.id),
                enabled: true,
                score: fuzzy_score(query, &node.title)?,
            })
        })
        .collect()
}

/// Kinds and workflows; with a dragged link only those that can take it.
fn addable(
    panel: &mut PanelContext<'_>,
    query: &str,
    pos_world: Option<[f32; 2]>,
    connect: Option<PortRef>,
) -> Vec<Found> {
    let project = panel.document.project();
    let end = connect.and_then(|end| {
        let node = project.nodes.get(&end.node)?;
        match (node.output(end.port), node.input(end.port)) {
            (Some(port), _) => Some((port.data_type, true)),
            (None, Some(port)) => Some((port.data_type, false)),
            (None, None) => None,
        }
    });
    let fits = |inputs: &[DataType], outputs: &[DataType]| match end {
        None => true,
        Some((from, true)) => inputs.iter().any(|to| to.accepts(from)),
        Some((to, false)) => outputs.iter().any(|from| to.accepts(*from)),
    };
    let mut found = Vec::new();
    for (name, file) in &project.workflows {
        let facts = panel.catalog.facts(name, file);
        let WorkflowFacts::Usable(inspection) = &*facts else {
            continue;
        };
        let inputs: Vec<DataType> = inspection
            .loaders()
            .map(|field| crate::app::catalog::data_type_of(field.value_type))
            .collect();
        let outputs: Vec<DataType> = inspection
            .outputs
            .iter()
            .map(|output| crate::app::catalog::data_type_of(output.value_type))
            .collect();
        if let Some(score) = fuzzy_score(query, name.as_str())
            && fits(&inputs, &outputs)
        {
            found.push(Found {
                icon: icons::of_kind(NodeKindName::Workflow),
                color: panel.theme.kind_color(NodeKindName::Workflow),
                title: name.as_str().to_owned(),
                note: "workflow".to_owned(),
                action: Action::AddNode {
                    node: NewNode::Workflow(name.clone()),
                    pos_world,
                    connect,
                },
                enabled: true,
                score: score + 4,
            });
        }
    }
    for kind in NodeKindName::ALL {
        let data_type = end.map_or(DataType::Any, |(data_type, _)| data_type);
        let Some(node) = new_node(kind, data_type) else {
            continue;
        };
        let inputs: Vec<DataType> = node.inputs.iter().map(|port| port.data_type).collect();
        let outputs: Vec<DataType> = node.outputs.iter().map(|port| port.data_type).collect();
        let score = fuzzy_score(query, kind.title())
            .or_else(|| fuzzy_score(query, kind.about()).map(|score| score - 30));
        if let Some(score) = score
            && fits(&inputs, &outputs)
        {
            found.push(Found {
                icon: icons::of_kind(kind),
                color: panel.theme.kind_color(kind),
                title: kind.title().to_owned(),
                note: kind.about().to_owned(),
                action: Action::AddNode {
                    node: NewNode::Kind(kind),
                    pos_world,
                    connect,
                },
                enabled: true,
                score,
            });
        }
    }
    if connect.is_none() {
        found.push(Found {
            icon: icons::DOWNLOAD_SIMPLE,
            color: panel.theme.dim,
            title: "Import workflow…".to_owned(),
            note: "from a file".to_owned(),
            action: Action::ImportWorkflow,
            enabled: true,
            score: fuzzy_score(query, "Import workflow").unwrap_or(i32::MIN),
        });
    }
    found
}
