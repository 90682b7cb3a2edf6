//! What waits for a person: pictures to pick, reject, rate or have made again.

mod card;
mod close;
mod questions;

use self::card::card;
use crate::app::actions::Action;
use crate::app::icons;
use crate::app::review::{Again, Asked, AskedBy, AskedItem, Mark, ReviewDesk, asked};
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::toasts::Severity;
use crate::app::widgets::{at_right, caption, duration_text, hint, primary, row, strong};
use crate::engine::{MAX_RATING, ReviewAnswer, ReviewVerdict, RunCommand, RunWish};
use crate::project::{Maker, NodeKind};
use bevy_egui::egui::{self, Key, Pos2, Rect, RichText, ScrollArea, Sense, Ui, Vec2};

/// Sides of a picture in points: smallest, largest, first.
const SIDES: (f32, f32, f32) = (172.0, 480.0, 216.0);
/// Other runs that are offered.
const OTHER_RUNS: usize = 4;
/// Height below a picture for its label and buttons.
const FOOT: f32 = 58.0;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let mut desk = std::mem::take(&mut panel.state.review);
    desk.follow(panel.runs);
    if desk.side < SIDES.0 {
        desk.side = SIDES.2;
    }
    let (runs, document) = (panel.runs, panel.document);
    let groups = runs
        .shown_view()
        .map(|view| asked(view, document.project()))
        .unwrap_or_default();
    let questions = runs
        .shown_view()
        .map(|view| crate::app::review::questions(view, document.project()))
        .unwrap_or_default();
    elsewhere(ui, panel);
    if !questions.is_empty() {
        let height = if groups.is_empty() {
            f32::INFINITY
        } else {
            ui.available_height() * 0.45
        };
        ScrollArea::vertical()
            .id_salt("questions")
            .max_height(height)
            .auto_shrink([false, true])
            .show(ui, |ui| questions::show(ui, panel, &mut desk, &questions));
    }
    if !groups.is_empty() {
        reviews(ui, panel, &mut desk, &groups);
    } else if questions.is_empty() {
        nothing(ui, panel);
    }
    panel.state.review = desk;
}

/// Other runs of the project that wait, too.
fn elsewhere(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let runs = panel.runs;
    let project_id = panel.document.project().id;
    for (run_id, waiting) in runs.waiting_elsewhere(project_id).take(OTHER_RUNS) {
        row(ui, |ui| {
            let ago = runs
                .views
                .get(&run_id)
                .map_or(0, |view| panel.now_ms.saturating_sub(view.started_ms));
            let items = if waiting == 1 {
                "item waits"
            } else {
                "items wait"
            };
            let words = format!(
                "{} {waiting} {items} in a run begun {} ago",
                icons::EYE,
                duration_text(ago)
            );
            ui.label(RichText::new(words).color(theme.warn));
            if ui.button("Show").clicked() {
                panel.act(Action::ShowRun(run_id));
            }
        });
    }
}

/// What Review nodes hold.
fn reviews(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, groups: &[Asked<'_>]) {
    let order: Vec<AskedItem<'_>> = groups
        .iter()
        .flat_map(|group| group.items.iter().copied())
        .collect();
    // A whole card is seen also where the panel is low.
    let low = (ui.available_height() - ABOVE_CARDS - FOOT).max(SIDES.0);
    let side = desk.side.min(low);
    let columns = columns(ui.available_width(), side);
    if desk.current.is_none() {
        desk.current = order.first().map(|item| item.item_id);
    }
    keys(ui, panel, desk, &order, columns);
    bar(ui, panel, desk, &order);
    ui.add_space(GRID);
    let current = order
        .iter()
        .find(|item| Some(item.item_id) == desk.current)
        .filter(|_| desk.is_close);
    if let Some(item) = current {
        close::show(ui, panel, desk, item, &order);
    } else {
        grid(ui, panel, desk, groups, (columns, side));
    }
}

fn nothing(ui: &mut Ui, panel: &PanelContext<'_>) {
    let theme = panel.theme;
    ui.add_space(6.0 * GRID);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new(icons::EYE).size(30.0).color(theme.accent));
        let title = if panel.waiting_for_person() > 0 {
            "Nothing waits in this run"
        } else {
            "Nothing waits for you"
        };
        ui.label(strong(title, 15.0));
        hint(
            ui,
            theme,
            "Put a Review node behind a workflow: each of its items waits here until you pick or reject it, and no backend is held meanwhile.",
        );
    });
}

