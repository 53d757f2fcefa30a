//! `GET /v1/admin/suspense-items`, `GET /v1/admin/suspense-items/{id}`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Filter, Item, ItemKind};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::permissions::AdjustmentsRead;
use crate::platform::text_enum::text_enum;
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

text_enum! {
    #[schema(as = SuspenseItemState)]
    pub enum ItemState {
        /// Some of it is left.
        Open = "open",
        Cleared = "cleared",
    }
}

page_query! {
    struct ItemQuery {
        #[param(value_type = Option<ItemState>)]
        state: Option<String>,
        #[param(example = "ZAR")]
        currency: Option<String>,
    }
}

#[derive(Serialize, ToSchema)]
struct SuspenseItemView {
    id: Uuid,
    kind: ItemKind,
    state: ItemState,
    /// Minor units (cents).
    #[schema(example = 89_900)]
    amount: i64,
    /// What nobody got yet.
    #[schema(example = 89_900)]
    left: i64,
    #[schema(example = "ZAR")]
    currency: &'static str,
    /// The deposit that it was meant for, or the row that moved it here; null where none is known.
    transaction_id: Option<Uuid>,
    user_id: Option<Uuid>,
    /// Revio's object that brought it.
    provider_id: Option<Uuid>,
    opened_at: DateTime,
}

impl From<Item> for SuspenseItemView {
    fn from(item: Item) -> Self {
        Self {
            id: item.id,
            kind: item.kind,
            state: if item.left() > 0 { ItemState::Open } else { ItemState::Cleared },
            amount: item.amount.minor(),
            left: item.left(),
            currency: item.amount.currency().code(),
            transaction_id: item.transaction_id,
            user_id: item.user_id,
            provider_id: item.provider_id,
            opened_at: item.opened_at,
        }
    }
}

/// Money that is nobody's yet
///
/// Item by item, newest first. Needs `adjustments.read`. A correction that credits a customer from `suspense` names the item that it clears.
#[utoipa::path(get, path = "/v1/admin/suspense-items", tag = "staff", security(("bearer" = ["adjustments.read"])),
    params(ItemQuery),
    responses((status = 200, body = Page<SuspenseItemView>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<AdjustmentsRead>,
    Query(query): Query<ItemQuery>,
) -> Result<Json<Page<SuspenseItemView>>> {
    let mut fields = Fields::of_query();
    let state: Option<ItemState> = fields.word("state", query.state.as_deref());
    let currency = query.currency.as_deref().and_then(|code| fields.take(app.currency(code)));
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let open = state.map(|state| state == ItemState::Open);
    let filter = Filter { open, currency: currency.map(|currency| currency.code().to_owned()), before, limit };
    let items = super::list(&app, &filter).await?;
    Ok(Json(Page::by_id(items.into_iter().map(SuspenseItemView::from).collect(), limit, |item: &SuspenseItemView| {
        item.id
    })))
}

/// One item
///
/// Needs `adjustments.read`.
#[utoipa::path(get, path = "/v1/admin/suspense-items/{id}", tag = "staff", security(("bearer" = ["adjustments.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = SuspenseItemView), Problems))]
async fn show(
    State(app): State<App>,
    _staff: Staff<AdjustmentsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<SuspenseItemView>> {
    Ok(Json(super::find(&app, id).await?.into()))
}
