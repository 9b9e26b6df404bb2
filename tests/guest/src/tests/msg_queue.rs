//! The message queue.

use crate::framework::clock::TickOff;
use crate::framework::events::Events;
use crate::framework::interrupt::Interrupt;
use crate::tests::{HIGH, LOW};
use crate::{check, check_eq, ktest};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use stint::Error;
use stint::ipc::MsgQueue;
use stint::sched::wait::Timeout;
use stint::task;
use stint::time::now_ns;

ktest! {
    fn messages_come_out_in_the_order_in_which_they_went_in() {
        static QUEUE: MsgQueue<u32, 3> = MsgQueue::new();
        // More rounds than places, so that the ring wraps at every offset.
        for round in 0..10 {
            for i in 0..3 {
                check_eq!(QUEUE.try_put(round * 3 + i), Ok(()));
            }
            check_eq!(QUEUE.try_put(99), Err((Error::WouldBlock, 99)), "a message too many comes back");
            check_eq!(QUEUE.len(), 3);
            for i in 0..3 {
                check_eq!(QUEUE.try_get(), Ok(round * 3 + i));
            }
            check_eq!(QUEUE.try_get(), Err(Error::WouldBlock));
            check!(QUEUE.is_empty());
            QUEUE.put(7);
            check_eq!(QUEUE.get(), 7);
        }
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_message_for_a_waiting_receiver_is_handed_over_directly() {
        static QUEUE: MsgQueue<u32, 2> = MsgQueue::new();
        static LOG: Events = Events::new();
        let fair = task::build("fair").spawn(|| QUEUE.get())?;
        task::sleep_ms(20);
        QUEUE.put(5);
        // The receiver has not run yet, and the message is not in the queue for another to take.
        check_eq!(QUEUE.len(), 0, "messages in the queue");
        check_eq!(QUEUE.try_get(), Err(Error::WouldBlock));
        check_eq!(fair.join(), Some(5), "what the receiver got");

        let high = task::build("high").fifo(HIGH).spawn(|| {
            let message = QUEUE.get();
            LOG.mark('H');
            message
        })?;
        QUEUE.put(6);
        LOG.mark('m');
        check_eq!(high.join(), Some(6));
        check_eq!(LOG.text(), "Hm");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn the_most_important_receiver_is_served_first() {
        static QUEUE: MsgQueue<char, 2> = MsgQueue::new();
        let receivers = [10, 12, 11, 12].map(|priority| task::build("receiver").fifo(priority).spawn(|| QUEUE.get()));
        for message in ['1', '2', '3', '4'] {
            QUEUE.put(message);
        }
        for (receiver, expected) in receivers.into_iter().zip(['4', '1', '3', '2']) {
            check_eq!(receiver?.join(), Some(expected));
        }
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_sender_waits_for_room_and_its_message_keeps_its_place() {
        static QUEUE: MsgQueue<u32, 2> = MsgQueue::new();
        static LOG: Events = Events::new();
        QUEUE.put(1);
        QUEUE.put(2);
        let low = task::build("low").fifo(LOW).spawn(|| {
            QUEUE.put(10);
            LOG.mark('l');
        })?;
        let high = task::build("high").fifo(HIGH).spawn(|| {
            QUEUE.put(20);
            LOG.mark('h');
        })?;
        LOG.mark('m');
        let mut got = alloc::vec::Vec::new();
        for _ in 0..4 {
            got.push(QUEUE.get());
            LOG.mark('.');
            check!(QUEUE.len() <= 2);
        }
        low.join();
        high.join();
        check_eq!(got, [1, 2, 20, 10], "messages in order: the more important sender's first");
        check_eq!(LOG.text(), "mh.l...");
    }
}

ktest! {
    fn a_put_that_times_out_gives_the_message_back() {
        static QUEUE: MsgQueue<Arc<u32>, 1> = MsgQueue::new();
        let message = Arc::new(1);
        check!(QUEUE.try_put(Arc::clone(&message)).is_ok());
        let due = now_ns() + 300_000;
        let refused = QUEUE.put_timeout(Arc::clone(&message), Timeout::In(300_000));
        check!(now_ns() >= due, "it gave up too soon");
        check!(matches!(&refused, Err((Error::TimedOut, back)) if Arc::ptr_eq(back, &message)), "found {refused:?}");
        check_eq!(Arc::strong_count(&message), 3, "one here, one in the queue, one that came back");
        drop(refused);
        drop(QUEUE.get());
        check_eq!(Arc::strong_count(&message), 1, "references when the queue is empty");
        check_eq!(QUEUE.len(), 0);
        // Nobody waits any more: the next message stays in the queue.
        check!(QUEUE.try_put(message).is_ok());
        drop(QUEUE.get());
    }
}

ktest! {
    fn a_get_that_times_out_takes_nothing_later() {
        static QUEUE: MsgQueue<u32, 1> = MsgQueue::new();
        let due = now_ns() + 300_000;
        check_eq!(QUEUE.get_timeout(Timeout::In(300_000)), Err(Error::TimedOut));
        check!(now_ns() >= due, "it gave up too soon");
        QUEUE.put(3);
        check_eq!(QUEUE.len(), 1, "the message went to somebody who waits no more");
        check_eq!(QUEUE.get_timeout(Timeout::In(300_000)), Ok(3));
    }
}

ktest! {
    fn messages_left_in_a_queue_are_dropped_with_it() {
        let message = Arc::new(());
        let queue: MsgQueue<Arc<()>, 4> = MsgQueue::new();
        for _ in 0..3 {
            check!(queue.try_put(Arc::clone(&message)).is_ok());
        }
        drop(queue.get());
        check_eq!(Arc::strong_count(&message), 3);
        drop(queue);
        check_eq!(Arc::strong_count(&message), 1, "references when the queue is gone");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn an_interrupt_can_put() {
        static QUEUE: MsgQueue<u32, 2> = MsgQueue::new();
        static LOG: Events = Events::new();
        let _tick = TickOff::new();
        let interrupt = Interrupt::request(8, || {
            let _ = QUEUE.try_put(42);
        })?;
        interrupt.raise();
        interrupt.raise();
        // Full: refused, in the handler, without waiting.
        interrupt.raise();
        check_eq!((QUEUE.len(), QUEUE.get(), QUEUE.get()), (2, 42, 42), "length, and the messages");
        let high = task::build("high").fifo(HIGH).spawn(|| {
            let message = QUEUE.get();
            LOG.mark('H');
            message
        })?;
        interrupt.raise();
        LOG.mark('m');
        check_eq!(high.join(), Some(42));
        check_eq!(LOG.text(), "Hm");
    }
}

ktest! {
    fn no_message_is_lost_or_doubled_between_many_senders_and_receivers() {
        const EACH: u64 = 400;
        static QUEUE: MsgQueue<u64, 3> = MsgQueue::new();
        static SUM: AtomicU64 = AtomicU64::new(0);
        static SQUARES: AtomicU64 = AtomicU64::new(0);
        let storm = stint::time::Timer::new_hard(|| {});
        storm.start_periodic(6_007)?;
        let mut tasks = alloc::vec::Vec::new();
        for index in 0..3i32 {
            let classes = |real_time: bool| if real_time { task::build("pipe").fifo(LOW + index) } else { task::build("pipe") };
            tasks.push(classes(index == 1).spawn(move || {
                for i in 0..EACH {
                    QUEUE.put(index as u64 * EACH + i);
                }
            })?);
            tasks.push(classes(index == 2).spawn(|| {
                for _ in 0..EACH {
                    let message = QUEUE.get();
                    SUM.fetch_add(message, Ordering::Relaxed);
                    SQUARES.fetch_add(message * message, Ordering::Relaxed);
                }
            })?);
        }
        for task in tasks {
            task.join();
        }
        storm.cancel();
        let all = 0..3 * EACH;
        check_eq!(SUM.load(Ordering::Relaxed), all.clone().sum::<u64>(), "the sum of all messages");
        check_eq!(SQUARES.load(Ordering::Relaxed), all.map(|m| m * m).sum::<u64>(), "the sum of their squares");
        check!(QUEUE.is_empty());
    }
}
