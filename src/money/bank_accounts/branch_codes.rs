//! Branch codes of South African banks. Each bank has a universal code that stands for all its branches, and many have branches with codes
//! of their own, which no list here could keep up with. So only what is surely wrong is refused: of a bank that is known by its name, a code
//! that has not the six digits of every South African one, or that is the universal code of another bank. What a bank is called otherwise,
//! and a bank of another country, is taken as it is.

use serde::Serialize;
use utoipa::ToSchema;

/// A bank that people may choose from a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bank {
    #[schema(example = "FNB")]
    pub name: &'static str,
    /// Of all its branches.
    #[schema(example = "250655")]
    pub universal_branch_code: &'static str,
    /// How else it is written: letters and digits, small.
    #[serde(skip)]
    also: &'static [&'static str],
}

const fn bank(name: &'static str, universal_branch_code: &'static str, also: &'static [&'static str]) -> Bank {
    Bank { name, universal_branch_code, also }
}

pub const BANKS: &[Bank] = &[
    bank("Absa", "632005", &["absabank", "absagroup"]),
    bank("African Bank", "430000", &[]),
    bank("Bidvest Bank", "462005", &["bidvest"]),
    bank("Capitec", "470010", &["capitecbank"]),
    bank("Discovery Bank", "679000", &["discovery"]),
    bank("FNB", "250655", &["firstnationalbank", "fnbbank", "fnbsouthafrica"]),
    bank("Investec", "580105", &["investecbank"]),
    bank("Nedbank", "198765", &["nedbanklimited"]),
    bank("Standard Bank", "051001", &["standardbanksouthafrica", "standardbankofsouthafrica"]),
    bank("TymeBank", "678910", &["tyme"]),
];

const DIGITS: usize = 6;

/// What is surely wrong with the code, if anything.
pub(super) fn mistake(bank_name: &str, code: &str) -> Option<&'static str> {
    let bank = find(bank_name)?;
    if code.len() != DIGITS {
        return Some("of a South African bank has six digits");
    }
    let others = BANKS.iter().any(|other| other.universal_branch_code == code && *other != bank);
    others.then_some("is the universal branch code of another bank")
}

/// Whatever the case, blanks and dots of the name.
fn find(name: &str) -> Option<Bank> {
    let spelled =
        |name: &str| -> String { name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect() };
    let name = spelled(name);
    BANKS.iter().copied().find(|bank| spelled(bank.name) == name || bank.also.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_wrong_is_refused() {
        for (name, code) in [
            ("FNB", "250655"),
            // One of its branches.
            ("First National Bank", "254005"),
            ("fnb", "250655"),
            ("Standard Bank", "051001"),
            ("Standard Bank", "000205"),
            // Whose name nobody here knows, and of another country.
            ("Bank Zero", "250655"),
            ("Grindrod", "12"),
            ("Deutsche Bank", "10070000"),
        ] {
            assert_eq!(mistake(name, code), None, "{name} {code}");
        }
        for (name, code) in [
            ("FNB", "632005"),
            ("Absa Bank", "250655"),
            // The zero in front is lost.
            ("STANDARD BANK", "51001"),
            ("Nedbank", "1987650"),
        ] {
            assert!(mistake(name, code).is_some(), "{name} {code}");
        }
    }

    #[test]
    fn each_bank_has_a_code_of_its_own() {
        for (index, bank) in BANKS.iter().enumerate() {
            assert!(bank.universal_branch_code.len() == DIGITS, "{bank:?}");
            let same = |other: &&Bank| other.universal_branch_code == bank.universal_branch_code;
            assert_eq!(BANKS.iter().position(|other| same(&other)), Some(index), "{bank:?}");
        }
    }
}
