//! The docked panels: which there are, where they begin, and how they share the window.
//!
//! A window of many points has a panel at each side of the canvas and one below. In a small window, or on a screen with a
//! large interface, the same panels are tabs beside the canvas, so that neither they nor the canvas are squeezed.

use super::PanelContext;
use crate::app::panels;
use crate::app::theme::Theme;
use bevy_egui::egui::{self, CornerRadius, Margin, Stroke, Ui};
use egui_dock::{DockArea, DockState, Node, NodeIndex, TabViewer, Tree};
use serde::{Deserialize, Serialize};

/// Width of the library in points on the first start.
const LIBRARY_WIDTH: f32 = 236.0;
/// Width of the properties in points on the first start.
const PROPERTIES_WIDTH: f32 = 300.0;
/// Height of the monitor in points on the first start.
const MONITOR_HEIGHT: f32 = 204.0;

/// A window of fewer points than this, in either direction, is small.
const SMALL: egui::Vec2 = egui::vec2(900.0, 540.0);
/// In a window narrower than this, tabs have words only.
const ICONS_FROM: f32 = 700.0;
/// Part of a small window that the panels beside the canvas take.
const SMALL_SIDE: f32 = 0.38;
/// Largest part of its share that a panel takes from the canvas when the window shrinks.
const PANEL_PART_MAX: f32 = 0.42;

/// A docked panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    /// Workflows of the project and kinds of nodes.
    Library,
    /// The graph.
    Canvas,
    /// The list of runs.
    Runs,
    /// What waits for a person.
    Review,
    /// Settings of the selection.
    Properties,
    /// A card for each backend.
    Machines,
    /// What is being worked on.
    Queue,
    /// What happened.
    Log,
}

impl Panel {
    fn title(self) -> (&'static str, &'static str) {
        use crate::app::icons;
        match self {
            Self::Library => (icons::STACK, "Library"),
            Self::Canvas => (icons::GRAPH, "Canvas"),
            Self::Runs => (icons::CLOCK, "Runs"),
            Self::Review => (icons::EYE, "Review"),
            Self::Properties => (icons::SLIDERS_HORIZONTAL, "Properties"),
            Self::Machines => (icons::HARD_DRIVES, "Machines"),
            Self::Queue => (icons::LIST, "Queue"),
            Self::Log => (icons::PULSE, "Log"),
        }
    }
}

/// The arrangement on the first start, for a window of this size in points.
fn default_layout(size: egui::Vec2) -> DockState<Panel> {
    let mut dock = DockState::new(vec![Panel::Canvas, Panel::Runs, Panel::Review]);
    let tree = dock.main_surface_mut();
    let monitor = (MONITOR_HEIGHT / size.y).clamp(0.12, 0.4);
    let [upper, _] = tree.split_below(
        NodeIndex::root(),
        1.0 - monitor,
        vec![Panel::Machines, Panel::Queue, Panel::Log],
    );
    let library = (LIBRARY_WIDTH / size.x).clamp(0.12, 0.3);
    let [centre, _] = tree.split_left(upper, library, vec![Panel::Library]);
    let properties = (PROPERTIES_WIDTH / (size.x - LIBRARY_WIDTH).max(1.0)).clamp(0.15, 0.4);
    tree.split_right(centre, 1.0 - properties, vec![Panel::Properties]);
    dock
}

/// The arrangements of the panels.
#[derive(Default)]
pub struct Docks {
    /// In a window with room.
    pub roomy: Option<DockState<Panel>>,
    /// In a small one; not remembered.
    small: Option<DockState<Panel>>,
    /// The size in points that the arrangement with room was last shown at.
    shown_at: Option<egui::Vec2>,
    /// What is in front where the canvas is, and whether that was in a small window.
    front: Option<(Panel, bool)>,
}

impl Docks {
    /// Brings a panel to the front of its tabs.
    pub fn bring_to_front(&mut self, panel: Panel) {
        for dock in [&mut self.roomy, &mut self.small].into_iter().flatten() {
            if let Some(place) = dock.find_tab(&panel) {
                // The tab was found a moment ago.
                let _ = dock.set_active_tab(place);
            }
        }
    }

