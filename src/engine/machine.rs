//! The pure machine of runs: facts in, orders out.
//!
//! [`Machine::step`] takes one [`Input`] (a fact or a wish) and returns [`Effect`]s (orders). It knows no clock, no network,
//! no disk and no randomness; time and ids come in as data. The executor performs the orders and feeds the facts back.
//! Orders of one step are performed in their order, and every [`Effect::Record`] is durable before a later order starts.

mod effect;
mod input;

pub use effect::{Effect, LocalTask, LocalWork, ServerCache, Submission};
pub use input::{AttemptOutputs, Availability, BackendFacts, Input, LocalOutcome};
