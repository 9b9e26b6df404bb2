//! A small resident loader: takes a kernel over the serial line and starts it, so that nobody swaps cards.
//!
//! It is a kernel8.img of its own. It moves itself out of the kernel's place (start.S), receives an image block by block
//! (wire.rs), and starts it there as the firmware would have: device tree in x0, MMU off, at the exception level at which
//! it was entered itself, all other CPUs still in the firmware's spin loop.
//!
//! Context: one CPU, interrupts masked, MMU and caches off for ever. So: no atomic operation, no unaligned access (the
//! target has none), and no pointer that is kept in static data, since the code was moved after it was linked.
//!
//! Never run on a board. What QEMU cannot show: that the cache maintenance is right, that the divisor is.
#![no_std]
#![no_main]

mod uart;
#[expect(dead_code, reason = "some of it is the host's")]
mod wire;

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

use uart::Uart;
use wire::{
    AGAIN, BEGIN, BEGIN_BYTES, BLOCK, BLOCK_BYTES, DONE, HEAD_BYTES, IMAGE_BYTES_MAX, MAGIC, READY, REFUSED,
    START,
};

/// Where the kernel's header wants it: this far above the start of memory. The loader has the same.
const TEXT_OFFSET: u64 = 0x8_0000;
/// How far up it moves, what it keeps free there, and how much further it goes if the device tree is in the way.
const AWAY: u64 = 64 << 20;
const ROOM: u64 = 2 << 20;
const FURTHER: u64 = 16 << 20;
/// Within a frame bytes come without a gap; this is one.
const GAP_MS: u64 = 500;

global_asm!(
    include_str!("start.S"),
    TEXT_OFFSET = const TEXT_OFFSET,
    AWAY = const AWAY,
    ROOM = const ROOM,
    FURTHER = const FURTHER,
);

unsafe extern "C" {
    fn chain_clean(start: usize, bytes: usize);
    fn chain_start(tree: usize, kernel: usize) -> !;
}

/// An image that is on its way.
#[derive(Clone, Copy)]
struct Coming {
    bytes: usize,
    crc: u32,
    /// Blocks that are there.
    blocks: u32,
}

/// A frame's head and payload.
struct Frame<'a> {
    kind: u8,
    number: u32,
    payload: &'a [u8],
}

/// Called by start.S, in the copy: the device tree, where the kernel belongs, where we are.
#[unsafe(no_mangle)]
extern "C" fn chain_main(tree: usize, kernel: usize, here: usize) -> ! {
    // SAFETY: the only CPU that runs, with the MMU off.
    let uart = unsafe { Uart::new(kernel) };
    let mut buffer = [0; HEAD_BYTES + BLOCK_BYTES];
    let mut coming: Option<Coming> = None;
    uart.put(b"\r\nStint chainloader: waits for a kernel (make chainload DEV=...)\r\n");
    loop {
        let Some(frame) = receive(&uart, &mut buffer, coming.is_none()) else { continue };
        match (frame.kind, &mut coming) {
            (BEGIN, coming) => match begin(&frame, kernel, here, tree) {
                Ok(new) => {
                    *coming = Some(new);
                    // SAFETY: the kernel's place, which `begin` has found to be free.
                    unsafe { chain_clean(kernel, new.bytes) };
                    uart.put(&wire::answer(DONE, 0));
                }
                Err(why) => refuse(&uart, 0, why),
            },
            (BLOCK, Some(coming)) => {
                if block(&frame, coming, kernel) {
                    uart.put(&wire::answer(DONE, frame.number));
                } else {
                    refuse(&uart, frame.number, b"a block that does not belong here");
                }
            }
            (START, Some(image)) => {
                if crc32(kernel, image.bytes) != image.crc {
                    refuse(&uart, frame.number, b"the image is not what was announced; send it again");
                    coming = None;
                    continue;
                }
                uart.put(&wire::answer(DONE, frame.number));
                uart.flush();
                // SAFETY: an image with the right sum and an arm64 header lies there, and is in memory.
                unsafe {
                    chain_clean(kernel, image.bytes);
                    chain_start(tree, kernel)
                }
            }
            _ => refuse(&uart, frame.number, b"nothing was announced; begin from the beginning"),
        }
    }
}

