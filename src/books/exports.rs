//! Exports: the rows of a list as one file, CSV, JSON Lines or a workbook, by the same filters in the same order.
//!
//! ```text
//! GET  …/transactions/export                             stream: page ─> writing ─> the client
//! POST …/exports ─> a link ─> GET …/exports/download     the same stream, for a browser that has no token
//! ```
//!
//! Nothing of an export is stored. The trailer at the end holds rows, sums and a hash; a file without one is not whole, and
//! is continued by an export of its own (`after`). `docs/exports.md` is for those who read the files.

mod columns;
mod link;
mod more;
pub mod routes;
mod store;
mod stream;
mod trailer;
mod writing;
mod xlsx;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::app::App;
use crate::books::history::sort::Column;
use crate::books::history::{Filter, FilterQuery, Keyset, Scope, Sort, StaffQuery};
use crate::identity::audit::Actor;
use crate::identity::quota::Quota;
use crate::identity::staff::Admitted;
use crate::money::transactions;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::{http::Fields, text_enum::text_enum, zone::Zone};

text_enum! {
    /// The name is also the end of a file's name.
    pub enum Format {
        Csv = "csv",
        Jsonl = "jsonl",
        Xlsx = "xlsx",
    }
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// What is wanted, in the words of the query string; a link carries it.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Request {
    #[param(inline)]
    format: Format,
    /// The id of the last row of an export that broke off: this one goes on after it. Only where `sort` names nothing but
    /// `created_at`, `amount` and `kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Uuid>,
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterQuery,
    #[serde(flatten)]
    #[param(ignore)]
    staff: StaffQuery,
}

/// Who wants it, over whose rows.
struct Requester {
    admitted: Admitted,
    actor: Actor,
    scope: Scope,
    /// Whether the file says whose a row is by name.
    sees_names: bool,
    quota: Quota,
}

/// A request as it is believed.
struct Wanted {
    format: Format,
    filter: Filter,
    sort: Sort,
    /// Whose clock the file shows.
    zone: Zone,
    /// The row that the export goes on after, and where it stands in the order.
    after: Option<(Uuid, Keyset)>,
    /// For the audit log: what was checked to be a word of ours, a number, a time or an id, and never what somebody typed.
    entry: Value,
}

impl Wanted {
    /// Everything that is wrong is refused here, before a link is given out or a byte is sent.
    async fn read(app: &App, scope: Scope, request: &Request) -> Result<Self> {
        let mut fields = Fields::default();
        let (mut filter, sort) = request.filter.parse(&mut fields, scope);
        // Read before, and told there if it is wrong.
        let zone = request.filter.zone(&mut Fields::default());
        let staff = &request.staff;
        match scope {
            Scope::All => staff.narrow(&mut fields, &mut filter),
            Scope::Own(_) => {
                for (field, value) in [("user_id", &staff.user_id), ("held", &staff.held)] {
                    if value.is_some() {
                        fields.wrong(field, Wrong::Unknown);
                    }
                }
            }
        }
        fields.finish()?;
        let (format, after) = (request.format, request.after);
        let by = FilterQuery { q: None, reference: None, metadata: None, ..request.filter.clone() };
        let sought = [&request.filter.q, &request.filter.reference, &request.filter.metadata];
        let searched = sought.iter().any(|it| it.is_some());
        let mut entry =
            json!({"format": format, "filter": {"by": by, "staff": staff, "searched": searched}, "after": after});
        if let Some(customer) = filter.user_id.filter(|_| scope == Scope::All) {
            // As in each call of staff that concerns one.
            entry["customer"] = json!(customer);
        }
        let after = match after {
            Some(id) => Some((id, place_of(app, scope, &sort, id).await?)),
            None => None,
        };
        Ok(Self { format, filter, sort, zone, after, entry })
    }
}

/// Where the row stands in the order: an export may go on after it, unless rows may have changed their places since.
async fn place_of(app: &App, scope: Scope, sort: &Sort, id: Uuid) -> Result<Keyset> {
    let stays = |column: Column| matches!(column, Column::CreatedAt | Column::Amount | Column::Kind);
    if !sort.columns.iter().all(|(column, _)| stays(*column)) {
        let message =
            "works only where sort names nothing but created_at, amount and kind: rows change their places otherwise";
        return Err(Error::field("after", message));
    }
    let found = match scope {
        Scope::Own(user_id) => transactions::find_own(app, user_id, id).await,
        Scope::All => transactions::find(app, id).await,
    };
    match found {
        Ok(row) => Ok(sort.keyset(&row)),
        Err(Error::NotFound(_)) => Err(Error::field("after", "is not the id of a transaction of this list")),
        Err(other) => Err(other),
    }
}
