//! SQL of what the words of a search may mean, for `history::prepare`. The words of all rows are in `search_terms`, each once, but
//! for those with digits: numbers are looked for as they are. Which rows have a word is in `transaction_words` (migration 0017).

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

type Sql = QueryBuilder<Postgres>;

/// For each word of the text those of the rows that it may mean, the rarest first: the word itself and, of the last, those
/// that begin with it; where there are none, the most similar ones. A word that nothing is like stays, and finds nothing. In
/// one customer's rows only words of these count: what others wrote neither takes the place of a word nor shows that it is there.
/// With it how many lines the rarest has, counted up to `counted_max`.
pub(super) async fn meant(
    db: &mut PgConnection,
    text: &str,
    user_id: Option<Uuid>,
    counted_max: i64,
) -> sqlx::Result<Vec<(Vec<String>, i64)>> {
    let mut sql = Sql::new(
        "with asked as (
             select word collate \"C\" as word, position, position = count(*) over () and length(word) > 2 as is_beginning
               from unnest(search_words(",
    );
    sql.push_bind(text.to_owned()).push(
        ")) with ordinality as w (word, position))
         select words.words, (select count(*) from (
                    select from transaction_words o where o.word = any (words.words)",
    );
    push_whose(&mut sql, user_id);
    sql.push(" limit ").push_bind(counted_max);
    sql.push(
        ") counted) as uses
           from asked
          cross join lateral (select array(
              select t.word from search_terms t
               where t.word >= asked.word
                 and t.word <= asked.word || case when asked.is_beginning then chr(1114111) else '' end",
    );
    push_known(&mut sql, user_id);
    sql.push(
        " order by t.word <> asked.word, length(t.word), t.word limit 24) as words) meant
          cross join lateral (select array(
              select t.word from search_terms t
               where cardinality(meant.words) = 0 and asked.word !~ '[0-9]' and length(asked.word) > 2
                 and t.word % asked.word",
    );
    push_known(&mut sql, user_id);
    sql.push(
        " order by similarity(t.word, asked.word) desc, t.word limit 8) as words) alike
          cross join lateral (select case when cardinality(meant.words) > 0 then meant.words
                                          when cardinality(alike.words) > 0 then alike.words
                                          else array[asked.word] end as words) words
          order by uses, length(asked.word) desc, asked.position",
    );
    sql.build_query_as().persistent(false).fetch_all(db).await
}

fn push_whose(sql: &mut Sql, user_id: Option<Uuid>) {
    if let Some(user_id) = user_id {
        sql.push(" and o.user_id = ").push_bind(user_id);
    }
}

/// Only terms that the customer's own rows have; every term is of somebody's.
fn push_known(sql: &mut Sql, user_id: Option<Uuid>) {
    if user_id.is_some() {
        sql.push(" and exists (select from transaction_words o where o.word = t.word");
        push_whose(sql, user_id);
        sql.push(")");
    }
}
