//! Passing data between tasks.

mod msg_queue;
mod pool;

pub use msg_queue::MsgQueue;
pub use pool::{Block, Pool};
