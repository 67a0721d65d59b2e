//! Macros over lists and maps cost what the loops cost that cel-go expands them to.

use super::{Entry, Estimate, Estimator, LIST_COST, MAP_COST, Size, Step};
use crate::{
    node::{Fold, FoldKind},
    scope::Scoped as _,
    types::Type,
};

/// The parts of a loop: before it, each round beside predicate and body, after it.
struct Loop {
    before: u64,
    round: u64,
    after: u64,
}

fn shape(kind: FoldKind) -> Loop {
    let (before, round, after) = match kind {
        // `@not_strictly_false(result)`, `result && body`, `result`.
        FoldKind::All => (0, 3, 1),
        // `@not_strictly_false(!result)`, `result || body`, `result`.
        FoldKind::Exists => (0, 4, 1),
        // `body ? result + 1 : result`, `result == 1`.
        FoldKind::ExistsOne => (0, 2, 2),
        // `body ? result + [name] : result`.
        FoldKind::Filter => (LIST_COST, 3 + LIST_COST, 1),
        // `result + [body]`.
        FoldKind::Map => (LIST_COST, 2 + LIST_COST, 1),
        // `cel.@mapInsert(result, key, body)`, and without a key.
        FoldKind::TransformMap => (MAP_COST, 3, 1),
        FoldKind::TransformMapEntry => (MAP_COST, 2, 1),
        // A name for the list, the function with its receiver, and `map` with its range.
        FoldKind::SortBy => (LIST_COST + 2 + 1 + LIST_COST, 2 + LIST_COST, 1),
    };
    Loop { before, round, after }
}

impl<'e> Estimator<'e> {
    pub(super) fn fold(&mut self, fold: &Fold) -> Estimate<'e> {
        let range = self.node(&fold.range);
        let names = self.names(&range, fold.two_names);
        let shown = names[0].clone();
        let (predicate, body) = self.within(names, |this| {
            let predicate = fold.predicate.as_ref().map_or(0, |node| this.node(node).cost);
            (predicate, this.node(&fold.body))
        });
        let count = range.size_or_unknown();
        let Loop { before, round, after } = shape(fold.kind);
        let round = round.saturating_add(predicate).saturating_add(body.cost);
        let cost = range
            .cost
            .saturating_add(before)
            .saturating_add(count.max.saturating_mul(round))
            .saturating_add(after);
        made(fold.kind, cost, count, &shown, body)
    }

    /// The names that a round binds.
    fn names(&self, range: &Estimate<'e>, two: bool) -> Vec<Estimate<'e>> {
        let (over_list, key, value) = match &range.of {
            Type::List(item) => (true, Type::Int, (**item).clone()),
            Type::Map(key, value) => (false, (**key).clone(), (**value).clone()),
            _ => (false, Type::Dyn, Type::Dyn),
        };
        let local = |of, step, size: Option<Size>| {
            let found = Estimate::found(1, of, range.place.step(step, self.root));
            Estimate { size: found.size.or(size), ..found }
        };
        let keys = range.entry.map(|entry| entry.key);
        let values = range.entry.map(|entry| entry.value);
        let by_key = |step| local(key, step, keys);
        let by_value = local(value, Step::Items, values);
        match (two, over_list) {
            (true, true) => vec![by_key(Step::Indices), by_value],
            (true, false) => vec![by_key(Step::Keys), by_value],
            (false, true) => vec![by_value],
            (false, false) => vec![by_key(Step::Keys)],
        }
    }
}

fn made<'e>(
    kind: FoldKind,
    cost: u64,
    count: Size,
    shown: &Estimate<'e>,
    body: Estimate<'e>,
) -> Estimate<'e> {
    let list = |of: &Estimate<'e>| {
        // The list starts empty.
        let value = Size { min: 0, max: of.size_or_unknown().max };
        let made = Estimate::made(cost, Type::list(of.of.clone())).sized(count);
        Estimate { entry: Some(Entry { key: Size::ONE, value }), ..made }
    };
    match kind {
        FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Estimate::made(cost, Type::Bool),
        FoldKind::Filter | FoldKind::SortBy => list(shown),
        FoldKind::Map => list(&body),
        FoldKind::TransformMap => {
            Estimate::made(cost, Type::map(shown.of.clone(), body.of)).sized(count)
        }
        FoldKind::TransformMapEntry => Estimate::made(cost, body.of).sized(count),
    }
}
