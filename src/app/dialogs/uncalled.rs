//! Questions that come by themselves, while a person does something else.

use bevy_egui::egui::Context;

/// For how long no answer is taken, seconds: what is already on its way to something else must not hit one.
const DEAF_S: f64 = 0.6;

/// When a question that nobody called for was first seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uncalled {
    since_s: Option<f64>,
}

impl Uncalled {
    /// Whether the question was there long enough to be answered.
    pub(super) fn may_be_answered(&mut self, ctx: &Context) -> bool {
        let now_s = ctx.input(|input| input.time);
        let is_deaf = now_s - *self.since_s.get_or_insert(now_s) < DEAF_S;
        if is_deaf {
            ctx.request_repaint();
        }
        !is_deaf
    }
}
