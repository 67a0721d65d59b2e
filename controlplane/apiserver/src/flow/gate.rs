//! The one owner of flow control's state: lets requests in, wakes those that wait, counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::sync::oneshot;

use super::{
    classify,
    config::{Level, Schema},
    defaults,
    level::{Queues, Refusal, Waiting},
    seats::{self, Limits, Width},
};
use crate::asked::Asked;

/// Seats of the whole server: upstream's `--max-requests-inflight` 400 and `--max-mutating-requests-inflight` 200.
const SEATS: u32 = 600;
/// Longest wait in a queue: a quarter of the request timeout, as upstream.
const WAIT_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    flow_schema: String,
    priority_level: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitedLabels {
    flow_schema: String,
    priority_level: String,
    execute: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabel {
    priority_level: String,
}

struct Counters {
    dispatched: Family<Labels, Counter>,
    rejected: Family<RefusedLabels, Counter>,
    inqueue: Family<Labels, Gauge>,
    executing: Family<Labels, Gauge>,
    seats: Family<Labels, Gauge>,
    waited: Family<WaitedLabels, Histogram>,
    nominal: Family<LevelLabel, Gauge>,
    lower: Family<LevelLabel, Gauge>,
    upper: Family<LevelLabel, Gauge>,
}

/// Upper bounds in seconds, as upstream.
const WAIT_BUCKETS: [f64; 13] =
    [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

impl Default for Counters {
    fn default() -> Self {
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            inqueue: Family::default(),
            executing: Family::default(),
            seats: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            nominal: Family::default(),
            lower: Family::default(),
            upper: Family::default(),
        }
    }
}

impl Counters {
    fn register(&self, registry: &mut Registry) {
        macro_rules! family {
            ($name:literal, $help:literal, $family:expr) => {
                registry.register(concat!("apiserver_flowcontrol_", $name), $help, $family.clone());
            };
        }
        family!("dispatched_requests", "Requests released to run", self.dispatched);
        family!("rejected_requests", "Requests refused by priority and fairness", self.rejected);
        family!("current_inqueue_requests", "Requests that wait in queues", self.inqueue);
        family!("current_executing_requests", "Requests that run", self.executing);
        family!("current_executing_seats", "Seats occupied by requests that run", self.seats);
        family!("request_wait_duration_seconds", "Time requests spent waiting", self.waited);
        family!("nominal_limit_seats", "Nominal number of seats of each level", self.nominal);
        family!("lower_limit_seats", "Seats of each level that no other can borrow", self.lower);
        family!("upper_limit_seats", "Seats each level can reach by borrowing", self.upper);
    }
}

/// One that waits: where it was put, and how it is woken.
struct Waiter {
    class: Arc<Class>,
    wake: oneshot::Sender<Ticket>,
}

struct LevelState {
    level: Level,
    limits: Limits,
    used: Width,
    queues: Queues<Waiter>,
}

#[derive(Default)]
struct State {
    /// In order of precedence; `classes` has an entry for each.
    schemas: Vec<Schema>,
    classes: Vec<Arc<Class>>,
    /// The mandatory `catch-all`, for what no schema matches.
    rest: usize,
    levels: Vec<LevelState>,
    next_id: u64,
}

/// Flow control of one server.
#[derive(Default)]
pub struct Flow {
    state: Mutex<State>,
    counters: Counters,
}

/// A request that may run; dropping it gives its seats back.
pub struct Ticket {
    flow: Arc<Flow>,
    class: Arc<Class>,
    queue: Option<usize>,
    width: Width,
    started: Instant,
}

/// Where requests of one schema are put, with what counts them.
pub struct Class {
    pub schema: String,
    pub schema_uid: String,
    pub level: String,
    pub level_uid: String,
    pub exempt: bool,
    dispatched: Counter,
    inqueue: Gauge,
    executing: Gauge,
    seats: Gauge,
    ran: Histogram,
    gave_up: Histogram,
}

impl Class {
    fn new(counters: &Counters, schema: &Schema, level: &Level) -> Self {
        let labels =
            Labels { flow_schema: schema.name.clone(), priority_level: level.name.clone() };
        let waited = |execute: &'static str| {
            let labels = WaitedLabels {
                flow_schema: schema.name.clone(),
                priority_level: level.name.clone(),
                execute,
            };
            counters.waited.get_or_create(&labels).clone()
        };
        Self {
            dispatched: counters.dispatched.get_or_create(&labels).clone(),
            inqueue: counters.inqueue.get_or_create(&labels).clone(),
            executing: counters.executing.get_or_create(&labels).clone(),
            seats: counters.seats.get_or_create(&labels).clone(),
            ran: waited("true"),
            gave_up: waited("false"),
            schema: schema.name.clone(),
            schema_uid: schema.uid.clone(),
            level: level.name.clone(),
            level_uid: level.uid.clone(),
            exempt: level.exempt,
        }
    }
}

