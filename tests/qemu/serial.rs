//! The terminal for a board, with a guest at the other end of the line.

use libtest_mimic::Trial;
use stint_tools::bootargs;
use stint_tools::machine::Machine;
use stint_tools::qemu::{self, Payload};
use stint_tools::serial::port;
use stint_tools::serial_log;

use crate::boot::{SHORT, STINT, built, keep, message};
use crate::pty::{Guest, LEAVE, Step, converse};

/// More keys than the receiver holds, all at once; then a run that is over soon, and its report.
const STEPS: [Step; 3] = [
    ("stint> ", "uname -a; uname -a; uname -a; uname -a; uname -a; uname -a; uname -a; uname\r"),
    ("\nStint\r", "latency period=100us fragments=10 load=none\r"),
    ("plot latency.wakeup", LEAVE),
];

/// One trial: a session.
pub fn trials(followers: &mut Vec<Trial>) {
    followers.push(Trial::test("serial::a_session_at_the_line_is_kept_and_can_be_reported", || {
        let image = &built(&STINT).map_err(message)?.image;
        let told = bootargs::board("demo=0").map_err(message)?;
        let command = qemu::command(&Machine::measuring(), Payload::Image(image), &told);
        let mut guest = Guest::start(command).map_err(message)?;
        let line = port::open(&guest.dev).map_err(message)?;
        guest.go().map_err(message)?;
        let heard = converse(line, &STEPS, SHORT.total).map_err(message)?;
        keep("serial", &heard).map_err(message)?;
        let log = serial_log::read(heard.as_bytes());
        let samples = log.boots.first().and_then(|boot| Some(boot.runs.first()?.number("n")));
        if samples != Some(10) || log.boots[0].fact("board").is_none() {
            return Err(format!("the session's log has not the run that was made: {log:?}\n{heard}").into());
        }
        Ok(())
    }));
}
