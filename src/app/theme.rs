//! Every colour, size and font of the window, as roles. Nothing else names a colour.
//!
//! The dark roles are those of the product's look; the light ones keep the same order of contrast. Text and dim text
//! have a contrast of at least 4.5 : 1 on every surface they are put on; faint is for decoration and has 3 : 1, as has all
//! that is disabled.

use crate::engine::ItemState;
use crate::fleet::BackendState;
use crate::project::{DataType, NodeKindName};
use bevy::prelude::Resource;
use bevy_egui::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke,
    TextStyle, Vec2,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The unit of all distances in logical pixels.
pub const GRID: f32 = 4.0;
/// Corner radius of buttons and fields in logical pixels.
pub const RADIUS_CONTROL: u8 = 6;
/// Corner radius of cards in logical pixels.
pub const RADIUS_CARD: u8 = 8;
/// Corner radius of nodes in canvas units.
pub const RADIUS_NODE: f32 = 10.0;
/// Size of body text in logical pixels.
pub const TEXT_BODY: f32 = 13.0;
/// Size of secondary text in logical pixels.
pub const TEXT_SMALL: f32 = 11.5;
/// Size of captions above groups in logical pixels.
pub const TEXT_CAPTION: f32 = 11.0;
/// Size of dialog titles in logical pixels.
pub const TEXT_TITLE: f32 = 16.0;
/// Smallest and largest zoom of the whole window.
pub const UI_SCALE_RANGE: std::ops::RangeInclusive<f32> = 0.5..=3.0;

const INTER_REGULAR: &[u8] = include_bytes!("../../assets/fonts/Inter-Regular.ttf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../../assets/fonts/Inter-SemiBold.ttf");
const JETBRAINS_MONO: &[u8] = include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf");

/// Which of the two sets of roles is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeMode {
    /// Light text on dark surfaces.
    #[default]
    Dark,
    /// Dark text on light surfaces.
    Light,
}

/// The roles of one theme.
#[derive(Resource, Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Which theme it is.
    pub mode: ThemeMode,
    /// The canvas.
    pub surface_canvas: Color32,
    /// Panels and bars.
    pub surface_panel: Color32,
    /// Cards and nodes.
    pub surface_card: Color32,
    /// Raised and hovered things.
    pub surface_raised: Color32,
    /// One pixel borders.
    pub line: Color32,
    /// Fields to type into.
    pub field: Color32,
    /// Text that is read first.
    pub text: Color32,
    /// Secondary text.
    pub dim: Color32,
    /// Decoration and disabled things.
    pub faint: Color32,
    /// Selection, what runs, the primary button.
    pub accent: Color32,
    /// Text on the accent.
    pub on_accent: Color32,
    /// The accent mixed into a surface: selected rows, bars behind values.
    pub accent_soft: Color32,
    /// Went well. Always with an icon or a word.
    pub ok: Color32,
    /// Needs attention. Always with an icon or a word.
    pub warn: Color32,
    /// Went wrong. Always with an icon or a word.
    pub error: Color32,
    /// Memory bars.
    pub memory: Color32,
    /// Shadow below floating things.
    pub shadow: Color32,
}

impl Default for Theme {
    fn default() -> Self {
        Self::of(ThemeMode::Dark)
    }
}

impl Theme {
    /// The roles of a theme.
    #[must_use]
    pub fn of(mode: ThemeMode) -> Self {
        match mode {
            ThemeMode::Dark => Self {
                mode,
                surface_canvas: hex(0x0f_11_15),
                surface_panel: hex(0x15_18_1e),
                surface_card: hex(0x1b_1f_27),
                surface_raised: hex(0x23_28_33),
                line: hex(0x2b_31_3d),
                field: hex(0x0f_11_15),
                text: hex(0xe6_e9_ef),
                dim: hex(0x98_a1_b2),
                faint: hex(0x6d_76_88),
                accent: hex(0x7a_a2_ff),
                on_accent: hex(0x0f_11_15),
                accent_soft: hex(0x26_34_57),
                ok: hex(0x5e_c9_8f),
                warn: hex(0xe6_b4_55),
                error: hex(0xef_6b_73),
                memory: hex(0xc3_a6_ff),
                shadow: Color32::from_black_alpha(110),
            },
            ThemeMode::Light => Self {
                mode,
                surface_canvas: hex(0xec_ee_f2),
                surface_panel: hex(0xf7_f8_fa),
                surface_card: hex(0xff_ff_ff),
                surface_raised: hex(0xe3_e7_ee),
                line: hex(0xcf_d5_df),
                field: hex(0xff_ff_ff),
                text: hex(0x1a_1e_26),
                dim: hex(0x51_5b_6b),
                faint: hex(0x77_82_8f),
                accent: hex(0x2b_5b_d7),
                on_accent: hex(0xff_ff_ff),
                accent_soft: hex(0xe0_e8_fc),
                ok: hex(0x1d_76_49),
                warn: hex(0x8a_5a_00),
                error: hex(0xbd_2f_39),
                memory: hex(0x71_48_bd),
                shadow: Color32::from_black_alpha(50),
            },
        }
    }