/// Below this width the bar has two lines, points.
const ONE_LINE: f32 = 640.0;
/// Height of what lies above the first line of cards, points.
const ABOVE_CARDS: f32 = 120.0;
/// How much larger than wished cards become at most, so that a line has no empty end.
const WIDENED_MOST: f32 = 1.3;

/// Cards side by side.
fn columns(width: f32, side: f32) -> usize {
    (((width + 2.0 * GRID) / (side + 2.0 * GRID)) as usize).max(1)
}

/// How many wait, what is marked, and the button that sends the marks; in two lines where there is no room for one.
fn bar(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, order: &[AskedItem<'_>]) {
    let theme = panel.theme;
    let is_narrow = ui.available_width() < ONE_LINE;
    row(ui, |ui| {
        let words = match order.len() {
            1 => "1 item waits for you".to_owned(),
            count => format!("{count} items wait for you"),
        };
        ui.label(strong(words, 14.0));
        ui.add_space(GRID);
        if !is_narrow {
            mark_buttons(ui, desk, order);
        }
        at_right(ui, |ui| {
            send_button(ui, panel, desk);
            if !is_narrow && ui.available_width() > 160.0 {
                size_slider(ui, desk);
            }
        });
    });
    if is_narrow {
        row(ui, |ui| {
            mark_buttons(ui, desk, order);
            at_right(ui, |ui| size_slider(ui, desk));
        });
    }
    hint(
        ui,
        theme,
        "Click or P pick · X reject · 1 to 5 rate · R make again · Space or double click look closely · arrows move · Enter answer",
    );
}

fn mark_buttons(ui: &mut Ui, desk: &mut ReviewDesk, order: &[AskedItem<'_>]) {
    if ui.button("Pick all").clicked() {
        desk.mark_all(order.iter().map(|item| item.item_id), Some(Mark::Pick));
    }
    let rest = order
        .iter()
        .map(|item| item.item_id)
        .filter(|item_id| desk.mark(*item_id).is_none())
        .collect::<Vec<_>>();
    if ui
        .add_enabled(!rest.is_empty(), egui::Button::new("Reject the rest"))
        .on_hover_text("Marks everything that is not picked")
        .clicked()
    {
        desk.mark_all(rest, Some(Mark::Reject));
    }
    let has_marks = desk.count(Mark::Pick) + desk.count(Mark::Reject) > 0;
    if ui
        .add_enabled(has_marks, egui::Button::new("Clear"))
        .clicked()
    {
        desk.mark_all(order.iter().map(|item| item.item_id), None);
    }
}

fn send_button(ui: &mut Ui, panel: &mut PanelContext<'_>, desk: &mut ReviewDesk) {
    let (picked, rejected) = (desk.count(Mark::Pick), desk.count(Mark::Reject));
    let words = match (picked, rejected) {
        (0, 0) => "Answer".to_owned(),
        (picked, 0) => format!("Answer: {picked} picked"),
        (0, rejected) => format!("Answer: {rejected} rejected"),
        (picked, rejected) => format!("Answer: {picked} picked, {rejected} rejected"),
    };
    let has_marks = picked + rejected > 0;
    let send = primary(ui, panel.theme, has_marks, words, Vec2::new(0.0, 28.0))
        .on_hover_text("What is not marked goes on waiting  Enter")
        .on_disabled_hover_text("Mark something first: P picks, X rejects");
    if send.clicked() {
        // Keys are for the pictures again.
        send.surrender_focus();
        answer(panel, desk);
    }
}

fn size_slider(ui: &mut Ui, desk: &mut ReviewDesk) {
    ui.spacing_mut().slider_width = 90.0;
    ui.add(egui::Slider::new(&mut desk.side, SIDES.0..=SIDES.1).show_value(false))
        .on_hover_text("Size of the pictures");
}

/// Sends the marks.
fn answer(panel: &mut PanelContext<'_>, desk: &mut ReviewDesk) {
    let answers = desk.take_answers();
    if let Some(run_id) = panel.runs.shown.filter(|_| !answers.is_empty()) {
        panel.command(RunCommand::wish(run_id, RunWish::Review(answers)));
    }
}

fn rate(panel: &mut PanelContext<'_>, item: &AskedItem<'_>, rating: u8) {
    // The same star again takes the rating away.
    let rating = if item.rating == Some(rating) {
        0
    } else {
        rating
    };
    if let Some(run_id) = panel.runs.shown {
        panel.command(RunCommand::wish(
            run_id,
            RunWish::Review(vec![ReviewAnswer {
                item_id: item.item_id,
                verdict: ReviewVerdict::Rate(rating),
            }]),
        ));
    }
}

/// The keys, while the pointer is over the panel and nothing is typed into.
fn keys(
    ui: &Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    order: &[AskedItem<'_>],
    columns: usize,
) {
    let ctx = ui.ctx();
    if panel.dialogs.any_open() || ctx.text_edit_focused() || !ui.ui_contains_pointer() {
        return;
    }
    let pressed = |key| ctx.input_mut(|input| input.consume_key(egui::Modifiers::NONE, key));
    let place = order
        .iter()
        .position(|item| Some(item.item_id) == desk.current);
    let step = if desk.is_close { 1 } else { columns };
    let last = order.len().saturating_sub(1);
    let moved = if pressed(Key::ArrowRight) {
        Some(place.map_or(0, |at| (at + 1).min(last)))
    } else if pressed(Key::ArrowLeft) {
        Some(place.map_or(0, |at| at.saturating_sub(1)))
    } else if pressed(Key::ArrowDown) {
        Some(place.map_or(0, |at| (at + step).min(last)))
    } else if pressed(Key::ArrowUp) {
        Some(place.map_or(0, |at| at.saturating_sub(step)))
    } else {
        None
    };
    if let Some(item) = moved.and_then(|at| order.get(at)) {
        desk.current = Some(item.item_id);
        desk.follows_keys = true;
    }
    if pressed(Key::Enter) {
        answer(panel, desk);
    }
    if desk.is_close && pressed(Key::Escape) {
        desk.is_close = false;
    }
    let Some(item) = place.and_then(|at| order.get(at)) else {
        return;
    };
    if pressed(Key::Space) {
        desk.is_close = !desk.is_close;
    }
    for (key, mark) in [(Key::P, Mark::Pick), (Key::X, Mark::Reject)] {
        if pressed(key) {
            desk.toggle(item.item_id, mark);
            // On to the next one, as when culling photographs.
            if let Some(next) = place.and_then(|at| order.get(at + 1))
                && desk.mark(item.item_id).is_some()
            {
                desk.current = Some(next.item_id);
                desk.follows_keys = true;
            }
        }
    }
    if pressed(Key::R) {
        begin_again(panel, desk, item);
    }
    let stars = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5];
    for (rating, key) in (1..=MAX_RATING).zip(stars) {
        if pressed(key) {
            rate(panel, item, rating);
        }
    }
}

/// Opens the question of what to change, or says why nothing can be.
fn begin_again(panel: &mut PanelContext<'_>, desk: &mut ReviewDesk, item: &AskedItem<'_>) {
    let node_id = panel
        .runs
        .shown_view()
        .and_then(|view| view.items.get(&item.item_id))
        .map(|item| item.node_id);
    let maker = node_id.map_or(Maker::Nobody, |id| panel.document.project().maker_of(id));
    if let Some(refusal) = maker.refusal() {
        panel
            .toasts
            .push(Severity::Warning, "Cannot be made again", &refusal);
    }
    if let Maker::Workflow(node, _) = maker {
        desk.current = Some(item.item_id);
        let again = Again::new(item.item_id, AskedBy::Review, node.id);
        panel.dialogs.make_again = Some(again);
    }
}

/// Everything that waits, node by node.
fn grid(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    desk: &mut ReviewDesk,
    groups: &[Asked<'_>],
    (columns, side): (usize, f32),
) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing = Vec2::splat(2.0 * GRID);
        // The cards of a full line share the whole width.
        let gaps = 2.0 * GRID * (columns - 1) as f32;
        let side = ((ui.available_width() - gaps) / columns as f32).min(side * WIDENED_MOST);
        for group in groups {
            let (title, question) = match group.node {
                Some(node) => match &node.kind {
                    NodeKind::Review(review) => (node.title.as_str(), review.question.as_str()),
                    _ => (node.title.as_str(), ""),
                },
                None => ("A removed node", ""),
            };
            caption(ui, panel.theme, title);
            if !question.is_empty() {
                ui.label(strong(question, 13.5));
            }
            let node_id = group.node.map(|node| node.id);
            for line in group.items.chunks(columns) {
                let size = Vec2::new(ui.available_width(), side + FOOT);
                let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
                let holds_current = line.iter().any(|item| Some(item.item_id) == desk.current);
                if !ui.is_rect_visible(rect) && !holds_current {
                    continue;
                }
                for (column, item) in line.iter().enumerate() {
                    let left = rect.left() + column as f32 * (side + 2.0 * GRID);
                    let at =
                        Rect::from_min_size(Pos2::new(left, rect.top()), Vec2::new(side, size.y));
                    card(ui, panel, desk, item, node_id, at);
                }
            }
        }
    });
}
