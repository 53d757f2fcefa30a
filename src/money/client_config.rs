//! What a frontend must know before anybody signs in: currencies and their limits, what is switched on, what a password must be, which banks
//! there are to choose from. All of it from the settings and the code, the same for everybody, and nothing that helps whoever looks for a way
//! around: above which sums staff look at a withdrawal is not told. Nothing is decided by what is told here.

pub mod routes;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::identity::users::passwords;
use crate::money::bank_accounts::{BANKS, Bank};
use crate::money::transactions::routes::{AMOUNT_MINOR_MAX, AMOUNT_MINOR_MIN, DESCRIPTION_CHARS_MAX};
use crate::money::transactions::{KEY_CHARS_MAX, KEYS_MAX, VALUE_CHARS_MAX};
use crate::platform::config::NoticeMails;

#[derive(Serialize, ToSchema)]
pub struct ClientConfig {
    currencies: Vec<CurrencyConfig>,
    features: Features,
    password: PasswordRules,
    transactions: TransactionRules,
    /// South African banks with the branch code that stands for all their branches. Any other bank and branch may be given, too.
    banks: &'static [Bank],
}

/// Amounts are in minor units: `10^exponent` of them are one of the currency.
#[derive(Serialize, ToSchema)]
struct CurrencyConfig {
    #[schema(example = "ZAR", pattern = "^[A-Z]{3}$")]
    code: &'static str,
    #[schema(example = "South African Rand")]
    name: String,
    #[schema(example = 2)]
    exponent: u8,
    /// Of one deposit or withdrawal.
    #[schema(example = 1)]
    amount_min: i64,
    #[schema(example = 1_000_000_000_000_i64)]
    amount_max: i64,
    /// Null = as much as there is.
    withdrawals: Option<WithdrawalLimits>,
    /// Customers with a second factor show a code where a withdrawal, with those of 24 hours that needed none, is above this. What a code was
    /// shown for does not count, nor what was asked for before the factor was enrolled. Null = not told before: a withdrawal that needs one is
    /// answered `totp_required`.
    #[schema(example = 5_000_000)]
    second_factor_above: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct WithdrawalLimits {
    /// At most with one.
    #[schema(example = 50_000_000)]
    once: i64,
    /// At most in any 24 hours.
    #[schema(example = 100_000_000)]
    daily: i64,
}

#[derive(Serialize, ToSchema)]
struct Features {
    /// Whether deposits, withdrawals and new bank accounts need a verified e-mail.
    email_verification_required: bool,
    /// Whether people are mailed what was done with their account.
    notice_mails: bool,
    /// How many unpaid deposits one may have at once.
    #[schema(example = 10)]
    open_deposits_max: i64,
    /// Withdrawals to a bank account that was added less than so many hours ago wait; null = none do.
    #[schema(example = 24)]
    bank_account_cooling_hours: Option<i64>,
}

/// Besides: none of those that anybody would try first, and not the e-mail.
#[derive(Serialize, ToSchema)]
struct PasswordRules {
    #[schema(example = 8)]
    length_min: usize,
    #[schema(example = 128)]
    length_max: usize,
}

#[derive(Serialize, ToSchema)]
struct TransactionRules {
    #[schema(example = 140)]
    description_length_max: usize,
    #[schema(example = 20)]
    metadata_keys_max: usize,
    #[schema(example = 40)]
    metadata_key_length_max: usize,
    #[schema(example = 500)]
    metadata_value_length_max: usize,
}

pub fn client_config(app: &App) -> ClientConfig {
    let config = &app.config;
    let currency = |currency: &ledger::Currency| CurrencyConfig {
        code: currency.code(),
        name: currency.name().to_owned(),
        exponent: currency.exponent(),
        amount_min: AMOUNT_MINOR_MIN,
        amount_max: AMOUNT_MINOR_MAX,
        withdrawals: config
            .withdrawal_limit(*currency)
            .map(|limit| WithdrawalLimits { once: limit.once.minor(), daily: limit.daily.minor() }),
        // Where it is not set it is the first of `APPROVAL_THRESHOLDS`, which stays ours.
        second_factor_above: config.customer_totp_thresholds.first(*currency).map(ledger::Amount::minor),
    };
    ClientConfig {
        currencies: config.customer_currencies.iter().map(currency).collect(),
        features: Features {
            email_verification_required: config.mail.require_verified_email,
            notice_mails: config.mail.notices == NoticeMails::On,
            open_deposits_max: config.open_deposits_max,
            bank_account_cooling_hours: config.bank_account_cooling.map(|cooling| cooling.num_hours()),
        },
        password: PasswordRules { length_min: passwords::CHARS_MIN, length_max: passwords::CHARS_MAX },
        transactions: TransactionRules {
            description_length_max: DESCRIPTION_CHARS_MAX,
            metadata_keys_max: KEYS_MAX,
            metadata_key_length_max: KEY_CHARS_MAX,
            metadata_value_length_max: VALUE_CHARS_MAX,
        },
        banks: BANKS,
    }
}
