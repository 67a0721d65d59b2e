//! What a machine's output says of each test program: how it ended, how many tests passed, what was skipped and why.

use std::fmt::Write as _;

/// How a test says that it did not run.
const SKIPPED: &str = "skipped: ";

/// What one program said.
#[derive(Debug, Default)]
struct Program {
    name: String,
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

/// What all programs said.
#[derive(Debug)]
pub struct Report {
    programs: Vec<Program>,
}

impl Report {
    /// Of programs with these names, in the order in which they run.
    pub fn new(names: Vec<String>) -> Self {
        let programs = names.into_iter().map(|name| Program { name, ..Program::default() });
        Self { programs: programs.collect() }
    }

    /// Takes a line that program `index` printed.
    pub fn hear(&mut self, index: usize, line: &str) {
        let Some(program) = self.programs.get_mut(index) else { return };
        let line = line.trim();
        if let Some(why) = line.strip_prefix(SKIPPED) {
            program.skipped.push(why.to_owned());
        } else if let Some(sum) = line.strip_prefix("test result: ") {
            // The standard harness's own count: lines of single tests may be mixed with the kernel's.
            let number = |what| {
                let words: Vec<&str> = sum.split([' ', ';']).collect();
                let at = words.iter().position(|word| *word == what)?;
                words.get(at.checked_sub(1)?)?.parse().ok()
            };
            program.passed = number("passed").unwrap_or(program.passed);
            program.failed = number("failed").unwrap_or(program.failed);
        } else if let Some(rest) = line.strip_prefix("test ") {
            // The standard harness: `test NAME ... ok`; ours: `test NAME ok (1.2 s)`.
            let words: Vec<&str> = rest.split_whitespace().collect();
            program.passed += usize::from(words.contains(&"ok"));
            program.failed += usize::from(words.last() == Some(&"FAILED"));
        }
    }

    /// One line per program, then what was skipped with its reasons, then the sum.
    pub fn summarize(&self, codes: &[i32]) -> String {
        let mut text = String::new();
        for (index, program) in self.programs.iter().enumerate() {
            let end = match codes.get(index) {
                Some(0) => "ok".to_owned(),
                Some(code) => format!("FAILED, exit code {code}"),
                None => "did not run".to_owned(),
            };
            let Program { name, passed, failed, skipped } = program;
            let skips = skipped.len();
            // A skipped test returns early, which the standard harness counts as passed.
            let passed = passed.saturating_sub(skips);
            let _ =
                writeln!(text, "{name}: {end}; {passed} passed, {failed} failed, {skips} skipped");
            for why in skipped {
                let _ = writeln!(text, "  {SKIPPED}{why}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_counted_apart_and_skips_named() {
        let mut report = Report::new(vec!["a: one".into(), "b: two".into(), "c: three".into()]);
        let lines = [
            (0, "test first ... ok"),
            (0, "test second ... [ 7.3] a line of the kernel's"),
            (0, "---- second stdout ----"),
            (0, "skipped: no memory controller"),
            (0, "test result: ok. 2 passed; 0 failed; 0 ignored"),
            (1, "test boot ..."),
            (1, "test boot ok (1.5 s)"),
            (1, "test broken ... FAILED"),
        ];
        for (index, line) in lines {
            report.hear(index, line);
        }
        assert_eq!(
            report.summarize(&[0, 101]),
            "a: one: ok; 1 passed, 0 failed, 1 skipped\n  skipped: no memory controller\n\
             b: two: FAILED, exit code 101; 1 passed, 1 failed, 0 skipped\n\
             c: three: did not run; 0 passed, 0 failed, 0 skipped\n"
        );
    }
}
