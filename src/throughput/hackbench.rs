//! `hackbench`: groups in which every sender writes to every receiver.
//!
//! As in Linux's tool, a group has as many senders as receivers, twenty unless told otherwise; each sender sends each
//! receiver so many messages of about 100 bytes, one receiver after the other. A receiver has a queue of its own. The job
//! is little but wake-ups and switches.
//!
//! The last message of a sender says so, and a receiver ends with the last one of the last sender: nothing has to be
//! waited for with a timeout, also where Ctrl-C makes senders end early.

use super::crew::{Crew, Outcome};
use super::params::Hackbench;
use crate::error::Result;
use crate::ipc::MsgQueue;
use crate::preempt::cond_resched;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// Words of a message: 104 bytes.
const WORDS: usize = 13;
type Message = [u64; WORDS];
/// Messages that fit into a queue.
const QUEUE: usize = 8;
type Queue = MsgQueue<Message, QUEUE>;
/// In the first word of a sender's last message.
const LAST: u64 = 1 << 63;

/// Runs it. `go_on` is asked now and then; `false` ends it early. What is done are messages received.
///
/// # Errors
/// No memory for the tasks.
pub fn run(params: Hackbench, go_on: impl FnMut() -> bool) -> Result<Outcome> {
    let mut crew = Crew::new();
    for _ in 0..params.groups {
        let queues: Arc<Vec<Queue>> = Arc::new((0..params.pairs).map(|_| Queue::new()).collect());
        for receiver in 0..params.pairs {
            let queues = Arc::clone(&queues);
            crew.add("receiver", move |_| receive(&queues[receiver], params.pairs))?;
        }
        for _ in 0..params.pairs {
            let queues = Arc::clone(&queues);
            crew.add("sender", move |stop| {
                send(&queues, params.loops, stop);
                0
            })?;
        }
    }
    Ok(crew.run(go_on))
}

fn send(queues: &[Queue], loops: u64, stop: &AtomicBool) {
    for number in 0..loops {
        let is_last = number + 1 == loops || stop.load(Ordering::Relaxed);
        let mut message = [number; WORDS];
        message[0] |= if is_last { LAST } else { 0 };
        for queue in queues {
            queue.put(message);
            cond_resched();
        }
        if is_last {
            break;
        }
    }
}

/// Returns how many messages came.
fn receive(queue: &Queue, senders: usize) -> u64 {
    let (mut received, mut ended) = (0, 0);
    while ended < senders {
        let message = queue.get();
        let number = message[0] & !LAST;
        assert!(message[1..].iter().all(|&word| word == number), "message {number} was damaged: {message:?}");
        ended += usize::from(message[0] & LAST != 0);
        received += 1;
        cond_resched();
    }
    received
}
