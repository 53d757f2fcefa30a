//! `/docs`: the OpenAPI document as a page to read and to try calls from. Everything that it loads is in the binary.

pub mod routes;
