//! What staff see that belongs to no noun: the audit log. A noun's own routes for staff are with the noun.

pub mod routes;
