//! A backend's address and settings.

use super::modal;
use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{at_right, field_label, hint, primary, strong, tick};
use crate::fleet::{Auth, BackendConfig, Secret, TlsPolicy};
use crate::project::BackendId;
use bevy_egui::egui::text::{CCursor, CCursorRange};
use bevy_egui::egui::{Button, ComboBox, Context, Key, Margin, RichText, TextEdit, Ui, Vec2};
use url::Url;

/// What is typed for a backend.
#[derive(Clone, Debug)]
pub struct BackendForm {
    id: Option<BackendId>,
    name: String,
    url: String,
    tags: String,
    auth: AuthKind,
    user: String,
    header: String,
    secret: String,
    any_certificate: bool,
    enabled: bool,
    focus: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthKind {
    None,
    Bearer,
    Basic,
    Header,
}

impl AuthKind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::None, "None"),
        (Self::Bearer, "Bearer token"),
        (Self::Basic, "User and password"),
        (Self::Header, "Header"),
    ];
}

impl BackendForm {
    /// An empty form.
    #[must_use]
    pub fn new() -> Self {
        Self {
            id: None,
            name: String::new(),
            url: "http://127.0.0.1:8188".to_owned(),
            tags: String::new(),
            auth: AuthKind::None,
            user: String::new(),
            header: String::new(),
            secret: String::new(),
            any_certificate: false,
            enabled: true,
            focus: true,
        }
    }

    /// The form of a registered backend.
    #[must_use]
    pub fn of(config: &BackendConfig) -> Self {
        let env = |secret: &Secret| match secret {
            Secret::Env(name) => name.clone(),
        };
        let mut form = Self {
            id: Some(config.id),
            name: config.name.clone(),
            url: config.url.to_string(),
            tags: config.tags.iter().cloned().collect::<Vec<_>>().join(", "),
            any_certificate: config.tls == TlsPolicy::AcceptAny,
            enabled: config.enabled,
            ..Self::new()
        };
        match &config.auth {
            Auth::None => {}
            Auth::Bearer(secret) => {
                form.auth = AuthKind::Bearer;
                form.secret = env(secret);
            }
            Auth::Basic { user, password } => {
                form.auth = AuthKind::Basic;
                form.user.clone_from(user);
                form.secret = env(password);
            }
            Auth::Header { name, value } => {
                form.auth = AuthKind::Header;
                form.header.clone_from(name);
                form.secret = env(value);
            }
        }
        form
    }

    /// The configuration, or what is missing.
    fn config(&self) -> Result<BackendConfig, String> {
        let text = self.url.trim();
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url =
            Url::parse(&text).map_err(|error| format!("The address cannot be read: {error}."))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "The address begins with {}://; use http:// or https://.",
                url.scheme()
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("The address names no computer.".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("Put user and password below, not into the address: addresses are shown and logged.".to_owned());
        }
        let secret = || {
            let name = self.secret.trim();
            let plain = !name.is_empty()
                && name
                    .chars()
                    .all(|character| character.is_ascii_alphanumeric() || character == '_');
            if plain {
                Ok(Secret::Env(name.to_owned()))
            } else {
                Err(
                    "Name the environment variable that holds the secret, for example COMFY_TOKEN."
                        .to_owned(),
                )
            }
        };
        let auth = match self.auth {
            AuthKind::None => Auth::None,
            AuthKind::Bearer => Auth::Bearer(secret()?),
            AuthKind::Basic => Auth::Basic {
                user: self.user.trim().to_owned(),
                password: secret()?,
            },
            AuthKind::Header => Auth::Header {
                name: self.header.trim().to_owned(),
                value: secret()?,
            },
        };
        let name = if self.name.trim().is_empty() {
            // With the port: several backends of one machine are told apart by it.
            match (url.host_str(), url.port()) {
                (Some(host), Some(port)) => format!("{host}:{port}"),
                (host, _) => host.unwrap_or("backend").to_owned(),
            }
        } else {
            self.name.trim().to_owned()
        };
        Ok(BackendConfig {
            id: self.id.unwrap_or_else(BackendId::new_now),
            name,
            url,
            tags: self
                .tags
                .split(',')
                .map(|tag| tag.trim().to_owned())
                .filter(|tag| !tag.is_empty())
                .collect(),
            auth,
            tls: if self.any_certificate {
                TlsPolicy::AcceptAny
            } else {
                TlsPolicy::Verify
            },
            enabled: self.enabled,
        })
    }
}

