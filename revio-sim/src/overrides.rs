//! Overrides: what is said about an object in place of the truth, in every answer and event. They change no state and no
//! money: `World::told` lays them over a view just before it leaves. All of them are guesses at what Revio might say (?).

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::world::World;

/// One field of one object, or of all objects of a type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// An object's id; or `purchase`, `payout`, `payment` for all of that type, also for those to come.
    pub target: String,
    /// Only while the object truly has this status; `None`: always.
    #[serde(default)]
    pub status: Option<String>,
    /// A JSON pointer: `/payment/amount`, `/status_history/0/status`. Where its parent is missing, nothing is changed.
    pub pointer: String,
    #[serde(default)]
    pub value: Value,
    /// The field is missing altogether.
    #[serde(default)]
    pub remove: bool,
}

const TYPES: [&str; 3] = ["purchase", "payout", "payment"];

impl Override {
    pub fn of(target: impl Display, pointer: &str, value: Value) -> Override {
        let (target, pointer) = (target.to_string(), pointer.to_owned());
        Override { target, status: None, pointer, value, remove: false }
    }

    pub fn without(target: impl Display, pointer: &str) -> Override {
        Override { remove: true, ..Override::of(target, pointer, Value::Null) }
    }

    /// Only while the object truly has this status.
    pub fn when(mut self, status: &str) -> Override {
        self.status = Some(status.to_owned());
        self
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if !TYPES.contains(&self.target.as_str()) && Uuid::parse_str(&self.target).is_err() {
            return Err(format!("{} is neither an id nor one of {TYPES:?}", self.target));
        }
        if !self.pointer.starts_with('/') {
            return Err("a JSON pointer begins with a slash".to_owned());
        }
        Ok(())
    }

    fn concerns(&self, view: &Value) -> bool {
        (view["id"] == self.target.as_str() || view["type"] == self.target.as_str())
            && self.status.as_ref().is_none_or(|status| view["status"] == status.as_str())
    }

    fn apply(&self, view: &mut Value) {
        let Some((parent, field)) = self.pointer.rsplit_once('/') else { return };
        match view.pointer_mut(parent) {
            Some(Value::Object(fields)) if self.remove => {
                fields.remove(field);
            }
            Some(Value::Object(fields)) => {
                fields.insert(field.to_owned(), self.value.clone());
            }
            Some(Value::Array(items)) => {
                if let Some(item) = field.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    *item = self.value.clone();
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// Replaces the one of the same field.
    pub(crate) fn set_override(&mut self, new: Override) {
        self.overrides
            .retain(|old| (&old.target, &old.status, &old.pointer) != (&new.target, &new.status, &new.pointer));
        self.overrides.push(new);
    }

    /// The view as it leaves the simulator.
    pub(crate) fn told(&self, mut view: Value) -> Value {
        let concerning: Vec<&Override> = self.overrides.iter().filter(|one| one.concerns(&view)).collect();
        for one in concerning {
            one.apply(&mut view);
        }
        view
    }
}
