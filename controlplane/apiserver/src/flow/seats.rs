//! What a request costs and how many seats a level may use. Pure.

use super::config::Level;

/// Seats a request occupies while it runs.
pub type Width = u32;

/// Most seats one request can cost, as upstream (`maximumSeatsLimit`).
const WIDTH_MAX: Width = 10;
/// Objects that one seat pays for, as upstream (`objectsPerSeat`).
const OBJECTS_PER_SEAT: usize = 100;

/// The width of a list, or of a watch's initial events, over `objects` objects with an optional `limit`.
#[must_use]
pub fn list_width(objects: usize, limit: usize) -> Width {
    let processed = if limit == 0 { objects } else { objects.min(limit) };
    let seats = processed.div_ceil(OBJECTS_PER_SEAT);
    u32::try_from(seats).unwrap_or(WIDTH_MAX).clamp(1, WIDTH_MAX)
}

/// What a level may use, in seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The share of the server.
    pub nominal: u32,
    /// What no other level can borrow.
    pub guaranteed: u32,
    /// What it can reach by borrowing.
    pub most: u32,
}

/// Each level's limits of a server with `total` seats (KEP-1040, "Dispatching": NominalCL, MinCL, MaxCL).
#[must_use]
pub fn limits(levels: &[Level], total: u32) -> Vec<Limits> {
    let shares: u64 = levels.iter().map(|level| u64::from(level.shares)).sum::<u64>().max(1);
    let part = |level: &Level| {
        let nominal = (u64::from(total) * u64::from(level.shares)).div_ceil(shares);
        let floor = u32::from(!level.exempt);
        let nominal = u32::try_from(nominal).unwrap_or(total).max(floor);
        let percent = |percent: u32| {
            u32::try_from((u64::from(nominal) * u64::from(percent) + 50) / 100).unwrap_or(total)
        };
        let lendable = percent(level.lendable_percent);
        let most = match level.borrowing_percent {
            Some(limit) => nominal.saturating_add(percent(limit)),
            None => total.max(nominal),
        };
        Limits { nominal, guaranteed: nominal - lendable.min(nominal), most }
    };
    levels.iter().map(part).collect()
}

/// Whether a level that uses `own` seats may use `width` (at most its nominal limit) more. `others` are (used, guaranteed) of the other levels.
#[must_use]
pub fn may_take(
    own: u32,
    width: Width,
    limits: &Limits,
    others: &[(u32, u32)],
    total: u32,
) -> bool {
    let wanted = own.saturating_add(width);
    if wanted > limits.most {
        return false;
    }
    if wanted <= limits.guaranteed {
        return true;
    }
    let reserved: u32 = others.iter().map(|(used, guaranteed)| *used.max(guaranteed)).sum();
    wanted.saturating_add(reserved) <= total
}

#[cfg(test)]
mod tests {
    use super::{
        super::{config, defaults},
        *,
    };

    #[test]
    fn lists_cost_by_size_and_limit() {
        for (objects, limit, expect) in
            [(0, 0, 1), (100, 0, 1), (101, 0, 2), (5000, 0, 10), (5000, 500, 5), (50, 500, 1)]
        {
            assert_eq!(list_width(objects, limit), expect, "{objects} {limit}");
        }
    }

    #[test]
    fn the_default_levels_share_600_seats_as_upstream() {
        let levels: Vec<Level> = defaults::objects()
            .iter()
            .filter(|object| object["kind"] == "PriorityLevelConfiguration")
            .map(config::level)
            .collect();
        let limits = limits(&levels, 600);
        let found = |name: &str| {
            let at = levels.iter().position(|level| level.name == name).unwrap();
            (limits[at].nominal, limits[at].guaranteed, limits[at].most)
        };
        assert_eq!(found("workload-low"), (245, 24, 600));
        assert_eq!(found("node-high"), (98, 73, 600));
        assert_eq!(found("leader-election"), (25, 25, 600));
        assert_eq!(found("catch-all"), (13, 13, 600));
        assert_eq!(found("exempt").0, 0);
    }

    #[test]
    fn idle_seats_are_lent_and_guaranteed_ones_are_not() {
        let limits = Limits { nominal: 6, guaranteed: 4, most: 10 };
        for (own, width, others, expect) in [
            (3, 1, vec![(10, 0)], true),  // guaranteed, whoever has borrowed
            (4, 1, vec![(5, 0)], true),   // lendable, still there
            (4, 1, vec![(6, 0)], false),  // lent out
            (4, 1, vec![(0, 6)], false),  // guaranteed to another
            (9, 1, vec![(0, 0)], true),   // borrowed
            (9, 2, vec![(0, 0)], false),  // above what it may borrow
            (0, 4, vec![(10, 10)], true), // guaranteed at once
        ] {
            assert_eq!(
                may_take(own, width, &limits, &others, 10),
                expect,
                "{own} {width} {others:?}"
            );
        }
    }
}