    /// Back to where the panels were on the first start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Draws the panels.
pub(super) fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let size = ui.available_size();
    let is_small = size.x < SMALL.x || size.y < SMALL.y;
    let mut dock = if is_small {
        panel.state.docks.small.take().unwrap_or_else(small_layout)
    } else {
        let mut dock = panel.state.docks.roomy.take().unwrap_or_else(|| {
            panel
                .settings
                .layout
                .as_deref()
                .and_then(|text| ron::from_str(text).ok())
                .filter(is_complete)
                .unwrap_or_else(|| default_layout(size))
        });
        if let Some(before) = panel.state.docks.shown_at.replace(size)
            && (before - size).abs().max_elem() > 0.5
        {
            keep_sizes(dock.main_surface_mut(), NodeIndex::root(), before, size);
        }
        dock
    };
    // The other arrangement shows what this one showed.
    if let Some((front, was_small)) = panel.state.docks.front
        && was_small != is_small
        && let Some(place) = dock.find_tab(&front)
    {
        // The tab was found a moment ago.
        let _ = dock.set_active_tab(place);
    }
    let style = dock_style(ui.style(), panel.theme);
    DockArea::new(&mut dock)
        .style(style)
        .show_close_buttons(false)
        .show_leaf_close_all_buttons(false)
        .show_leaf_collapse_buttons(false)
        .tab_context_menus(false)
        .show_inside(
            ui,
            &mut Tabs {
                panel,
                with_icons: size.x >= ICONS_FROM,
            },
        );
    panel.state.docks.front = front_at_canvas(&dock).map(|front| (front, is_small));
    if is_small {
        panel.state.docks.small = Some(dock);
    } else {
        panel.state.docks.roomy = Some(dock);
    }
}

/// The panel in front of the tabs that the canvas is one of.
fn front_at_canvas(dock: &DockState<Panel>) -> Option<Panel> {
    dock.main_surface().iter().find_map(|node| match node {
        Node::Leaf(leaf) if leaf.tabs.contains(&Panel::Canvas) => {
            leaf.tabs.get(leaf.active.0).copied()
        }
        _ => None,
    })
}

/// The arrangement of a small window: two groups of tabs.
fn small_layout() -> DockState<Panel> {
    let mut dock = DockState::new(vec![
        Panel::Canvas,
        Panel::Runs,
        Panel::Review,
        Panel::Machines,
        Panel::Queue,
        Panel::Log,
    ]);
    dock.main_surface_mut().split_right(
        NodeIndex::root(),
        1.0 - SMALL_SIDE,
        vec![Panel::Properties, Panel::Library],
    );
    dock
}

/// When the window or the interface's zoom changes, panels keep their size in points and the canvas takes the difference.
fn keep_sizes(tree: &mut Tree<Panel>, at: NodeIndex, before: egui::Vec2, now: egui::Vec2) {
    let canvas_first = has_canvas(tree, at.left());
    let canvas_second = has_canvas(tree, at.right());
    let axis = match tree.iter().nth(at.0) {
        Some(Node::Horizontal(_)) => 0,
        Some(Node::Vertical(_)) => 1,
        _ => return,
    };
    let Some(Node::Horizontal(split) | Node::Vertical(split)) = tree.iter_mut().nth(at.0) else {
        return;
    };
    let old = split.fraction;
    let part = |fraction: f32| (fraction * before[axis] / now[axis].max(1.0)).min(PANEL_PART_MAX);
    split.fraction = match (canvas_first, canvas_second) {
        (true, false) => 1.0 - part(1.0 - old),
        (false, true) => part(old),
        _ => old,
    };
    let new = split.fraction;
    let child = |size: egui::Vec2, fraction: f32| {
        let mut size = size;
        size[axis] *= fraction;
        size
    };
    keep_sizes(tree, at.left(), child(before, old), child(now, new));
    keep_sizes(
        tree,
        at.right(),
        child(before, 1.0 - old),
        child(now, 1.0 - new),
    );
}

fn has_canvas(tree: &Tree<Panel>, at: NodeIndex) -> bool {
    match tree.iter().nth(at.0) {
        Some(Node::Leaf(leaf)) => leaf.tabs.contains(&Panel::Canvas),
        Some(Node::Horizontal(_) | Node::Vertical(_)) => {
            has_canvas(tree, at.left()) || has_canvas(tree, at.right())
        }
        _ => false,
    }
}

/// Whether a remembered arrangement has every panel once; a file from another version may not.
fn is_complete(dock: &DockState<Panel>) -> bool {
    let mut count = 0;
    let mut seen = std::collections::HashSet::new();
    for (_, tab) in dock.iter_all_tabs() {
        count += 1;
        seen.insert(*tab);
    }
    count == 8 && seen.len() == 8
}

struct Tabs<'p, 'a> {
    panel: &'p mut PanelContext<'a>,
    with_icons: bool,
}

impl TabViewer for Tabs<'_, '_> {
    type Tab = Panel;

    fn id(&mut self, tab: &mut Panel) -> egui::Id {
        egui::Id::new(("panel", *tab))
    }

    fn title(&mut self, tab: &mut Panel) -> egui::WidgetText {
        let (icon, title) = tab.title();
        let waiting = match tab {
            Panel::Review => self.panel.waiting_for_person(),
            _ => 0,
        };
        let title = if waiting > 0 {
            format!("{title} {waiting}")
        } else {
            title.to_owned()
        };
        let words = if self.with_icons {
            format!("{icon}  {title}")
        } else {
            title
        };
        let words = egui::RichText::new(words).size(12.5);
        if waiting > 0 {
            words.color(self.panel.theme.warn).into()
        } else {
            words.into()
        }
    }