impl Ticket {
    #[must_use]
    pub fn class(&self) -> &Arc<Class> {
        &self.class
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flow.release(self);
    }
}

type Woken = Vec<(oneshot::Sender<Ticket>, Ticket)>;

impl Flow {
    /// With the objects that every cluster starts with, until the real ones are followed.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let flow = Self::default();
        flow.counters.register(registry);
        let (schemas, levels) = super::sync::read(&defaults::objects());
        drop(flow.reconfigure(schemas, levels));
        flow
    }

    /// Replaces the configuration; running requests keep their seats. Returns requests whose level is gone (dropping
    /// them refuses them).
    pub fn configure(self: &Arc<Self>, schemas: Vec<Schema>, levels: Vec<Level>) {
        let gone = self.reconfigure(schemas, levels);
        drop(gone);
        self.wake();
    }

    fn reconfigure(&self, mut schemas: Vec<Schema>, levels: Vec<Level>) -> Vec<Waiting<Waiter>> {
        classify::sort(&mut schemas);
        let limits = seats::limits(&levels, SEATS);
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        let mut before = std::mem::take(&mut state.levels);
        for (level, limits) in levels.into_iter().zip(limits) {
            let label = LevelLabel { priority_level: level.name.clone() };
            self.counters.nominal.get_or_create(&label).set(i64::from(limits.nominal));
            self.counters.lower.get_or_create(&label).set(i64::from(limits.guaranteed));
            self.counters.upper.get_or_create(&label).set(i64::from(limits.most));
            let found = before.iter().position(|old| old.level.name == level.name);
            let old = found.map(|at| before.swap_remove(at));
            let (used, queues) = match old {
                Some(mut old) if old.queues.response() != level.response => {
                    gone.extend(old.queues.drain());
                    (old.used, Queues::new(level.response))
                }
                Some(old) => (old.used, old.queues),
                None => (0, Queues::new(level.response)),
            };
            state.levels.push(LevelState { level, limits, used, queues });
        }
        gone.extend(before.iter_mut().flat_map(|old| old.queues.drain()));
        state.classify_as(&self.counters, schemas);
        gone
    }

    fn classify(state: &State, asked: &Asked<'_>) -> Option<(Arc<Class>, u64)> {
        let at = classify::find(&state.schemas, asked).unwrap_or(state.rest);
        let hash = classify::flow_hash(state.schemas.get(at)?, asked);
        Some((state.classes.get(at)?.clone(), hash))
    }

    /// Waits until the request may run. The error is where it was refused.
    pub async fn admit(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        width: Width,
    ) -> Result<Ticket, Arc<Class>> {
        let arrived = Instant::now();
        let (class, id, waiting) = match self.enter(asked, width) {
            Ok(ticket) => {
                ticket.class.ran.observe(arrived.elapsed().as_secs_f64());
                return Ok(ticket);
            }
            Err(Entered::Refused(class, refusal)) => {
                self.reject(&class, refusal.label());
                return Err(class);
            }
            Err(Entered::Waits(class, id, waiting)) => (class, id, waiting),
        };
        class.inqueue.inc();
        let leave = Leave { flow: self, class: &class, id };
        let outcome = tokio::time::timeout(WAIT_MAX, waiting).await;
        drop(leave);
        let waited = if matches!(outcome, Ok(Ok(_))) { &class.ran } else { &class.gave_up };
        waited.observe(arrived.elapsed().as_secs_f64());
        match outcome {
            Ok(Ok(ticket)) => Ok(ticket),
            // The level was reconfigured away.
            Ok(Err(_)) => {
                self.reject(&class, "cancelled");
                Err(class)
            }
            Err(_) => {
                self.reject(&class, "time-out");
                Err(class)
            }
        }
    }

    fn enter(self: &Arc<Self>, asked: &Asked<'_>, width: Width) -> Result<Ticket, Entered> {
        let mut state = self.state.lock();
        let found = Self::classify(&state, asked);
        let (class, flow) = found.expect("the mandatory objects are always configured");
        if class.exempt {
            return Ok(self.ticket(class, None, 0));
        }
        let at = state.levels.iter().position(|level| level.level.name == class.level);
        let Some(at) = at else { return Ok(self.ticket(class, None, 0)) };
        let width = width.clamp(1, state.levels[at].limits.nominal.max(1));
        let queue = state.levels[at].queues.choose(flow);
        if state.levels[at].queues.waiting() == 0 && state.may_take(at, width) {
            state.levels[at].used += width;
            return Ok(self.ticket(class, queue, width));
        }
        let id = state.next_id;
        state.next_id += 1;
        let (wake, waiting) = oneshot::channel();
        let what = Waiter { class: class.clone(), wake };
        match state.levels[at].queues.push(queue, Waiting { id, width, what }) {
            Ok(()) => Err(Entered::Waits(class, id, waiting)),
            Err(refusal) => Err(Entered::Refused(class, refusal)),
        }
    }

    fn ticket(self: &Arc<Self>, class: Arc<Class>, queue: Option<usize>, width: Width) -> Ticket {
        class.dispatched.inc();
        class.executing.inc();
        class.seats.inc_by(i64::from(width));
        Ticket { flow: self.clone(), class, queue, width, started: Instant::now() }
    }

    fn release(self: &Arc<Self>, ticket: &Ticket) {
        ticket.class.executing.dec();
        ticket.class.seats.dec_by(i64::from(ticket.width));
        if ticket.width == 0 {
            return;
        }
        {
            let mut state = self.state.lock();
            let found =
                state.levels.iter_mut().find(|level| level.level.name == ticket.class.level);
            if let Some(level) = found {
                level.used = level.used.saturating_sub(ticket.width);
                if let Some(queue) = ticket.queue {
                    level.queues.settle(
                        queue,
                        ticket.width,
                        ticket.started.elapsed().as_secs_f64(),
                    );
                }
            }
            if state.levels.iter().all(|level| level.queues.waiting() == 0) {
                return;
            }
        }
        self.wake();
    }

    /// Lets in what may run now. Tickets are handed over outside of the lock: one that nobody takes is dropped.
    fn wake(self: &Arc<Self>) {
        let woken = self.dispatch();
        for (sender, ticket) in woken {
            drop(sender.send(ticket));
        }
    }

    fn dispatch(self: &Arc<Self>) -> Woken {
        let mut woken = Vec::new();
        let mut state = self.state.lock();
        // First what levels have a right to, then what they borrow.
        for borrow in [false, true] {
            for at in 0..state.levels.len() {
                while let Some(width) = state.levels[at].queues.peek() {
                    let level = &state.levels[at];
                    let within = level.used + width <= level.limits.nominal;
                    if !(within || borrow) || !state.may_take(at, width) {
                        break;
                    }
                    let Some((queue, waiting)) = state.levels[at].queues.pop() else { break };
                    state.levels[at].used += width;
                    let Waiter { class, wake } = waiting.what;
                    woken.push((wake, self.ticket(class, Some(queue), width)));
                }
            }
        }
        woken
    }

    fn reject(&self, class: &Class, reason: &'static str) {
        let labels = RefusedLabels {
            flow_schema: class.schema.clone(),
            priority_level: class.level.clone(),
            reason,
        };
        self.counters.rejected.get_or_create(&labels).inc();
    }
}

