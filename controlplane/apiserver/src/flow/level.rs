//! The queues of one priority level: shuffle sharding and fair dispatch. Pure; `T` is what waits.

use std::collections::VecDeque;

use super::{config::Response, seats::Width};

/// What a request is thought to cost before it has run, in seat seconds (upstream starts with 3 ms too).
const GUESS: f64 = 0.003;

/// One waiting request.
#[derive(Debug)]
pub struct Waiting<T> {
    pub id: u64,
    pub width: Width,
    pub what: T,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Virtual time at which its next request starts: what it has had, in seat seconds.
    next_start: f64,
}

/// The queues of one level.
#[derive(Debug)]
pub struct Queues<T> {
    queues: Vec<Queue<T>>,
    response: Response,
    /// Virtual time of the last dispatch.
    now: f64,
}

/// Why a request is refused at once, as the metric's `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The level does not queue.
    Concurrency,
    QueueFull,
}

impl Refusal {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency-limit",
            Self::QueueFull => "queue-full",
        }
    }
}

impl<T> Queues<T> {
    #[must_use]
    pub fn new(response: Response) -> Self {
        let count = match response {
            Response::Reject => 0,
            Response::Queue { queues, .. } => queues,
        };
        let queues =
            (0..count).map(|_| Queue { waiting: VecDeque::new(), next_start: 0.0 }).collect();
        Self { queues, response, now: 0.0 }
    }

    #[must_use]
    pub fn response(&self) -> Response {
        self.response
    }

    /// The queue a flow's request goes to: the shortest of its hand. `None` when the level does not queue.
    #[must_use]
    pub fn choose(&self, flow: u64) -> Option<usize> {
        let Response::Queue { hand, .. } = self.response else { return None };
        let load =
            |queue: &usize| self.queues[*queue].waiting.iter().map(|w| w.width).sum::<Width>();
        deal(flow, self.queues.len(), hand).into_iter().min_by_key(load)
    }

    /// Puts a request into a queue.
    pub fn push(&mut self, queue: Option<usize>, waiting: Waiting<T>) -> Result<(), Refusal> {
        let (Response::Queue { length, .. }, Some(queue)) = (self.response, queue) else {
            return Err(Refusal::Concurrency);
        };
        let queue = &mut self.queues[queue];
        if queue.waiting.len() >= length {
            return Err(Refusal::QueueFull);
        }
        if queue.waiting.is_empty() {
            // An idle queue saves nothing up.
            queue.next_start = queue.next_start.max(self.now);
        }
        queue.waiting.push_back(waiting);
        Ok(())
    }

    /// Takes a request out that gives up; false when it was dispatched already.
    pub fn remove(&mut self, id: u64) -> bool {
        for queue in &mut self.queues {
            if let Some(at) = queue.waiting.iter().position(|waiting| waiting.id == id) {
                queue.waiting.remove(at);
                return true;
            }
        }
        false
    }

    fn next_queue(&self) -> Option<usize> {
        let filled = self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        filled.min_by(|a, b| a.1.next_start.total_cmp(&b.1.next_start)).map(|(index, _)| index)
    }

    /// The width of the request that is next.
    #[must_use]
    pub fn peek(&self) -> Option<Width> {
        Some(self.queues[self.next_queue()?].waiting.front()?.width)
    }

    /// The request that is next, and the queue it was in.
    pub fn pop(&mut self) -> Option<(usize, Waiting<T>)> {
        let index = self.next_queue()?;
        let queue = &mut self.queues[index];
        let waiting = queue.waiting.pop_front()?;
        self.now = queue.next_start;
        queue.next_start += GUESS * f64::from(waiting.width);
        Some((index, waiting))
    }

    /// A request of a queue has ended: what it really cost replaces the guess.
    pub fn settle(&mut self, queue: usize, width: Width, seconds: f64) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.next_start += (seconds - GUESS) * f64::from(width);
        }
    }

    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting.len()).sum()
    }

    /// Everything that waits, taken out: the level's queues were replaced.
    pub fn drain(&mut self) -> Vec<Waiting<T>> {
        self.queues.iter_mut().flat_map(|queue| queue.waiting.drain(..)).collect()
    }
}

/// `hand` different cards of a deck, decided by the flow (upstream `shufflesharding/dealer.go`).
#[must_use]
pub fn deal(flow: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut rest = flow;
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for round in 0..hand.min(deck) {
        let left = (deck - round) as u64;
        let mut card = usize::try_from(rest % left).unwrap_or(0);
        rest /= left;
        let mut taken: Vec<usize> = cards.clone();
        taken.sort_unstable();
        for other in taken {
            if card >= other {
                card += 1;
            }
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: u64) -> Waiting<()> {
        Waiting { id, width: 1, what: () }
    }

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for flow in [0, 1, 7, 12_345, u64::MAX] {
            let mut cards = deal(flow, 16, 6);
            assert_eq!(cards, deal(flow, 16, 6));
            cards.sort_unstable();
            cards.dedup();
            assert!(cards.len() == 6 && cards.iter().all(|card| *card < 16), "{cards:?}");
        }
        assert_eq!(deal(5, 2, 6).len(), 2);
    }

    #[test]
    fn a_flood_does_not_hold_up_another_flow() {
        let mut queues = Queues::new(Response::Queue { queues: 8, hand: 1, length: 50 });
        let (elephant, mouse) = (0, 1);
        for id in 0..40 {
            queues.push(queues.choose(elephant), waiting(id)).unwrap();
        }
        queues.push(queues.choose(mouse), waiting(100)).unwrap();
        let order: Vec<u64> =
            std::iter::from_fn(|| queues.pop()).map(|(_, w)| w.id).take(3).collect();
        assert!(order.contains(&100), "{order:?}");
    }

    #[test]
    fn queues_are_bounded_and_requests_may_give_up() {
        let mut queues = Queues::new(Response::Queue { queues: 1, hand: 1, length: 2 });
        assert_eq!(queues.push(Some(0), waiting(1)), Ok(()));
        assert_eq!(queues.push(Some(0), waiting(2)), Ok(()));
        assert_eq!(queues.push(Some(0), waiting(3)), Err(Refusal::QueueFull));
        assert!(queues.remove(1) && !queues.remove(1));
        assert_eq!((queues.waiting(), queues.peek()), (1, Some(1)));
        let mut none = Queues::new(Response::Reject);
        assert_eq!(none.push(none.choose(9), waiting(1)), Err(Refusal::Concurrency));
    }

    #[test]
    fn what_a_request_really_cost_counts() {
        let mut queues = Queues::new(Response::Queue { queues: 2, hand: 1, length: 9 });
        for id in [10, 11] {
            queues.push(Some(0), waiting(id)).unwrap();
        }
        for id in [20, 21, 22] {
            queues.push(Some(1), waiting(id)).unwrap();
        }
        let (first, _) = queues.pop().unwrap();
        queues.settle(first, 1, 5.0);
        let rest: Vec<u64> = std::iter::from_fn(|| queues.pop()).map(|(_, w)| w.id).collect();
        assert_eq!(rest, [20, 21, 22, 11]);
    }
}