    /// The colour of a kind of node: its top edge and icon.
    #[must_use]
    pub fn kind_color(&self, kind: NodeKindName) -> Color32 {
        let (dark, light) = match kind {
            NodeKindName::Workflow => (0x7a_a2_ff, 0x2b_5b_d7),
            NodeKindName::Input | NodeKindName::Output => (0x9f_b3_c8, 0x4c_62_7a),
            NodeKindName::FanOut => (0xc3_a6_ff, 0x71_48_bd),
            NodeKindName::Condition => (0xf2_c9_7d, 0x85_59_0a),
            NodeKindName::Merge => (0x7f_d6_c2, 0x19_70_5f),
            NodeKindName::Review => (0xf2_a6_c0, 0xa8_37_63),
        };
        self.pick(dark, light)
    }

    /// The colour of a data type: ports and links. The hues are those ComfyUI's users know.
    #[must_use]
    #[expect(
        clippy::mistyped_literal_suffixes,
        reason = "red, green and blue: the last pair is blue, not a type"
    )]
    pub fn data_type_color(&self, data_type: DataType) -> Color32 {
        let (dark, light) = match data_type {
            DataType::Image => (0x64_b5_f6, 0x1c_74_bd),
            DataType::Mask => (0x81_c7_84, 0x35_7f_39),
            DataType::Video => (0xff_9e_64, 0xb8_57_17),
            DataType::Latent => (0xe0_8c_f0, 0x9a_39_ad),
            DataType::Audio => (0x4d_d0_c0, 0x0e_7c_6f),
            DataType::Text => (0xd7_dc_e6, 0x3d_47_57),
            DataType::Integer | DataType::Number | DataType::Boolean => (0xb5_ce_a8, 0x54_74_42),
            DataType::Json | DataType::File | DataType::Trigger | DataType::Any => {
                (0x88_92_a6, 0x5c_66_78)
            }
        };
        self.pick(dark, light)
    }

    /// The colour of an item's state. Always shown with its word or icon.
    #[must_use]
    pub fn item_state_color(&self, state: ItemState) -> Color32 {
        match state {
            ItemState::Waiting | ItemState::Ready | ItemState::Skipped | ItemState::Cancelled => {
                self.dim
            }
            ItemState::Submitted | ItemState::Running => self.accent,
            ItemState::Done => self.ok,
            ItemState::Blocked | ItemState::Parked | ItemState::Asking => self.warn,
            ItemState::Failed => self.error,
        }
    }

    /// The colour of a backend's state. Always shown with its word.
    #[must_use]
    pub fn backend_state_color(&self, state: BackendState) -> Color32 {
        match state {
            BackendState::Online | BackendState::Busy => self.ok,
            BackendState::Connecting | BackendState::Degraded => self.warn,
            BackendState::Offline => self.error,
            BackendState::Disabled => self.faint,
        }
    }

    /// The opacity of what is disabled. The window multiplies colours as they are written and mixes them as light, so the
    /// same opacity takes far more contrast away on a light surface than on a dark one.
    #[must_use]
    pub fn disabled_alpha(&self) -> f32 {
        match self.mode {
            ThemeMode::Dark => 0.7,
            ThemeMode::Light => 0.84,
        }
    }

    fn pick(&self, dark: u32, light: u32) -> Color32 {
        match self.mode {
            ThemeMode::Dark => hex(dark),
            ThemeMode::Light => hex(light),
        }
    }

    /// Puts the roles into egui's style. Called once at the start and after every change of theme.
    pub fn apply(&self, ctx: &egui::Context) {
        ctx.set_theme(match self.mode {
            ThemeMode::Dark => egui::Theme::Dark,
            ThemeMode::Light => egui::Theme::Light,
        });
        ctx.all_styles_mut(|style| self.fill_style(style));
    }

    fn fill_style(&self, style: &mut egui::Style) {
        style.text_styles = [
            (
                TextStyle::Body,
                FontId::new(TEXT_BODY, FontFamily::Proportional),
            ),
            (
                TextStyle::Button,
                FontId::new(TEXT_BODY, FontFamily::Proportional),
            ),
            (
                TextStyle::Small,
                FontId::new(TEXT_SMALL, FontFamily::Proportional),
            ),
            (
                TextStyle::Heading,
                FontId::new(TEXT_TITLE, semibold_family()),
            ),
            (
                TextStyle::Monospace,
                FontId::new(12.0, FontFamily::Monospace),
            ),
        ]
        .into();

        let spacing = &mut style.spacing;
        spacing.item_spacing = Vec2::new(2.0 * GRID, 1.5 * GRID);
        spacing.button_padding = Vec2::new(2.5 * GRID, GRID);
        spacing.interact_size = Vec2::new(10.0 * GRID, 7.0 * GRID);
        spacing.menu_margin = Margin::same(6);
        spacing.window_margin = Margin::same(16);
        spacing.icon_width = 4.0 * GRID;
        spacing.icon_spacing = 1.5 * GRID;
        spacing.combo_width = 30.0 * GRID;
        spacing.tooltip_width = 90.0 * GRID;
        spacing.scroll = egui::style::ScrollStyle::thin();

        // A pointer that rests shows its tip after half a second, as ComfyUI's users are used to.
        style.interaction.tooltip_delay = 0.5;
        style.interaction.selectable_labels = false;
        style.animation_time = 0.13;

        let visuals = &mut style.visuals;
        visuals.dark_mode = self.mode == ThemeMode::Dark;
        visuals.disabled_alpha = self.disabled_alpha();
        // Colours are mixed as light here, which makes dark letters on a light ground thin: edges count for more in both themes.
        visuals.text_options.color_transfer_function =
            egui::epaint::FontColorTransferFunction::TwoCoverageMinusCoverageSq;
        visuals.override_text_color = None;
        visuals.panel_fill = self.surface_panel;
        visuals.window_fill = self.surface_card;
        visuals.window_stroke = Stroke::new(1.0, self.line);
        visuals.window_corner_radius = CornerRadius::same(RADIUS_CARD + 2);
        visuals.menu_corner_radius = CornerRadius::same(RADIUS_CARD);
        visuals.extreme_bg_color = self.field;
        visuals.text_edit_bg_color = Some(self.field);
        visuals.faint_bg_color = self.surface_card;
        visuals.code_bg_color = self.surface_card;
        visuals.hyperlink_color = self.accent;
        visuals.warn_fg_color = self.warn;
        visuals.error_fg_color = self.error;
        visuals.weak_text_color = Some(self.dim);
        visuals.selection.bg_fill = self.accent_soft;
        visuals.selection.stroke = Stroke::new(1.0, self.accent);
        visuals.slider_trailing_fill = true;
        visuals.striped = false;
        // A blinking cursor would keep the window drawing.
        visuals.text_cursor.blink = false;
        visuals.popup_shadow = egui::epaint::Shadow {
            offset: [0, 6],
            blur: 18,
            spread: 0,
            color: self.shadow,
        };
        visuals.window_shadow = egui::epaint::Shadow {
            offset: [0, 12],
            blur: 32,
            spread: 0,
            color: self.shadow,
        };

        let radius = CornerRadius::same(RADIUS_CONTROL);
        let widgets = &mut visuals.widgets;
        for widget in [
            &mut widgets.noninteractive,
            &mut widgets.inactive,
            &mut widgets.hovered,
            &mut widgets.active,
            &mut widgets.open,
        ] {
            widget.corner_radius = radius;
            widget.expansion = 0.0;
            widget.fg_stroke = Stroke::new(1.0, self.text);
            widget.bg_stroke = Stroke::new(1.0, self.line);
        }
        widgets.noninteractive.bg_fill = self.surface_panel;
        widgets.noninteractive.weak_bg_fill = self.surface_panel;
        widgets.inactive.bg_fill = self.surface_raised;
        widgets.inactive.weak_bg_fill = self.surface_raised;
        widgets.hovered.bg_fill = self.line;
        widgets.hovered.weak_bg_fill = self.line;
        widgets.hovered.bg_stroke = Stroke::new(1.0, self.faint);
        widgets.active.bg_fill = self.accent_soft;
        widgets.active.weak_bg_fill = self.accent_soft;
        widgets.active.bg_stroke = Stroke::new(1.0, self.accent);
        widgets.open.bg_fill = self.surface_raised;
        widgets.open.weak_bg_fill = self.surface_raised;
    }
}

