//! The rows themselves, as lines of COPY: tabs between the columns, `\N` for null.

use std::fmt::Write;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::platform::clock::DateTime;

const AMOUNTS: [u64; 8] = [5_000, 10_000, 20_000, 25_000, 50_000, 100_000, 150_000, 250_000];
const AMOUNT_MAX: u64 = 5_000_000;
/// Rows of the third customer.
const MIDDLE: u64 = 15_000;
/// One row of so many is in another currency.
const FOREIGN: u64 = 2_000;
const WORDS: [&str; 40] = [
    "rent",
    "groceries",
    "salary",
    "savings",
    "electricity",
    "water",
    "school",
    "fees",
    "medical",
    "insurance",
    "car",
    "petrol",
    "internet",
    "airtime",
    "invoice",
    "order",
    "deposit",
    "refund",
    "gift",
    "birthday",
    "wedding",
    "holiday",
    "church",
    "donation",
    "loan",
    "repayment",
    "furniture",
    "garden",
    "kitchen",
    "repair",
    "plumber",
    "builder",
    "tuition",
    "books",
    "clothes",
    "shoes",
    "coffee",
    "lunch",
    "taxi",
    "stokvel",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const SYLLABLES: [&str; 24] = [
    "ba", "tho", "ka", "zi", "lwe", "nko", "si", "mpo", "ndi", "le", "ra", "mo", "sha", "vi", "wen", "ter", "ma", "lo",
    "du", "pre", "to", "ria", "gau", "xo",
];
const FAILURES: [&str; 6] = [
    "the payer's bank declined the payment",
    "the payout was returned by the bank: account closed",
    "the link was not used in time",
    "insufficient funds on the card",
    "the bank account number does not exist",
    "the provider's limit was reached",
];

/// A share of the whole, in thousandths, and what it is.
const DEPOSIT_STATES: [(u64, &str); 5] =
    [(820, "completed"), (110, "expired"), (35, "failed"), (20, "cancelled"), (15, "awaiting_payment")];
const WITHDRAWAL_STATES: [(u64, &str); 5] =
    [(880, "completed"), (60, "failed"), (40, "rejected"), (12, "submitted"), (8, "reserved")];
const KINDS: [(u64, &str); 6] = [
    (617, "deposit"),
    (328, "withdrawal"),
    (30, "refund"),
    (15, "chargeback"),
    (5, "chargeback_reversal"),
    (5, "adjustment"),
];
const ADJUSTMENT_STATES: [(u64, &str); 3] = [(900, "completed"), (60, "cancelled"), (40, "expired")];

/// SplitMix64: fast, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let count = u64::try_from(of.len()).expect("a list of ours is short");
        &of[usize::try_from(self.below(count)).expect("below the length")]
    }

    fn share<'a>(&mut self, shares: &[(u64, &'a str)]) -> &'a str {
        let mut left = self.below(1000);
        for (share, name) in shares {
            if left < *share {
                return name;
            }
            left -= share;
        }
        shares[0].1
    }

    fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes((u128::from(self.roll()) << 64 | u128::from(self.roll())).to_be_bytes())
            .into_uuid()
    }

    fn ten_bytes(&mut self) -> [u8; 10] {
        let bytes = (u128::from(self.roll()) << 64 | u128::from(self.roll())).to_be_bytes();
        let (ten, _) = bytes.split_first_chunk::<10>().expect("ten of sixteen");
        *ten
    }
}

pub(super) struct Rows {
    dice: Dice,
    transactions: u64,
    made: u64,
    from: DateTime,
    span_millis: u64,
    /// Each with the bank account.
    users: Vec<(Uuid, Uuid)>,
    /// What a refund or a chargeback follows from.
    last_deposit: Option<(Uuid, Uuid, &'static str)>,
}

impl Rows {
    pub(super) fn new(transactions: u64, users: u64, from: DateTime, to: DateTime) -> Self {
        let mut dice = Dice(7);
        let begun = u64::try_from(from.timestamp_millis()).unwrap_or(0);
        let user = |dice: &mut Dice| (ledger::user_id(begun, dice.ten_bytes()), dice.uuid());
        let users = (0..users).map(|_| user(&mut dice)).collect();
        let span_millis = u64::try_from((to - from).num_milliseconds()).unwrap_or(0);
        Self { dice, transactions, made: 0, from, span_millis, users, last_deposit: None }
    }

    pub(super) fn users(&self) -> String {
        let mut lines = String::new();
        for (id, _) in &self.users {
            line(&mut lines, &[id, &format!("seed-{}@example.com", id.simple()), &"Seeded Customer", &"-", &self.from]);
        }
        lines
    }

    pub(super) fn bank_accounts(&self) -> String {
        let mut lines = String::new();
        for (user, id) in &self.users {
            line(&mut lines, &[id, user, &r"\\x00", &"seed", &"FNB", &"4567", &self.from]);
        }
        lines
    }

    pub(super) fn transactions(&mut self, count: u64) -> String {
        let mut lines = String::new();
        for _ in 0..count {
            self.transaction(&mut lines);
        }
        lines
    }

