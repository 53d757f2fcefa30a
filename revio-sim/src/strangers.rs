//! What reconciliation must find, really done at Revio: payments and payouts that nobody of ours made, objects that change or vanish
//! afterwards. Money moves with each of them, and `totals/` and the balance say so.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::errors::SimError;
use crate::purchases::Pay;
use crate::world::{Caller, Struck, World};

/// A purchase that is paid, or a payout that is executed, by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stranger {
    pub amount: i64,
    pub currency: String,
    /// The same as another one's: two of one reference.
    pub reference: String,
    pub fee: i64,
    /// No event tells of it.
    pub quiet: bool,
}

/// What an object is from now on; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub fee: Option<i64>,
    /// No event tells of it.
    pub quiet: bool,
}

impl World {
    pub(crate) fn stranger_purchase(&mut self, caller: &Caller, new: &Stranger) -> Result<Uuid, SimError> {
        let body = json!({
            "brand_id": self.brand_id, "reference": new.reference, "client": {"email": "stranger@example.test"},
            "purchase": {"currency": new.currency, "products": [{"name": "Deposit", "price": new.amount}]},
        });
        self.hushed(new.quiet, |world| {
            let id = id_of(&world.create_purchase(caller, &object(body))?)?;
            world.pay_purchase(id, &Pay { fee: new.fee, ..Pay::default() })?;
            Ok(id)
        })
    }

    pub(crate) fn stranger_payout(&mut self, caller: &Caller, new: &Stranger) -> Result<Uuid, SimError> {
        let body = json!({
            "brand_id": self.brand_id, "reference": new.reference,
            "client": {"email": "stranger@example.test", "bank_account": "62000000009", "bank_code": "250655"},
            "payment": {"amount": new.amount, "currency": new.currency},
        });
        self.hushed(new.quiet, |world| {
            let id = id_of(&world.create_payout(caller, &object(body))?)?;
            world.settle_payout(id, &crate::payouts::PayoutOutcome::Success)?;
            if new.fee > 0 {
                world.change_payout(id, &Change { fee: Some(new.fee), ..Change::default() })?;
            }
            Ok(id)
        })
    }

    /// A paid purchase or a payout that succeeded: the difference moves now.
    pub(crate) fn change_object(&mut self, id: Uuid, change: &Change) -> Result<(), SimError> {
        self.hushed(change.quiet, |world| match world.purchases.contains_key(&id) {
            true => world.change_purchase(id, change),
            false => world.change_payout(id, change),
        })
    }

    /// Nobody is told of what happens meanwhile.
    fn hushed<T>(&mut self, quiet: bool, act: impl FnOnce(&mut World) -> T) -> T {
        self.quiet = quiet;
        let done = act(self);
        self.quiet = false;
        done
    }
}

impl Caller {
    pub(crate) fn of_control(origin: &str) -> Caller {
        let (api_origin, page_origin) = (origin.to_owned(), origin.to_owned());
        Caller { is_test: true, api_origin, page_origin, struck: Struck::default() }
    }
}

fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn id_of(view: &Value) -> Result<Uuid, SimError> {
    view["id"].as_str().and_then(|id| id.parse().ok()).ok_or(SimError::NotFound)
}