enum Entered {
    Waits(Arc<Class>, u64, oneshot::Receiver<Ticket>),
    Refused(Arc<Class>, Refusal),
}

/// Takes a request out of its queue when its client goes away or its time is over.
struct Leave<'a> {
    flow: &'a Flow,
    class: &'a Class,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.class.inqueue.dec();
        let mut state = self.flow.state.lock();
        let found = state.levels.iter_mut().find(|level| level.level.name == self.class.level);
        if let Some(level) = found {
            level.queues.remove(self.id);
        }
    }
}

impl State {
    /// Gives every schema its class; one whose level does not exist goes to the mandatory level.
    fn classify_as(&mut self, counters: &Counters, schemas: Vec<Schema>) {
        let by_name =
            |name: &str| self.levels.iter().map(|own| &own.level).find(|l| l.name == name);
        let rest = defaults::MANDATORY[1];
        let usable: Vec<(Schema, Arc<Class>)> = schemas
            .into_iter()
            .filter_map(|schema| {
                let level = by_name(&schema.level).or_else(|| by_name(rest))?;
                let class = Arc::new(Class::new(counters, &schema, level));
                Some((schema, class))
            })
            .collect();
        (self.schemas, self.classes) = usable.into_iter().unzip();
        self.rest = self.schemas.iter().position(|schema| schema.name == rest).unwrap_or(0);
    }

