//! SQL that only deposits need; that of their rows is in `transactions`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::money::restrictions;

pub(super) struct Obstacles {
    /// The key made a row before.
    pub(super) is_repeated: bool,
    pub(super) is_closed: bool,
    /// The customer's deposits that wait for their payment, oldest first. What a person looks at, or has closed, is none of them.
    pub(super) open: Vec<Uuid>,
}

/// Whose, and by which key.
pub(super) struct Wish {
    pub(super) user_id: Uuid,
    pub(super) key: String,
}

/// In the order of the wishes; of open deposits up to `open_max`.
pub(super) async fn obstacles(db: impl PgExecutor<'_>, wishes: &[Wish], open_max: i64) -> sqlx::Result<Vec<Obstacles>> {
    let openings = sqlx::query_as!(
        Obstacles,
        r#"select exists (select from transactions t where t.user_id = w.user_id and t.idempotency_key = w.key) as "is_repeated!",
                  exists (select from restrictions r where r.user_id = w.user_id and r.kind = $3
                            and r.state in ('initiated', 'in_force', 'lifting')) as "is_closed!",
                  array(select t.id from transactions t
                         where t.user_id = w.user_id and t.kind = 'deposit' and t.state in ('initiated', 'awaiting_payment')
                           and t.due_at is not null
                         order by t.id limit $4) as "open!"
             from unnest($1::uuid[], $2::text[]) with ordinality as w (user_id, key, place)
            order by w.place"#,
        &wishes.iter().map(|wish| wish.user_id).collect::<Vec<Uuid>>(),
        &wishes.iter().map(|wish| wish.key.clone()).collect::<Vec<String>>(),
        restrictions::Kind::Closure.name(),
        open_max,
    );
    openings.fetch_all(db).await
}
