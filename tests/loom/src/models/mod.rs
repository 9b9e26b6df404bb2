//! The models; what they are made of is that of the world that includes them.

use super::{llist, sync, ticket};

pub mod call;
pub mod handoff;
pub mod lock;
pub mod wake_list;
