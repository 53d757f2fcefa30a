//! Faults: what goes wrong, where, how often. One list; the API's outer layer (`api.rs`) and the sender of webhooks
//! (`sender.rs`) each take from it what concerns them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One active fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub scope: Scope,
    pub when: When,
    pub kind: FaultKind,
    /// Narrows a delivery fault to one event type.
    #[serde(default)]
    pub event_type: Option<String>,
    /// Narrows a fault of calls to those whose path names this object.
    #[serde(default)]
    pub object: Option<Uuid>,
}

impl Fault {
    /// The next `times` calls (or deliveries) in `scope`.
    pub fn next(times: u32, scope: Scope, kind: FaultKind) -> Fault {
        Fault { scope, when: When::Next(times), kind, event_type: None, object: None }
    }

    /// Each call (or delivery) in `scope` with probability `chance`.
    pub fn chance(chance: f64, scope: Scope, kind: FaultKind) -> Fault {
        Fault { scope, when: When::Chance(chance), kind, event_type: None, object: None }
    }

    /// Only deliveries of this event.
    pub fn of_event(mut self, event_type: &str) -> Fault {
        self.event_type = Some(event_type.to_owned());
        self
    }

    /// Only calls about this object.
    pub fn of_object(mut self, object: Uuid) -> Fault {
        self.object = Some(object);
        self
    }

    /// What is wrong with the fault itself, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let fits = match self.scope {
            scope if self.kind.is_of_deliveries() => scope == Scope::Deliver,
            scope => match self.kind {
                FaultKind::LateExecution { .. } => scope == Scope::ExecutePayout,
                FaultKind::LateEffect { .. } => matches!(
                    scope,
                    Scope::CreatePurchase | Scope::CancelPurchase | Scope::CreatePayout | Scope::ExecutePayout
                ),
                FaultKind::StaleRead { .. } => matches!(scope, Scope::GetPurchase | Scope::GetPayout),
                _ => scope != Scope::Deliver,
            },
        };
        match self.when {
            _ if self.object.is_some() && self.scope == Scope::Deliver => Err("object only narrows calls".to_owned()),
            _ if !fits => Err(format!("{:?} cannot happen to {:?}", self.kind, self.scope)),
            When::Chance(chance) if !(0.0..=1.0).contains(&chance) => Err("chance must be from 0 to 1".to_owned()),
            When::Chance(_) | When::Next(_) => Ok(()),
        }
    }

    /// Whether the other, which was set later, never strikes as long as this one is there.
    fn hides(&self, other: &Fault) -> bool {
        let always = matches!(self.when, When::Chance(chance) if chance >= 1.0)
            && !matches!(self.kind, FaultKind::Delay { .. } | FaultKind::Reorder);
        always
            && self.kind != other.kind
            && (self.scope == other.scope || self.scope == Scope::AnyCall && other.scope != Scope::Deliver)
            && (self.object.is_none() || self.object == other.object)
            && (self.event_type.is_none() || self.event_type == other.event_type)
    }
}

/// Which calls or deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    AnyCall,
    CreatePurchase,
    GetPurchase,
    CancelPurchase,
    RefundPurchase,
    CreatePayout,
    ExecutePayout,
    GetPayout,
    /// Balances, methods, keys, webhooks.
    OtherCall,
    Deliver,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    Next(u32),
    Chance(f64),
}

