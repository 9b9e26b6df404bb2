//! The UART behind the console: a PL011, or a mini UART where there is no other.
//!
//! Context: any; the console's lock is held.

use arm_pl011_uart::{FifoLevel, Interrupts, Uart};

use super::mini_uart::MiniUart;
use super::mmio::Mmio;
use super::output::Transmit;

/// Interrupts of a PL011 that are about input. (An overrun is told once, and cleared with the rest.)
const INPUT: Interrupts = Interrupts::RXI.union(Interrupts::RTI).union(Interrupts::OEI);

/// A byte that came broken: by a break, a frame without its end, or a wrong parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenByte;

/// A UART that is set up.
pub enum Port {
    /// Arm's.
    Pl011(Uart<'static>),
    /// Broadcom's small one.
    Mini(MiniUart<Mmio>, MiniInterrupts),
}

/// Which interrupts of a mini UART are on: one register for both.
#[derive(Clone, Copy, Debug, Default)]
pub struct MiniInterrupts {
    receive: bool,
    transmit: bool,
}

impl Port {
    /// Lets it interrupt when there is input.
    pub fn start_input(&mut self) {
        match self {
            Self::Pl011(uart) => {
                uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes4);
                uart.clear_interrupts(Interrupts::all());
                uart.set_interrupt_masks(INPUT);
            }
            Self::Mini(uart, on) => {
                on.receive = true;
                uart.set_interrupts(on.receive, on.transmit);
            }
        }
    }

    /// Ends what of the interrupt reading and writing does not; says whether it is this UART that interrupts. That about
    /// input ends when the FIFO is read empty: cleared here, it would stay so if the FIFO is filled again as fast as it is
    /// read, and what the reader's bound leaves behind would lie there for good. That about output ends when the FIFO is
    /// filled, or is told not to come.
    pub fn acknowledge(&mut self) -> bool {
        match self {
            Self::Pl011(uart) => {
                let ours = !uart.masked_interrupt_status().is_empty();
                uart.clear_interrupts(Interrupts::OEI);
                ours
            }
            Self::Mini(uart, _) => uart.is_interrupting(),
        }
    }

    /// The oldest byte of input, if there is one.
    ///
    /// # Errors
    /// It is broken.
    pub fn get(&mut self) -> Result<Option<u8>, BrokenByte> {
        match self {
            Self::Pl011(uart) => uart.read_word().map_err(|_| BrokenByte),
            Self::Mini(uart, _) => Ok(uart.get()),
        }
    }

    /// Whether something is not yet on the wire.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Pl011(uart) => uart.is_busy(),
            Self::Mini(uart, _) => !uart.is_idle(),
        }
    }
}

impl Transmit for Port {
    fn has_room(&self) -> bool {
        match self {
            Self::Pl011(uart) => !uart.is_tx_fifo_full(),
            Self::Mini(uart, _) => uart.has_room(),
        }
    }

    fn put(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => uart.write_word(byte),
            Self::Mini(uart, _) => uart.put(byte),
        }
    }

    fn interrupt_when_drained(&mut self, on: bool) {
        match self {
            Self::Pl011(uart) => {
                uart.set_interrupt_masks(if on { INPUT.union(Interrupts::TXI) } else { INPUT });
            }
            Self::Mini(uart, interrupts) => {
                interrupts.transmit = on;
                uart.set_interrupts(interrupts.receive, on);
            }
        }
    }
}
