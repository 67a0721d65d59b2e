//! A job's status: what is true together, and what stays true. A rule about fields is applied when one of these changes,
//! as a change of the spec may leave a status behind that it would refuse.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{check_counts, is_true, items, text};
use crate::rules::problems::Problems;
use crate::time;

const CONDITIONS: &str = "status.conditions";

/// Whether each of the conditions that end a job holds.
#[derive(PartialEq, Eq)]
struct End {
    complete: bool,
    failed: bool,
    failing: bool,
    succeeding: bool,
}

impl End {
    fn of(status: &Value) -> Self {
        Self {
            complete: is_true(status, "Complete"),
            failed: is_true(status, "Failed"),
            failing: is_true(status, "FailureTarget"),
            succeeding: is_true(status, "SuccessCriteriaMet"),
        }
    }

    fn is_finished(&self) -> bool {
        self.complete || self.failed
    }
}

/// A change of a job's status.
struct Change<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
    end: End,
    before: End,
}

impl Change<'_> {
    fn number(&self, field: &str) -> i64 {
        self.new[field].as_i64().unwrap_or(0)
    }

    fn has_changed(&self, field: &str) -> bool {
        self.new[field] != self.old[field]
    }

    fn has_finished(&self) -> bool {
        self.end.is_finished() != self.before.is_finished()
    }

    fn is_indexed(&self) -> bool {
        self.spec["completionMode"] == "Indexed"
    }
}

pub(super) fn validate(new: &Value, old: &Value, problems: &mut Problems) {
    let (status, before) = (&new["status"], &old["status"]);
    let change = Change {
        spec: &new["spec"],
        new: status,
        old: before,
        end: End::of(status),
        before: End::of(before),
    };
    check_counts(status, &["active", "succeeded", "failed", "ready", "terminating"], problems);
    check_uncounted(&status["uncountedTerminatedPods"], problems);
    check_ends(&change, problems);
    check_times(&change, problems);
    check_finished(&change, problems);
    check_indexes(&change, problems);
    if (change.has_changed("ready") || change.has_changed("active"))
        && change.number("ready") > change.number("active")
    {
        let detail = "cannot set more ready pods than active";
        problems.invalid("status.ready", &status["ready"], detail);
    }
    check_success(&change, problems);
    check_kept(&change, problems);
}

/// No pod is named twice or without a name.
fn check_uncounted(pods: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for field in ["succeeded", "failed"] {
        for (path, uid) in items(pods, field, "status.uncountedTerminatedPods") {
            let known = uid.as_str().unwrap_or_default();
            if known.is_empty() {
                problems.invalid_text(&path, known, "must not be empty");
            } else if !seen.insert(known) {
                problems.duplicate(&path, uid);
            }
        }
    }
}

fn check_ends(change: &Change<'_>, problems: &mut Problems) {
    let (end, before) = (&change.end, &change.before);
    let completes = end.complete != before.complete;
    let fails = end.failed != before.failed;
    let (failing, succeeding) =
        (end.failing != before.failing, end.succeeding != before.succeeding);
    if (completes || fails) && end.complete && end.failed {
        let detail = "cannot set Complete=True and Failed=true conditions";
        problems.invalid_unshown(CONDITIONS, detail);
    }
    if (completes || failing) && end.complete && end.failing {
        let detail = "cannot set Complete=True and FailureTarget=true conditions";
        problems.invalid_unshown(CONDITIONS, detail);
    }
    if (fails || change.has_changed("failedIndexes")) && end.failed && !end.failing {
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        problems.invalid_unshown(CONDITIONS, detail);
    }
    if (completes || succeeding) && end.complete && !end.succeeding {
        let detail =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        problems.invalid_unshown(CONDITIONS, detail);
    }
}

fn check_times(change: &Change<'_>, problems: &mut Problems) {
    let path = "status.completionTime";
    let (start, completion) = (&change.new["startTime"], &change.new["completionTime"]);
    let completes = change.end.complete != change.before.complete;
    if completes || change.has_changed("completionTime") {
        if !completion.is_null() && !change.end.complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            problems.invalid(path, completion, detail);
        }
        if completion.is_null() && change.end.complete {
            problems.required(path, "completionTime is required for Complete jobs");
        }
    }
    if change.has_changed("startTime") || change.has_changed("completionTime") {
        let seconds = |at: &Value| Some(time::parse(at.as_str()?)?.seconds);
        if let (Some(start), Some(end)) = (seconds(start), seconds(completion))
            && end < start
        {
            problems.invalid(path, completion, "must be equal to or after `startTime`");
        }
    }
}

/// Nothing is left of a finished job but numbers.
fn check_finished(change: &Change<'_>, problems: &mut Problems) {
    if !change.end.is_finished() {
        return;
    }
    let finishes = change.has_finished();
    if (finishes || change.has_changed("active")) && change.number("active") > 0 {
        let detail = "active>0 is invalid for finished job";
        problems.invalid("status.active", &change.new["active"], detail);
    }
    let never_starts = change.spec["suspend"] == true && change.spec["completions"] == 0;
    if (finishes || change.has_changed("startTime"))
        && !never_starts
        && change.new["startTime"].is_null()
    {
        problems.required("status.startTime", "startTime is required for finished job");
    }
    let pods = &change.new["uncountedTerminatedPods"];
    let has_pods = ["succeeded", "failed"]
        .iter()
        .any(|field| pods[*field].as_array().is_some_and(|list| !list.is_empty()));
    if (finishes || change.has_changed("uncountedTerminatedPods")) && has_pods {
        let detail = "must be empty for finished job";
        problems.invalid("status.uncountedTerminatedPods", pods, detail);
    }
    if (finishes || change.has_changed("terminating")) && change.number("terminating") > 0 {
        let detail = "terminating>0 is invalid for finished job";
        problems.invalid("status.terminating", &change.new["terminating"], detail);
    }
}

