//! Small pieces that several panels draw the same way.

use super::theme::{
    GRID, RADIUS_CARD, RADIUS_CONTROL, TEXT_CAPTION, TEXT_SMALL, Theme, semibold_family,
};
use crate::engine::ItemId;
use crate::project::NodeId;
use bevy_egui::egui::{
    self, Align, Button, Color32, CornerRadius, FontId, Frame, Layout, Margin, Pos2, Rect,
    Response, RichText, Sense, Shape, Stroke, Ui, Vec2,
};

/// Corner radius of boxes to tick in logical pixels.
const RADIUS_TICK: u8 = 3;

/// The caption above a group of rows.
pub fn caption(ui: &mut Ui, theme: &Theme, text: &str) {
    ui.add_space(GRID);
    ui.label(caption_text(theme, text));
}

/// The words of a heading.
#[must_use]
pub fn caption_text(theme: &Theme, text: &str) -> RichText {
    RichText::new(text.to_uppercase())
        .font(FontId::new(TEXT_CAPTION, semibold_family()))
        .color(theme.dim)
        .extra_letter_spacing(0.6)
}

/// The name above a field.
pub fn field_label(ui: &mut Ui, theme: &Theme, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).size(12.0).color(theme.dim)).truncate())
}

/// Secondary text that wraps.
pub fn hint(ui: &mut Ui, theme: &Theme, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).size(TEXT_SMALL).color(theme.dim)).wrap())
}

/// Emphasised text.
#[must_use]
pub fn strong(text: impl Into<String>, size: f32) -> RichText {
    RichText::new(text).font(FontId::new(size, semibold_family()))
}

/// A box to tick: with corners, as what is round is one choice of several, and with a border that is seen on every surface.
pub fn tick(
    ui: &mut Ui,
    theme: &Theme,
    is_on: &mut bool,
    text: impl Into<egui::WidgetText>,
) -> Response {
    let text = text.into();
    ui.scope(|ui| {
        let widgets = &mut ui.visuals_mut().widgets;
        widgets.inactive.bg_stroke = Stroke::new(1.0, theme.faint);
        for look in [
            &mut widgets.inactive,
            &mut widgets.hovered,
            &mut widgets.active,
        ] {
            look.corner_radius = CornerRadius::same(RADIUS_TICK);
        }
        ui.checkbox(is_on, text)
    })
    .inner
}

/// A button that is only an icon, with a tip that says what it does.
pub fn icon_button(ui: &mut Ui, theme: &Theme, icon: &str, tip: &str) -> Response {
    let response = ui.add(
        Button::new(RichText::new(icon).size(16.0).color(theme.dim))
            .frame_when_inactive(false)
            .min_size(Vec2::splat(7.0 * GRID)),
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Button, true, tip));
    response.on_hover_text(tip)
}

/// The one button of a place that does the main thing.
pub fn primary_button<'a>(theme: &Theme, text: impl Into<String>) -> Button<'a> {
    Button::new(strong(text, 13.0).color(theme.on_accent))
        .fill(theme.accent)
        .stroke(Stroke::NONE)
        .min_size(Vec2::new(0.0, 7.0 * GRID))
}

/// The main button of a place where it may not be possible yet: then it looks like every other button, because pale words
/// on a pale accent cannot be read.
pub fn primary(
    ui: &mut Ui,
    theme: &Theme,
    enabled: bool,
    text: impl Into<String>,
    min_size: Vec2,
) -> Response {
    let button = if enabled {
        primary_button(theme, text)
    } else {
        Button::new(strong(text, 13.0))
    };
    ui.add_enabled(enabled, button.min_size(min_size))
}

/// A link-like button.
pub fn link(ui: &mut Ui, theme: &Theme, text: &str) -> Response {
    ui.add(
        egui::Label::new(RichText::new(text).color(theme.accent).size(12.0)).sense(Sense::click()),
    )
    .on_hover_cursor(egui::CursorIcon::PointingHand)
}

/// A card: a raised surface with a border.
pub fn card(theme: &Theme) -> Frame {
    Frame::new()
        .fill(theme.surface_card)
        .stroke(Stroke::new(1.0, theme.line))
        .corner_radius(CornerRadius::same(RADIUS_CARD))
        .inner_margin(Margin::symmetric(12, 10))
}

/// A filled dot of 8 px, in the middle of the line.
pub fn dot(ui: &mut Ui, color: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(8.0, 16.0), Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.0, color);
    response
}

