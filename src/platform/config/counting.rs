//! How Redis is asked by the rate limits. No variable sets it, for no operator needs another: tests do.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Counting {
    /// What every key begins with; processes that share it count together.
    pub prefix: String,
    /// A limiter that answers later than this is worse than none.
    pub answer: Duration,
    /// The first connection takes longer than an answer; only the call that asks whether Redis is back waits for it.
    pub connection: Duration,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            prefix: "octoco:limit".to_owned(),
            answer: Duration::from_millis(20),
            connection: Duration::from_millis(50),
        }
    }
}