fn check_indexes(change: &Change<'_>, problems: &mut Problems) {
    let (completed, failed) =
        (text(change.new, "completedIndexes"), change.new["failedIndexes"].as_str());
    let completions = change.spec["completions"].as_i64();
    let per_index = !change.spec["backoffLimitPerIndex"].is_null();
    let (completes, fails) =
        (change.has_changed("completedIndexes"), change.has_changed("failedIndexes"));
    let mut complain = |field: &str, value: &str, detail: &str| {
        problems.invalid_text(&format!("status.{field}"), value, detail);
    };
    if let Some(most) = completions.filter(|_| completes)
        && let Err(error) = parse_indexes(completed, most)
    {
        let detail = format!("error parsing completedIndexes: {error}");
        complain("completedIndexes", completed, &detail);
    }
    if let (Some(most), Some(failed), true) = (completions, failed, fails && per_index)
        && let Err(error) = parse_indexes(failed, most)
    {
        complain("failedIndexes", failed, &format!("error parsing failedIndexes: {error}"));
    }
    if completes && !completed.is_empty() && !change.is_indexed() {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        complain("completedIndexes", completed, detail);
    }
    let Some(failed) = failed else { return };
    if fails && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        complain("failedIndexes", failed, detail);
    }
    if let Some(most) = completions.filter(|_| completes || fails)
        && let Some(index) = overlap(completed, failed, most)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        complain("failedIndexes", failed, &detail);
    }
}

/// Ranges of indexes, rising: `1,3-5`.
fn parse_indexes(list: &str, completions: i64) -> Result<(), String> {
    let mut last: Option<i64> = None;
    for range in list.split(',').filter(|_| !list.is_empty()) {
        let (first, end) = parse_range(range, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        last = Some(end);
    }
    Ok(())
}

fn parse_range(range: &str, completions: i64) -> Result<(i64, i64), String> {
    let mut limits = range.split('-');
    let (first, second, third) = (limits.next().unwrap_or_default(), limits.next(), limits.next());
    if third.is_some() {
        return Err(format!(
            "the fragment {range:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let start = index(first)?;
    let Some(second) = second else { return Ok((start, start)) };
    let end = index(second)?;
    if start >= end {
        return Err(format!("non-increasing order, previous: {start}, current: {end}"));
    }
    Ok((start, end))
}

/// The first index that is in both lists; ranges that are wrong are passed over.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let ranges = |list: &str| -> Vec<(i64, i64)> {
        list.split(',').filter_map(|range| parse_range(range, completions).ok()).collect()
    };
    let (completed, failed) = (ranges(completed), ranges(failed));
    let (mut done, mut lost) = (0, 0);
    while let (Some(a), Some(b)) = (completed.get(done), failed.get(lost)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 { done += 1 } else { lost += 1 }
    }
    None
}

fn check_success(change: &Change<'_>, problems: &mut Problems) {
    let end = &change.end;
    let mut complain = |detail: &str| problems.invalid_unshown(CONDITIONS, detail);
    if end.succeeding && end.failed {
        complain("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if end.succeeding && end.failing {
        complain("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if !change.spec["successPolicy"].is_null() && !end.succeeding && end.complete {
        complain(
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        );
    }
}

/// What has been said stays said.
fn check_kept(change: &Change<'_>, problems: &mut Problems) {
    let (end, before) = (&change.end, &change.before);
    for (name, was, is) in [
        ("Failed", before.failed, end.failed),
        ("Complete", before.complete, end.complete),
        ("FailureTarget", before.failing, end.failing),
    ] {
        if was && !is {
            let detail = format!("cannot disable the terminal {name}=True condition");
            problems.invalid_unshown(CONDITIONS, &detail);
        }
    }
    let elastic = change.is_indexed() && change.spec["completions"] == change.spec["parallelism"];
    for field in ["failed", "succeeded"] {
        let may_fall = field == "succeeded" && elastic;
        if !may_fall && change.number(field) < change.old[field].as_i64().unwrap_or(0) {
            let detail = format!("cannot decrease the {field} counter");
            problems.invalid(
                &format!("status.{field}"),
                &Value::from(change.number(field)),
                &detail,
            );
        }
    }
    let (completion, was) = (&change.new["completionTime"], &change.old["completionTime"]);
    if !completion.is_null() && !was.is_null() && completion != was {
        problems.invalid("status.completionTime", completion, "field is immutable");
    }
    check_start_kept(change, problems);
    if before.succeeding && !end.succeeding {
        let detail = "cannot disable the SuccessCriteriaMet=True condition";
        problems.invalid_unshown(CONDITIONS, detail);
    }
    if before.complete && !before.succeeding && end.succeeding {
        let detail =
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        problems.invalid_unshown(CONDITIONS, detail);
    }
}

/// Only a job that was suspended starts anew.
fn check_start_kept(change: &Change<'_>, problems: &mut Problems) {
    let resumes = is_true(change.old, "Suspended")
        && items(change.new, "conditions", "")
            .any(|(_, one)| one["type"] == "Suspended" && one["status"] == "False");
    if change.has_changed("startTime")
        && !resumes
        && !change.old["startTime"].is_null()
        && change.spec["suspend"] != true
    {
        let detail = "field is immutable for unsuspended job once set";
        problems.invalid("status.startTime", &change.new["startTime"], detail);
    }
}
