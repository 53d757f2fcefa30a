//! The one envelope of every list, `{data, page}`, and pages of a list that is ordered by id: there the cursor is the id of the
//! last row that was answered.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Fields;
use crate::platform::error::Wrong;
use crate::platform::text_enum::text_enum;

pub const LIMIT_DEFAULT: i64 = 20;
pub const LIMIT_MAX: i64 = 100;

#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub page: Position,
}

/// Where the page stands in its list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Page)]
pub struct Position {
    /// For `cursor`; null where there is no other page.
    pub next_cursor: Option<String>,
    /// For `cursor`; null on the first page, and in lists that are only read forwards.
    pub prev_cursor: Option<String>,
    /// How many rows fit the filters, on all pages together, as of the first page; null in lists that do not count.
    pub total: Option<i64>,
    pub total_is: Option<TotalIs>,
    pub page_size: i64,
}

text_enum! {
    pub enum TotalIs {
        Exact = "exact",
        /// There are more than are counted.
        AtLeast = "at_least",
    }
}

impl<T> Page<T> {
    /// The same place in the list, each row as somebody is shown it.
    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(view).collect(), page: self.page }
    }

    /// A page of a list that is ordered by `id`, of the rows that were found when [`limit`] were asked for.
    pub fn by_id<R: Into<T>>(mut rows: Vec<R>, limit: i64, id: impl Fn(&R) -> Uuid) -> Self {
        let page_size = limit - 1;
        let size = usize::try_from(page_size).unwrap_or(0);
        let has_next = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| has_next).map(id);
        let next_cursor = last.map(|id| BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes()));
        let page = Position { next_cursor, prev_cursor: None, total: None, total_is: None, page_size };
        Self { data: rows.into_iter().map(R::into).collect(), page }
    }

    /// The first of a list that is cut after `max`: where there are as many, there may be more, and they cannot be asked for.
    pub fn first<R: Into<T>>(rows: Vec<R>, max: i64) -> Self {
        let mut page = Self::whole(rows);
        if page.page.page_size >= max {
            page.page.total_is = Some(TotalIs::AtLeast);
        }
        page
    }

    /// A list that is short enough to be answered whole.
    pub fn whole<R: Into<T>>(rows: Vec<R>) -> Self {
        let page_size = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let total_is = Some(TotalIs::Exact);
        let page = Position { next_cursor: None, prev_cursor: None, total: Some(page_size), total_is, page_size };
        Self { data: rows.into_iter().map(R::into).collect(), page }
    }
}

pub fn range(fields: &mut Fields, cursor: Option<&str>, limit: Option<i64>) -> (Option<Uuid>, i64) {
    (self::cursor(fields, cursor), self::limit(fields, limit))
}

pub fn cursor(fields: &mut Fields, cursor: Option<&str>) -> Option<Uuid> {
    let id = BASE64_URL_SAFE_NO_PAD.decode(cursor?).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    if id.is_none() {
        // Of which list, it does not say: any id is a place in each of them.
        fields.wrong("cursor", Wrong::Format("is not a cursor"));
    }
    id
}

/// How many rows to ask for: one more than the page has, which says whether there is another.
pub fn limit(fields: &mut Fields, page_size: Option<i64>) -> i64 {
    let page_size = page_size.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&page_size) {
        fields.wrong("limit", Wrong::Between(1, LIMIT_MAX));
        return LIMIT_MAX;
    }
    page_size + 1
}

/// The query of a list: what it asks for besides, then which page of it.
macro_rules! page_query {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? }) => {
        #[derive(serde::Deserialize, utoipa::IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        $(#[$meta])*
        struct $name {
            $($(#[$attribute])* $field: $type,)*
            /// `page.next_cursor` of the page before.
            cursor: Option<String>,
            #[param(minimum = 1, maximum = 100)]
            limit: Option<i64>,
        }
    };
}

pub(crate) use page_query;

#[cfg(test)]
mod tests {
    use super::*;

    /// As the document's pattern has it.
    #[test]
    fn a_cursor_is_the_bytes_of_an_id_and_nothing_else() {
        let read = |text: &str| cursor(&mut Fields::of_query(), Some(text));
        let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']);
        let last: String = alphabet.filter(|last| read(&format!("-{}{last}", "_".repeat(20))).is_some()).collect();
        assert_eq!(last, "AQgw");
        let id = |length: usize| "A".repeat(length);
        for wrong in [id(0), id(21), id(23), format!("{}==", id(22)), format!("+{}", id(21)), format!(" {}", id(22))] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
