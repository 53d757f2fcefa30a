//! What the OpenAPI document says of failures: the same for every route, so said once.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

/// The statuses that any route may answer, each with a problem document.
pub struct Problems;

const ANY_ROUTE: [(&str, &str); 9] = [
    ("400", "`invalid_request`, `invalid_json`: the fields are named in `errors`"),
    ("401", "`unauthenticated`, `invalid_credentials`"),
    ("404", "`not_found`: it does not exist or is not yours"),
    ("405", "`method_not_allowed`"),
    ("413", "`payload_too_large`"),
    ("415", "`unsupported_media_type`"),
    ("429", "`rate_limited`: see `Retry-After`"),
    ("500", "`internal`: our mistake; it was recorded"),
    ("503", "`unavailable`, `provider_unavailable`: try again with the same key after `Retry-After`"),
];

impl utoipa::IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = |description: &str| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(
                ResponseBuilder::new().description(description).content("application/problem+json", content).build(),
            )
        };
        ANY_ROUTE.iter().map(|(status, description)| ((*status).to_owned(), problem(description))).collect()
    }
}
