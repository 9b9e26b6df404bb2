//! Tests of the terminal, over a pair of pseudo-terminals: one end is the board, the other the line.

use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::ControlModes;

use super::*;

/// The board's end, and the name of the line.
fn pair() -> (File, String) {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&board).unwrap();
    unlockpt(&board).unwrap();
    let name = ptsname(&board, Vec::new()).unwrap().into_string().unwrap();
    (File::from(board), name)
}

/// A log or a screen that can be looked at afterwards.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keys that come when the test says so.
struct FromTest(mpsc::Receiver<u8>);

impl Read for FromTest {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(key) = self.0.recv() else { return Ok(0) };
        buffer[0] = key;
        Ok(1)
    }
}

#[test]
fn what_the_board_says_is_kept_byte_by_byte_and_keys_reach_it() {
    let (mut board, name) = pair();
    let line = port::open(&name).unwrap();
    let (press, keys) = mpsc::channel();
    let (screen, log) = (Kept::default(), Kept::default());
    let session = {
        let (screen, log) = (screen.clone(), log.clone());
        std::thread::spawn(move || converse(line, FromTest(keys), screen, log))
    };
    // Ctrl-C, Ctrl-A and a carriage return are keys like others, and nothing becomes a line feed.
    for key in *b"a\r\x03\x01\x01" {
        press.send(key).unwrap();
    }
    let mut heard = [0; 4];
    board.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"a\r\x03\x01");
    board.write_all(b"\x00\xffhello\r\nbye\n").unwrap();
    while log.0.lock().unwrap().len() < 13 {
        std::thread::yield_now();
    }
    press.send(1).unwrap();
    press.send(b'x').unwrap();
    session.join().unwrap().unwrap();
    assert_eq!(*log.0.lock().unwrap(), b"\x00\xffhello\r\nbye\n");
    assert_eq!(*screen.0.lock().unwrap(), *log.0.lock().unwrap());
}

#[test]
fn a_line_that_goes_away_ends_the_session_with_a_word() {
    let (board, name) = pair();
    let line = port::open(&name).unwrap();
    let (_press, keys) = mpsc::channel();
    drop(board);
    let message = converse(line, FromTest(keys), Kept::default(), Kept::default()).unwrap_err().to_string();
    assert!(message.contains("the serial line is gone"), "{message}");
}

#[test]
fn the_line_has_the_boards_rate_and_form() {
    let (_board, name) = pair();
    let line = port::open(&name).unwrap();
    let settings = termios::tcgetattr(&line).unwrap();
    assert_eq!((settings.input_speed(), settings.output_speed()), (115_200, 115_200));
    let form = settings.control_modes & (ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CSTOPB);
    assert_eq!(form, ControlModes::CS8);
}

#[test]
fn a_wrong_line_is_refused_with_what_would_be_right() {
    let message = |dev: &str| port::open(dev).unwrap_err().to_string();
    assert!(message("").contains("no serial line was named: "));
    assert!(message("/dev/ttyNOSUCH7").starts_with("DEV=/dev/ttyNOSUCH7 is not there: "));
    assert!(message("/dev/null").starts_with("DEV=/dev/null is not a serial line: "));
}

#[test]
fn ctrl_a_begins_a_command_and_only_one() {
    let mut keys = Keys::default();
    let mut press = |key| keys.press(key);
    assert_eq!(
        [1, b'h', b'x', 1, b'a', b'x'].map(&mut press),
        [Typed::Nothing, Typed::Help, Typed::Send(b'x'), Typed::Nothing, Typed::Send(1), Typed::Send(b'x'),]
    );
    assert_eq!([1, b'X'].map(press), [Typed::Nothing, Typed::Leave]);
}

#[test]
fn logs_are_named_by_the_day() {
    assert_eq!(stamp(0), "1970-01-01-000000");
    assert_eq!(stamp(951_782_399), "2000-02-28-235959");
    assert_eq!(stamp(951_782_400), "2000-02-29-000000");
    assert_eq!(stamp(1_709_251_199), "2024-02-29-235959");
    assert_eq!(stamp(4_107_542_400), "2100-03-01-000000");
}
