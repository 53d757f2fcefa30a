//! What the words of a search may mean, for `history::prepare`. The words of all rows are in `search_terms`, each once, but
//! for those with digits or fewer than three letters: these are looked for as they are. Which rows have a word is in
//! `transaction_words` (migration 0017).
//!
//! In one customer's rows only words of these count: what others wrote neither takes the place of a word nor shows that it is
//! there.

mod store;

use std::cmp::Reverse;

use sqlx::PgConnection;
use uuid::Uuid;

pub(super) use store::cut;

/// Shorter ones are no beginning of anything, and like everything.
const TERM_CHARS_MIN: usize = 3;

/// For each word those of the rows that it may mean, the rarest first: the word itself and, of the last, those that begin with
/// it; where there are none, the most similar ones. A word that nothing is like stays, and finds nothing. With each how many
/// lines it has, counted up to `counted_max`.
pub(super) async fn meant(
    db: &mut PgConnection,
    asked: &[String],
    user_id: Option<Uuid>,
    counted_max: i64,
) -> sqlx::Result<Vec<(Vec<String>, i64)>> {
    let mut meant = Vec::with_capacity(asked.len());
    for (place, word) in asked.iter().enumerate() {
        let length = word.chars().count();
        let is_beginning = place + 1 == asked.len() && length >= TERM_CHARS_MIN;
        let mut words = store::beginning_with(db, word, is_beginning, user_id).await?;
        if words.is_empty() && length >= TERM_CHARS_MIN && !word.contains(|c: char| c.is_ascii_digit()) {
            words = store::alike(db, word, user_id).await?;
        }
        if words.is_empty() {
            words.push(word.clone());
        }
        let uses = store::uses(db, &words, user_id, counted_max).await?;
        meant.push((Reverse(length), words, uses));
    }
    meant.sort_by_key(|(length, _, uses)| (*uses, *length));
    Ok(meant.into_iter().map(|(_, words, uses)| (words, uses)).collect())
}
