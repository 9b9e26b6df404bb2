//! What is read of a console, and what is said of the rest.

use super::*;
use proptest::prelude::*;

const LINE: &str = "          <idle>-0       [001] dNh1     1.234567890: sched_waking: comm=shell pid=7 prio=120 target_cpu=001";

fn read_one(line: &str) -> Trace {
    read(format!("# tracer: nop\n{line}\n{END}\n").as_bytes()).unwrap()
}

#[test]
fn a_line_is_taken_apart() {
    let trace = read_one(LINE);
    assert_eq!(
        trace.entries,
        [Entry {
            line: 2,
            comm: "<idle>".into(),
            pid: 0,
            cpu: 1,
            flags: Flags::parse("dNh1").unwrap(),
            ns: 1_234_567_890,
            event: "sched_waking".into(),
            payload: "comm=shell pid=7 prio=120 target_cpu=001".into(),
            lost: 0,
        }]
    );
    assert!(trace.is_whole && trace.cpus == 2 && trace.remarks().is_empty());
}

#[test]
fn a_name_may_have_what_a_line_has() {
    for name in ["kworker/0:1-ev", "a-1", "irq/27-x [1]", "-"] {
        let trace = read_one(&LINE.replace("<idle>", name));
        assert_eq!((trace.entries.len(), trace.entries[0].comm.as_str()), (1, name));
    }
}

#[test]
fn a_spoilt_line_is_named_with_its_number_and_the_reason() {
    for (from, to, reason) in [
        ("dNh1", "dNh", "are 3 characters and not 4"),
        ("dNh1", "dQh1", "`Q` in its flags"),
        ("1.234567890", "1.23456789O", "is no number of seconds"),
        ("1.234567890", "1.2345678901", "is no number of seconds"),
        ("1.234567890", "99999999999999.0", "is no number of seconds"),
        ("sched_waking:", "sched waking:", "is not the name of an event"),
        ("<idle>-0", "<idle>0", "does not begin with a task"),
        ("          <idle>", "", "has no name"),
        ("[001]", "[99999]", "names CPU 99999"),
        ("shell", "sh\u{fffd}ll", "bytes that no such line has"),
    ] {
        let trace = read_one(&LINE.replace(from, to));
        let [damaged] = trace.damaged.as_slice() else { panic!("{from} -> {to}: {trace:?}") };
        assert!(damaged.line == 2 && damaged.reason.contains(reason), "{from} -> {to}: {}", damaged.reason);
        assert!(trace.entries.is_empty());
    }
}

#[test]
fn other_lines_of_the_console_are_counted() {
    let text = format!(
        "before\n# tracer: nop\n#\n# entries-in-buffer/entries-written: 3/20   #P:4\n#\n{LINE}\r\n[    1.234567] info: a\nhello\n\
         {LINE}\n"
    );
    let trace = read(text.as_bytes()).unwrap();
    assert_eq!((trace.entries.len(), trace.foreign, trace.damaged.len(), trace.cpus), (2, 2, 0, 4));
    assert_eq!((trace.announced, trace.written, trace.lost()), (Some(3), Some(20), 17));
    let remarks = trace.remarks().join("\n");
    for wanted in ["announces 3 events; 2 were read", "2 other lines", "was cut off"] {
        assert!(remarks.contains(wanted), "{remarks}");
    }
}

#[test]
fn the_last_trace_of_a_console_is_the_one_and_what_stands_behind_its_end_is_not_of_it() {
    let first = format!("# tracer: nop\n{LINE}\n{LINE}\n{END}\n{LINE}\n");
    let trace = read(format!("{first}# tracer: irqsoff\n{LINE}\n{END}\n{LINE}\n").as_bytes()).unwrap();
    assert_eq!((trace.sections, trace.tracer.as_str(), trace.entries.len()), (2, "irqsoff", 1));
    assert!(read(LINE.as_bytes()).is_none());
}

