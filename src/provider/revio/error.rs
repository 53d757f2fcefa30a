//! What may become of a call to Revio, and whose fault each is: the surroundings' (the row waits for as long as it takes), or the row's.

use std::time::Duration;

use chrono::TimeDelta;

use super::codes::Codes;
use crate::platform::error::Error;

/// When Revio asks us to slow down: what it asks for, else this, and never longer than the maximum. One call an hour makes no limit worse,
/// whatever it counts by; and a mistake in one header keeps everybody's money waiting for no longer.
const RATE_LIMITED_WAIT: TimeDelta = TimeDelta::seconds(30);
const RATE_LIMITED_WAIT_MAX: TimeDelta = TimeDelta::hours(1);

#[derive(Debug, thiserror::Error)]
pub enum RevioError {
    /// The call was not made: Revio does not answer at the moment, and is left alone for so long.
    #[error("Revio is taken to be away; not asked for {} s", .0.num_seconds())]
    Paused(TimeDelta),
    /// The call was not made: others come first, or Revio has asked us to slow down.
    #[error("no call to Revio is left for it; not asked for {} ms", .0.num_milliseconds())]
    NoPlace(TimeDelta),
    /// Revio understood and refused; nothing was done.
    #[error("Revio refused the call ({status}: {codes})")]
    Rejected { status: u16, codes: Codes },
    /// Our key is wrong: nothing will be done until an operator looks.
    #[error("Revio does not accept our key ({status})")]
    Unauthorized { status: u16 },
    #[error("Revio does not know the object")]
    NotFound,
    #[error("Revio asks us to slow down")]
    RateLimited { retry_after: Option<Duration> },
    /// 5xx, or a status that has no meaning here: the call may have had its effect.
    #[error("Revio answered {status}")]
    Upstream { status: u16 },
    /// A page for people, whatever its status says: not Revio has answered, but what stands before it (an ingress without a service, a wall to
    /// sign in at), or there is no such address. Revio's own words are JSON, and it may not have heard of the call.
    #[error("something before Revio has answered with a page ({status})")]
    Page { status: u16 },
    /// 2xx with a body that is not the object: the call had its effect.
    #[error("Revio's answer could not be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The same of the call that moves money, where its answer breaks off: it is never repeated then.
    #[error("Revio has taken the execution, and its answer broke off")]
    Taken(#[source] reqwest::Error),
    #[error("Revio could not be reached")]
    Transport(#[source] reqwest::Error),
    /// One of the above for so long, for this object, while Revio served others: nothing gets better by waiting.
    #[error("Revio has failed for this object alone for {} min", .0.num_minutes())]
    Alone(TimeDelta, #[source] Box<RevioError>),
}

impl From<RevioError> for Error {
    fn from(error: RevioError) -> Self {
        match &error {
            RevioError::Paused(wait) => Self::provider_paused(*wait),
            RevioError::RateLimited { retry_after } => Self::provider_paused(slow_down(*retry_after)),
            // It has waited for a moment in its step. Not until there is a place: too many would come back then. Each waits longer each time.
            RevioError::NoPlace(_) => Self::unavailable(error),
            RevioError::Transport { .. }
            | RevioError::Unauthorized { .. }
            | RevioError::Upstream { .. }
            | RevioError::Page { .. } => Self::unavailable(error),
            RevioError::Rejected { .. }
            | RevioError::NotFound
            | RevioError::Unreadable(_)
            | RevioError::Taken(_)
            | RevioError::Alone(..) => Self::Unusable(error.into()),
        }
    }
}

/// Whether Revio does not let our key do it.
pub fn is_unauthorized(error: &Error) -> bool {
    matches!(error, Error::Unavailable(cause) if matches!(cause.downcast_ref(), Some(RevioError::Unauthorized { .. })))
}

impl RevioError {
    /// Whether it is certain that Revio heard nothing of the call. No status is: a key or a limit that is refused says so of the call's way,
    /// and what stands on it may refuse the answer as well (`docs/provider.md`, statuses).
    pub fn was_never_made(&self) -> bool {
        match self {
            Self::Paused(_) | Self::NoPlace(_) => true,
            // No connection: nothing of the call is written before there is one.
            Self::Transport(error) => error.is_connect(),
            Self::Alone(_, error) => error.was_never_made(),
            Self::Rejected { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound
            | Self::RateLimited { .. }
            | Self::Upstream { .. }
            | Self::Page { .. }
            | Self::Unreadable(_)
            | Self::Taken(_) => false,
        }
    }

    /// Whether nothing of the call was or will be done, by Revio's word: one that names no reason is none, and a conflict says the contrary,
    /// that something is under way.
    pub fn is_plain_refusal(&self) -> bool {
        matches!(self, Self::Rejected { status: 400, .. }) && self.names_a_reason()
    }

    /// Whether Revio says why it refuses the call.
    fn names_a_reason(&self) -> bool {
        matches!(self, Self::Rejected { codes, .. } if codes.name_a_reason)
    }

    /// Whether Revio, or what stands before it, has answered this call, in whatever words.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Transport(_) | Self::Paused(_) | Self::NoPlace(_) | Self::RateLimited { .. })
    }

    /// Whether it was for everybody, as far as one call can tell: of the surroundings, and neither ours nor a limit.
    pub(super) fn may_be_an_outage(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Unauthorized { .. } | Self::Upstream { .. } | Self::Page { .. })
    }
}

/// For how long Revio is left alone after a 429.
pub(super) fn slow_down(retry_after: Option<Duration>) -> TimeDelta {
    let wait = retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
    wait.unwrap_or(RATE_LIMITED_WAIT).min(RATE_LIMITED_WAIT_MAX)
}
