//! What a job is asked to do: `dbench clients=1,4,16 ops=20000`, `hackbench groups=2 loops=50`.
//!
//! A wrong word is refused with a message that names it and says what would be right; nothing is guessed.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

use crate::shell::command::Failure;
use crate::shell::units::{parse_ns, parse_u64};
use core::ops::RangeInclusive;
use heapless::Vec;

/// Clients of one run.
pub const CLIENTS: RangeInclusive<u64> = 1..=64;
/// Numbers of clients in one command.
pub const RUNS_MAX: usize = 8;
/// Operations of all clients of a run together.
pub const OPS: RangeInclusive<u64> = 1..=1_000_000_000;
/// How long a run may be told to take.
pub const FOR_NS: RangeInclusive<u64> = 1_000_000..=3_600_000_000_000;
/// Groups of `hackbench`.
pub const GROUPS: RangeInclusive<u64> = 1..=16;
/// Senders of a group, and as many receivers.
pub const PAIRS: RangeInclusive<u64> = 1..=32;
/// Messages from each sender to each receiver.
pub const LOOPS: RangeInclusive<u64> = 1..=10_000_000;

/// How much `dbench` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many operations, of all clients together.
    Ops(u64),
    /// As many as can be done in this time.
    For(u64),
}

/// What `dbench` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dbench {
    /// Clients of each run, one after the other.
    pub clients: Vec<usize, RUNS_MAX>,
    /// Of each run.
    pub amount: Amount,
}

/// What `hackbench` is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hackbench {
    /// Groups that know nothing of each other.
    pub groups: usize,
    /// Senders of a group, and as many receivers.
    pub pairs: usize,
    /// Messages from each sender to each receiver.
    pub loops: u64,
}

impl Default for Dbench {
    fn default() -> Self {
        let mut clients = Vec::new();
        // There is room for one.
        let _ = clients.push(8);
        Self { clients, amount: Amount::Ops(20_000) }
    }
}

impl Default for Hackbench {
    /// One group of Linux's tool, with fewer loops.
    fn default() -> Self {
        Self { groups: 1, pairs: 20, loops: 50 }
    }
}

impl Hackbench {
    /// All messages of all groups.
    #[must_use]
    pub fn messages(&self) -> u64 {
        (self.groups * self.pairs * self.pairs) as u64 * self.loops
    }
}

/// A number in a range, or a message about `arg`.
fn number(arg: &str, value: &str, range: &RangeInclusive<u64>, what: &str) -> Result<u64, Failure> {
    parse_u64(value).filter(|n| range.contains(n)).ok_or_else(|| {
        Failure::new(format_args!("{arg}: {what} from {} to {} was expected", range.start(), range.end()))
    })
}

impl Dbench {
    /// Reads the words behind `dbench`.
    ///
    /// # Errors
    /// Names the first wrong word.
    pub fn parse(args: &[&str]) -> Result<Self, Failure> {
        let mut params = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("clients", value)) => params.clients = clients(arg, value)?,
                Some(("ops", value)) => {
                    params.amount = Amount::Ops(number(arg, value, &OPS, "a number of operations")?);
                }
                Some(("for", value)) => {
                    let ns = parse_ns(value).filter(|ns| FOR_NS.contains(ns)).ok_or_else(|| {
                        Failure::new(format_args!(
                            "{arg}: a time from 1ms to 3600s, such as for=1s, was expected"
                        ))
                    })?;
                    params.amount = Amount::For(ns);
                }
                _ => return Err(Failure::new(format_args!("{arg}: clients=, ops= or for= was expected"))),
            }
        }
        Ok(params)
    }
}

fn clients(arg: &str, value: &str) -> Result<Vec<usize, RUNS_MAX>, Failure> {
    let mut clients = Vec::new();
    for word in value.split(',') {
        let count = number(arg, word, &CLIENTS, "a number of clients (or several, with commas)")?;
        clients.push(count as usize).map_err(|_| {
            Failure::new(format_args!("{arg}: at most {RUNS_MAX} numbers of clients were expected"))
        })?;
    }
    Ok(clients)
}

