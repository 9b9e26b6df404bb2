//! Pins with wires, resistors and edges.

use embedded_hal::digital::{InputPin, OutputPin, StatefulOutputPin};

use super::super::gpio_fake::Fake;
use super::super::gpio_pins::Level;
use super::*;
use crate::Error;
use crate::sched::wait::Timeout;

fn wired(a: usize, b: usize) -> Gpio<Fake> {
    let fake = Fake::new();
    fake.wires.borrow_mut().push((a, b));
    Gpio::new(fake)
}

#[test]
fn every_pin_has_a_function_of_its_own() {
    let gpio = Gpio::new(Fake::new());
    let all =
        [Function::Alt0, Function::Alt1, Function::Alt2, Function::Alt3, Function::Alt4, Function::Alt5];
    for pin in 0..PINS {
        gpio.set_function(pin, all[usize::from(pin) % 6]);
    }
    for pin in 0..PINS {
        assert_eq!(gpio.function(pin), all[usize::from(pin) % 6], "pin {pin}");
        assert_eq!(Some(gpio.function(pin)), Function::alternate(pin % 6));
    }
    // The UART's pins of the board: 14 and 15 at alternate function 0 are 0b100 at bits 14:12 and 17:15 of GPFSEL1.
    gpio.set_function(14, Function::Alt0);
    gpio.set_function(15, Function::Alt0);
    assert_eq!(gpio.regs.read(0x04) >> 12 & 0o77, 0o44);
}

#[test]
fn a_pull_is_two_bits_of_the_new_registers() {
    let gpio = Gpio::new(Fake::new());
    for pin in 0..PINS {
        gpio.set_pull(pin, [Pull::None, Pull::Up, Pull::Down][usize::from(pin) % 3]);
    }
    for pin in 0..PINS {
        assert_eq!(
            gpio.pull(pin),
            Some([Pull::None, Pull::Up, Pull::Down][usize::from(pin) % 3]),
            "pin {pin}"
        );
    }
    gpio.set_pull(14, Pull::None);
    gpio.set_pull(15, Pull::Up);
    assert_eq!(gpio.regs.read(0xe4) >> 28, 0b0100);
}

#[test]
fn an_input_sees_what_an_output_drives_over_a_wire_and_its_pull_without_one() {
    for (out, input) in [(5, 6), (33, 57), (31, 32)] {
        let gpio = wired(out, input);
        let mut output = gpio.claim(out as u8).unwrap().into_output(Level::High);
        let mut input = gpio.claim(input as u8).unwrap().into_input(Pull::Down);
        assert_eq!((input.is_high(), output.is_set_high()), (Ok(true), Ok(true)));
        output.set_low().unwrap();
        input.set_pull(Pull::Up);
        assert_eq!((input.is_low(), output.is_set_low()), (Ok(true), Ok(true)));
        output.release();
        assert_eq!(input.is_high(), Ok(true), "nobody drives, the pull is up");
    }
}

#[test]
fn an_output_drives_its_level_from_the_first_moment() {
    let gpio = wired(20, 21);
    let _input = gpio.claim(21).unwrap().into_input(Pull::Up);
    gpio.listen(21, Edges::Falling).unwrap();
    let _output = gpio.claim(20).unwrap().into_output(Level::High);
    assert!(!gpio.handle(0, 0, 0, 0), "a falling edge on the way to high");
}

#[test]
fn a_pin_has_one_owner_at_a_time() {
    let gpio = Gpio::new(Fake::new());
    let pin = gpio.claim(42).unwrap();
    assert_eq!(gpio.claim(42).err(), Some(GpioError::Claimed(42)));
    let input = pin.into_input(Pull::None);
    assert!(gpio.is_claimed(42));
    drop(input);
    assert!(gpio.claim(42).is_ok());
    assert_eq!(gpio.claim(58).err(), Some(GpioError::NoPin(58)));
}

#[test]
fn an_edge_is_taken_by_its_bank_and_wakes_the_waiter_of_its_pin() {
    for (pin, bank) in [(0, 0), (27, 0), (28, 1), (31, 1), (32, 1), (45, 1), (46, 2), (57, 2)] {
        let gpio = wired(10, pin);
        let mut output = gpio.claim(10).unwrap().into_output(Level::Low);
        let mut input = gpio.claim(pin as u8).unwrap().into_input(Pull::None);
        input.listen(Edges::Rising).unwrap();
        assert!((0..3).all(|bank| !gpio.handle(bank, 0, 0, 0)), "nothing has happened at {pin}");
        output.set_high().unwrap();
        assert!((0..3).filter(|&other| other != bank).all(|other| !gpio.handle(other, 0, 0, 0)));
        assert!(gpio.handle(bank, 77, 88, 3), "bank {bank} for pin {pin}");
        assert!(!gpio.handle(bank, 0, 0, 0), "it was cleared");
        let edge = Edge { handler_cycles: 77, handler_ticks: 88, cpu: 3, count: 1 };
        assert_eq!(input.wait(Timeout::Now), Ok(edge));
        output.set_low().unwrap();
        assert!(!gpio.handle(bank, 0, 0, 0), "a falling edge was not asked for");
        assert_eq!(input.wait(Timeout::Now), Err(Error::WouldBlock));
    }
}

#[test]
fn edges_that_come_faster_than_the_task_are_counted() {
    let gpio = wired(10, 11);
    let mut output = gpio.claim(10).unwrap().into_output(Level::Low);
    let mut input = gpio.claim(11).unwrap().into_input(Pull::None);
    input.listen(Edges::Both).unwrap();
    for _ in 0..3 {
        output.set_high().unwrap();
        assert!(gpio.handle(0, 0, 0, 0));
        output.set_low().unwrap();
        assert!(gpio.handle(0, 0, 0, 0));
    }
    assert_eq!(input.wait(Timeout::Now).unwrap().count, 6);
    assert_eq!(input.wait(Timeout::Now), Err(Error::WouldBlock));
    drop(input);
    output.set_high().unwrap();
    assert!(!gpio.handle(0, 0, 0, 0), "nobody listens any more");
}

#[test]
fn what_came_before_somebody_listened_is_forgotten() {
    let gpio = wired(10, 11);
    let mut output = gpio.claim(10).unwrap().into_output(Level::Low);
    let mut input = gpio.claim(11).unwrap().into_input(Pull::None);
    input.listen(Edges::Rising).unwrap();
    output.set_high().unwrap();
    input.listen(Edges::Falling).unwrap();
    assert!(!gpio.handle(0, 0, 0, 0));
    output.set_low().unwrap();
    assert!(gpio.handle(0, 0, 0, 0));
}

#[test]
fn a_block_that_detects_no_edges_says_so() {
    let gpio = wired(10, 11);
    gpio.regs.detects_edges.set(false);
    let mut input = gpio.claim(11).unwrap().into_input(Pull::None);
    assert_eq!(input.listen(Edges::Both), Err(GpioError::NoEdgeDetection(11)));
}
