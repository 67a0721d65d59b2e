//! Runs checks one by one and keeps how they ended.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{checks::Check, scene::Scene, world::World};

/// How the checks of one run ended.
#[derive(Debug, Default)]
pub struct Report {
    ended: Vec<Ended>,
}

#[derive(Debug)]
struct Ended {
    name: &'static str,
    took: Duration,
    /// Why it failed.
    failure: Option<String>,
}

impl Report {
    /// Runs one check in a namespace of its own.
    pub fn run(&mut self, check: &Check, world: &World, keep: bool) {
        println!("\n== {}: {}", check.name, check.proves);
        let start = Instant::now();
        let failure = play(check, world, keep).err().map(|error| format!("{error:#}"));
        let took = start.elapsed();
        match &failure {
            None => println!("   PASSED in {:.1} s", took.as_secs_f64()),
            Some(failure) => println!("   FAILED after {:.1} s: {failure}", took.as_secs_f64()),
        }
        self.ended.push(Ended { name: check.name, took, failure });
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.ended.iter().filter(|ended| ended.failure.is_some()).count()
    }

    /// The table and the sum.
    pub fn print(&self) {
        println!("\n{:<28} {:>9}  {:<6}", "check", "seconds", "result");
        for Ended { name, took, failure } in &self.ended {
            let result = if failure.is_none() { "passed" } else { "FAILED" };
            let reason = failure.as_deref().unwrap_or_default();
            let reason = reason.lines().next().unwrap_or_default();
            println!("{name:<28} {:>9.1}  {result:<6} {reason}", took.as_secs_f64());
        }
        println!("{} passed, {} failed", self.ended.len() - self.failed(), self.failed());
    }
}

fn play(check: &Check, world: &World, keep: bool) -> Result<()> {
    let scene = Scene::open(world, check.name)?;
    let outcome = (check.run)(&scene).and_then(|()| {
        ensure!(scene.proofs() > 0, "it printed no evidence");
        Ok(())
    });
    if outcome.is_err() {
        scene.print_state();
    }
    if outcome.is_err() && keep {
        println!("   kept: namespace {}", scene.namespace);
        return outcome;
    }
    let closed = scene.close();
    outcome.and(closed)
}