/// Whether the call has done its work by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    Before,
    After,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    // What happens to calls of the API.
    /// 502 with an HTML body.
    BadGateway(Moment),
    ServerError(Moment),
    /// This status with an HTML body, and nothing is done: what stands in front of an API says 401, 403 or 408 so, and 200 too.
    Answer {
        status: u16,
    },
    /// The same with a line of text, as proxies say that they know of nothing behind them.
    Text {
        status: u16,
    },
    /// This status with an empty object, and nothing is done: Revio's own word, which says nothing.
    Blank {
        status: u16,
    },
    /// The same without a byte, as some proxies say that they know of nothing behind them.
    Empty {
        status: u16,
    },
    /// The call has its effect, and its answer says no more than the object's status.
    Terse,
    /// The call has its effect, and the connection closes in the middle of its answer.
    CutOff,
    /// 400: the call is refused and changes nothing.
    Refused,
    RateLimited {
        retry_after_secs: u32,
    },
    /// No answer for so long, then the ordinary one. Before: a client that leaves meanwhile has changed nothing.
    Hang {
        secs: u32,
        moment: Moment,
    },
    /// The connection closes without an answer. After: the call has succeeded and the answer is lost.
    Reset(Moment),
    Slow {
        millis: u32,
    },
    /// The answer is lost, the payout stays `initialized`, and is executed only so many seconds later.
    LateExecution {
        secs: u32,
    },
    /// The call is answered with this status and HTML (0: not at all), and has its effect only so many seconds later, also
    /// beyond the 15 minutes of an execution.
    LateEffect {
        secs: u32,
        status: u16,
    },
    /// The same, and the answer is a 409 in words: that the payout is being executed already.
    LateConflict {
        secs: u32,
    },
    /// A purchase or payout as it was so many seconds ago.
    StaleRead {
        secs: u32,
    },
    // What happens to deliveries.
    /// Our 2xx counts as a failure: a duplicate follows by the schedule.
    IgnoreAnswer,
    /// Sent twice, one right after the other.
    Duplicate,
    Delay {
        millis: u32,
    },
    /// Goes out after everything else that is due (other objects' events; those of one object keep their order).
    Reorder,
    /// Signed with the company key.
    WrongKey,
    /// A figure is changed after signing.
    TamperedBody,
    NoSignature,
    /// First a copy with `is_test` inverted, properly signed; then the genuine one.
    OtherMode,
    /// First a copy with an unknown `event_type`, properly signed; then the genuine one.
    UnknownEventType,
    /// First something that is not JSON, properly signed; then the genuine one.
    NotJson,
    /// Never sent, and never again.
    Missing,
}

impl FaultKind {
    fn is_of_deliveries(&self) -> bool {
        match self {
            FaultKind::BadGateway(_)
            | FaultKind::ServerError(_)
            | FaultKind::Answer { .. }
            | FaultKind::Text { .. }
            | FaultKind::Blank { .. }
            | FaultKind::Terse
            | FaultKind::CutOff
            | FaultKind::Empty { .. }
            | FaultKind::Refused
            | FaultKind::RateLimited { .. }
            | FaultKind::Hang { .. }
            | FaultKind::Reset(_)
            | FaultKind::Slow { .. }
            | FaultKind::LateExecution { .. }
            | FaultKind::LateEffect { .. }
            | FaultKind::LateConflict { .. }
            | FaultKind::StaleRead { .. } => false,
            FaultKind::IgnoreAnswer
            | FaultKind::Duplicate
            | FaultKind::Delay { .. }
            | FaultKind::Reorder
            | FaultKind::WrongKey
            | FaultKind::TamperedBody
            | FaultKind::NoSignature
            | FaultKind::OtherMode
            | FaultKind::UnknownEventType
            | FaultKind::NotJson
            | FaultKind::Missing => true,
        }
    }
}

/// The active faults and the dice.
pub(crate) struct Faults {
    active: Vec<Fault>,
    dice: StdRng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Faults {
        Faults { active: Vec::new(), dice: StdRng::seed_from_u64(seed) }
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.active.push(fault);
    }

