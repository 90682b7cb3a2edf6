//! Identities of everything the document names.
//!
//! Ids are `UUIDv7` newtypes: unique across machines, ordered by creation, and never confused with each other by the
//! compiler. They are made at the edge ([`NodeId::new_now`] in the app and the CLI) and handed in as data everywhere else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Declares one id newtype. Five types with the same seven methods are the reason for a macro.
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id that sorts after all earlier ones. Only for the edge: pure code gets ids as data.
            #[must_use]
            pub fn new_now() -> Self {
                Self(Uuid::now_v7())
            }

            /// Wraps an existing UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}
pub(crate) use id_type;

id_type!(
    /// A project, the same through renames and copies of its folder.
    ProjectId
);
id_type!(
    /// A node of the project graph.
    NodeId
);
id_type!(
    /// A port of a node.
    PortId
);
id_type!(
    /// A link between two ports.
    LinkId
);
id_type!(
    /// A frame (titled rectangle) around nodes.
    FrameId
);
id_type!(
    /// A registered backend. Known to the document because a node may be tied to one.
    BackendId
);