    fn user(&mut self) -> (Uuid, Uuid) {
        if self.dice.below(self.transactions) < MIDDLE {
            return self.users[2];
        }
        match self.dice.below(100) {
            0..10 => self.users[0],
            10 => self.users[1],
            _ => *self.dice.one(&self.users),
        }
    }

    fn transaction(&mut self, lines: &mut String) {
        let millis = u128::from(self.span_millis) * u128::from(self.made) / u128::from(self.transactions.max(1));
        let created = self.from + TimeDelta::milliseconds(i64::try_from(millis).unwrap_or(0));
        self.made += 1;
        let id = ledger::row_id(u64::try_from(created.timestamp_millis()).unwrap_or(0), self.dice.ten_bytes());
        let mut kind = self.dice.share(&KINDS);
        let (mut user, account) = self.user();
        let mut currency = if self.dice.below(FOREIGN) == 0 { "USD" } else { "ZAR" };
        let mut parent = None;
        match (kind, self.last_deposit) {
            ("deposit" | "withdrawal" | "adjustment", _) => {}
            (_, Some((deposit, owner, of))) => (parent, user, currency) = (Some(deposit), owner, of),
            (_, None) => kind = "deposit",
        }
        let state = match kind {
            "deposit" => self.dice.share(&DEPOSIT_STATES),
            "withdrawal" => self.dice.share(&WITHDRAWAL_STATES),
            "adjustment" => self.dice.share(&ADJUSTMENT_STATES),
            _ => "completed",
        };
        if kind == "deposit" && state == "completed" {
            self.last_deposit = Some((id, user, currency));
        }
        let asked = matches!(kind, "deposit" | "withdrawal");
        let amount = if self.dice.below(10) < 6 { *self.dice.one(&AMOUNTS) } else { 100 + self.dice.below(AMOUNT_MAX) };
        let updated =
            created + TimeDelta::milliseconds(i64::try_from(20_000 + self.dice.below(3_600_000)).unwrap_or(0));
        let completed = (state == "completed").then_some(updated);
        let failure = (state == "failed").then(|| *self.dice.one(&FAILURES));
        let description = (asked && self.dice.below(10) < 6).then(|| self.description());
        let direction = (kind == "adjustment").then(|| *self.dice.one(&["credit", "debit"]));
        let provider = (state != "rejected" && kind != "adjustment").then(|| self.dice.uuid());
        let key = asked.then(|| self.dice.uuid());
        let hash = asked.then(|| format!(r"\\x{:032x}{:032x}", self.dice.roll(), self.dice.roll()));
        let account = (kind == "withdrawal").then_some(account);
        let (states, moved_at) = life(kind, state, created, updated);
        line(
            lines,
            &[
                &id,
                &user,
                &kind,
                &state,
                &amount,
                &currency,
                &null(key),
                &null(hash),
                &null(parent),
                &null(account),
                &null(provider),
                &null(failure),
                &null(description),
                &"2",
                &updated,
                &null(completed),
                &null(direction),
                &states,
                &moved_at,
            ],
        );
    }

    /// A few common words, sometimes a number, seldom a name.
    fn description(&mut self) -> String {
        // The smaller of two: the first words are the common ones.
        let common = |dice: &mut Dice| {
            let index = dice.below(40).min(dice.below(40));
            WORDS[usize::try_from(index).expect("below 40")]
        };
        let first = common(&mut self.dice);
        match self.dice.below(10) {
            0..4 => format!("{first} {}", self.dice.one(&MONTHS)),
            4..6 => format!("{first} {}", common(&mut self.dice)),
            6..8 => format!("{first} INV-{}", self.dice.below(1_000_000)),
            _ => {
                let name: String = (0..3).map(|_| *self.dice.one(&SYLLABLES)).collect();
                format!("{first} for {name}")
            }
        }
    }
}

/// Every state on the way, and when it came into each but the first.
fn life(kind: &str, state: &str, created: DateTime, updated: DateTime) -> (String, String) {
    let soon = created + TimeDelta::seconds(1);
    match (kind, state) {
        ("deposit" | "withdrawal", "awaiting_payment" | "reserved") => {
            (format!("initiated {state}"), format!("{{{soon}}}"))
        }
        ("deposit", _) => (format!("initiated awaiting_payment {state}"), format!("{{{soon},{updated}}}")),
        ("withdrawal", _) => (format!("initiated reserved {state}"), format!("{{{soon},{updated}}}")),
        ("adjustment", _) => (format!("awaiting_approval {state}"), format!("{{{updated}}}")),
        _ => (format!("initiated {state}"), format!("{{{updated}}}")),
    }
}

fn null<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| r"\N".to_owned(), |value| value.to_string())
}

fn line(lines: &mut String, values: &[&dyn std::fmt::Display]) {
    for (index, value) in values.iter().enumerate() {
        let tab = if index == 0 { "" } else { "\t" };
        write!(lines, "{tab}{value}").expect("a string takes what is written");
    }
    lines.push('\n');
}