    pub(crate) fn hide(&self, fault: &Fault) -> bool {
        self.active.iter().any(|active| active.hides(fault))
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    pub(crate) fn active(&self) -> &[Fault] {
        &self.active
    }

    /// The first fault that strikes a call.
    pub(crate) fn take_for_call(&mut self, scope: Scope, path: &str) -> Option<FaultKind> {
        self.take(|fault| {
            let of_object = fault.object.is_none_or(|object| path.contains(&object.to_string()));
            of_object && (fault.scope == scope || fault.scope == Scope::AnyCall)
        })
    }

    /// The first fault that strikes a delivery; one that was already moved is not moved again.
    pub(crate) fn take_for_delivery(&mut self, event_type: &str, shifted: bool) -> Option<FaultKind> {
        self.take(|fault| {
            let moves = matches!(fault.kind, FaultKind::Delay { .. } | FaultKind::Reorder);
            fault.scope == Scope::Deliver
                && fault.event_type.as_deref().is_none_or(|wanted| wanted == event_type)
                && !(moves && shifted)
        })
    }

    fn take(&mut self, concerns: impl Fn(&Fault) -> bool) -> Option<FaultKind> {
        let dice = &mut self.dice;
        let index = self.active.iter().position(|fault| match fault.when {
            _ if !concerns(fault) => false,
            When::Next(left) => left > 0,
            When::Chance(chance) => dice.random_bool(chance.clamp(0.0, 1.0)),
        })?;
        let kind = self.active[index].kind.clone();
        if let When::Next(left) = &mut self.active[index].when {
            *left -= 1;
            if *left == 0 {
                self.active.remove(index);
            }
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_says_and_only_in_its_scope() {
        let mut faults = Faults::new(1);
        faults.add(Fault::next(2, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
        let path = "/api/v1/purchases/";
        assert_eq!(faults.take_for_call(Scope::GetPurchase, path), None);
        assert!(faults.take_for_call(Scope::CreatePurchase, path).is_some());
        assert!(faults.take_for_call(Scope::CreatePurchase, path).is_some());
        assert!(faults.take_for_call(Scope::CreatePurchase, path).is_none());
        assert!(faults.active().is_empty());
    }

    #[test]
    fn a_fault_of_one_object_strikes_no_other() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut faults = Faults::new(1);
        faults.add(Fault::chance(1.0, Scope::AnyCall, FaultKind::ServerError(Moment::Before)).of_object(one));
        let strikes = |faults: &mut Faults, id: Uuid| {
            faults.take_for_call(Scope::GetPurchase, &format!("/api/v1/purchases/{id}/")).is_some()
        };
        assert!(strikes(&mut faults, one) && !strikes(&mut faults, other));
    }

    #[test]
    fn what_always_strikes_hides_what_is_set_later() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let refused = |scope| Fault::chance(1.0, scope, FaultKind::Refused);
        let hides = |first: Fault, later: Fault| {
            let mut faults = Faults::new(1);
            faults.add(first);
            faults.hide(&later)
        };
        let fails = |scope| Fault::chance(1.0, scope, FaultKind::ServerError(Moment::Before));
        assert!(hides(refused(Scope::AnyCall), fails(Scope::GetPayout)));
        assert!(hides(refused(Scope::GetPayout), fails(Scope::GetPayout).of_object(one)));
        assert!(!hides(refused(Scope::GetPayout), refused(Scope::GetPayout)), "the same once more");
        assert!(!hides(refused(Scope::GetPayout), fails(Scope::AnyCall)));
        assert!(!hides(refused(Scope::GetPayout).of_object(one), fails(Scope::GetPayout).of_object(other)));
        assert!(!hides(Fault::next(1, Scope::GetPayout, FaultKind::Refused), fails(Scope::GetPayout)));
        let late = Fault::chance(1.0, Scope::Deliver, FaultKind::Reorder);
        assert!(!hides(late, Fault::next(1, Scope::Deliver, FaultKind::WrongKey)), "it is moved once");
    }

    #[test]
    fn chance_is_repeatable_from_its_seed() {
        let strikes = |seed| {
            let mut faults = Faults::new(seed);
            faults.add(Fault::chance(0.5, Scope::AnyCall, FaultKind::ServerError(Moment::Before)));
            (0..64).map(|_| faults.take_for_call(Scope::GetPayout, "/").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(7), strikes(7));
        assert_ne!(strikes(7), strikes(8));
        assert!(strikes(7).contains(&true) && strikes(7).contains(&false));
    }

    #[test]
    fn a_fault_must_fit_its_scope() {
        assert!(Fault::next(1, Scope::Deliver, FaultKind::Reset(Moment::After)).check().is_err());
        assert!(Fault::next(1, Scope::CreatePurchase, FaultKind::WrongKey).check().is_err());
        assert!(Fault::next(1, Scope::GetPayout, FaultKind::LateExecution { secs: 1 }).check().is_err());
        assert!(Fault::chance(1.5, Scope::Deliver, FaultKind::WrongKey).check().is_err());
        let json = r#"{"scope": "deliver", "when": {"chance": 0.1}, "kind": {"delay": {"millis": 5}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault, Fault::chance(0.1, Scope::Deliver, FaultKind::Delay { millis: 5 }));
    }
}