/// The next whole frame. When nobody sends, says [`READY`] each second if `idle`, and returns nothing.
fn receive<'a>(uart: &Uart, buffer: &'a mut [u8; HEAD_BYTES + BLOCK_BYTES], idle: bool) -> Option<Frame<'a>> {
    let mut matched = 0;
    while matched < MAGIC.len() {
        match uart.get(1000) {
            Some(byte) if byte == MAGIC[matched] => matched += 1,
            Some(byte) => matched = usize::from(byte == MAGIC[0]),
            None => {
                if idle {
                    uart.put(&[READY]);
                }
                return None;
            }
        }
    }
    let whole = fill(uart, &mut buffer[..HEAD_BYTES]).then(|| word(buffer, 5) as usize);
    let bytes = match whole {
        Some(bytes) if bytes <= BLOCK_BYTES && fill(uart, &mut buffer[HEAD_BYTES..HEAD_BYTES + bytes]) => {
            bytes
        }
        _ => return again(uart),
    };
    let mut sum = [0; 4];
    let read = fill(uart, &mut sum);
    let used = &buffer[..HEAD_BYTES + bytes];
    if !read || u32::from_le_bytes(sum) != crc32(used.as_ptr() as usize, used.len()) {
        return again(uart);
    }
    Some(Frame { kind: used[0], number: word(used, 1), payload: &used[HEAD_BYTES..] })
}

/// Waits until the sender has stopped, so that the rest of a frame is not taken for another one, and asks for it again.
fn again<'a>(uart: &Uart) -> Option<Frame<'a>> {
    uart.drain();
    uart.put(&wire::answer(AGAIN, 0));
    None
}

fn fill(uart: &Uart, buffer: &mut [u8]) -> bool {
    for place in buffer {
        match uart.get(GAP_MS) {
            Some(byte) => *place = byte,
            None => return false,
        }
    }
    true
}

/// Looks at what is announced. What is refused has never been written.
fn begin(frame: &Frame<'_>, kernel: usize, here: usize, tree: usize) -> Result<Coming, &'static [u8]> {
    let payload = frame.payload;
    if payload.len() != BEGIN_BYTES {
        return Err(b"the announcement has another form: are loader and host of one version?");
    }
    let (bytes, crc, header) = (word(payload, 0) as usize, word(payload, 4), &payload[8..]);
    if header[0x38..0x3c] != *b"ARM\x64" {
        return Err(b"not a kernel: there is no arm64 Image header");
    }
    if long(header, 8) != TEXT_OFFSET {
        return Err(b"a kernel for another place: its text_offset is not 0x80000");
    }
    // What it will use is more than what is sent.
    let used = long(header, 16).max(bytes as u64);
    let end = kernel as u64 + used;
    if bytes == 0 || used > IMAGE_BYTES_MAX as u64 || end > here as u64 {
        return Err(b"too large: more than 62 MiB");
    }
    if (kernel as u64..end).contains(&(tree as u64)) {
        return Err(b"too large: it would lie over the device tree");
    }
    Ok(Coming { bytes, crc, blocks: 0 })
}

/// Puts a block into its place. One that is there already is taken as said: its answer was lost.
fn block(frame: &Frame<'_>, coming: &mut Coming, kernel: usize) -> bool {
    let at = frame.number as usize * BLOCK_BYTES;
    if frame.number > coming.blocks || at >= coming.bytes {
        return false;
    }
    let bytes = BLOCK_BYTES.min(coming.bytes - at);
    let place = (kernel + at) as *mut u8;
    // SAFETY: `begin` has found the place free, and the block lies inside of it; the buffer is elsewhere.
    unsafe {
        match frame.payload.len() {
            0 => place.write_bytes(0, bytes),
            sent if sent == bytes => place.copy_from_nonoverlapping(frame.payload.as_ptr(), bytes),
            _ => return false,
        }
    }
    coming.blocks = coming.blocks.max(frame.number + 1);
    true
}

fn refuse(uart: &Uart, number: u32, why: &[u8]) {
    uart.put(&wire::answer(REFUSED, number));
    uart.put(why);
    uart.put(b"\n");
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// CRC-32 of IEEE 802.3, by the instruction that every core of these boards has: with the caches off a table, or
/// eight steps per byte, would take seconds.
fn crc32(start: usize, bytes: usize) -> u32 {
    let mut sum = !0u32;
    for at in start..start + bytes {
        // SAFETY: the caller's buffer, or the image; volatile, since it was written through another pointer.
        let byte = u32::from(unsafe { (at as *const u8).read_volatile() });
        // SAFETY: computes.
        unsafe {
            asm!(".arch_extension crc", "crc32b {0:w}, {0:w}, {1:w}", inout(reg) sum, in(reg) byte,
                options(pure, nomem, nostack, preserves_flags));
        }
    }
    !sum
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}
