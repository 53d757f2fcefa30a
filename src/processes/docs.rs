//! `/docs`: the OpenAPI document as a page to read and to try calls from. Everything that it loads is in the binary, so it
//! works without internet, and its Content-Security-Policy lets it load nothing from elsewhere.

pub mod routes;
