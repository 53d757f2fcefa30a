//! Counting a call against a rate limit, and telling the caller where it stands, on every answer to a call that was counted, of the
//! bucket that is closest to empty: `RateLimit-Policy` and `RateLimit` as draft-ietf-httpapi-ratelimit-headers has them, and the three
//! fields of its older versions, `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::rate_limits::{Answer, BucketLevel, Class, Counter};

/// In the extensions of every request: what its answer will tell.
#[derive(Debug, Clone, Default)]
pub struct Quota(Arc<Mutex<Option<BucketLevel>>>);

impl Quota {
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub async fn count(&self, app: &App, class: Class, who: &str) -> Result<()> {
        let (name, standing, counter, result) = match app.limiter.check(class, who).await {
            Answer::Unlimited => ("unlimited", None, None, Ok(())),
            Answer::Allowed(standing, counter) => ("allowed", Some(standing), Some(counter), Ok(())),
            Answer::Refused { retry_after_secs, standing, counter } => {
                ("refused", Some(standing), Some(counter), Err(Error::TooMany { retry_after_secs }))
            }
        };
        let by = counter.map_or("nobody", Counter::name);
        app.metrics.rate_limit_answers.with_label_values(&[class.name(), name, by]).inc();
        if let Some(standing) = standing {
            self.note(standing);
        }
        result
    }

    /// A call of somebody who is known: to read is cheap.
    pub async fn count_call(&self, app: &App, method: &Method, who: &str) -> Result<()> {
        let classes: &[Class] = if method.is_safe() { &[Class::Read] } else { &[Class::Money, Class::MoneyLong] };
        for class in classes {
            self.count(app, *class, who).await?;
        }
        Ok(())
    }

    /// The same for what is left out, and not refused, where there is too much of it.
    pub async fn has_room(&self, app: &App, class: Class, who: &str) -> Result<bool> {
        match self.count(app, class, who).await {
            Ok(()) => Ok(true),
            Err(Error::TooMany { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        let Some(standing) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        for (name, value) in [
            ("ratelimit-limit", standing.limit),
            ("ratelimit-remaining", standing.remaining),
            ("ratelimit-reset", standing.reset_secs),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        let BucketLevel { class, limit, remaining, reset_secs, window_secs } = standing;
        for (header, fields) in [
            ("ratelimit-policy", format!("q={limit};w={window_secs}")),
            ("ratelimit", format!("r={remaining};t={reset_secs}")),
        ] {
            let value = HeaderValue::from_str(&format!("\"{}\";{fields}", class.name()));
            headers.insert(HeaderName::from_static(header), value.expect("a name of ours and numbers"));
        }
    }

    fn note(&self, standing: BucketLevel) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|noted| standing.remaining <= noted.remaining) {
            *noted = Some(standing);
        }
    }
}
