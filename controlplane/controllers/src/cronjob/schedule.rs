//! Cron's five fields (minute, hour, day of month, month, day of week) and their short forms, as `github.com/robfig/cron` reads
//! them. Pure.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

/// How far a schedule is looked along before it is said to have no times (the 29th of February that is a Monday).
const DAYS_MAX: usize = 366 * 30;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Schedule {
    Fields(Box<Fields>),
    /// `@every 90s`, counted from when it was last due, or from the beginning.
    Every {
        seconds: i64,
        anchor: Timestamp,
    },
}

/// The minutes that match all fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Either kind of day will do: both were given.
    any_day: bool,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong with it. `anchor`: when it was last due, or its beginning.
    pub(super) fn parse(text: &str, zone: Option<&str>, anchor: Timestamp) -> Result<Self, String> {
        let zone = match zone {
            Some(name) => {
                api::zone::find(name).ok_or_else(|| format!("unknown time zone {name}"))?
            }
            None => TimeZone::UTC,
        };
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(duration) = text.strip_prefix("@every ") {
            let nanos = api::time::parse_go_duration(duration);
            if nanos == 0 {
                return Err(format!("failed to parse duration {text}"));
            }
            // Whole seconds, and at least one.
            return Ok(Self::Every { seconds: (nanos / 1_000_000_000).max(1), anchor });
        }
        if text.starts_with('@') {
            return Err(format!("unrecognized descriptor: {text}"));
        }
        Fields::parse(text, zone).map(|fields| Self::Fields(Box::new(fields)))
    }

    /// The first time after another one.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Fields(fields) => fields.after(time),
            Self::Every { seconds, anchor } => {
                let passed = (time.duration_since(*anchor).as_secs() / seconds).max(0);
                anchor.checked_add((seconds * (passed + 1)).seconds()).ok()
            }
        }
    }

    /// The last time that is not after another one, looking back no further than `since`.
    pub(super) fn last(&self, since: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Fields(fields) => fields.last(since, until),
            Self::Every { seconds, anchor } => {
                let passed = until.duration_since(*anchor).as_secs() / seconds;
                let last = anchor.checked_add((seconds * passed).seconds()).ok()?;
                (passed > 0 && last > since).then_some(last)
            }
        }
    }
}