impl Hackbench {
    /// Reads the words behind `hackbench`.
    ///
    /// # Errors
    /// Names the first wrong word.
    pub fn parse(args: &[&str]) -> Result<Self, Failure> {
        let mut params = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("groups", value)) => {
                    params.groups = number(arg, value, &GROUPS, "a number of groups")? as usize;
                }
                Some(("pairs", value)) => {
                    params.pairs =
                        number(arg, value, &PAIRS, "a number of senders, and as many receivers,")? as usize;
                }
                Some(("loops", value)) => {
                    params.loops = number(arg, value, &LOOPS, "a number of messages to each receiver")?;
                }
                _ => return Err(Failure::new(format_args!("{arg}: groups=, pairs= or loops= was expected"))),
            }
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn dbench(args: &[&str]) -> Result<Dbench, String> {
        Dbench::parse(args).map_err(|failure| failure.to_string())
    }

    fn hackbench(args: &[&str]) -> Result<Hackbench, String> {
        Hackbench::parse(args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn without_words_it_is_eight_clients_or_one_group() {
        let params = dbench(&[]).unwrap();
        assert_eq!((params.clients.as_slice(), params.amount), (&[8][..], Amount::Ops(20_000)));
        let params = hackbench(&[]).unwrap();
        assert_eq!((params.groups, params.pairs, params.loops, params.messages()), (1, 20, 50, 20_000));
    }

    #[test]
    fn every_word_is_understood() {
        let params = dbench(&["clients=1,4,16", "for=500ms"]).unwrap();
        assert_eq!((params.clients.as_slice(), params.amount), (&[1, 4, 16][..], Amount::For(500_000_000)));
        assert_eq!(dbench(&["for=1s", "ops=7"]).unwrap().amount, Amount::Ops(7));
        let params = hackbench(&["groups=2", "pairs=3", "loops=4"]).unwrap();
        assert_eq!(params, Hackbench { groups: 2, pairs: 3, loops: 4 });
        assert_eq!(params.messages(), 2 * 3 * 3 * 4);
    }

    #[test]
    fn a_wrong_word_names_itself_and_what_would_be_right() {
        for (arg, says) in [
            (
                "clients=0",
                "clients=0: a number of clients (or several, with commas) from 1 to 64 was expected",
            ),
            (
                "clients=4,",
                "clients=4,: a number of clients (or several, with commas) from 1 to 64 was expected",
            ),
            (
                "clients=1,2,3,4,5,6,7,8,9",
                "clients=1,2,3,4,5,6,7,8,9: at most 8 numbers of clients were expected",
            ),
            ("ops=-1", "ops=-1: a number of operations from 1 to 1000000000 was expected"),
            ("for=5", "for=5: a time from 1ms to 3600s, such as for=1s, was expected"),
            ("fast", "fast: clients=, ops= or for= was expected"),
        ] {
            assert_eq!(dbench(&[arg]).unwrap_err(), says);
        }
        assert_eq!(
            hackbench(&["groups=17"]).unwrap_err(),
            "groups=17: a number of groups from 1 to 16 was expected"
        );
        assert_eq!(hackbench(&["fds=20"]).unwrap_err(), "fds=20: groups=, pairs= or loops= was expected");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_in_range(args in proptest::collection::vec("(clients|ops|for|groups|pairs|loops)=[0-9a-z,]{0,6}", 0..3)) {
            let args: std::vec::Vec<&str> = args.iter().map(|arg| arg.as_str()).collect();
            if let Ok(params) = Dbench::parse(&args) {
                prop_assert!(params.clients.iter().all(|&n| CLIENTS.contains(&(n as u64))) && !params.clients.is_empty());
            }
            if let Ok(params) = Hackbench::parse(&args) {
                prop_assert!(GROUPS.contains(&(params.groups as u64)) && PAIRS.contains(&(params.pairs as u64)));
            }
        }
    }
}
