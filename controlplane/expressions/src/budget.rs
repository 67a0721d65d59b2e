//! How much work expressions may do. The unit is cel-go's runtime cost: one per name or field looked up, one per call (more
//! where the call walks a string or list, a tenth per character), 10 per list made, 30 per map, 40 per object.

use crate::EvalError;

/// Upstream `PerCallLimit`: one evaluation of one expression (upstream ties 10,000,000 to about a tenth of a second).
pub const EXPRESSION_COST_MAX: u64 = 10_000_000;
/// Upstream `RuntimeCELCostBudget`: all expressions evaluated for one request.
pub const REQUEST_COST_MAX: u64 = 100_000_000;

/// What is left for the expressions of one request.
#[derive(Debug, Clone)]
pub struct Budget {
    left: u64,
    expression_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: REQUEST_COST_MAX, expression_max: EXPRESSION_COST_MAX }
    }
}

impl Budget {
    /// A budget other than a request's usual one, in units of cost.
    #[must_use]
    pub fn new(total: u64, expression_max: u64) -> Self {
        Self { left: total, expression_max }
    }

    /// Units not yet spent.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter { spent: 0, limit: self.expression_max.min(self.left), total: self.left }
    }

    pub(crate) fn settle(&mut self, meter: &Meter) {
        self.left = self.left.saturating_sub(meter.spent);
    }
}

/// The cost of one evaluation while it runs.
pub(crate) struct Meter {
    pub(crate) spent: u64,
    limit: u64,
    total: u64,
}

impl Meter {
    pub(crate) fn charge(&mut self, units: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(units);
        if self.spent <= self.limit {
            return Ok(());
        }
        Err(if self.spent > self.total {
            EvalError::RequestLimit
        } else {
            EvalError::ExpressionLimit
        })
    }
}
