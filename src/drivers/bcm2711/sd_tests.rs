use super::super::emmc::{DEFAULT_SPEED_HZ, IDENTIFY_HZ, divided_hz, divisor};
use super::super::sd_fake::{BASE_HZ, FakeCard, FakeHost, State};
use super::*;
use crate::drivers::pace::fake::FakePace;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// Runs `test` with a slot that has this card in it.
fn with_card(card: Option<FakeCard>, test: impl FnOnce(&FakeHost, &mut Slot<&FakeHost, &FakePace>)) {
    let pace = FakePace::default();
    let host = FakeHost::new(&pace, card);
    let mut slot = Slot::new(Emmc::new(&host, &pace, None));
    test(&host, &mut slot);
    assert_eq!(host.lost_writes.get(), 0, "writes were lost");
}

fn count(host: &FakeHost, command: u8) -> usize {
    host.commands.borrow().iter().filter(|&&seen| seen == command).count()
}

#[test]
fn a_clock_is_never_faster_than_was_asked_for() {
    assert_eq!(divisor(100_000_000, IDENTIFY_HZ), 125);
    assert_eq!(divisor(100_000_000, DEFAULT_SPEED_HZ), 2);
    assert_eq!(divisor(250_000_000, DEFAULT_SPEED_HZ), 5);
    assert_eq!(divisor(52_000_000, DEFAULT_SPEED_HZ), 2);
    assert_eq!(divisor(20_000_000, DEFAULT_SPEED_HZ), 0);
    for base_hz in (1_000_000..300_000_000).step_by(333_333) {
        for wanted_hz in [IDENTIFY_HZ, DEFAULT_SPEED_HZ] {
            let hz = divided_hz(base_hz, divisor(base_hz, wanted_hz));
            assert!(hz <= wanted_hz, "{base_hz} gives {hz}");
        }
    }
}

#[test]
fn a_small_and_a_large_card_are_told_apart_and_both_read() {
    for high_capacity in [false, true] {
        with_card(Some(FakeCard::new(2048, high_capacity)), |host, slot| {
            let card = slot.card().unwrap();
            assert_eq!((card.blocks, card.high_capacity, card.four_lines), (2048, high_capacity, true));
            assert_eq!((card.clock_hz, host.card_hz()), (25_000_000, BASE_HZ / 4));
            let mut block = [0; BLOCK_BYTES];
            slot.read(77, &mut block).unwrap();
            assert_eq!(block, [77; BLOCK_BYTES]);
            slot.read(2047, &mut block).unwrap();
            assert_eq!(block, [0xff; BLOCK_BYTES]);
        });
    }
}

#[test]
fn many_blocks_are_one_transfer_that_is_stopped() {
    with_card(Some(FakeCard::new(2048, true)), |host, slot| {
        let mut data = vec![0; 9 * BLOCK_BYTES];
        slot.read(100, &mut data).unwrap();
        assert!(data.chunks(BLOCK_BYTES).zip(100..).all(|(block, number)| block == [number; BLOCK_BYTES]));
        let written: Vec<u8> = (0..3 * BLOCK_BYTES).map(|at| (at / 3) as u8).collect();
        slot.write(200, &written).unwrap();
        assert_eq!([17, 18, 24, 25, 12].map(|command| count(host, command)), [0, 1, 0, 1, 2]);
        let card = host.card.borrow();
        let card = card.as_ref().unwrap();
        assert_eq!(card.data[200 * BLOCK_BYTES..203 * BLOCK_BYTES], written[..]);
        assert_eq!(card.data[203 * BLOCK_BYTES], 203);
        assert_eq!(card.state, State::Transfer);
    });
}

#[test]
fn a_write_is_done_when_the_card_has_programmed_it() {
    with_card(Some(FakeCard::new(64, false)), |host, slot| {
        slot.card().unwrap();
        let asked = count(host, 13);
        slot.write(5, &[0xa5; BLOCK_BYTES]).unwrap();
        // Twice busy, once done.
        assert_eq!(count(host, 13) - asked, 3);
        assert_eq!(
            host.card.borrow().as_ref().unwrap().data[5 * BLOCK_BYTES..6 * BLOCK_BYTES],
            [0xa5; BLOCK_BYTES]
        );
    });
}

#[test]
fn a_card_of_version_1_and_one_with_one_data_line_work_too() {
    let card = FakeCard { version_2: false, has_four_lines: false, ..FakeCard::new(64, false) };
    with_card(Some(card), |host, slot| {
        let card = slot.card().unwrap();
        assert!(!card.four_lines && !card.high_capacity);
        let mut block = [0; BLOCK_BYTES];
        slot.read(3, &mut block).unwrap();
        assert_eq!(block, [3; BLOCK_BYTES]);
        assert_eq!(count(host, 106), 0);
    });
}

