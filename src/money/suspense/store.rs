//! SQL of `suspense_items` and `suspense_clearings`.

use ledger::{Amount, Currency};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{ItemKind, NewItem};
use crate::money::subject::Subject;
use crate::platform::clock::DateTime;

/// Money in suspense, and how much of it was given to somebody since.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: Uuid,
    pub kind: ItemKind,
    pub transaction_id: Option<Uuid>,
    /// Whose deposit it was meant to be.
    pub user_id: Option<Uuid>,
    pub provider_id: Option<Uuid>,
    pub amount: Amount,
    pub taken_minor: i64,
    pub opened_at: DateTime,
    pub booked_at: Option<DateTime>,
}

impl Item {
    pub fn left(&self) -> i64 {
        self.amount.minor().saturating_sub(self.taken_minor)
    }
}

struct Row {
    id: Uuid,
    kind: ItemKind,
    transaction_id: Option<Uuid>,
    user_id: Option<Uuid>,
    provider_id: Option<Uuid>,
    amount_minor: i64,
    currency: String,
    taken_minor: i64,
    opened_at: DateTime,
    booked_at: Option<DateTime>,
}

impl TryFrom<Row> for Item {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let unreadable = || sqlx::Error::Decode(format!("suspense_items {} cannot be read", row.id).into());
        let currency = Currency::parse(&row.currency).ok_or_else(unreadable)?;
        Ok(Self {
            id: row.id,
            kind: row.kind,
            transaction_id: row.transaction_id,
            user_id: row.user_id,
            provider_id: row.provider_id,
            amount: Amount::new(row.amount_minor, currency).map_err(|_| unreadable())?,
            taken_minor: row.taken_minor,
            opened_at: row.opened_at,
            booked_at: row.booked_at,
        })
    }
}

/// The columns of a [`Row`], once.
macro_rules! items {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select i.id as "id!", i.kind as "kind!: ItemKind", i.transaction_id, t.user_id as "user_id?", i.provider_id,
                      i.amount_minor as "amount_minor!", i.currency as "currency!", i.taken_minor as "taken_minor!",
                      i.opened_at as "opened_at!", i.booked_at
                 from suspense_items i left join transactions t on t.id = i.transaction_id "# + $after
            $(, $argument)*
        )
    };
}

/// Which items; `None` = any.
#[derive(Debug, Default)]
pub struct Filter {
    /// `true`: of which something is left.
    pub open: Option<bool>,
    pub currency: Option<String>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// Nothing where the item is there.
pub(super) async fn insert(db: impl PgExecutor<'_>, new: &NewItem, now: DateTime) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into suspense_items (id, kind, transaction_id, provider_id, amount_minor, currency, opened_at)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing",
        new.id,
        new.kind.name(),
        new.transaction_id,
        new.provider_id,
        new.amount.minor(),
        new.amount.currency().code(),
        now
    );
    insert.execute(db).await.map(drop)
}

pub(super) async fn set_booked(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<()> {
    let done = sqlx::query!("update suspense_items set booked_at = $2 where id = $1 and booked_at is null", id, now);
    done.execute(db).await.map(drop)
}

/// False when the row has one already that was not given up.
pub(super) async fn insert_clearing(
    db: impl PgExecutor<'_>,
    item: Uuid,
    by: Subject,
    minor: i64,
    now: DateTime,
) -> sqlx::Result<bool> {
    let (transaction_id, journal_id) = by.columns();
    let insert = sqlx::query!(
        "insert into suspense_clearings (item_id, transaction_id, journal_id, amount_minor, created_at)
         select $1, $2, $3, $4, $5
          where not exists (select from suspense_clearings where forgotten_id = coalesce($2::uuid, $3::uuid) and given_up_at is null)
         on conflict do nothing",
        item,
        transaction_id,
        journal_id,
        minor,
        now
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// Whether Revio is being asked about the row, or something of it that went back is not booked yet. What is itself something that went back waits
/// for the older ones of its kind, and for nothing here; nor does the row for itself.
pub(super) async fn is_being_followed(db: impl PgExecutor<'_>, row: Uuid, by: Option<Uuid>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select $2::uuid is distinct from $1 and not exists (select from transactions where id = $2 and parent_id = $1)
              and (exists (select from transactions where id = $1 and due_at is not null and state <> 'completed')
                   or exists (select from transactions where parent_id = $1 and kind in ('refund', 'chargeback')
                                 and state = 'initiated' and held_code is null)) as "is!""#,
        row,
        by
    )
    .fetch_one(db)
    .await
}

/// What rows have taken by the ledger's word, of which we know nothing. How many.
pub(super) async fn insert_forgotten(
    db: impl PgExecutor<'_>,
    item: Uuid,
    taken: &[(Uuid, i64, DateTime)],
) -> sqlx::Result<i64> {
    let (mut rows, mut minors, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (row, minor, time) in taken {
        rows.push(*row);
        minors.push(*minor);
        times.push(*time);
    }
    sqlx::query_scalar!(
        r#"with forgotten as (
               insert into suspense_clearings (item_id, forgotten_id, amount_minor, created_at)
               select $1, t.id, t.minor, t.at from unnest($2::uuid[], $3::bigint[], $4::timestamptz[]) as t (id, minor, at)
                where not exists (select from suspense_clearings c
                                   where c.item_id = $1 and t.id in (c.transaction_id, c.journal_id, c.forgotten_id))
               on conflict do nothing returning amount_minor),
           taken as (
               update suspense_items set taken_minor = greatest(0, least(amount_minor,
                      taken_minor + (select sum(amount_minor) from forgotten)))
                where id = $1 and exists (select from forgotten))
           select count(*) as "count!" from forgotten"#,
        item,
        &rows,
        &minors,
        &times
    )
    .fetch_one(db)
    .await
}

/// False when there is not so much.
pub(super) async fn take(db: impl PgExecutor<'_>, item: Uuid, minor: i64) -> sqlx::Result<bool> {
    let take = sqlx::query!(
        "update suspense_items set taken_minor = taken_minor + $2
          where id = $1 and booked_at is not null and taken_minor + $2 between 0 and amount_minor",
        item,
        minor
    );
    Ok(take.execute(db).await?.rows_affected() == 1)
}

/// How an item of which no row is known stands with its payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// Nothing went back.
    Unpaid,
    Returned,
    /// It went back and came again.
    PaidAgain,
}

pub(super) async fn payer(db: impl PgExecutor<'_>, item: Uuid) -> sqlx::Result<Payer> {
    let cleared = sqlx::query!(
        r#"select count(*) as "ways!" from suspense_clearings where item_id = $1 and provider_id is not null"#,
        item
    );
    Ok(match cleared.fetch_one(db).await?.ways {
        0 => Payer::Unpaid,
        1 => Payer::Returned,
        _ => Payer::PaidAgain,
    })
}

/// False when somebody took some of it.
pub(super) async fn return_all(db: impl PgExecutor<'_>, item: Uuid, now: DateTime) -> sqlx::Result<bool> {
    let returned = sqlx::query!(
        "with taken as (update suspense_items set taken_minor = amount_minor
                         where id = $1 and booked_at is not null and taken_minor = 0 returning id, provider_id, amount_minor)
         insert into suspense_clearings (item_id, provider_id, amount_minor, created_at)
         select id, provider_id, amount_minor, $2 from taken",
        item,
        now
    );
    Ok(returned.execute(db).await?.rows_affected() == 1)
}

