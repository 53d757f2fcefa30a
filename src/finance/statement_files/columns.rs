//! The one table of headings and words that statements are known to use. A heading is compared without case, spaces, underscores and
//! other signs; what stands in no row of the table is counted and dropped, for it is payers' data.

use crate::platform::text_enum::text_enum;

use super::Source;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Related,
    Reference,
    Description,
    Product,
    Status,
    Currency,
    Amount,
    Debit,
    Credit,
    Fee,
    Net,
    Balance,
    Date,
}

/// What a column may be called, the surest name first: where a file has two of a row, the other one is dropped.
const HEADINGS: &[(Column, &[&str])] = &[
    (Column::Id, &["id", "objectid", "uuid", "purchaseid", "payoutid", "paymentid", "transactionid"]),
    (
        Column::Related,
        &[
            "relatedid", "relatedto", "relatedtoid", "parentid", "originalid", "originalpurchaseid",
            "originaltransactionid",
        ],
    ),
    (
        Column::Reference,
        &[
            "reference", "ref", "merchantreference", "purchasereference", "yourreference", "externalid", "orderid",
            "orderno",
        ],
    ),
    (
        Column::Description,
        &["description", "transactiondescription", "statementdescription", "narrative", "details", "particulars"],
    ),
    (Column::Product, &["product", "transactiontype", "objecttype", "type", "kind"]),
    (Column::Status, &["status", "state", "transactionstatus"]),
    (Column::Currency, &["currency", "currencycode", "ccy"]),
    (
        Column::Amount,
        &[
            "amount", "grossamount", "gross", "amountcents", "amountincents", "transactionamount", "totalamount",
            "total", "value",
        ],
    ),
    (Column::Debit, &["debit", "debits", "debitamount", "moneyout", "paidout"]),
    (Column::Credit, &["credit", "credits", "creditamount", "moneyin", "paidin"]),
    (Column::Fee, &["fee", "feeamount", "fees", "feecents", "feesell", "commission"]),
    (Column::Net, &["net", "netamount", "nett", "nettamount", "netcents"]),
    (Column::Balance, &["balance", "runningbalance", "accountbalance", "balanceafter"]),
    (
        Column::Date,
        &[
            "paidon", "paidat", "paiddate", "date", "transactiondate", "datetime", "timestamp", "postingdate",
            "processeddate", "valuedate", "effectivedate", "completedon", "createdon", "created",
        ],
    ),
];

/// What a file must say: one of each list.
const REVIO_NEEDS: &[(&str, &[Column])] = &[
    ("id or reference", &[Column::Id, Column::Reference]),
    ("product", &[Column::Product]),
    ("amount", &[Column::Amount, Column::Debit, Column::Credit]),
    ("currency", &[Column::Currency]),
    ("date", &[Column::Date]),
];
/// A bank's file is of one account, and so of one currency.
const BANK_NEEDS: &[(&str, &[Column])] = &[
    ("description or reference", &[Column::Reference, Column::Description]),
    ("amount, or debit and credit", &[Column::Amount, Column::Debit, Column::Credit]),
    ("date", &[Column::Date]),
];

/// Which cell of a record is which column, and what the others are called.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    places: Vec<(Column, usize)>,
    pub(super) unknown: Vec<String>,
}

impl Columns {
    pub(super) fn of<'a>(headings: impl Iterator<Item = &'a str>) -> Self {
        let headings: Vec<&str> = headings.collect();
        let plain: Vec<String> = headings.iter().map(|heading| plain(heading)).collect();
        let place = |names: &[&str]| names.iter().find_map(|name| plain.iter().position(|heading| heading == name));
        let places: Vec<(Column, usize)> =
            HEADINGS.iter().filter_map(|(column, names)| Some((*column, place(names)?))).collect();
        let is_known = |at: usize| places.iter().any(|(_, place)| *place == at);
        let unknown = headings.iter().enumerate().filter(|(at, heading)| !is_known(*at) && !heading.trim().is_empty());
        let unknown = unknown.take(UNKNOWN_MAX).map(|(_, heading)| shown(heading)).collect();
        Self { places, unknown }
    }

    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.places.iter().find(|(known, _)| *known == column).map(|(_, place)| *place)
    }

    /// What a file of the source must say and this one does not.
    pub(super) fn missing(&self, source: Source) -> Vec<&'static str> {
        let needs = match source {
            Source::Revio => REVIO_NEEDS,
            Source::Bank => BANK_NEEDS,
        };
        let lacks = |columns: &[Column]| !columns.iter().any(|column| self.place(*column).is_some());
        needs.iter().filter(|(_, columns)| lacks(columns)).map(|(name, _)| *name).collect()
    }
}

/// Small letters and digits alone.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

const HEADING_CHARS_MAX: usize = 40;
/// So many are told and kept.
const UNKNOWN_MAX: usize = 100;