impl Fields {
    fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let is_open = |field: &str| field.starts_with(['*', '?']);
        let sunday = |bits: u64| (bits | bits >> 7) & 0x7f;
        Ok(Self {
            minutes: bits(minute, 0, 59, &[])?,
            hours: bits(hour, 0, 23, &[])?,
            days: bits(day, 1, 31, &[])?,
            months: bits(month, 1, 12, &MONTHS)?,
            weekdays: sunday(bits(weekday, 0, 7, &DAYS)?),
            any_day: !is_open(day) && !is_open(weekday),
            zone,
        })
    }

    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut date = time.to_zoned(self.zone.clone()).date();
        for _ in 0..DAYS_MAX {
            if let Some(found) = self.times_of(date).into_iter().find(|it| *it > time) {
                return Some(found);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn last(&self, since: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut date = until.to_zoned(self.zone.clone()).date();
        let first = since.to_zoned(self.zone.clone()).date();
        while date >= first {
            let times = self.times_of(date);
            if let Some(found) = times.into_iter().rev().find(|it| *it <= until) {
                return (found > since).then_some(found);
            }
            date = date.checked_sub(1.day()).ok()?;
        }
        None
    }

    fn times_of(&self, date: Date) -> Vec<Timestamp> {
        let has = |bits: u64, number: i8| bits >> number & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let matches = if self.any_day { day || weekday } else { day && weekday };
        if !matches || !has(self.months, date.month()) {
            return Vec::new();
        }
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        let minutes = || (0..60).filter(|minute| has(self.minutes, *minute));
        let times = hours.flat_map(|hour| minutes().map(move |minute| (hour, minute)));
        times
            .filter_map(|(hour, minute)| {
                let zoned = date.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()?;
                // What a change of the clock leaves out does not happen.
                (zoned.hour() == hour && zoned.minute() == minute).then(|| zoned.timestamp())
            })
            .collect()
    }
}

/// A field as bits: lists of numbers, ranges and steps.
fn bits(field: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let number = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let offset = u32::from(names.len() == MONTHS.len());
        match named {
            Some(index) => Ok(u32::try_from(index).unwrap_or(0) + offset),
            None => text.parse().map_err(|_| format!("failed to parse int from {text}")),
        }
    };
    let mut all = 0;
    for part in field.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, ""));
        let (first, last) = match range {
            "*" | "?" => (least, most.min(if names.len() == DAYS.len() { 6 } else { most })),
            range => match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None if step.is_empty() => (number(range)?, number(range)?),
                None => (number(range)?, most),
            },
        };
        let step = if step.is_empty() { 1 } else { number(step)? };
        if first < least || last > most || first > last || step == 0 {
            return Err(format!("{part} is not between {least} and {most}"));
        }
        let steps = usize::try_from(step).unwrap_or(1);
        (first..=last).step_by(steps).for_each(|number| all |= 1_u64 << number);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_next_time_follows_from_the_fields() {
        for (text, from, next) in [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * ?", "2026-01-01T00:46:00Z", "2026-01-01T01:00:00Z"),
            ("0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("30 4 * * mon-fri", "2026-01-02T05:00:00Z", "2026-01-05T04:30:00Z"),
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 12 * FEB 7", "2026-01-01T00:00:00Z", "2026-02-01T12:00:00Z"),
            ("5,10-12 1 * * *", "2026-01-01T01:05:00Z", "2026-01-01T01:10:00Z"),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:07Z", "2026-01-01T01:30:07Z"),
            ("@every 100ms", "2026-01-01T00:00:07Z", "2026-01-01T00:00:08Z"),
        ] {
            let schedule = Schedule::parse(text, None, at(from)).expect(text);
            assert_eq!(schedule.after(at(from)), Some(at(next)), "{text}");
            assert_eq!(schedule.last(at(from), at(next)), Some(at(next)), "{text}");
            assert_eq!(schedule.last(at(next), at(next)), None, "{text}");
        }
        assert_eq!(
            Schedule::parse("0 0 30 2 *", None, Timestamp::UNIX_EPOCH)
                .expect("a schedule")
                .after(at("2026-01-01T00:00:00Z")),
            None
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "* * * *",
            "60 * * * *",
            "* * * * 8",
            "a * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@every",
            "@every soon",
            "@often",
        ] {
            assert!(Schedule::parse(text, None, Timestamp::UNIX_EPOCH).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_are_counted_from_their_anchor() {
        let schedule =
            Schedule::parse("@every 10m", None, at("2026-01-01T00:05:00Z")).expect("one");
        let (since, now) = (at("2026-01-01T00:05:00Z"), at("2026-01-01T00:38:00Z"));
        assert_eq!(schedule.last(since, now), Some(at("2026-01-01T00:35:00Z")));
        assert_eq!(schedule.after(now), Some(at("2026-01-01T00:45:00Z")));
        assert_eq!(schedule.last(at("2026-01-01T00:36:00Z"), now), None);
        assert_eq!(schedule.last(since, at("2026-01-01T00:10:00Z")), None);
    }

    #[test]
    fn zones_shift_the_hours() {
        let schedule = Schedule::parse("0 9 * * *", Some("Europe/Berlin"), Timestamp::UNIX_EPOCH);
        let schedule = schedule.expect("a schedule");
        for (from, next) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T08:00:00Z"),
            ("2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"),
        ] {
            assert_eq!(schedule.after(at(from)), Some(at(next)));
        }
        assert!(Schedule::parse("0 9 * * *", Some("Mars/Base"), Timestamp::UNIX_EPOCH).is_err());
    }
}
