//! What the words of a search may mean: SQL for `history::prepare`. The words of all rows are in `search_terms`, each once, but
//! for those with digits or fewer than three letters: these are looked for as they are. Which rows have a word is in `transaction_words` (migration 0017).
//!
//! In one customer's rows only words of these count: what others wrote neither takes the place of a word nor shows that it is
//! there.

use std::cmp::Reverse;

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

const BEGINNINGS_MAX: i64 = 24;
const ALIKE_MAX: i64 = 8;
/// Shorter ones are no beginning of anything, and like everything.
const TERM_CHARS_MIN: usize = 3;

type Sql = QueryBuilder<Postgres>;

/// As the words of the rows were cut.
pub(super) async fn cut(db: &mut PgConnection, text: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(r#"select search_words($1) as "words!""#, text).fetch_one(db).await
}

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
        let mut words = beginning_with(db, word, is_beginning, user_id).await?;
        if words.is_empty() && length >= TERM_CHARS_MIN && !word.contains(|c: char| c.is_ascii_digit()) {
            words = alike(db, word, user_id).await?;
        }
        if words.is_empty() {
            words.push(word.clone());
        }
        let uses = uses(db, &words, user_id, counted_max).await?;
        meant.push((Reverse(length), words, uses));
    }
    meant.sort_by_key(|(length, _, uses)| (*uses, *length));
    Ok(meant.into_iter().map(|(_, words, uses)| (words, uses)).collect())
}

async fn beginning_with(
    db: &mut PgConnection,
    word: &str,
    is_beginning: bool,
    user_id: Option<Uuid>,
) -> sqlx::Result<Vec<String>> {
    let mut sql = terms(user_id);
    let last = if is_beginning { format!("{word}{}", char::MAX) } else { word.to_owned() };
    sql.push(" where t.word between ").push_bind(word).push(" and ").push_bind(last);
    sql.push(" order by t.word <> ").push_bind(word).push(", length(t.word), t.word limit ").push_bind(BEGINNINGS_MAX);
    sql.build_query_scalar().persistent(false).fetch_all(db).await
}

/// By trigrams, the most similar first.
async fn alike(db: &mut PgConnection, word: &str, user_id: Option<Uuid>) -> sqlx::Result<Vec<String>> {
    let mut sql = terms(user_id);
    sql.push(" where t.word % ").push_bind(word).push(" order by similarity(t.word, ").push_bind(word);
    sql.push(") desc, t.word limit ").push_bind(ALIKE_MAX);
    sql.build_query_scalar().persistent(false).fetch_all(db).await
}

/// The terms, of one customer those that his rows have. The limit keeps PostgreSQL from reading all his words instead.
fn terms(user_id: Option<Uuid>) -> Sql {
    let mut sql = Sql::new("select t.word from search_terms t");
    if let Some(user_id) = user_id {
        sql.push(" cross join lateral (select from transaction_words o where o.user_id = ").push_bind(user_id);
        sql.push(" and o.word = t.word limit 1) known");
    }
    sql
}

async fn uses(db: &mut PgConnection, words: &[String], user_id: Option<Uuid>, counted_max: i64) -> sqlx::Result<i64> {
    let mut sql = Sql::new("select count(*) from (select from transaction_words o where o.word = any (");
    sql.push_bind(words).push(")");
    if let Some(user_id) = user_id {
        sql.push(" and o.user_id = ").push_bind(user_id);
    }
    sql.push(" limit ").push_bind(counted_max).push(") counted");
    sql.build_query_scalar().persistent(false).fetch_one(db).await
}