#[test]
fn an_empty_slot_says_so_and_takes_a_card_later() {
    with_card(None, |host, slot| {
        let error = slot.card().unwrap_err();
        assert!(matches!(error, SdError::NoCard(_)), "{error:?}");
        assert_eq!(error.to_string(), "no SD card (CMD55: no answer; status 0x00018000, state 0x00000000)");
        *host.card.borrow_mut() = Some(FakeCard::new(64, false));
        assert_eq!(slot.card().unwrap().blocks, 64);
        // The same card is not identified again, another one is.
        let identified = count(host, 2);
        assert_eq!(slot.card().unwrap().blocks, 64);
        assert_eq!(count(host, 2), identified);
        *host.card.borrow_mut() = Some(FakeCard::new(1024, true));
        assert_eq!(slot.card().unwrap().blocks, 1024);
    });
}

#[test]
fn a_garbled_transfer_is_tried_again_and_not_for_ever() {
    with_card(Some(FakeCard::new(1024, true)), |host, slot| {
        slot.card().unwrap();
        let mut block = [0; BLOCK_BYTES];
        host.troubles.garbled_transfers.set(2);
        slot.read(9, &mut block).unwrap();
        assert_eq!((block, count(host, 17)), ([9; BLOCK_BYTES], 3));
        host.troubles.garbled_transfers.set(1);
        slot.write(9, &[1; BLOCK_BYTES]).unwrap();
        assert_eq!(host.card.borrow().as_ref().unwrap().data[9 * BLOCK_BYTES], 1);
        host.troubles.garbled_transfers.set(100);
        let error = slot.read(9, &mut block).unwrap_err();
        assert!(error.to_string().starts_with("CMD17: wrong checksum; status 0x0020"), "{error}");
        host.troubles.garbled_transfers.set(0);
        slot.read(8, &mut block).unwrap();
        assert_eq!(block, [8; BLOCK_BYTES]);
    });
}

#[test]
fn data_that_never_comes_ends_in_a_timeout_and_a_clean_controller() {
    with_card(Some(FakeCard::new(64, false)), |host, slot| {
        slot.card().unwrap();
        host.troubles.no_data.set(true);
        let resets = host.line_resets.get();
        let mut block = [0; BLOCK_BYTES];
        let error = slot.read(0, &mut block).unwrap_err();
        assert_eq!(error.to_string(), "CMD17: not done in 1000 ms; status 0x00000000, state 0x00000000");
        assert!(host.line_resets.get() > resets);
        host.troubles.no_data.set(false);
        slot.read(1, &mut block).unwrap();
        assert_eq!(block, [1; BLOCK_BYTES]);
    });
}

#[test]
fn what_the_card_refuses_is_said_in_words_and_not_tried_again() {
    with_card(Some(FakeCard::new(64, false)), |host, slot| {
        slot.card().unwrap();
        host.troubles.status_of.set(Some((24, 1 << 26 | 4 << 9 | 1 << 8)));
        let error = slot.write(1, &[0; BLOCK_BYTES]).unwrap_err();
        let text = "CMD24: the card refuses, card status 0x04000900, write-protected";
        assert_eq!((error.to_string().as_str(), count(host, 24)), (text, 1));
    });
}

#[test]
fn a_protected_card_is_read_and_not_written() {
    with_card(Some(FakeCard { write_protected: true, ..FakeCard::new(64, false) }), |host, slot| {
        assert_eq!(slot.write(0, &[0; BLOCK_BYTES]), Err(SdError::WriteProtected));
        assert_eq!(count(host, 24), 0);
        slot.read(0, &mut [0; BLOCK_BYTES]).unwrap();
    });
}

#[test]
fn blocks_behind_the_end_are_refused_before_the_card_is_asked() {
    with_card(Some(FakeCard::new(64, false)), |host, slot| {
        let error = slot.read(63, &mut [0; 2 * BLOCK_BYTES]).unwrap_err();
        assert_eq!(error.to_string(), "2 blocks from 63 on: the card has blocks 0 to 63");
        assert!(slot.write(u32::MAX, &[0; BLOCK_BYTES]).is_err());
        assert_eq!([17, 18, 24, 25].map(|command| count(host, command)), [0; 4]);
    });
}

#[test]
fn a_card_that_does_not_power_up_or_stays_busy_is_given_up() {
    with_card(Some(FakeCard { power_up_rounds: u32::MAX, ..FakeCard::new(64, false) }), |_, slot| {
        assert_eq!(slot.card(), Err(SdError::PowerUp(0x00ff_8000)));
    });
    with_card(Some(FakeCard { programming_rounds: u32::MAX, ..FakeCard::new(64, false) }), |_, slot| {
        let error = slot.write(0, &[0; BLOCK_BYTES]).unwrap_err();
        assert_eq!(error, SdError::Programming(7 << 9));
    });
}

#[test]
fn a_controller_that_does_not_reset_or_has_no_clock_is_reported() {
    with_card(None, |host, slot| {
        host.troubles.reset_stuck.set(true);
        assert_eq!(slot.card().unwrap_err().to_string(), "the controller does not come out of its reset");
        host.troubles.reset_stuck.set(false);
        host.troubles.clock_unstable.set(true);
        assert_eq!(slot.card().unwrap_err().to_string(), "the controller's clock does not become stable");
    });
}
