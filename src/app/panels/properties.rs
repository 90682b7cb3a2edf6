//! The panel at the right: settings of what is selected, how it stands in the run, and why it runs where it runs.

mod fan_out;
mod frames;
mod items;
mod kinds;
mod matrix;
mod run_policy;
mod seed;
mod sources;
mod workflow;

use crate::app::actions::Action;
use crate::app::fields;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{bar, caption, field_label, hint, row, strong};
use crate::engine::{RetryScope, RunCommand, RunWish, WaitCause};
use crate::project::{Affinity, Node, NodeId, NodeKind, NodeKindName, OnFailure};
use bevy_egui::egui::{self, RichText, ScrollArea, Ui};
use fields::Editor;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let selection = panel.selection;
        match (selection.nodes.len(), selection.links.len()) {
            (0, 0) if selection.frames.is_empty() => project(ui, panel),
            (0, 0) => frames::show(ui, panel),
            (0, _) => links(ui, panel),
            (1, _) => {
                if let Some(node) = selection
                    .nodes
                    .first()
                    .and_then(|id| panel.document.project().nodes.get(id))
                {
                    node_settings(ui, panel, node);
                }
            }
            _ => several(ui, panel),
        }
        ui.add_space(4.0 * GRID);
    });
}

/// Nothing is selected: the project itself.
fn project(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let project = panel.document.project();
    caption(ui, theme, "Project");
    field_label(ui, theme, "Name");
    let mut name = project.name.clone();
    let response = ui.add(
        egui::TextEdit::singleline(&mut name)
            .desired_width(f32::INFINITY)
            .margin(egui::Margin::symmetric(8, 5)),
    );
    if response.changed() {
        let gesture = panel.state.gesture(response.id);
        panel.act(Action::RenameProject { name, gesture });
    }
    panel.state.end_gesture(&response);
    ui.add_space(2.0 * GRID);
    let counts = [
        ("Nodes", project.nodes.len()),
        ("Links", project.links.len()),
        ("Workflows", project.workflows.len()),
    ];
    for (what, count) in counts {
        row(ui, |ui| {
            ui.label(RichText::new(what).color(theme.dim));
            crate::app::widgets::at_right(ui, |ui| ui.label(count.to_string()));
        });
    }
    ui.add_space(2.0 * GRID);
    match panel.document.path() {
        Some(path) => hint(ui, theme, &format!("Saved in {}", path.display())),
        None => hint(
            ui,
            theme,
            "Not saved yet. Results go to a folder of the program until the project has one of its own.",
        ),
    };
    matrix::show(ui, panel);
    ui.add_space(2.0 * GRID);
    hint(ui, theme, "Select a node to see its settings.");
}

fn links(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let project = panel.document.project();
    caption(
        ui,
        theme,
        if panel.selection.links.len() == 1 {
            "Link"
        } else {
            "Links"
        },
    );
    for link in panel
        .selection
        .links
        .iter()
        .filter_map(|id| project.links.get(*id))
    {
        let end = |end: crate::project::PortRef| {
            project
                .nodes
                .get(&end.node)
                .map_or_else(String::new, |node| {
                    let port = node.port(end.port).map_or("?", |port| port.name.as_str());
                    format!("{} · {port}", node.title)
                })
        };
        let data_type = project.output(link.from).map(|port| port.data_type);
        row(ui, |ui| {
            if let Some(data_type) = data_type {
                ui.label(
                    RichText::new(icons::of_data_type(data_type))
                        .color(theme.data_type_color(data_type)),
                )
                .on_hover_text(data_type.title());
            }
            ui.vertical(|ui| {
                ui.label(end(link.from));
                ui.label(
                    RichText::new(format!("{} {}", icons::ARROW_BEND_UP_LEFT, end(link.to)))
                        .color(theme.dim),
                );
            });
        });
    }
    ui.add_space(2.0 * GRID);
    if ui.button(format!("{}  Delete", icons::TRASH)).clicked() {
        panel.act(Action::Delete);
    }
}

/// Several nodes: what they have in common.
fn several(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let document = panel.document;
    let nodes: Vec<&Node> = panel
        .selection
        .nodes
        .iter()
        .filter_map(|id| document.project().nodes.get(id))
        .collect();
    caption(ui, theme, &format!("{} nodes", nodes.len()));
    for kind in NodeKindName::ALL {
        let count = nodes.iter().filter(|node| node.kind.name() == kind).count();
        if count > 0 {
            row(ui, |ui| {
                ui.label(RichText::new(icons::of_kind(kind)).color(theme.kind_color(kind)));
                ui.label(format!("{count} × {}", kind.title()));
            });
        }
    }
    let Some(first) = nodes.first() else { return };

    caption(ui, theme, "In common");
    field_label(ui, theme, "When an item fails");
    let mut editor = Editor::default();
    let same = nodes.iter().all(|node| node.on_failure == first.on_failure);
    let mut on_failure = same.then_some(first.on_failure);
    fields::on_failure(ui, &mut on_failure, &mut editor);
    if let (Some(id), Some(on_failure)) = (editor.changed, on_failure) {
        let gesture = panel.state.gesture(id);
        for node in &nodes {
            let mut node = (*node).clone();
            node.on_failure = on_failure;
            panel.act(Action::ChangeNode {
                node: Box::new(node),
                gesture,
            });
        }
        panel.state.editing = None;
    }

    let workflows: Vec<_> = nodes
        .iter()
        .filter_map(|node| match &node.kind {
            NodeKind::Workflow(settings) => Some((*node, settings)),
            _ => None,
        })
        .collect();
    if let Some((_, lead)) = workflows.first() {
        let mut affinity = lead.affinity.clone();
        let same = workflows
            .iter()
            .all(|(_, settings)| settings.affinity == affinity);
        if !same {
            hint(
                ui,
                theme,
                "The workflow nodes run at different places. A choice here is for all of them.",
            );
        }
        let mut editor = Editor::default();
        workflow::affinity(ui, panel, &mut affinity, &mut editor);
        if let Some(id) = editor.changed {
            let gesture = panel.state.gesture(id);
            for (node, settings) in workflows {
                let mut node = node.clone();
                let mut settings = settings.clone();
                settings.affinity = affinity.clone();
                node.kind = NodeKind::Workflow(settings);
                panel.act(Action::ChangeNode {
                    node: Box::new(node),
                    gesture,
                });
            }
        }
    }
    ui.add_space(3.0 * GRID);
    row(ui, |ui| {
        if ui
            .button(format!("{}  Duplicate", icons::COPY_SIMPLE))
            .clicked()
        {
            panel.act(Action::Duplicate);
        }
        if ui.button(format!("{}  Delete", icons::TRASH)).clicked() {
            panel.act(Action::Delete);
        }
    });
}