/// A thin bar over the whole width. `fraction` is 0 to 1.
pub fn bar(ui: &mut Ui, theme: &Theme, fraction: f32, color: Color32, height: f32) -> Response {
    let (rect, response) =
        ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::hover());
    let radius = CornerRadius::same((height / 2.0) as u8);
    ui.painter().rect_filled(rect, radius, theme.surface_canvas);
    if fraction > 0.0 {
        let mut filled = rect;
        filled.set_width((rect.width() * fraction.clamp(0.0, 1.0)).max(height));
        ui.painter().rect_filled(filled, radius, color);
    }
    response
}

/// A name, a value at the right, and a bar below.
pub fn meter(ui: &mut Ui, theme: &Theme, name: &str, value: &str, fraction: f32, color: Color32) {
    row(ui, |ui| {
        ui.label(RichText::new(name).size(TEXT_SMALL).color(theme.dim));
        at_right(ui, |ui| {
            ui.label(RichText::new(value).size(TEXT_SMALL).color(theme.text));
        });
    });
    ui.add_space(-3.0);
    bar(ui, theme, fraction, color, 4.0).on_hover_text(format!("{name}: {value}"));
}

/// A filled curve of values from 0 to `top`, oldest left, newest right.
pub fn sparkline(
    ui: &mut Ui,
    theme: &Theme,
    values: &[f32],
    capacity: usize,
    top: f32,
    height: f32,
) {
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::hover());
    if values.len() < 2 || top <= 0.0 {
        return;
    }
    let step = rect.width() / (capacity.max(2) - 1) as f32;
    let first_x = rect.right() - step * (values.len() - 1) as f32;
    let points: Vec<Pos2> = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            Pos2::new(
                first_x + step * index as f32,
                rect.bottom() - 1.0 - (value / top).clamp(0.0, 1.0) * (rect.height() - 2.0),
            )
        })
        .collect();
    let fill = theme.accent.gamma_multiply(0.18);
    let mut mesh = egui::Mesh::default();
    for point in &points {
        mesh.colored_vertex(*point, fill);
        mesh.colored_vertex(Pos2::new(point.x, rect.bottom()), fill);
    }
    for segment in 0..(points.len() as u32 - 1) {
        let base = segment * 2;
        mesh.add_triangle(base, base + 1, base + 2);
        mesh.add_triangle(base + 1, base + 2, base + 3);
    }
    ui.painter().add(Shape::mesh(mesh));
    ui.painter().add(Shape::line(
        points,
        Stroke::new(1.2, theme.accent.gamma_multiply(0.8)),
    ));
}

/// One line of widgets from left to right, centred vertically.
pub fn row<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> R {
    ui.horizontal(add).inner
}

/// The rest of a line, filled from the right.
pub fn at_right<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> R {
    let layout = Layout::right_to_left(Align::Center);
    if ui.layout().is_horizontal() {
        return ui.with_layout(layout, add).inner;
    }
    // Below each other, a line is as high as its widgets, not as what is left of the window.
    let size = Vec2::new(ui.available_width(), ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(size, layout, add).inner
}

/// A row of a list: icon, title, note at the right. The whole width is one target.
pub struct ListRow<'a> {
    /// Glyph at the left.
    pub icon: &'a str,
    /// Its colour.
    pub icon_color: Color32,
    /// The words.
    pub title: &'a str,
    /// Secondary words at the right.
    pub note: &'a str,
    /// Whether it is drawn as chosen.
    pub selected: bool,
    /// Distance from the left edge.
    pub indent: f32,
    /// Lines that the title may take.
    pub title_lines: usize,
}

impl ListRow<'_> {
    /// Draws the row.
    pub fn show(&self, ui: &mut Ui, theme: &Theme, sense: Sense) -> Response {
        let note = ui.painter().layout_no_wrap(
            self.note.to_owned(),
            FontId::proportional(TEXT_SMALL),
            theme.dim,
        );
        let note_width = note.size().x;
        let text_left = 8.0 + self.indent + 24.0;
        let text_right = ui.available_width()
            - 8.0
            - if note_width > 0.0 {
                note_width + 8.0
            } else {
                0.0
            };
        let title = lines_of(
            ui,
            self.title,
            theme.text,
            text_right - text_left,
            self.title_lines,
        );
        let height = (7.0 * GRID).max(title.size().y + 2.0 * GRID);
        let (rect, response) =
            ui.allocate_exact_size(Vec2::new(ui.available_width(), height), sense);
        response
            .widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Button, true, self.title));
        if !ui.is_rect_visible(rect) {
            return response;
        }
        let background = if self.selected {
            Some(theme.accent_soft)
        } else if response.hovered() || response.has_focus() {
            Some(theme.surface_raised)
        } else {
            None
        };
        if let Some(background) = background {
            ui.painter()
                .rect_filled(rect, CornerRadius::same(RADIUS_CONTROL), background);
        }
        let painter = ui.painter_at(rect);
        let left = rect.left() + 8.0 + self.indent;
        painter.text(
            Pos2::new(left, rect.center().y),
            egui::Align2::LEFT_CENTER,
            self.icon,
            FontId::proportional(16.0),
            self.icon_color,
        );
        painter.galley(
            Pos2::new(
                rect.left() + text_left,
                rect.center().y - title.size().y / 2.0,
            ),
            title,
            theme.text,
        );
        painter.galley(
            Pos2::new(
                rect.right() - 8.0 - note_width,
                rect.center().y - note.size().y / 2.0,
            ),
            note,
            theme.dim,
        );
        response
    }
}

