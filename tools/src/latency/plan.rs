//! Which boots are made, and what each is told to do.

use crate::page::MODELS;

/// What the rows of the latency test's table begin with, in the order in which it shows them.
const LOADS: [&str; 11] =
    ["none", "memcpy", "alloc", "console", "timer", "message", "task", "softirq", "irqthread", "pi", "all"];

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Fragments of each run of the latency test.
    pub fragments: u32,
    /// Operations of each run of dbench.
    pub ops: u32,
    /// Numbers of clients, one run of dbench for each.
    pub clients: &'static [u32],
    /// Messages from each to each in hackbench.
    pub loops: u32,
    /// Groups of hackbench.
    pub groups: u32,
}

impl Default for Setting {
    /// What `make latency` measures.
    fn default() -> Self {
        Self { fragments: 1000, ops: 50_000, clients: &[1, 2, 4, 8, 16, 32], loops: 50, groups: 2 }
    }
}

impl Setting {
    /// A little of everything, for tests.
    #[must_use]
    pub fn small() -> Self {
        Self { fragments: 20, ops: 400, clients: &[1, 3], loops: 2, groups: 1 }
    }

    /// Latency under each load, throughput, cyclictest. The period is no multiple of the tick's, so that the two grids meet
    /// everywhere; half of a fragment is computed, so that one which comes later than the other half is lost.
    #[must_use]
    pub fn measuring(&self) -> String {
        let clients: Vec<_> = self.clients.iter().map(u32::to_string).collect();
        format!(
            "latency period=1013us fragments={} burn=50% load=each; dbench clients={} ops={}; hackbench groups={} \
             loops={}; cyclictest -p99 -i1013 -l{} -q -N load=all",
            self.fragments,
            clients.join(","),
            self.ops,
            self.groups,
            self.loops,
            self.fragments
        )
    }

    /// What `preempt-stats` finds under all loads at once.
    fn sections(&self) -> String {
        format!(
            "preempt-stats on; latency period=1013us fragments={} load=all; preempt-stats off; preempt-stats",
            (self.fragments / 2).max(10)
        )
    }
}

/// A boot of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Its preemption model.
    pub model: &'static str,
    /// The shell commands it runs.
    pub command: String,
    /// How many steps it has, for the progress.
    pub steps: usize,
    kind: &'static str,
}

impl Boot {
    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.model, self.kind)
    }
}

/// All boots, the long ones first.
#[must_use]
pub fn boots(setting: &Setting) -> Vec<Boot> {
    let measuring = |model| Boot {
        model,
        command: setting.measuring(),
        // A row for each load and each number of clients, then hackbench and cyclictest.
        steps: LOADS.len() + setting.clients.len() + 2,
        kind: "",
    };
    let sections = |model| Boot { model, command: setting.sections(), steps: 1, kind: ", preempt-stats" };
    MODELS.into_iter().map(measuring).chain(MODELS.into_iter().map(sections)).collect()
}

/// How many steps of a boot are done, by what it has said.
#[must_use]
pub fn steps(console: &str) -> usize {
    let done = |line: &&str| {
        let words: Vec<_> = line.rsplit('\r').next().unwrap_or(line).split_whitespace().collect();
        let Some(first) = words.first() else { return false };
        let number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        match *first {
            "result" => ["throughput.hackbench", "cyclictest.wakeup"].contains(words.get(1).unwrap_or(&"")),
            load if LOADS.contains(&load) => words.last().is_some_and(number) && words.len() > 10,
            _ => words.len() >= 4 && words[..2].iter().all(number),
        }
    };
    // The last line may not be whole.
    console.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::trim_end).filter(done).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_its_boots_and_what_they_are_told_can_be_passed_on() {
        let boots = boots(&Setting::default());
        assert_eq!(
            boots.iter().map(Boot::name).collect::<Vec<_>>()[..4],
            ["none", "voluntary", "full", "rt"]
        );
        assert_eq!((boots.len(), boots[7].name().as_str()), (8, "rt, preempt-stats"));
        assert!(boots[0].command.contains("load=each; dbench clients=1,2,4,8,16,32 ops=50000"));
        for boot in boots {
            let wishes = crate::bootargs::Wishes {
                extra: "preempt=voluntary",
                command: Some(&boot.command),
                interactive: false,
            };
            assert!(crate::bootargs::compose(&wishes).is_ok(), "{}", boot.command);
        }
    }

    #[test]
    fn steps_are_counted_as_they_come() {
        let console = "latency: 1000 fragments of 1013us, a FIFO 90 task, preempt=none\n\
            load             min       avg       p50       p99     p99.9       max missed\n\
            none          362 ns    370 ns    367 ns    367 ns    621 ns    621 ns      0\n\
            \r  measuring (5 writes by the console load)\r                \rconsole      362 ns    370 ns    367 ns    367 ns    621 ns    621 ns      0\n\
            all the same it is a sentence with a few words in it, many even\n\
            \x20clients        ops       time      ops/s\n       1     100000     262 ms     381658\n\
            result throughput.dbench 381658 ops/s clients=1\nresult throughput.hackbench 5 ns n=1\n\
            result cyclictest.wakeup 5 ns n=1\nresult cyclictest.wak";
        assert_eq!(steps(console), 2 + 1 + 2);
        assert_eq!(steps(""), 0);
    }
}
