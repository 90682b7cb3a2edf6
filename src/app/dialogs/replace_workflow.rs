//! What saving another workflow into a node changes, before it does.

use super::modal;
use super::uncalled::Uncalled;
use crate::app::actions::Action;
use crate::app::icons;
use crate::app::replace_workflow::{BrokenUses, Reach, Replacement};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, Theme};
use crate::app::widgets::{at_right, caption, hint, primary_button, strong, tick};
use crate::workflow::Change;
use bevy_egui::egui::{Button, Context, RichText, ScrollArea, Ui, Vec2};

/// The open question, with what the person has chosen so far.
#[derive(Debug)]
pub struct ReplaceDialog {
    replacement: Replacement,
    reach: Reach,
    broken: BrokenUses,
    source: Source,
    uncalled: Uncalled,
}

/// Where the new workflow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The window of the node's editor, which waits for the answer.
    Editor,
    /// A file, the library, the browser.
    Elsewhere,
}

impl From<Replacement> for ReplaceDialog {
    fn from(replacement: Replacement) -> Self {
        Self::from_source(replacement, Source::Elsewhere)
    }
}

impl ReplaceDialog {
    /// The question about what the window of a node's editor saved.
    #[must_use]
    pub fn of_editor(replacement: Replacement) -> Self {
        Self::from_source(replacement, Source::Editor)
    }

    fn from_source(replacement: Replacement, source: Source) -> Self {
        Self {
            replacement,
            reach: Reach::ThisNode,
            broken: BrokenUses::Keep,
            source,
            uncalled: Uncalled::default(),
        }
    }
}

/// Most differences that are listed one by one.
const MAX_LISTED: usize = 200;

/// Draws the question, if there is one.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut dialog) = panel.dialogs.replacement.take() else {
        return;
    };
    let node_id = dialog.replacement.node_id;
    let mut answer = None;
    let closed = modal(ctx, panel.theme, "replace-workflow", 620.0, |ui| {
        answer = content(ui, panel, &mut dialog);
    });
    match answer {
        None if !closed => panel.dialogs.replacement = Some(dialog),
        Some(true) => panel.act(Action::ReplaceWorkflow {
            node_id,
            file: dialog.replacement.file,
            reach: dialog.reach,
            broken: dialog.broken,
        }),
        _ if dialog.source == Source::Editor => {
            panel.act(Action::RefuseReplacement { node_id });
        }
        _ => {}
    }
}

fn content(ui: &mut Ui, panel: &PanelContext<'_>, dialog: &mut ReplaceDialog) -> Option<bool> {
    let theme = panel.theme;
    let replacement = &dialog.replacement;
    let title = replacement
        .nodes
        .first()
        .map_or("", |first| first.node.title.as_str());
    ui.label(strong(
        format!(
            "{}  Replace the workflow of \"{title}\"?",
            icons::FLOW_ARROW
        ),
        16.0,
    ));
    ui.add_space(GRID);
    let words = match replacement.changes.len() {
        0 => "Nothing that runs is different; places, groups and notes may be.".to_owned(),
        1 => "One difference in what runs:".to_owned(),
        count => format!("{count} differences in what runs:"),
    };
    ui.label(RichText::new(words).color(theme.dim));
    ui.add_space(GRID);
    ScrollArea::vertical()
        .id_salt("changes")
        .max_height(220.0)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for change in replacement.changes.iter().take(MAX_LISTED) {
                difference(ui, theme, change);
            }
            if replacement.changes.len() > MAX_LISTED {
                let rest = replacement.changes.len() - MAX_LISTED;
                hint(ui, theme, &format!("and {rest} more"));
            }
        });
    let mut any_broken = false;
    for rematched in &replacement.nodes {
        let is_asked = rematched.node.id == replacement.node_id;
        if !is_asked && dialog.reach == Reach::ThisNode {
            continue;
        }
        any_broken |= !rematched.broken.is_empty();
        uses(ui, theme, rematched, replacement.nodes.len() > 1);
    }
    ui.add_space(2.0 * GRID);
    let users = replacement.nodes.len();
    if users > 1 {
        ui.radio_value(
            &mut dialog.reach,
            Reach::ThisNode,
            "Only this node: it gets a workflow of its own",
        );
        ui.radio_value(
            &mut dialog.reach,
            Reach::EveryUser,
            format!("All {users} nodes that use \"{}\"", replacement.workflow),
        );
        ui.add_space(GRID);
    }
    if any_broken {
        let mut remove = dialog.broken == BrokenUses::Remove;
        let words = "Take off the node what leads nowhere, with its links";
        tick(ui, theme, &mut remove, words);
        dialog.broken = if remove {
            BrokenUses::Remove
        } else {
            BrokenUses::Keep
        };
        ui.add_space(GRID);
    }
    ui.add_space(2.0 * GRID);
    let mut answer = None;
    at_right(ui, |ui| {
        let size = Vec2::new(96.0, 30.0);
        let may = dialog.source == Source::Elsewhere || dialog.uncalled.may_be_answered(ui.ctx());
        if ui
            .add_enabled(may, primary_button(theme, "Replace").min_size(size))
            .clicked()
        {
            answer = Some(true);
        }
        if ui
            .add(Button::new("Keep the old one").min_size(size))
            .clicked()
        {
            answer = Some(false);
        }
    });
    answer
}

fn difference(ui: &mut Ui, theme: &Theme, change: &Change) {
    let (icon, color) = match change {
        Change::NodeAdded { .. } => (icons::PLUS, theme.ok),
        Change::NodeRemoved { .. } => (icons::MINUS, theme.error),
        Change::Renamed { .. } | Change::Field { .. } => (icons::PENCIL_SIMPLE, theme.accent),
    };
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(icon).color(color));
        ui.label(change.to_string());
    });
}

fn uses(
    ui: &mut Ui,
    theme: &Theme,
    rematched: &crate::app::replace_workflow::Rematched,
    is_named: bool,
) {
    let is_quiet = rematched.broken.is_empty()
        && rematched.moved.is_empty()
        && rematched.retyped.is_empty()
        && rematched.added.is_empty()
        && rematched.overriding.is_empty();
    if is_quiet {
        return;
    }
    ui.add_space(2.0 * GRID);
    caption(
        ui,
        theme,
        &if is_named {
            format!("On \"{}\"", rematched.node.title)
        } else {
            "On the node".to_owned()
        },
    );
    for broken in &rematched.broken {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(icons::WARNING_CIRCLE).color(theme.error));
            ui.label(strong(broken.label.clone(), 13.0));
            ui.label(broken.reason.to_string());
        });
    }
    let lists = [
        (&rematched.retyped, "takes another kind of value now"),
        (&rematched.moved, "was found again elsewhere"),
        (&rematched.added, "comes as a new output"),
        (
            &rematched.overriding,
            "keeps the value that the node gives it",
        ),
    ];
    for (labels, words) in lists {
        for label in labels {
            ui.horizontal_wrapped(|ui| {
                ui.label(strong(label.clone(), 13.0));
                ui.label(RichText::new(words).color(theme.dim));
            });
        }
    }
}