impl Default for BackendForm {
    fn default() -> Self {
        Self::new()
    }
}

/// Draws the form, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut form) = panel.dialogs.backend.take() else {
        return;
    };
    let theme = panel.theme;
    let config = form.config();
    let mut submit =
        ctx.input(|input| input.key_pressed(Key::Enter)) && config.is_ok() && !form.focus;
    let mut cancel = false;
    let closed = modal(ctx, panel.theme, "backend", 420.0, |ui| {
        let title = if form.id.is_some() {
            "Backend"
        } else {
            "Add a backend"
        };
        ui.label(strong(format!("{}  {title}", icons::HARD_DRIVES), 16.0));
        ui.add_space(2.0 * GRID);
        field_label(ui, theme, "Address");
        let output = TextEdit::singleline(&mut form.url)
            .hint_text("http://192.168.1.20:8188")
            .desired_width(f32::INFINITY)
            .char_limit(2_000)
            .margin(Margin::symmetric(8, 7))
            .show(ui);
        if form.focus {
            // Typing replaces the example.
            output.response.request_focus();
            let mut state = output.state;
            let whole = CCursorRange::two(CCursor::new(0), CCursor::new(form.url.chars().count()));
            state.cursor.set_char_range(Some(whole));
            state.store(ui.ctx(), output.response.id);
            form.focus = false;
        }
        line(ui, panel, "Name", "as the address says", &mut form.name);
        line(ui, panel, "Tags", "24 GB, video", &mut form.tags);
        ui.collapsing("Authentication", |ui| {
            let shown = AuthKind::ALL
                .iter()
                .find(|(kind, _)| *kind == form.auth)
                .map_or("", |(_, words)| words);
            ComboBox::from_id_salt("auth")
                .width(ui.available_width())
                .selected_text(shown)
                .show_ui(ui, |ui| {
                    for (kind, words) in AuthKind::ALL {
                        ui.selectable_value(&mut form.auth, kind, words);
                    }
                });
            if form.auth == AuthKind::Basic {
                line(ui, panel, "User", "", &mut form.user);
            }
            if form.auth == AuthKind::Header {
                line(ui, panel, "Header", "X-Api-Key", &mut form.header);
            }
            if form.auth != AuthKind::None {
                line(
                    ui,
                    panel,
                    "Environment variable with the secret",
                    "COMFY_TOKEN",
                    &mut form.secret,
                );
                hint(
                    ui,
                    theme,
                    "Secrets are never written to files; only the name of the variable is.",
                );
            }
            let words = "Accept any certificate (https)";
            tick(ui, theme, &mut form.any_certificate, words);
        });
        ui.add_space(2.0 * GRID);
        if let Err(problem) = &config {
            ui.label(
                RichText::new(format!("{} {problem}", icons::WARNING))
                    .size(TEXT_SMALL)
                    .color(theme.warn),
            );
        }
        ui.add_space(2.0 * GRID);
        at_right(ui, |ui| {
            let words = if form.id.is_some() { "Save" } else { "Add" };
            let size = Vec2::new(84.0, 30.0);
            submit |= primary(ui, theme, config.is_ok(), words, size).clicked();
            cancel = ui
                .add(Button::new("Cancel").min_size(Vec2::new(84.0, 30.0)))
                .clicked();
        });
    });
    match config {
        Ok(config) if submit => panel.act(Action::PutBackend(Box::new(config))),
        _ if closed || cancel => {}
        _ => panel.dialogs.backend = Some(form),
    }
}

fn line(ui: &mut Ui, panel: &PanelContext<'_>, label: &str, hint: &str, text: &mut String) {
    field_label(ui, panel.theme, label);
    ui.add(
        TextEdit::singleline(text)
            .hint_text(hint)
            .desired_width(f32::INFINITY)
            .char_limit(200)
            .margin(Margin::symmetric(8, 6)),
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed_or_refused_with_a_reason() {
        let with = |url: &str| {
            BackendForm {
                url: url.to_owned(),
                ..BackendForm::new()
            }
            .config()
        };
        assert_eq!(
            with("studio-a:8188").unwrap().url.as_str(),
            "http://studio-a:8188/"
        );
        assert_eq!(with("https://host/comfy").unwrap().name, "host");
        assert!(with("ftp://host").unwrap_err().contains("http"));
        assert!(
            with("http://me:secret@host")
                .unwrap_err()
                .contains("not into the address")
        );
        assert!(with("http://").is_err());
    }
}
