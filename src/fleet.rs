//! Registered backends: configuration, health, capabilities, metrics.

mod auth;
mod backend;
mod check;
mod door;
mod health;
mod monitor;
mod roster;
mod saved_workflows;
mod status;

pub use auth::{AuthError, auth_headers};
pub use backend::{Auth, AuthFormatError, BackendConfig, Secret, TlsPolicy};
pub use check::{BackendReport, Capabilities, capabilities, check};
pub use door::{Door, DoorError};
pub use health::{Health, HttpHealth, LinkHealth};
pub use roster::{Fleet, FleetError, FleetEvent, endpoint_of};
pub use saved_workflows::{SaveMode, SavedWorkflows};
pub use status::{BackendState, BackendStatus, DeviceStatus};
