//! The one error of the service: what a caller may read in its `Display`, what went wrong inside only in its `source`. Every answer
//! that is not a success is a problem document (RFC 9457) with a stable `code`; `docs/problems.md` lists them.

mod field;
mod problem;
mod refusal;

use std::error::Error as StdError;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::LedgerError;
use uuid::Uuid;

pub use self::field::{FieldCode, FieldError, Wrong};
pub use self::problem::Problem;
pub use self::refusal::{Figures, Period, Reason};
use crate::platform::{crash::Crashed, text_enum::text_enum};

pub type Result<T, E = Error> = std::result::Result<T, E>;
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What `Retry-After` says when a part does not answer: long enough for a restart, short enough for a person.
const UNAVAILABLE_RETRY_SECS: u64 = 2;

/// SQLSTATEs of a PostgreSQL that is away. 08 connection; 25006 a standby after a failover; 25P03 cut off; 40 rolled back by the server;
/// 53 out of connections, memory or disk; 55000 not in the state for it; 57 stopping, or cut off by the statement's deadline; 58 the system
/// below it. Not all of 55: who cannot have a lock (55P03) in a batch tries alone.
const AWAY: &[&str] = &["08", "25006", "25P03", "40", "53", "55000", "57", "58"];
/// Of one that is not set up for this release. 28 no entry; 3D, 3F no such database or schema; 42501 no right; 42703, 42704, 42883, 42P01 no
/// such column, type, function or table: statements are compiled against the schema, so it is mostly another one that answers.
const NOT_OURS: &[&str] = &["28", "3D", "3F", "42501", "42703", "42704", "42883", "42P01"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    #[error("the body is not JSON: {0}")]
    InvalidJson(String),
    #[error("authentication is required")]
    Unauthenticated,
    #[error("e-mail, password or code is wrong")]
    InvalidCredentials,
    #[error("the code of the second factor is required")]
    TotpRequiredToSignIn,
    #[error("this is not allowed: {}", reason_text(.0))]
    Forbidden(Reason),
    /// By its name in `platform/permissions.rs`.
    #[error("this is not allowed: it needs the permission {0}")]
    MissingPermission(&'static str),
    #[error("the e-mail must be verified first: open the link in the mail that we sent")]
    EmailNotVerified,
    /// Staff: the session has not shown one that somebody else let the person enrol. Customers: the call needs one.
    #[error("the code of the second factor is required")]
    TotpRequired,
    #[error("give the password or a code again first: POST /v1/auth/step-up")]
    StepUpRequired,
    /// Also: it exists and is not yours.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("this method is not allowed here")]
    MethodNotAllowed,
    #[error("the state changed meanwhile")]
    StaleState,
    #[error("it can no longer be cancelled: it is {state}")]
    NotCancellable { state: &'static str },
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Of a file of so many bytes.
    #[error("the file has {0} bytes, and the range begins behind them")]
    RangeNotSatisfiable(usize),
    #[error("the body is not of the type that this route takes")]
    UnsupportedMediaType,
    /// A file of Revio's or the bank's: which columns or lines, and what is wrong with them.
    #[error("the statement cannot be used")]
    BadStatement(Vec<FieldError>),
    /// The same bytes were imported before, and were said to be something else: what.
    #[error("the file was imported already, as another one than this")]
    StatementKnown(Vec<FieldError>),
    /// A month is not closed yet: everything that is still missing.
    #[error("the month cannot be closed yet")]
    PeriodNotReady(Vec<FieldError>),
    /// What was asked for needs more of the ledger than is copied yet.
    #[error("the copy of the ledger is not there yet; try again in a moment")]
    BooksBehind,
    /// Somebody has put the ledger back to an earlier moment; of which currency, and where its copy ends.
    #[error("{0}")]
    LedgerBehind(String),
    #[error("{why}")]
    Declined { why: Decline, transaction_id: Option<Uuid>, replayed: bool, figures: Option<Box<Figures>> },
    #[error("the account is not empty, or something is under way on it")]
    AccountNotEmpty,
    #[error("too many deposits wait for their payment: pay one of them, or wait until it ends after an hour")]
    TooManyOpenDeposits { open: Vec<Uuid>, limit: i64, retry_after_secs: u64 },
    #[error("you have this bank account already")]
    BankAccountExists { id: Uuid },
    #[error("this is the last admin: give somebody else the role first")]
    LastAdmin,
    #[error("staff hold no money: no wallet of theirs is paid into, out of, or corrected")]
    StaffAccount,
    #[error("the customer's accounts are not closed")]
    AccountNotClosed,
    #[error("the idempotency key was used with another request")]
    KeyReused,
    #[error("a call with the same idempotency key is under way; try again with the same key")]
    InProgress,
    #[error(
        "too much would have to be looked through: narrow it to a period, a customer or a state, or sort by created_at"
    )]
    TooBroad,
    #[error("too many requests")]
    TooMany { retry_after_secs: u64 },
    #[error("the signature does not match the body")]
    BadSignature,
    /// Not a failure of the row at hand: nothing was tried, and nothing is counted against it.
    #[error("the payment provider does not answer at the moment; try again later")]
    ProviderPaused { retry_after_secs: u64 },
    #[error("a part of the service does not answer; try again with the same key")]
    Unavailable(#[source] BoxError),
    /// A part answered, and not as it should: nothing gets better by waiting. To the caller the same.
    #[error("a part of the service does not answer; try again with the same key")]
    Unusable(#[source] BoxError),
    /// The same to the caller, who came at a bad time; nothing of ours failed.
    #[error("{0}; try again, with the same key if there was one")]
    TurnedAway(&'static str),
    #[error("the body did not arrive in time; try again, with the same key if there was one")]
    TooSlow,
    /// Only in tests: the process has died, so nobody records anything.
    #[error("an internal error; it was recorded")]
    Crashed(#[from] Crashed),
    #[error("an internal error; it was recorded")]
    Internal(#[source] BoxError),
}

text_enum! {
    /// Why money does not move: the code that the caller is told, and a row's `failure_reason`, for a repeat of the request too.
    #[derive(thiserror::Error)]
    pub enum Decline {
        #[error("the available balance does not cover the amount")]
        InsufficientFunds = "insufficient_funds",
        #[error("the amount is more than may be withdrawn at once or in a day")]
        LimitExceeded = "limit_exceeded",
        #[error("withdrawals are frozen")]
        AccountFrozen = "account_frozen",
        #[error("the account is closed")]
        AccountClosed = "account_closed",
    }
}

/// The failure as it travels inside a response, for the access log; the client never sees it.
#[derive(Clone)]
pub struct Failure {
    pub problem: Problem,
    pub cause: Option<String>,
    /// Nobody has to look at it: too many came at once, or the caller was too slow.
    pub expected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Of the request or the row at hand.
    Row,
    /// A part does not answer, or the way to it: it is so for everybody, and ends by itself.
    Surroundings,
}

impl Error {
    /// Of the body.
    pub fn field(field: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        Self::Invalid(vec![FieldError::new(field, wrong)])
    }

    /// Of the query or the path.
    pub fn parameter(name: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        Self::Invalid(vec![FieldError::parameter(name, wrong)])
    }

    /// What was found out as if it stood in the body, of a call whose query says it.
    pub fn of_parameters(self) -> Self {
        match self {
            Self::Invalid(errors) => Self::Invalid(errors.into_iter().map(FieldError::of_parameter).collect()),
            other => other,
        }
    }

    pub fn header(name: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        Self::Invalid(vec![FieldError::outside(name, wrong)])
    }

    pub fn internal(cause: impl Into<BoxError>) -> Self {
        Self::Internal(cause.into())
    }

    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Money does not move, and no row says so.
    pub fn declined(why: Decline) -> Self {
        Self::Declined { why, transaction_id: None, replayed: false, figures: None }
    }

    /// Whose fault it is: what the queue does next hangs on it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(_)
            | Self::TurnedAway(_)
            | Self::BooksBehind
            | Self::LedgerBehind(_)
            | Self::ProviderPaused { .. } => Fault::Surroundings,
            _ => Fault::Row,
        }
    }

    /// Revio is left alone for so long.
    pub fn provider_paused(wait: chrono::TimeDelta) -> Self {
        Self::ProviderPaused { retry_after_secs: u64::try_from(wait.num_seconds()).unwrap_or(0).saturating_add(1) }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::InvalidJson(_) => "invalid_json",
            Self::Unauthenticated => "unauthenticated",
            Self::InvalidCredentials => "invalid_credentials",
            Self::TotpRequiredToSignIn => "totp_required",
            Self::Forbidden(_) | Self::MissingPermission(_) => "forbidden",
            Self::EmailNotVerified => "email_not_verified",
            Self::TotpRequired => "totp_required",
            Self::StepUpRequired => "step_up_required",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::StaleState => "stale_state",
            Self::NotCancellable { .. } => "not_cancellable",
            Self::TooSlow => "request_timeout",
            Self::TooLarge(_) => "payload_too_large",
            Self::RangeNotSatisfiable(_) => "range_not_satisfiable",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BadStatement(_) => "statement_unusable",
            Self::StatementKnown(_) => "statement_known",
            Self::PeriodNotReady(_) => "period_not_ready",
            Self::BooksBehind => "books_behind",
            Self::LedgerBehind(_) => "ledger_behind",
            Self::Declined { why, .. } => why.name(),
            Self::AccountNotEmpty => "account_not_empty",
            Self::TooManyOpenDeposits { .. } => "too_many_open_deposits",
            Self::BankAccountExists { .. } => "bank_account_exists",
            Self::LastAdmin => "last_admin",
            Self::StaffAccount => "staff_account",
            Self::AccountNotClosed => "account_not_closed",
            Self::KeyReused => "idempotency_key_reused",
            Self::InProgress => "request_in_progress",
            Self::TooBroad => "query_too_broad",
            Self::TooMany { .. } => "rate_limited",
            Self::BadSignature => "bad_signature",
            Self::ProviderPaused { .. } => "provider_unavailable",
            Self::Unavailable(_) | Self::Unusable(_) | Self::TurnedAway(_) => "unavailable",
            Self::Crashed(_) | Self::Internal(_) => "internal",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::InvalidJson(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::InvalidCredentials | Self::TotpRequiredToSignIn | Self::BadSignature => {
                StatusCode::UNAUTHORIZED
            }
            Self::Forbidden(_)
            | Self::MissingPermission(_)
            | Self::EmailNotVerified
            | Self::TotpRequired
            | Self::StepUpRequired => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::StaleState
            | Self::NotCancellable { .. }
            | Self::AccountNotEmpty
            | Self::AccountNotClosed
            | Self::BankAccountExists { .. }
            | Self::LastAdmin
            | Self::StatementKnown(_)
            | Self::PeriodNotReady(_)
            | Self::LedgerBehind(_)
            | Self::InProgress
            | Self::TooManyOpenDeposits { .. } => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Declined { .. } | Self::StaffAccount | Self::KeyReused | Self::TooBroad | Self::BadStatement(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ProviderPaused { .. }
            | Self::Unavailable(_)
            | Self::Unusable(_)
            | Self::BooksBehind
            | Self::TurnedAway(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Crashed(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the ledger has answered what no step of ours expects of it: a mistake of ours, or a ledger that is not as it must be.
    pub fn is_of_ledger(&self) -> bool {
        matches!(self, Self::Internal(cause) if cause.is::<LedgerError>())
    }

    /// For whoever runs the service: the part that is away, and no word of a key, which a command does not have.
    fn to_operator(&self) -> String {
        let (Self::Unavailable(cause) | Self::Unusable(cause)) = self else { return self.to_string() };
        let other = if cause.is::<LedgerError>() { "TigerBeetle does not answer, or not as it should: " } else { "" };
        let part = if cause.is::<sqlx::Error>() { "PostgreSQL does not answer, or not as it should: " } else { other };
        format!("{part}{cause}")
    }

    /// The error and all its causes in one line, for the log and operators only; some say their cause themselves.
    pub fn chain(&self) -> String {
        let mut text = self.to_operator();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            text = if text.contains(&said) { text } else { format!("{text}: {said}") };
            cause = error.source();
        }
        text
    }

    /// Which of the things that a 403 can mean it is.
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Forbidden(reason) => Some(*reason),
            Self::MissingPermission(_) => Some(Reason::MissingPermission),
            Self::EmailNotVerified => Some(Reason::EmailNotVerified),
            Self::TotpRequired => Some(Reason::SecondFactorMissing),
            Self::StepUpRequired => Some(Reason::StepUpRequired),
            _ => None,
        }
    }

    /// After how many seconds the same may be answered otherwise, where that comes by itself.
    fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_secs }
            | Self::ProviderPaused { retry_after_secs }
            | Self::TooManyOpenDeposits { retry_after_secs, .. } => Some(*retry_after_secs),
            Self::Unavailable(_) | Self::Unusable(_) | Self::BooksBehind | Self::TurnedAway(_) | Self::InProgress => {
                Some(UNAVAILABLE_RETRY_SECS)
            }
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.code(), self.status().as_u16(), self.to_string());
        problem.reason = self.reason();
        match self {
            Self::Invalid(errors)
            | Self::BadStatement(errors)
            | Self::StatementKnown(errors)
            | Self::PeriodNotReady(errors) => problem = problem.with_errors(errors.clone()),
            Self::MissingPermission(permission) => problem.permission = Some(permission),
            Self::Declined { transaction_id, figures, .. } => {
                problem.transaction_id = *transaction_id;
                problem = problem.with_figures(figures.as_deref().cloned().unwrap_or_default());
            }
            Self::NotCancellable { state } => problem.state = Some(state),
            Self::BankAccountExists { id } => problem.bank_account_id = Some(*id),
            Self::TooManyOpenDeposits { open, limit, .. } => {
                let used = i64::try_from(open.len()).ok();
                problem.open_deposits.clone_from(open);
                let period = Some(Period::Open);
                problem = problem.with_figures(Figures { limit: Some(*limit), used, period, ..Figures::default() });
            }
            _ => {}
        }
        problem
    }
}

/// For people, behind the general word.
fn reason_text(reason: &Reason) -> &'static str {
    match reason {
        Reason::MissingPermission => "the role lacks what it needs",
        Reason::NotForMachines => "machines only read, and keep webhook endpoints of their own; a person must do this",
        Reason::OtherOrigin => "a page of another origin made the call",
        Reason::AddressNotAllowed => "no calls are taken from this address",
        Reason::OwnAccount => "it is about yourself",
        Reason::OwnApproval => "you asked for it, or it is about yourself; another one must decide",
        Reason::RoleTooNew => "to approve, a role must be 24 hours old",
        Reason::StaffFrozen => "you are frozen",
        Reason::StaffAccount => "it is about one of staff, whose role must go first",
        Reason::EnrolmentByAnother => "another one must let you enrol a second factor, and take it away",
        Reason::EmailNotVerified => "the e-mail is not verified",
        Reason::SecondFactorMissing => "the code of the second factor is required",
        Reason::StepUpRequired => "give the password or a code again first",
    }
}

pub fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let body = problem.clone().into_body();
        let mut response = (self.status(), [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_secs() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110, 15.5.2: each 401 says how to prove who is calling.
            let way = if matches!(self, Self::BadSignature) { "Signature" } else { "Bearer" };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(way));
        }
        if let Self::RangeNotSatisfiable(length) = &self {
            let content_range = HeaderValue::try_from(format!("bytes */{length}")).expect("a number");
            headers.insert(header::CONTENT_RANGE, content_range);
        }
        if matches!(self, Self::Declined { replayed: true, .. }) {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        let cause = self.source().is_some().then(|| self.chain());
        let expected = matches!(self, Self::TurnedAway(_));
        response.extensions_mut().insert(Failure { problem, cause, expected });
        response
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // A handshake that is closed, reset or answered with something else is of these too.
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::unavailable(error),
            sqlx::Error::Database(database) => {
                let is_of = |classes: &[&str]| {
                    database.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
                };
                let (away, not_ours) = (is_of(AWAY), is_of(NOT_OURS));
                if not_ours {
                    // No row is at fault. A mistake of ours cannot be told apart from an installation's, so it is told as loudly.
                    tracing::error!(%error, "PostgreSQL has not what this release needs: its schema, its roles or their rights");
                }
                if away || not_ours { Self::unavailable(error) } else { Self::internal(error) }
            }
            _ => Self::internal(error),
        }
    }
}

/// Without an answer nothing is known, and the row stays due; what is left over is our own mistake.
impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Unknown(_) => Self::unavailable(error),
            LedgerError::Refused(_) | LedgerError::AlreadyResolved(_) | LedgerError::Contradiction(_) => {
                Self::internal(error)
            }
        }
    }
}

pub fn on_constraint<T>(result: Result<T, sqlx::Error>, constraint: &str, named: Error) -> Result<T> {
    result.map_err(|error| match &error {
        sqlx::Error::Database(database) if database.constraint() == Some(constraint) => named,
        _ => error.into(),
    })
}