/// The family of titles and of what is emphasised.
#[must_use]
pub fn semibold_family() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// Installs the embedded fonts. Called once per egui context.
pub fn install_fonts(ctx: &egui::Context) {
    let mut fonts = FontDefinitions::default();
    for (name, bytes) in [
        ("inter", INTER_REGULAR),
        ("inter-semibold", INTER_SEMIBOLD),
        ("jetbrains-mono", JETBRAINS_MONO),
    ] {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let mut proportional = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    proportional.insert(0, "inter".to_owned());
    fonts
        .families
        .insert(FontFamily::Proportional, proportional);
    fonts
        .families
        .entry(FontFamily::Monospace)
        .or_default()
        .insert(0, "jetbrains-mono".to_owned());
    egui_phosphor::add_to_fonts(&mut fonts, egui_phosphor::Variant::Regular);
    let mut semibold = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    semibold.insert(0, "inter-semibold".to_owned());
    fonts.families.insert(semibold_family(), semibold);
    ctx.set_fonts(fonts);
}

/// A colour from its `0xRRGGBB`.
const fn hex(rgb: u32) -> Color32 {
    Color32::from_rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red, green and blue as amounts of light (WCAG 2.1).
    type Light = [f64; 3];

    fn light_of(value: f64) -> f64 {
        if value <= 0.040_45 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    }

    fn light(color: Color32) -> Light {
        [color.r(), color.g(), color.b()].map(|value| light_of(f64::from(value) / 255.0))
    }

    /// What is seen of a colour of some opacity above another, as the window's shader mixes them.
    fn above(color: Color32, below: Light, alpha: f64) -> Light {
        let written = [color.r(), color.g(), color.b()];
        std::array::from_fn(|at| {
            light_of(f64::from(written[at]) / 255.0 * alpha) + (1.0 - alpha) * below[at]
        })
    }

    fn contrast_of_light(a: Light, b: Light) -> f64 {
        let luminance = |[red, green, blue]: Light| 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        contrast_of_light(light(a), light(b))
    }

    #[test]
    fn what_is_disabled_can_still_be_read() {
        for mode in [ThemeMode::Dark, ThemeMode::Light] {
            let theme = Theme::of(mode);
            let alpha = f64::from(theme.disabled_alpha());
            for surface in [theme.surface_panel, theme.surface_card] {
                let below = light(surface);
                let button = above(theme.surface_raised, below, alpha);
                for ink in [theme.text, theme.dim] {
                    for ground in [below, button] {
                        let ratio = contrast_of_light(above(ink, ground, alpha), ground);
                        assert!(ratio >= 3.0, "{mode:?}: disabled {ink:?} is {ratio:.2}");
                    }
                }
            }
            for surface in [
                theme.surface_canvas,
                theme.surface_panel,
                theme.surface_card,
                theme.surface_raised,
                theme.field,
            ] {
                let ratio = contrast(theme.faint, surface);
                assert!(ratio >= 3.0, "{mode:?}: faint on {surface:?} is {ratio:.2}");
            }
        }
    }

    #[test]
    fn everything_that_is_read_has_enough_contrast() {
        for mode in [ThemeMode::Dark, ThemeMode::Light] {
            let theme = Theme::of(mode);
            let surfaces = [
                theme.surface_canvas,
                theme.surface_panel,
                theme.surface_card,
                theme.surface_raised,
                theme.field,
            ];
            let mut read = vec![
                theme.text,
                theme.dim,
                theme.ok,
                theme.warn,
                theme.error,
                theme.accent,
            ];
            read.extend(NodeKindName::ALL.map(|kind| theme.kind_color(kind)));
            for surface in surfaces {
                for ink in &read {
                    let ratio = contrast(*ink, surface);
                    assert!(
                        ratio >= 4.5,
                        "{mode:?}: {ink:?} on {surface:?} is {ratio:.2}"
                    );
                }
            }
            assert!(contrast(theme.on_accent, theme.accent) >= 4.5, "{mode:?}");
            for ink in [theme.text, theme.dim, theme.accent] {
                assert!(contrast(ink, theme.accent_soft) >= 4.5, "{mode:?}: {ink:?}");
            }
        }
    }
}
