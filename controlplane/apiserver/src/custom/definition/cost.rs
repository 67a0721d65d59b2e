//! What the rules of a definition may cost. Upstream `apiextensions/validation/cel_validation.go` and `getCostErrorMessage`
//! in `validation.go`. Pure.

use api::{
    rules::problems::Problems,
    structural::{Additional, Schema},
};

/// One rule, for all the values it is evaluated on.
const RULE_MAX: u64 = 10_000_000;
/// All rules of a schema.
const TOTAL_MAX: u64 = 100_000_000;
/// Rules that are named when the total is too high.
const NAMED_MAX: usize = 4;

/// How many values of a node there can be; `None` without a bound in the schema.
pub type Count = Option<u64>;

/// Of what lies directly below a node, if there are so many of the node.
#[must_use]
pub fn below(schema: &Schema, count: Count) -> Count {
    let times = match schema.kind.as_str() {
        "array" => schema.checks.max_items?,
        "object" if !matches!(schema.additional, Additional::None) => {
            schema.checks.max_properties?
        }
        _ => 1,
    };
    Some(count?.saturating_mul(times))
}

/// Adds up the costs of one schema's expressions.
#[derive(Debug)]
pub struct Total {
    sum: u64,
    /// The dearest first.
    dearest: Vec<(u64, String)>,
    /// The schema was accepted before: single expressions are not judged again.
    accepted: bool,
}

impl Total {
    #[must_use]
    pub fn new(accepted: bool) -> Self {
        Self { sum: 0, dearest: Vec::new(), accepted }
    }

    /// Takes in what one expression costs. `name`: `rule` or `messageExpression`.
    pub fn add(&mut self, name: &str, path: String, cost: u64, problems: &mut Problems) {
        if cost > RULE_MAX && !self.accepted {
            problems.forbidden(&path, &too_much(&format!("estimated {name} cost"), cost, RULE_MAX));
        }
        self.sum = self.sum.saturating_add(cost);
        if cost >= TOTAL_MAX / 100 {
            self.dearest.push((cost, path));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED_MAX);
        }
    }

    /// The verdict on the whole schema at `path`.
    pub fn judge(self, path: &str, problems: &mut Problems) {
        if self.sum <= TOTAL_MAX {
            return;
        }
        let part = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        for (_, path) in &self.dearest {
            problems.forbidden(path, part);
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        problems.forbidden(path, &too_much(name, self.sum, TOTAL_MAX));
    }
}

#[expect(clippy::cast_precision_loss, reason = "only shown")]
fn too_much(name: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_shown_as_upstream_shows_them() {
        for (cost, factor) in [
            (10_000_001, "1.000000x"),
            (14_000_000, "1.400000x"),
            (15_000_000, "1.5x"),
            (1_000_000_000, "100.0x"),
            (u64::MAX, "more than 100x"),
        ] {
            let text = too_much("estimated rule cost", cost, RULE_MAX);
            let expect = format!(
                "estimated rule cost exceeds budget by factor of {factor} (try simplifying"
            );
            assert!(text.starts_with(&expect), "{text}");
        }
    }
}
