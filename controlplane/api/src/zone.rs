//! Time zones by their names in the IANA database, which the program brings along: all machines know the same ones.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of that name, in that spelling.
#[must_use]
pub fn find(name: &str) -> Option<TimeZone> {
    let zone = ZONES.get(name).ok()?;
    (!zone.is_unknown() && zone.iana_name() == Some(name)).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_database() {
        for name in [
            "UTC",
            "Etc/UTC",
            "Europe/Berlin",
            "US/Pacific",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+5",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
        for name in ["", "utc", "Local", "europe/berlin", "Europe/Nowhere", "Etc/Unknown", "../UTC"]
        {
            assert!(find(name).is_none(), "{name}");
        }
    }
}