fn node_settings(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &Node) {
    let theme = panel.theme;
    let kind = node.kind.name();
    row(ui, |ui| {
        ui.label(
            RichText::new(icons::of_kind(kind))
                .size(16.0)
                .color(theme.kind_color(kind)),
        );
        caption(ui, theme, kind.title());
    });
    let mut changed = node.clone();
    let mut editor = Editor::default();
    let response = ui.add(
        egui::TextEdit::singleline(&mut changed.title)
            .font(egui::FontId::new(
                14.0,
                crate::app::theme::semibold_family(),
            ))
            .desired_width(f32::INFINITY)
            .char_limit(200)
            .margin(egui::Margin::symmetric(8, 6)),
    );
    editor.track(&response);

    in_the_run(ui, panel, node.id);
    kinds::settings(ui, panel, &mut changed, &mut editor);

    egui::CollapsingHeader::new(strong("When an item fails", 12.5))
        .id_salt(("failure", node.id.uuid()))
        .show(ui, |ui| {
            let mut on_failure = Some(changed.on_failure);
            fields::on_failure(ui, &mut on_failure, &mut editor);
            changed.on_failure = on_failure.unwrap_or_default();
            hint(
                ui,
                theme,
                match changed.on_failure {
                    OnFailure::Continue => "Only what depends on the failed item is blocked.",
                    OnFailure::StopRun => "The run stops; what is running finishes.",
                },
            );
        });

    if let Some(id) = editor.changed
        && changed != *node
    {
        let gesture = panel.state.gesture(id);
        panel.act(Action::ChangeNode {
            node: Box::new(changed),
            gesture,
        });
    }
    if editor.ended {
        panel.state.editing = None;
    }
    items::show(ui, panel, node.id);
}

/// How the node stands in the shown run, with what went wrong.
fn in_the_run(ui: &mut Ui, panel: &mut PanelContext<'_>, node_id: NodeId) {
    let theme = panel.theme;
    let runs = panel.runs;
    let Some(view) = runs.shown_view() else {
        return;
    };
    let Some(node) = summary::node_view(view, node_id) else {
        return;
    };
    let failed = node.counts.get(crate::engine::ItemState::Failed);
    ui.add_space(GRID);
    ui.label(
        RichText::new(summary::counts_text(&node.counts))
            .size(TEXT_SMALL)
            .color(theme.dim),
    );
    let color = if failed > 0 {
        theme.error
    } else {
        theme.accent
    };
    bar(ui, theme, summary::fraction_of(&node.counts), color, 4.0);
    let failures = summary::failures(node);
    for (message, count) in failures.iter().take(3) {
        egui::Frame::new()
            .fill(theme.error.gamma_multiply(0.12))
            .corner_radius(6)
            .inner_margin(egui::Margin::symmetric(8, 6))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                let times = if *count > 1 {
                    format!(" ({count} ×)")
                } else {
                    String::new()
                };
                ui.add(
                    egui::Label::new(
                        RichText::new(format!("{} {message}{times}", icons::WARNING_CIRCLE))
                            .size(12.0)
                            .color(theme.error),
                    )
                    .wrap()
                    .selectable(true),
                );
            });
    }
    let waits = node.counts.get(crate::engine::ItemState::Blocked)
        + node.counts.get(crate::engine::ItemState::Skipped);
    if let Some(reason) = node.last_reason.as_deref().filter(|_| waits > 0) {
        hint(ui, theme, reason);
    }
    if let Some(notice) = &node.last_notice {
        hint(ui, theme, notice);
    }
    if let Some(wait) = summary::node_wait(view, panel.live, node_id) {
        let color = match wait.cause {
            WaitCause::Nobody => theme.warn,
            WaitCause::Turn | WaitCause::Paused => theme.dim,
        };
        ui.add(egui::Label::new(RichText::new(wait.words()).size(12.0).color(color)).wrap());
    }
    let lost = failed + node.counts.get(crate::engine::ItemState::Cancelled);
    let words = format!("{}  {}", icons::ARROWS_CLOCKWISE, summary::RETRY_OF_NODE);
    if lost > 0
        && ui.button(words).clicked()
        && let Some(run_id) = view.run_id
    {
        let again = RunWish::Retry(RetryScope::Node(node_id));
        panel.command(RunCommand::wish(run_id, again));
    }
}

/// The words for where a node may run.
fn affinity_words(affinity: &Affinity) -> &'static str {
    match affinity {
        Affinity::Any => "Any backend",
        Affinity::Tags(_) => "Backends with tags",
        Affinity::Backend(_) => "One backend",
    }
}
