//! Every route of the document with every role: what each of them may is decided in one place and true at each of them. A route
//! without a decision, or one that the document does not name, fails here.

use std::collections::{BTreeMap, BTreeSet};

use octoco::platform::permissions::{ALL, MEANINGS, Role, needs_step_up};
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, Customer, TestApp};

/// Who may call a route.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    Public,
    /// Whoever holds the refresh cookie.
    Cookie,
    /// Revio, by its signature.
    Signature,
    /// Anybody who is signed in, over own things only.
    User,
    Staff(&'static [Role]),
}

struct Route {
    method: Method,
    path: String,
    decision: Decision,
}

/// Routes of the router that are no part of the contract.
const UNDOCUMENTED: [&str; 5] = ["/openapi.json", "/docs", "/docs/{file}", "/problems/{code}", "/reasons/{code}"];

fn decide(path: &str, operation: &Value) -> Result<Decision, String> {
    if path.starts_with("/v1/webhooks/") {
        return Ok(Decision::Signature);
    }
    let Some(schemes) = operation["security"].as_array() else { return Err("no `security` is declared".to_owned()) };
    if schemes.iter().any(|scheme| scheme.as_object().is_some_and(serde_json::Map::is_empty)) {
        return Ok(Decision::Public);
    }
    let [scheme] = schemes.as_slice() else { return Err("more than one way in".to_owned()) };
    if scheme.get("refresh_cookie").is_some() {
        return Ok(Decision::Cookie);
    }
    match scheme["bearer"].as_array().map(Vec::as_slice) {
        Some([]) if path.starts_with("/v1/admin/") => Err("a route for staff without a permission".to_owned()),
        Some([]) => Ok(Decision::User),
        Some([permission]) => match ALL.iter().find(|(name, _)| permission == name) {
            Some((_, roles)) => Ok(Decision::Staff(roles)),
            None => Err(format!("{permission} is no permission")),
        },
        _ => Err("an unknown scheme".to_owned()),
    }
}

fn routes() -> Vec<Route> {
    let document = serde_json::to_value(router::openapi()).expect("the document is plain data");
    let paths = document["paths"].as_object().expect("an object").clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an object").clone();
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    });
    let mut undecided = Vec::new();
    let mut routes = Vec::new();
    for (path, method, operation) in operations {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        match decide(&path, &operation) {
            Ok(decision) => routes.push(Route { method, path, decision }),
            Err(reason) => undecided.push(format!("{method} {path}: {reason}")),
        }
    }
    assert!(undecided.is_empty(), "{}", undecided.join("\n"));
    assert!(!routes.is_empty());
    routes
}

#[test]
fn every_route_says_who_may_call_it() {
    let staff = routes().iter().filter(|route| matches!(route.decision, Decision::Staff(_))).count();
    assert!(staff > 0, "the document has routes for staff");
    for (path, operation, wrong) in [
        ("/v1/x", json!({}), "no `security`"),
        ("/v1/admin/x", json!({"security": [{"bearer": []}]}), "without a permission"),
        ("/v1/admin/x", json!({"security": [{"bearer": ["x.y"]}]}), "no permission"),
    ] {
        assert!(decide(path, &operation).expect_err("a planted fault").contains(wrong));
    }
}

/// A route that is added to the router past the document would be seen by nobody.
#[test]
fn no_route_is_added_past_the_document() {
    let source = include_str!("../../src/processes/router.rs");
    let added: BTreeSet<&str> = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(added, BTreeSet::from(UNDOCUMENTED));
}

/// Something of the customer's for each route that names one.
async fn objects(t: &TestApp, customer: &Customer) -> BTreeMap<&'static str, String> {
    let deposit = t.deposit(customer, 5_000, "matrix").await;
    t.pay(&t.deposit(customer, 5_000, "matrix-paid").await).await;
    let withdrawal = t.withdraw(customer, 5_000, "matrix-withdrawal").await;
    BTreeMap::from([
        ("/v1/transactions/{id}", deposit.id().to_string()),
        ("/v1/deposits/{id}/cancel", deposit.id().to_string()),
        ("/v1/withdrawals/{id}/cancel", withdrawal.id().to_string()),
        ("/v1/bank-accounts/{id}", customer.bank_account_id.to_string()),
        ("/v1/auth/sessions/{id}", customer.session_id.to_string()),
    ])
}

async fn call(t: &TestApp, route: &Route, path: &str, token: Option<&str>) -> Answer {
    let body = (route.method == Method::POST || route.method == Method::PATCH).then(|| json!({}));
    t.send(route.method.clone(), path, token, &[], body).await
}

