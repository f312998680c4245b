//! Where methods and paths of the HTTP+JSON binding lead.

use pilothouse_a2a::operation::{OPERATIONS, Operation};
use pilothouse_a2a::rest::{NoRoute, RESERVED, Route, route};
use pilothouse_a2a::{Dialect, rest::Form};
use proptest::prelude::*;

fn to(operation: Operation, dialect: Dialect) -> Route {
    Route { operation, dialect, tenant: None, id: None, config_id: None }
}

fn task(operation: Operation, dialect: Dialect) -> Route {
    Route { id: Some("t-1".into()), ..to(operation, dialect) }
}

#[test]
fn every_operation_is_reached_by_its_name_in_the_table() {
    for names in &OPERATIONS {
        let path = names.route.replace("{id}", "t-1").replace("{configId}", "c-1");
        let found = route(names.verb, &path).unwrap();
        assert_eq!((found.operation, found.dialect), (names.operation, Dialect::V1_0));
        assert_eq!(found.id.is_some(), path.contains("t-1"), "{path}");
        assert_eq!(found.config_id.is_some(), path.contains("c-1"), "{path}");
    }
}

#[test]
fn every_operation_is_reached_below_a_tenant() {
    for names in &OPERATIONS {
        let path = names.route.replace("{id}", "t-1").replace("{configId}", "c-1");
        let found = route(names.verb, &format!("/acme{path}")).unwrap();
        assert_eq!(found.operation, names.operation);
        assert_eq!(found.tenant.as_deref(), Some("acme"));
    }
}

#[test]
fn every_operation_of_v0_3_is_below_v1() {
    for names in &OPERATIONS {
        let path = names.route.replace("{id}", "t-1").replace("{configId}", "c-1");
        let path = path.replace("extendedAgentCard", "card");
        let found = route(names.verb, &format!("/v1{path}")).unwrap();
        assert_eq!((found.operation, found.dialect), (names.operation, Dialect::V0_3));
        assert_eq!(found.form(), Form::Proto);
    }
}

#[test]
fn a_task_is_watched_by_get_and_by_post() {
    for method in ["GET", "POST"] {
        let found = route(method, "/tasks/t-1:subscribe");
        assert_eq!(found, Ok(task(Operation::SubscribeToTask, Dialect::V1_0)));
        let found = route(method, "/v1/tasks/t-1:subscribe");
        assert_eq!(found, Ok(task(Operation::SubscribeToTask, Dialect::V0_3)));
    }
}

#[test]
fn a_colon_may_come_escaped() {
    let found = route("POST", "/tasks/t-1%3Acancel");
    assert_eq!(found, Ok(task(Operation::CancelTask, Dialect::V1_0)));
    let found = route("POST", "/v1/message%3asend");
    assert_eq!(found, Ok(to(Operation::SendMessage, Dialect::V0_3)));
}

#[test]
fn an_escaped_slash_does_not_split_and_is_decoded_once() {
    assert_eq!(route("GET", "/tasks/a%2Fb").unwrap().id.unwrap(), "a/b");
    assert_eq!(route("GET", "/tasks/a%252Fb").unwrap().id.unwrap(), "a%2Fb");
    assert_eq!(route("GET", "/%C3%A9/tasks").unwrap().tenant.unwrap(), "\u{e9}");
}

#[test]
fn a_colon_that_is_no_verb_belongs_to_the_id() {
    assert_eq!(route("GET", "/tasks/urn:task:7").unwrap().id.unwrap(), "urn:task:7");
    let found = route("POST", "/tasks/urn:task:7:cancel").unwrap();
    assert_eq!(found.id.unwrap(), "urn:task:7");
}

#[test]
fn one_slash_at_the_end_is_tolerated() {
    let found = route("GET", "/tasks/");
    assert_eq!(found, Ok(to(Operation::ListTasks, Dialect::V1_0)));
    let found = route("GET", "/v1/tasks/t-1/");
    assert_eq!(found, Ok(task(Operation::GetTask, Dialect::V0_3)));
    assert_eq!(route("GET", "/tasks//"), Err(NoRoute::NotFound));
}

#[test]
fn the_wrong_method_hears_the_right_ones() {
    let others = |methods: &[&'static str]| Err(NoRoute::Method(methods.to_vec()));
    assert_eq!(route("GET", "/message:send"), others(&["POST"]));
    assert_eq!(route("PUT", "/tasks/t-1"), others(&["GET"]));
    assert_eq!(route("DELETE", "/tasks/t-1:subscribe"), others(&["GET", "POST"]));
    let configs = "/v1/tasks/t-1/pushNotificationConfigs";
    assert_eq!(route("PUT", configs), others(&["GET", "POST"]));
    assert_eq!(route("PUT", &format!("{configs}/c-1")), others(&["GET", "DELETE"]));
}

#[test]
fn what_is_reserved_is_never_a_tenant() {
    for name in RESERVED {
        assert_eq!(
            route("POST", &format!("/{name}/message:send")).ok().and_then(|found| found.tenant),
            None
        );
    }
    assert_eq!(route("GET", "/agents/tasks"), Err(NoRoute::NotFound));
    assert_eq!(route("POST", "/message:send/message:send"), Err(NoRoute::NotFound));
}

#[test]
fn paths_that_name_nothing_are_not_found() {
    for path in [
        "",
        "/",
        "//",
        "tasks",
        "/task",
        "/tasks/a/b",
        "/tasks//pushNotificationConfigs",
        "/tasks/:cancel",
        "/a/b/tasks",
        "/v1",
        "/v1/acme/tasks",
        "/v1/extendedAgentCard",
        "/card",
        "/tasks/%",
        "/tasks/%zz",
        "/tasks/%ff",
        "/tasks/%4",
        "/message:shout",
    ] {
        assert_eq!(route("GET", path), Err(NoRoute::NotFound), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_method_and_path_lead_somewhere_or_nowhere(
        method in "\\PC{0,8}",
        path in "(/?(v1|tasks|message:send|pushNotificationConfigs|[\\PC]{0,6}|%[0-9a-f]{0,2}|:cancel)){0,6}",
        query in "([a-zA-Z_]{0,14}=?[\\PC]{0,6}&?){0,4}",
        body in "\\PC{0,40}",
    ) {
        for method in [method.as_str(), "GET", "POST", "DELETE"] {
            if let Ok(found) = route(method, &path) {
                let _ = found.decode(Some(&query), body.as_bytes());
            }
        }
    }

    #[test]
    fn any_id_survives_its_path(id in "\\PC{1,12}") {
        let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = route("DELETE", &format!("/tasks/{escaped}/pushNotificationConfigs/{escaped}")).unwrap();
        prop_assert_eq!(found.id.as_deref(), Some(id.as_str()));
        prop_assert_eq!(found.config_id.as_deref(), Some(id.as_str()));
    }
}
