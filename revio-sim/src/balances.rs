//! `GET /balance/` and `GET /account/json/balance/`: what Revio holds for the company, added up from its objects each time it is asked.
//! The running tally of `movements.rs` has no part in it, so that the one can be held against the other.

use serde_json::{Map, Value, json};

use crate::transfers::TransferKind;
use crate::world::World;

/// Of one mode and currency, in cents.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Payments less what was given back of them, payouts, settlements and top-ups; fees are not deducted.
    gross: i64,
    fees: i64,
    /// Payouts that are executed and not final.
    pending: i64,
}

impl Sums {
    fn balance(self) -> i64 {
        self.gross - self.fees
    }
}

impl World {
    fn sums(&self, is_test: bool, currency: &str) -> Sums {
        let mut sums = Sums::default();
        for purchase in self.purchases.values().filter(|purchase| purchase.is_test == is_test) {
            if let Some((_, amount, fee)) = purchase.taken().filter(|taken| taken.0 == currency) {
                sums.gross += amount;
                sums.fees += fee;
            }
        }
        for payment in self.payments.values() {
            let Some((of_mode, of_currency, signed)) = self.given_back(payment) else { continue };
            if of_mode == is_test && of_currency == currency {
                sums.gross += signed;
                sums.fees += payment.fee;
            }
        }
        for payout in self.payouts.values().filter(|payout| payout.is_test == is_test && payout.currency == currency) {
            let (paid, pending, fee) = payout.taken();
            sums.gross -= paid;
            sums.pending += pending;
            sums.fees += fee;
        }
        for transfer in self.transfers.iter().filter(|one| one.is_test == is_test && one.currency == currency) {
            match transfer.kind {
                TransferKind::Settlement if transfer.returned_on.is_none() => sums.gross -= transfer.amount,
                TransferKind::TopUp if transfer.returned_on.is_none() && transfer.arrived_on.is_some() => {
                    sums.gross += transfer.amount;
                }
                TransferKind::Settlement | TransferKind::TopUp | TransferKind::Inside => {}
            }
        }
        sums
    }

    /// What may leave: less what is pending and what is held in reserve.
    pub(crate) fn available(&self, is_test: bool, currency: &str) -> i64 {
        let sums = self.sums(is_test, currency);
        sums.balance() - sums.pending - self.reserved(is_test, currency)
    }

    fn of_collected(&self, is_test: bool, currency: &str) -> Value {
        let sums = self.sums(is_test, currency);
        json!({
            "gross_balance": sums.gross,
            "balance": sums.balance(),
            "available_balance": self.available(is_test, currency),
            "reserved": self.reserved(is_test, currency),
            "pending_outgoing": sums.pending,
            "fee_sell": sums.fees,
        })
    }

    /// DOC-S for the shape; which of the figures move when is INF.
    pub(crate) fn balance_view(&self, is_test: bool) -> Value {
        let (mut items, mut enabled) = (Vec::new(), Map::new());
        for (currency, payout_balance) in self.currencies(is_test) {
            let mut item = self.of_collected(is_test, &currency);
            let payout = payout_balance.unwrap_or(0);
            let pending = item["pending_outgoing"].clone();
            item["currency"] = currency.clone().into();
            for field in ["payout_gross_balance", "payout_balance", "available_payout_balance"] {
                item[field] = payout.into();
            }
            item["pending_payouts"] = pending;
            for field in ["payout_overdraft", "payout_fee_sell"] {
                item[field] = 0.into();
            }
            items.push(item);
            enabled.insert(currency, payout_balance.is_some().into());
        }
        json!({"ecommerce": items, "bank_accounts": [], "payout_balances_enabled": enabled})
    }

    pub(crate) fn account_view(&self, is_test: bool) -> Value {
        let of = |(currency, _): (String, Option<i64>)| {
            let collected = self.of_collected(is_test, &currency);
            (currency, collected)
        };
        Value::Object(self.currencies(is_test).into_iter().map(of).collect())
    }
}
