//! Registered backends: configuration, health, capabilities, metrics.

mod backend;
mod status;

pub use backend::{Auth, BackendConfig, Secret, TlsPolicy};
pub use status::{BackendState, BackendStatus, DeviceStatus};