/// A name in body size, in at most some lines of a width; what does not fit is cut with an ellipsis.
#[must_use]
pub fn lines_of(
    ui: &Ui,
    text: &str,
    color: Color32,
    width: f32,
    max_lines: usize,
) -> std::sync::Arc<egui::Galley> {
    let mut job = egui::text::LayoutJob::simple(
        // A name is one line, whatever is in it.
        text.replace(['\n', '\r'], " "),
        FontId::proportional(13.0),
        color,
        width.max(8.0),
    );
    job.wrap.max_rows = max_lines.max(1);
    // Words stay whole where there is a line more for them.
    job.wrap.break_anywhere = max_lines <= 1;
    ui.fonts_mut(|fonts| fonts.layout_job(job))
}

/// A turning ring for what runs would need frames all the time; this one stands still and shows how far it is.
pub fn progress_ring(ui: &mut Ui, theme: &Theme, fraction: f32, color: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(14.0), Sense::hover());
    let center = rect.center();
    ui.painter()
        .circle_stroke(center, 5.5, Stroke::new(2.0, theme.line));
    let steps = (fraction.clamp(0.0, 1.0) * 32.0).round() as usize;
    if steps > 0 {
        let points: Vec<Pos2> = (0..=steps)
            .map(|step| {
                let angle =
                    step as f32 / 32.0 * std::f32::consts::TAU - std::f32::consts::FRAC_PI_2;
                center + 5.5 * Vec2::angled(angle)
            })
            .collect();
        ui.painter()
            .add(Shape::line(points, Stroke::new(2.0, color)));
    }
    response
}

/// A rectangle over everything of `rect`, for the accent edge of toasts.
pub fn left_edge(ui: &Ui, rect: Rect, color: Color32) {
    let mut edge = rect;
    edge.set_width(3.0);
    ui.painter().rect_filled(
        edge,
        CornerRadius {
            nw: RADIUS_CARD,
            sw: RADIUS_CARD,
            ne: 0,
            se: 0,
        },
        color,
    );
}

/// Bytes as a person reads them: "19.4 GB".
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    let gibibytes = bytes as f64 / f64::from(1_u32 << 30);
    if gibibytes >= 100.0 {
        format!("{gibibytes:.0} GB")
    } else if gibibytes >= 1.0 {
        format!("{gibibytes:.1} GB")
    } else {
        format!("{:.0} MB", bytes as f64 / f64::from(1_u32 << 20))
    }
}

/// A length of time as a person reads it: "4:12", "1:02:09", "8 s".
#[must_use]
pub fn duration_text(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    if seconds < 60 {
        format!("{seconds} s")
    } else if seconds < 3_600 {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    } else {
        format!(
            "{}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// How long ago something was, as a person says it: "8 s", "5 min", "3 h", "12 days".
#[must_use]
pub fn age_text(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "a day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Where egui keeps which item of a node is open in its properties.
#[must_use]
pub fn chosen_item_key(node_id: NodeId) -> egui::Id {
    egui::Id::new(("chosen item", node_id.uuid()))
}

/// The item of a node that is open in its properties.
#[must_use]
pub fn chosen_item(ui: &Ui, node_id: NodeId) -> Option<ItemId> {
    ui.data(|data| data.get_temp(chosen_item_key(node_id)))
}

/// A row of a menu; says whether it was clicked.
pub fn menu_row(
    ui: &mut Ui,
    theme: &Theme,
    icon: &str,
    title: &str,
    shortcut: &str,
    enabled: bool,
) -> bool {
    let icon = if icon.is_empty() { "\u{2003}" } else { icon };
    let button = Button::new((
        RichText::new(icon).size(15.0).color(theme.dim),
        RichText::new(title),
    ))
    .shortcut_text(RichText::new(shortcut).size(TEXT_SMALL).color(theme.dim))
    .frame_when_inactive(false)
    .min_size(Vec2::new(ui.available_width(), 26.0));
    ui.add_enabled(enabled, button).clicked()
}