    fn ui(&mut self, ui: &mut Ui, tab: &mut Panel) {
        match tab {
            Panel::Library => panels::library::show(ui, self.panel),
            Panel::Canvas => {
                self.panel.canvas_rect = Some(ui.max_rect());
                panels::canvas::show(ui, self.panel);
            }
            Panel::Runs => panels::runs::show(ui, self.panel),
            Panel::Review => panels::review::show(ui, self.panel),
            Panel::Properties => panels::properties::show(ui, self.panel),
            Panel::Machines => panels::machines::show(ui, self.panel),
            Panel::Queue => panels::queue::show(ui, self.panel),
            Panel::Log => panels::log::show(ui, self.panel),
        }
    }

    fn is_closeable(&self, _: &Panel) -> bool {
        false
    }

    fn allowed_in_windows(&self, tab: &mut Panel) -> bool {
        // The canvas is drawn by the GPU below egui, so it cannot float above other panels.
        *tab != Panel::Canvas
    }

    fn clear_background(&self, tab: &Panel) -> bool {
        *tab != Panel::Canvas
    }

    fn scroll_bars(&self, _: &Panel) -> [bool; 2] {
        [false, false]
    }

    fn tab_style_override(
        &self,
        tab: &Panel,
        global: &egui_dock::TabStyle,
    ) -> Option<egui_dock::TabStyle> {
        (*tab == Panel::Canvas).then(|| {
            let mut style = global.clone();
            style.tab_body.inner_margin = Margin::ZERO;
            style.tab_body.bg_fill = egui::Color32::TRANSPARENT;
            style
        })
    }
}

fn dock_style(style: &egui::Style, theme: &Theme) -> egui_dock::Style {
    let mut dock = egui_dock::Style::from_egui(style);
    dock.dock_area_padding = None;
    dock.main_surface_border_stroke = Stroke::NONE;
    dock.separator.width = 1.0;
    dock.separator.extra_interact_width = 6.0;
    dock.separator.extra = 120.0;
    dock.separator.color_idle = theme.line;
    dock.separator.color_hovered = theme.faint;
    dock.separator.color_dragged = theme.accent;
    dock.tab_bar.bg_fill = theme.surface_panel;
    dock.tab_bar.height = 32.0;
    dock.tab_bar.hline_color = theme.line;
    dock.tab_bar.corner_radius = CornerRadius::ZERO;
    dock.tab.spacing = 0.0;
    dock.tab.hline_below_active_tab_name = true;
    dock.tab.tab_body.inner_margin = Margin::symmetric(10, 8);
    dock.tab.tab_body.bg_fill = theme.surface_panel;
    dock.tab.tab_body.stroke = Stroke::NONE;
    dock.tab.tab_body.corner_radius = CornerRadius::ZERO;
    for (state, text, fill) in [
        (&mut dock.tab.active, theme.text, theme.surface_panel),
        (&mut dock.tab.focused, theme.text, theme.surface_panel),
        (
            &mut dock.tab.active_with_kb_focus,
            theme.accent,
            theme.surface_panel,
        ),
        (
            &mut dock.tab.focused_with_kb_focus,
            theme.accent,
            theme.surface_panel,
        ),
        (&mut dock.tab.inactive, theme.dim, theme.surface_panel),
        (
            &mut dock.tab.inactive_with_kb_focus,
            theme.accent,
            theme.surface_panel,
        ),
        (&mut dock.tab.hovered, theme.text, theme.surface_raised),
    ] {
        state.text_color = text;
        state.bg_fill = fill;
        state.outline_color = egui::Color32::TRANSPARENT;
        state.corner_radius = CornerRadius::ZERO;
    }
    dock.overlay.selection_color = theme.accent.gamma_multiply(0.25);
    dock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_keep_their_size_when_the_window_shrinks_and_grows() {
        let (wide, narrow) = (egui::vec2(1600.0, 900.0), egui::vec2(1100.0, 700.0));
        let mut dock = default_layout(wide);
        let fractions = |dock: &DockState<Panel>| -> Vec<f32> {
            dock.main_surface()
                .iter()
                .filter_map(|node| match node {
                    Node::Horizontal(split) | Node::Vertical(split) => Some(split.fraction),
                    _ => None,
                })
                .collect()
        };
        let at_first = fractions(&dock);
        keep_sizes(dock.main_surface_mut(), NodeIndex::root(), wide, narrow);
        let shrunk = fractions(&dock);
        // The first split sets the monitor off, which is as high as before.
        let monitor = |fractions: &[f32], height: f32| (1.0 - fractions[0]) * height;
        assert!((monitor(&at_first, wide.y) - monitor(&shrunk, narrow.y)).abs() < 0.5);
        keep_sizes(dock.main_surface_mut(), NodeIndex::root(), narrow, wide);
        for (a, b) in at_first.iter().zip(fractions(&dock)) {
            assert!((a - b).abs() < 1e-4);
        }
        assert!(is_complete(&dock));
        assert!(is_complete(&small_layout()));
    }
}
