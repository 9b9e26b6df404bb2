//! `make chainload DEV=…`: sends a kernel to the loader on the card, and then is the terminal.
//!
//! What both say to each other is in board/rpi4/chainloader/src/wire.rs, which is compiled into both.
//!
//! Invariants: a block is sent again until the loader has it whole, a bounded number of times; nothing is started whose
//! sum is not that of the file; a file that is no kernel is refused before anything is sent.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::serial::{self, LineOptions, port};
use crate::{cargo, image};

#[expect(dead_code, reason = "some of it is the loader's")]
#[path = "../../board/rpi4/chainloader/src/wire.rs"]
mod wire;

/// Longer than the largest frame takes at 115200 baud, and the loader's patience with it.
const ANSWER: Duration = Duration::from_secs(3);
/// How often a frame is sent before the line is given up.
const TRIES: u32 = 20;

/// Options of `chainload`.
#[derive(Args, Clone, Debug)]
pub struct ChainloadOptions {
    /// What to send: stint, ktest, or the name of an example
    #[arg(default_value = "stint")]
    pub image: String,
    /// How many seconds to wait for the loader
    #[arg(long, default_value = "600")]
    pub wait: u64,
    /// The line
    #[command(flatten)]
    pub line: LineOptions,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Blocks of the image.
    pub blocks: u32,
    /// Frames that had to be sent again.
    pub again: u32,
}

/// Builds the kernel, sends it, and becomes the terminal.
///
/// # Errors
/// When it does not build, the line cannot be used, or the loader does not answer or refuses.
pub fn chainload(options: &ChainloadOptions) -> Result<()> {
    let mut line = port::open(&options.line.dev)?;
    let built = cargo::build(&options.image)?;
    let kernel =
        std::fs::read(&built.image).with_context(|| format!("cannot read {}", built.image.display()))?;
    port::be_patient(&line, port::Patience::TwoTenths)?;
    eprintln!("chainload: {} bytes; waiting for the loader: switch the board on, or reset it", kernel.len());
    let start = Instant::now();
    let mut shown = None;
    let sent = send(&mut line, &kernel, Duration::from_secs(options.wait), |done, of| {
        let percent = done * 100 / of.max(1);
        if std::io::stderr().is_terminal() && shown != Some(percent) {
            shown = Some(percent);
            eprint!("\rchainload: {percent:3} %");
        }
    })?;
    eprintln!("\rchainload: started after {} s, {} frames sent again", start.elapsed().as_secs(), sent.again);
    port::be_patient(&line, port::Patience::ForEver)?;
    serial::attend(line, &options.line)
}

/// Sends a kernel to a loader and has it started. Reads of `line` return nothing when there is nothing for a while.
///
/// # Errors
/// When it is no kernel, the loader does not show up within `wait`, does not answer, or refuses.
pub fn send(
    line: &mut (impl Read + Write),
    kernel: &[u8],
    wait: Duration,
    mut progress: impl FnMut(usize, usize),
) -> Result<Sent> {
    image::check_header(kernel).context("this cannot be sent: it is not a kernel")?;
    ensure!(
        kernel.len() <= wire::IMAGE_BYTES_MAX,
        "this cannot be sent: {} bytes are too many",
        kernel.len()
    );
    let mut talk = Talk { line, sent: Sent::default() };
    talk.wait_for_loader(wait)?;
    let mut announced = Vec::with_capacity(wire::BEGIN_BYTES);
    announced.extend((kernel.len() as u32).to_le_bytes());
    announced.extend(crc32(kernel).to_le_bytes());
    announced.extend(&kernel[..wire::IMAGE_HEADER_BYTES]);
    talk.say(wire::BEGIN, 0, &announced)?;
    for (number, block) in kernel.chunks(wire::BLOCK_BYTES).enumerate() {
        let zeros = block.iter().all(|byte| *byte == 0);
        talk.say(wire::BLOCK, number as u32, if zeros { &[] } else { block })?;
        talk.sent.blocks += 1;
        progress((number + 1) * wire::BLOCK_BYTES, kernel.len().next_multiple_of(wire::BLOCK_BYTES));
    }
    let blocks = talk.sent.blocks;
    talk.say(wire::START, blocks, &[])?;
    Ok(talk.sent)
}

