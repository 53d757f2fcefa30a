//! SQL of `search_terms` and `transaction_words`.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

const BEGINNINGS_MAX: i64 = 24;
const ALIKE_MAX: i64 = 8;

type Sql = QueryBuilder<Postgres>;

/// As the words of the rows were cut.
pub(in crate::books::history) async fn cut(db: &mut PgConnection, text: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(r#"select search_words($1) as "words!""#, text).fetch_one(db).await
}

pub(super) async fn beginning_with(
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
pub(super) async fn alike(db: &mut PgConnection, word: &str, user_id: Option<Uuid>) -> sqlx::Result<Vec<String>> {
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

pub(super) async fn uses(
    db: &mut PgConnection,
    words: &[String],
    user_id: Option<Uuid>,
    counted_max: i64,
) -> sqlx::Result<i64> {
    let mut sql = Sql::new("select count(*) from (select from transaction_words o where o.word = any (");
    sql.push_bind(words).push(")");
    if let Some(user_id) = user_id {
        sql.push(" and o.user_id = ").push_bind(user_id);
    }
    sql.push(" limit ").push_bind(counted_max).push(") counted");
    sql.build_query_scalar().persistent(false).fetch_one(db).await
}