#[test]
fn entries_are_in_the_order_of_time() {
    let at = |stamp: &str, payload: &str| LINE.replace("1.234567890", stamp).replace("shell", payload);
    let trace = read_one(&[at("2.0", "a"), at("1.5", "b"), at("2.0", "c")].join("\n"));
    let order: Vec<_> = trace.entries.iter().map(|entry| &entry.payload[5..6]).collect();
    assert_eq!((order, trace.out_of_order), (vec!["b", "a", "c"], 1));
    assert!(trace.remarks()[0].contains("1 lines stood behind"));
}

#[test]
fn lost_events_are_noted_at_the_next_of_their_cpu() {
    let other = LINE.replace("[001]", "[000]");
    let text = format!("CPU:1 [LOST 17 EVENTS]\n{other}\n{LINE}\nCPU:0 [LOST 3 EVENTS]");
    let trace = read_one(&text);
    let lost: Vec<_> = trace.entries.iter().map(|entry| (entry.cpu, entry.lost)).collect();
    assert_eq!((lost, trace.lost_behind, trace.lost()), (vec![(0, 0), (1, 17)], 3, 20));
}

#[test]
fn more_than_can_be_lost_is_no_mark() {
    let trace = read_one(&format!("CPU:1 [LOST 18446744073709551615 EVENTS]\nCPU:1 [LOST 2 EVENTS]\n{LINE}"));
    assert_eq!(trace.lost(), 2);
}

#[test]
fn the_flags_are_bits_of_a_record() {
    for (text, bits, depth) in [
        ("....", 0, 0),
        ("dNh1", 0x2d, 1),
        ("dns2", 0x15, 2),
        (".pHf", 0x38, 15),
        ("X.Za", 0x4a, 10),
        ("..z.", 0x40, 0),
    ] {
        let flags = Flags::parse(text).unwrap();
        assert_eq!((flags.bits(), flags.depth(), flags.text()), (bits, depth, text));
    }
}

proptest! {
    #[test]
    fn no_console_is_an_error(text in "(# tracer: nop\n)?(\\PC{0,40}\n){0,20}") {
        let _ = read(text.as_bytes());
    }

    #[test]
    fn every_line_is_an_event_or_is_counted(at in 0..LINE.len(), byte in any::<u8>()) {
        let mut line = LINE.as_bytes().to_vec();
        line[at] = byte;
        prop_assume!(!b"\n\r\x1b".contains(&byte));
        let mut text = b"# tracer: nop\n".to_vec();
        text.extend(line);
        let trace = read(&text).unwrap();
        let comment = at == 0 && byte == b'#';
        prop_assert!(trace.entries.len() + trace.damaged.len() + trace.foreign == 1 || comment);
    }

    #[test]
    fn a_line_cut_anywhere_is_no_other_event(at in 0..LINE.len()) {
        let trace = read_one(&LINE[..at]);
        for entry in trace.entries {
            prop_assert!("sched_waking".starts_with(&entry.event) && entry.ns <= 1_234_567_890);
        }
    }

    #[test]
    fn any_entry_reads_back(
        comm in "[a-zA-Z0-9_/:.]{1,15}", pid in 0..100_000i32, cpu in 0u32..64, ns in 0u64..1 << 60,
        payload in "[a-z=0-9 ]{0,40}",
    ) {
        let payload = payload.trim().to_owned();
        let line = format!(
            "{comm:>16}-{pid:<7} [{cpu:03}] d..1 {:>5}.{:09}: some_event: {payload}", ns / 1_000_000_000, ns % 1_000_000_000
        );
        let trace = read_one(&line);
        prop_assert_eq!(trace.entries.len(), 1, "{:?}", trace.damaged);
        let entry = &trace.entries[0];
        prop_assert_eq!((&entry.comm, entry.pid, entry.cpu, entry.ns, &entry.payload), (&comm, pid, cpu, ns, &payload));
    }
}