/// The other side, and what came of it so far.
struct Talk<'a, Line> {
    line: &'a mut Line,
    sent: Sent,
}

/// What came back.
enum Answer {
    Done,
    Again,
    Refused(String),
    Nothing,
}

impl<Line: Read + Write> Talk<'_, Line> {
    fn wait_for_loader(&mut self, wait: Duration) -> Result<()> {
        let until = Instant::now() + wait;
        let mut heard = Vec::new();
        while Instant::now() < until {
            match self.byte()? {
                Some(wire::READY) => return Ok(()),
                Some(byte) => heard.push(byte),
                None => {}
            }
            // Enough to tell what speaks there instead.
            heard.drain(..heard.len().saturating_sub(400));
        }
        let heard = String::from_utf8_lossy(&heard);
        let advice = match heard.trim() {
            "" => "nothing was heard at all: is the board on, and is the line wired crosswise?".into(),
            text => format!("this was heard instead:\n{text}"),
        };
        bail!(
            "no chainloader within {} s (make sdcard CHAINLOADER=1 makes a card with one); {advice}",
            wait.as_secs()
        )
    }

    /// Says it until it is understood.
    fn say(&mut self, kind: u8, number: u32, payload: &[u8]) -> Result<()> {
        let frame = frame(kind, number, payload);
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.sent.again += 1;
            }
            self.line
                .write_all(&frame)
                .and_then(|()| self.line.flush())
                .context("the serial line takes nothing any more")?;
            match self.answer(number)? {
                Answer::Done => return Ok(()),
                Answer::Again | Answer::Nothing => {}
                Answer::Refused(why) => bail!("the chainloader refuses: {why}"),
            }
        }
        bail!(
            "the chainloader has not understood frame {number} in {TRIES} tries: is the line too long, or noisy?"
        )
    }

    /// The next answer about frame `number`, if one comes in time.
    fn answer(&mut self, number: u32) -> Result<Answer> {
        let until = Instant::now() + ANSWER;
        let mut window: Vec<u8> = Vec::new();
        while Instant::now() < until {
            let Some(byte) = self.byte()? else { continue };
            window.push(byte);
            let Some(last) = window.last_chunk::<{ wire::ANSWER_BYTES }>() else { continue };
            if *last == wire::answer(wire::DONE, number) {
                return Ok(Answer::Done);
            }
            if *last == wire::answer(wire::AGAIN, 0) {
                return Ok(Answer::Again);
            }
            if *last == wire::answer(wire::REFUSED, number) {
                return Ok(Answer::Refused(self.text(until)?));
            }
        }
        Ok(Answer::Nothing)
    }

    /// The rest of the line.
    fn text(&mut self, until: Instant) -> Result<String> {
        let mut text = Vec::new();
        while Instant::now() < until {
            match self.byte()? {
                Some(b'\n') => break,
                Some(byte) => text.push(byte),
                None => {}
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let mut byte = [0];
        match self.line.read(&mut byte) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(byte[0])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error).context("the serial line is gone; was it unplugged?"),
        }
    }
}

fn frame(kind: u8, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = wire::MAGIC.to_vec();
    frame.push(kind);
    frame.extend(number.to_le_bytes());
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(payload);
    let sum = crc32(&frame[wire::MAGIC.len()..]);
    frame.extend(sum.to_le_bytes());
    frame
}

/// CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut sum, mut bit) = (index as u32, 0);
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
                bit += 1;
            }
            table[index] = sum;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
#[path = "chainload_tests.rs"]
mod tests;