    fn may_take(&self, at: usize, width: Width) -> bool {
        let others: Vec<(u32, u32)> = self
            .levels
            .iter()
            .enumerate()
            .filter(|(index, level)| *index != at && !level.level.exempt)
            .map(|(_, level)| (level.used, level.limits.guaranteed))
            .collect();
        let level = &self.levels[at];
        seats::may_take(level.used, width, &level.limits, &others, SEATS)
    }
}

#[cfg(test)]
mod tests {
    use access::User;

    use super::*;

    fn asked(user: &User) -> Asked<'_> {
        Asked {
            user,
            verb: "list",
            group: "",
            resource: "pods",
            subresource: "",
            namespace: "a",
            name: "",
            path: "",
        }
    }

    #[tokio::test]
    async fn seats_are_given_back_and_waiting_requests_wake() {
        let flow = Arc::new(Flow::new(&mut Registry::default()));
        let user = User::new("jane", &["system:authenticated"]);
        let mut held = Vec::new();
        loop {
            match flow.enter(&asked(&user), 10) {
                Ok(ticket) => held.push(ticket),
                Err(Entered::Waits(_, id, waiting)) => {
                    drop(held.pop());
                    let ticket = waiting.await.unwrap();
                    assert_eq!(ticket.class().level, "global-default");
                    assert!(id == 0 && !held.is_empty());
                    break;
                }
                Err(Entered::Refused(..)) => panic!("refused"),
            }
        }
        held.clear();
        let used: u32 = flow.state.lock().levels.iter().map(|level| level.used).sum();
        assert_eq!(used, 0);
    }

    #[tokio::test]
    async fn masters_never_wait_and_catch_all_is_refused() {
        let flow = Arc::new(Flow::new(&mut Registry::default()));
        let admin = User::new("admin", &["system:masters"]);
        let held: Vec<Ticket> = {
            let mut held = Vec::new();
            for _ in 0..2000 {
                held.push(
                    flow.admit(&asked(&admin), 10).await.unwrap_or_else(|_| panic!("refused")),
                );
            }
            held
        };
        assert!(held[0].class().exempt);
        let stray = User::new("stray", &["no-group"]);
        let mut running = Vec::new();
        let refused = loop {
            match flow.admit(&asked(&stray), 1).await {
                Ok(ticket) => running.push(ticket),
                Err(class) => break class,
            }
        };
        assert_eq!((refused.level.as_str(), refused.schema.as_str()), ("catch-all", "catch-all"));
        assert!(running.len() >= 13);
    }
}