#[sqlx::test]
async fn each_route_answers_each_role_as_decided(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut cells = 0;
    for route in routes() {
        let path = route.path.replace("{id}", "01900000-0000-7000-8000-000000000000");
        let name = format!("{} {}", route.method, route.path);
        let without = call(&t, &route, &path, None).await;
        let open = matches!(route.decision, Decision::Public | Decision::Signature);
        let expected = if open { None } else { Some("unauthenticated") };
        let told = (without.status == StatusCode::UNAUTHORIZED).then(|| without.code());
        match route.decision {
            // Without a signature Revio is nobody.
            Decision::Signature => assert_eq!(told, Some("bad_signature"), "{name}"),
            _ if route.path == "/v1/auth/login" => assert_ne!(told, Some("unauthenticated"), "{name}"),
            _ => assert_eq!(told, expected, "{name} by nobody: {}", without.body),
        }
        for role in Role::ALL.iter().copied() {
            // A new person for each cell: some routes end the session that they are called with.
            let person = t.staff(role).await;
            let answer = call(&t, &route, &path, Some(&t.token(&person))).await;
            let refused = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED);
            let expected = match &route.decision {
                Decision::Public | Decision::User => false,
                // An access token is no cookie and no signature.
                Decision::Cookie | Decision::Signature => true,
                Decision::Staff(roles) => !roles.contains(&role),
            };
            assert_eq!(refused, expected, "{name} by {}: {} {}", role.name(), answer.status, answer.body);
            assert!(!answer.status.is_server_error(), "{name} by {}: {}", role.name(), answer.body);
            cells += 1;
        }
    }
    assert!(cells >= 4 * 20, "{cells} cells");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn what_is_somebody_elses_is_not_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut routes: Vec<Route> =
        routes().into_iter().filter(|route| route.decision == Decision::User && route.path.contains('{')).collect();
    // The session goes last: with it goes the token.
    routes.sort_by_key(|route| (route.method == Method::DELETE, route.path.contains("sessions")));
    let owner = t.customer().await;
    let objects = objects(&t, &owner).await;
    for route in routes {
        let name = format!("{} {}", route.method, route.path);
        let id = objects.get(route.path.as_str()).unwrap_or_else(|| panic!("{name}: make one in `objects`"));
        let path = route.path.replace("{id}", id);
        for role in Role::ALL.iter().copied() {
            let other = t.staff(role).await;
            let answer = call(&t, &route, &path, Some(&other.token)).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"), "{name} by another");
        }
        let own = call(&t, &route, &path, Some(&owner.token)).await;
        assert!(own.status.is_success(), "{name} by its owner: {} {}", own.status, own.body);
    }
    t.drive().await;
    t.finish().await;
}

/// `docs/permissions.md`, as the code has it.
fn permissions_page() -> String {
    let mut page = String::from(
        "# Who may do what\n\nRoles, permissions and the routes that need them: made from [`src/platform/permissions.rs`](../src/platform/permissions.rs) \
         and the OpenAPI document,\nand held to both by a test (`routes::the_page_of_permissions_is_the_one_of_the_code`). Customers have none of \
         these: what they may do is decided by\nownership. *step-up*: acts need a password or a code given in the last 5 minutes. A 403 for want of one \
         has the reason `missing_permission`.\n\n\
         | permission | for | support | finance | admin | step-up | routes |\n|---|---|---|---|---|---|---|\n",
    );
    let routes = routes_of_permissions();
    for (name, roles) in ALL {
        let meaning = MEANINGS.iter().find(|(known, _)| known == name).map_or("", |(_, meaning)| meaning.trim());
        let has = |role: Role| if roles.contains(&role) { "yes" } else { "" };
        let [support, finance, admin] = [Role::Support, Role::Finance, Role::Admin].map(has);
        let step_up = if needs_step_up(name) { "yes" } else { "" };
        let routes = routes.get(*name).map_or(String::new(), |routes| routes.join("<br>"));
        page.push_str(&format!("| `{name}` | {meaning} | {support} | {finance} | {admin} | {step_up} | {routes} |\n"));
    }
    page
}

fn routes_of_permissions() -> BTreeMap<String, Vec<String>> {
    let document = router::openapi();
    let mut routes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("an object") {
        for (method, operation) in item.as_object().expect("an object") {
            if let Some(permission) = operation["security"][0]["bearer"][0].as_str() {
                let route = format!("`{} {path}`", method.to_uppercase());
                routes.entry(permission.to_owned()).or_default().push(route);
            }
        }
    }
    routes
}

#[test]
fn the_page_of_permissions_is_the_one_of_the_code() {
    let (page, there) = (permissions_page(), include_str!("../../docs/permissions.md"));
    if page != there {
        let right = concat!(env!("CARGO_TARGET_TMPDIR"), "/permissions.md");
        std::fs::write(right, page).expect("it can be written");
        panic!("docs/permissions.md is not what the code says; the right page is {right}");
    }
}

#[test]
fn names_are_unique_and_no_permission_is_a_customers() {
    let names: BTreeSet<_> = ALL.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), ALL.len());
    for (name, roles) in ALL {
        assert!(!roles.contains(&Role::User) && roles.contains(&Role::Admin), "{name}");
    }
}
