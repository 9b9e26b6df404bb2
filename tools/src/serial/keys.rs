//! What keys mean: Ctrl-A begins a command, as in QEMU; everything else goes to the board.
#![forbid(unsafe_code)]

const CTRL_A: u8 = 1;

pub const HELP: &str =
    "\r\nCtrl-A X leaves, Ctrl-A Ctrl-A sends one Ctrl-A; every other key goes to the board\r\n";

/// What to do about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    Send(u8),
    Nothing,
    Help,
    Leave,
}

/// Remembers whether Ctrl-A came before.
#[derive(Debug, Default)]
pub struct Keys {
    command: bool,
}

impl Keys {
    pub fn press(&mut self, key: u8) -> Typed {
        match (std::mem::take(&mut self.command), key) {
            (false, CTRL_A) => {
                self.command = true;
                Typed::Nothing
            }
            (false, key) => Typed::Send(key),
            (true, b'x' | b'X') => Typed::Leave,
            (true, b'a' | CTRL_A) => Typed::Send(CTRL_A),
            (true, _) => Typed::Help,
        }
    }
}
