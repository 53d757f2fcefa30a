//! The delivery log for staff: what Revio sent, what became of it, and letting it run again.

pub mod routes;