/// Nothing where it was noted before.
pub(super) async fn note_paid_again(db: impl PgExecutor<'_>, item: Uuid, now: DateTime) -> sqlx::Result<()> {
    let paid = sqlx::query!(
        "insert into suspense_clearings (item_id, provider_id, amount_minor, created_at)
         select id, provider_id, -amount_minor, $2 from suspense_items where id = $1 on conflict do nothing",
        item,
        now
    );
    paid.execute(db).await.map(drop)
}

/// All of it, unless somebody has taken it since it was open again.
pub(super) async fn open_again(tx: &mut PgConnection, item: Uuid) -> sqlx::Result<()> {
    sqlx::query!("select from suspense_items where id = $1 for update", item).execute(&mut *tx).await?;
    let opened = sqlx::query!(
        "update suspense_items set taken_minor = 0
          where id = $1 and taken_minor = amount_minor
            and not exists (select from suspense_clearings where item_id = $1 and provider_id is null and given_up_at is null)",
        item
    );
    opened.execute(tx).await.map(drop)
}

pub(super) async fn delete_unbooked(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from suspense_items where id = $1 and booked_at is null", id).execute(db).await.map(drop)
}

/// Its line stays: what a month that is over had of the item is told by it. False, and nothing counts, when what was put back is not there
/// any more.
pub(super) async fn give_up(tx: &mut PgConnection, by: Subject, now: DateTime) -> sqlx::Result<bool> {
    let (transaction_id, journal_id) = by.columns();
    let gone = sqlx::query!(
        "update suspense_clearings set given_up_at = $3
          where (transaction_id = $1 or journal_id = $2 or forgotten_id = coalesce($1::uuid, $2::uuid)) and given_up_at is null returning item_id, amount_minor",
        transaction_id,
        journal_id,
        now
    );
    // Two, where what the ledger told of it and what it claimed itself were written at once.
    for gone in gone.fetch_all(&mut *tx).await? {
        if !take(&mut *tx, gone.item_id, gone.amount_minor.saturating_neg()).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Item>> {
    items!("where i.id = $1", id).fetch_optional(db).await?.map(Item::try_from).transpose()
}

pub(super) async fn find_by_provider(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Item>> {
    items!("where i.provider_id = any($1)", ids).fetch_all(db).await?.into_iter().map(Item::try_from).collect()
}

pub(super) async fn some_open(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Item>> {
    let rows =
        items!("where i.booked_at is not null and i.taken_minor < i.amount_minor order by random() limit $1", limit);
    rows.fetch_all(db).await?.into_iter().map(Item::try_from).collect()
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Item>> {
    let rows = items!(
        "where i.booked_at is not null and ($1::boolean is null or (i.taken_minor < i.amount_minor) = $1) and ($2::text is null or i.currency = $2)
           and ($3::uuid is null or i.id < $3) order by i.id desc limit $4",
        filter.open,
        filter.currency,
        filter.before,
        filter.limit
    );
    rows.fetch_all(db).await?.into_iter().map(Item::try_from).collect()
}
