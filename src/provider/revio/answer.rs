//! What an answer of Revio's says: before it is an object, whose word it is and which statuses are a refusal; and whether the object is what was
//! asked for. Called by `revio` and `accounts`.

use ledger::Amount;
use reqwest::{Response, StatusCode};
use uuid::Uuid;

use super::codes::Codes;
use super::error::RevioError;
use super::{Operation, Result, objects, transport};
use crate::platform::clock::DateTime;
use crate::platform::http::RetryAfter;

/// A call that is documented nowhere may be shut in other ways than by Revio's own 404: that is no outage, and says nothing of the calls
/// that there are.
pub(super) fn closed_as_missing<T>(operation: Operation, answer: Result<T>) -> Result<T> {
    match answer {
        Err(
            RevioError::Unauthorized { .. }
            | RevioError::Upstream { status: 405 | 501 }
            | RevioError::Page { status: 404 },
        ) if operation == Operation::Payment => Err(RevioError::NotFound),
        // The account's calls are no better documented, and its files come from a storage, whose errors are pages: all the rest goes on.
        Err(RevioError::Upstream { status: 405 | 501 } | RevioError::Page { .. })
            if matches!(
                operation,
                Operation::Balance | Operation::NewStatement | Operation::Statement | Operation::File
            ) =>
        {
            Err(RevioError::NotFound)
        }
        answer => answer,
    }
}

/// Revio's own words are JSON, and its files are none of the web's. Anything else was said on the way: a page, a line of a proxy's, or nothing.
fn is_anothers_word(operation: Operation, status: StatusCode, body: &[u8]) -> bool {
    match (operation, body.trim_ascii_start().first()) {
        (Operation::File, first) => first == Some(&b'<'),
        // That it is done may be said without a word.
        (Operation::Execution | Operation::Cancellation, None) => !status.is_success(),
        (_, first) => !matches!(first, Some(b'{' | b'[')),
    }
}

/// Whether the beginning of an answer says that money may have been moved by the call.
fn is_taken_by(operation: Operation, status: StatusCode, body: &[u8]) -> bool {
    operation == Operation::Execution && status.is_success() && !is_anothers_word(operation, status, body)
}

/// Of these statuses it would be believed what it says; the others are nobody's "no" whoever says them.
fn may_be_revios_word(status: StatusCode) -> bool {
    status.is_success()
        || matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY
        )
}

/// What a success carries, never more than `bytes_max`.
pub(super) async fn read(
    operation: Operation,
    mut response: Response,
    bytes_max: usize,
    now: DateTime,
) -> Result<Vec<u8>> {
    let status = response.status();
    let retry_after = RetryAfter::of(response.headers()).map(|asked| asked.wait(now));
    let mut body = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // The call had its effect, whatever else was to be said of it: it must not be taken for one that nobody has answered.
            Err(error) if is_taken_by(operation, status, &body) => return Err(RevioError::Taken(error.without_url())),
            Err(error) => return Err(transport(error)),
        };
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(RevioError::Unreadable("the answer is too large".into()));
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        status if is_anothers_word(operation, status, &body) && may_be_revios_word(status) => {
            Err(RevioError::Page { status: status.as_u16() })
        }
        status if status.is_success() => Ok(body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RevioError::Unauthorized { status: status.as_u16() }),
        // What is to be made cannot be missing: there is no way to Revio.
        StatusCode::NOT_FOUND if matches!(operation, Operation::NewPurchase | Operation::NewPayout) => {
            Err(RevioError::Upstream { status: status.as_u16() })
        }
        StatusCode::NOT_FOUND => Err(RevioError::NotFound),
        StatusCode::TOO_MANY_REQUESTS => Err(RevioError::RateLimited { retry_after }),
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(RevioError::Rejected { status: status.as_u16(), codes: Codes::of(&body) })
        }
        status => Err(RevioError::Upstream { status: status.as_u16() }),
    }
}

/// Something on the way may have answered with another object, of another customer.
pub(super) fn expect_id(answered: Uuid, asked: Uuid) -> Result<()> {
    if answered == asked { Ok(()) } else { Err(RevioError::Unreadable("another object than was asked for".into())) }
}

/// What was just made has one.
pub(super) fn expect_named(id: Uuid) -> Result<()> {
    if id.is_nil() { Err(RevioError::Unreadable("it was made without an id".into())) } else { Ok(()) }
}

/// It is for whom it was to be made; where it does not say for whom, its id is believed.
pub(super) fn expect_reference(answered: &str, asked: Uuid) -> Result<()> {
    if answered.is_empty() || answered.eq_ignore_ascii_case(&asked.to_string()) {
        return Ok(());
    }
    Err(RevioError::Unreadable("another object than was to be made".into()))
}

/// A payer is asked for what we asked for, as far as it says for what.
pub(super) fn expect_sum(bill: Option<&objects::Bill>, asked: Amount) -> Result<()> {
    if bill.is_some_and(|bill| bill.is_another_sum(asked)) {
        Err(RevioError::Unreadable("it asks for another sum than was to be asked for".into()))
    } else {
        Ok(())
    }
}
