//! What the reasons of transactions and journals mean in words: one text for customers and one for staff each, from `docs/reasons.md`,
//! which is the only list. Views show them beside the codes; `processes/docs.rs` shows customers' texts as pages.

use std::{collections::BTreeMap, sync::LazyLock};

const PAGE: &str = include_str!("../../docs/reasons.md");

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Texts {
    pub customer: &'static str,
    pub staff: &'static str,
}

type Catalogue = BTreeMap<&'static str, Texts>;

static FAILURES: LazyLock<Catalogue> = LazyLock::new(|| section("## Failures"));
static REPAID: LazyLock<Catalogue> = LazyLock::new(|| section("## Where the money repaid what was owed"));
static HOLDS: LazyLock<Catalogue> = LazyLock::new(|| section("## Holds"));

/// Why money did not move.
pub fn failure(code: &str) -> Texts {
    FAILURES.get(code).copied().unwrap_or_default()
}

/// What customers are told in its place where some of what came back, or all of it, repaid what they owed.
pub fn where_repaid(code: &str) -> Option<&'static str> {
    REPAID.get(code).map(|texts| texts.customer)
}

/// Why a person must look.
pub fn hold(code: &str) -> Texts {
    HOLDS.get(code).copied().unwrap_or_default()
}

/// What customers are told for a code that they can see.
pub fn for_customers(code: &str) -> Option<&'static str> {
    FAILURES.get(code).map(|texts| texts.customer)
}

fn section(title: &str) -> Catalogue {
    let rest = PAGE.split(title).nth(1).unwrap_or_default();
    rest.split("\n## ").next().unwrap_or_default().lines().filter_map(row).collect()
}

/// ``| `code` | for customers | for staff |``
fn row(line: &'static str) -> Option<(&'static str, Texts)> {
    let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
    let code = cells.next()?.strip_suffix('`')?;
    Some((code, Texts { customer: cells.next()?, staff: cells.next()? }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::money::{journals, transactions};

    #[test]
    fn every_reason_has_a_text_for_customers_and_another_for_staff() {
        let failures = transactions::FailureReason::ALL.iter().map(|reason| reason.name());
        let failures: BTreeSet<&str> =
            failures.chain(journals::Failure::ALL.iter().map(|failure| failure.name())).collect();
        assert_eq!(FAILURES.keys().copied().collect::<BTreeSet<_>>(), failures);
        let holds: BTreeSet<&str> = transactions::Hold::ALL.iter().map(|hold| hold.name()).collect();
        assert_eq!(HOLDS.keys().copied().collect::<BTreeSet<_>>(), holds);
        let promises =
            |(code, texts): (&&'static str, &Texts)| texts.customer.contains("in the balance").then_some(*code);
        let promised: BTreeSet<&str> = FAILURES.iter().filter_map(promises).collect();
        assert_eq!(REPAID.keys().copied().collect::<BTreeSet<_>>(), promised, "of all that came back not all is there");
        for (code, texts) in FAILURES.iter().chain(HOLDS.iter()) {
            assert!(texts.staff.ends_with('.') && texts.customer != texts.staff, "{code}");
        }
        for (code, texts) in FAILURES.iter().chain(HOLDS.iter()).chain(REPAID.iter()) {
            assert!(texts.customer.ends_with('.'), "{code}");
            for inside in ["Revio", "ledger", "suspense", "`"] {
                assert!(!texts.customer.contains(inside), "{code} tells customers of {inside}");
            }
        }
    }
}