/// A heading as it is told and kept. A file without headings has data there: what looks like that is not repeated.
pub(super) fn shown(heading: &str) -> String {
    let heading = heading.trim();
    let is_word = |c: char| c.is_alphabetic() || matches!(c, ' ' | '_' | '-' | '.' | '/' | '(' | ')');
    if heading.chars().count() <= HEADING_CHARS_MAX && heading.chars().all(is_word) {
        heading.to_owned()
    } else {
        "(no word)".to_owned()
    }
}

text_enum! {
    /// What a line is about, whatever its file calls it.
    #[schema(as = StatementProduct)]
    pub(super) enum Product {
        Purchase = "purchase",
        Payout = "payout",
        Refund = "refund",
        Chargeback = "chargeback",
        ChargebackReversal = "chargeback_reversal",
        /// Money that Revio sent to our bank account.
        Settlement = "settlement",
        /// Money that we sent to Revio.
        TopUp = "top_up",
        /// What Revio charges by itself, not with a payment.
        Fee = "fee",
        /// Inside of Revio: from one of our balances there to another.
        Inside = "inside",
        /// A line of a bank's file.
        Bank = "bank",
        Other = "other",
    }
}

const PRODUCTS: &[(Product, &[&str])] = &[
    (Product::Purchase, &["purchase", "purchases", "payment", "sale", "deposit", "charge", "purchasepaid"]),
    (Product::Payout, &["payout", "payouts", "withdrawal", "disbursement"]),
    (Product::Refund, &["refund", "refunds", "purchaserefund"]),
    (Product::Chargeback, &["chargeback", "chargedback", "chargebacks", "dispute"]),
    (Product::ChargebackReversal, &["chargebackreversal", "chargebackreversed", "disputewon", "representment"]),
    (Product::Settlement, &["settlement", "settlements", "banksettlement", "companypayout", "banktransfer"]),
    (Product::TopUp, &["topup", "floattopup", "balancetopup", "payouttopup", "funding"]),
    (Product::Fee, &["fee", "fees", "monthlyfee", "invoice", "servicefee"]),
    (
        Product::Inside,
        &["payoutbalancetransfer", "balancetransfer", "reserve", "rollingreserve", "reservehold", "reserverelease"],
    ),
];

impl Product {
    /// A word that nobody knows is not kept: it could be anything.
    pub(super) fn of(word: &str) -> Self {
        let word = plain(word);
        let known = PRODUCTS.iter().find(|(_, words)| words.contains(&word.as_str()));
        known.map_or(Self::Other, |(product, _)| *product)
    }

    /// Which way the money goes at Revio, where the word alone says it: files have outgoing amounts with and without a sign.
    pub(super) fn sign(self) -> Option<i64> {
        match self {
            Self::Purchase | Self::ChargebackReversal | Self::TopUp => Some(1),
            Self::Payout | Self::Refund | Self::Chargeback | Self::Settlement | Self::Fee => Some(-1),
            Self::Inside | Self::Bank | Self::Other => None,
        }
    }
}

/// A balance that may stand on a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Opening,
    Closing,
}

impl End {
    pub(super) fn of(text: &str) -> Option<Self> {
        match plain(text).as_str() {
            "openingbalance" | "balancebroughtforward" | "broughtforward" => Some(Self::Opening),
            "closingbalance" | "balancecarriedforward" | "carriedforward" => Some(Self::Closing),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_known_in_any_spelling_and_the_surest_of_two_wins() {
        let headings = ["Client E-Mail", "TRANSACTION ID", "id", "Paid_On", "amount (cents)", "Product ", "cur rency"];
        let columns = Columns::of(headings.into_iter());
        let places = [Column::Id, Column::Date, Column::Amount, Column::Product, Column::Currency];
        assert_eq!(places.map(|column| columns.place(column)), [Some(2), Some(3), Some(4), Some(5), Some(6)]);
        assert_eq!(columns.unknown, ["Client E-Mail", "TRANSACTION ID"]);
        assert!(columns.missing(Source::Revio).is_empty());
        let few = Columns::of(["Amount", "Name"].into_iter());
        assert_eq!(few.missing(Source::Revio), ["id or reference", "product", "currency", "date"]);
        assert_eq!(few.missing(Source::Bank), ["description or reference", "date"]);
    }

    #[test]
    fn what_looks_like_data_is_not_repeated() {
        for data in ["a@example.com", "62001234567", &"x".repeat(41), "2026-03-01"] {
            assert_eq!(shown(data), "(no word)");
        }
        assert_eq!(shown(" Paid on (UTC) "), "Paid on (UTC)");
    }

    #[test]
    fn a_product_is_one_that_is_known_or_other() {
        assert_eq!(Product::of("Payout_Balance_Transfer"), Product::Inside);
        assert_eq!(Product::of("Charge Back"), Product::Chargeback);
        assert_eq!(Product::of("Thandi Nkosi"), Product::Other);
    }
}
