//! The OpenAPI document: whole in itself, the same as what is routed, and (`answers`) true of what is answered.

mod answers;
mod checker;

use crate::reading::text_of;
use crate::world::World;
use checker::{DOCUMENT, Document, Operation, document};
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::error::ERRORS;
use pilothouse_a2a::operation::OPERATIONS;
use pilothouse_a2a::rest::route;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const VERBS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

// === the document itself ===

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let Document(document) = document(&World::start());
    let mut used = BTreeSet::new();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                used.extend(members.get("$ref").and_then(Value::as_str));
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    let mut known = BTreeSet::new();
    for kind in ["schemas", "parameters", "responses"] {
        let names = document["components"][kind].as_object().unwrap().keys();
        known.extend(names.map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(used, known.iter().map(String::as_str).collect());
}

#[test]
fn operations_have_names_of_their_own_and_parameters_for_their_paths() {
    let document = document(&World::start());
    let mut ids = BTreeSet::new();
    for Operation { verb, path, body } in document.operations() {
        assert!(ids.insert(text_of(body, "operationId").to_owned()), "{verb} {path}");
        assert!(!text_of(body, "summary").is_empty());
        let named = body["parameters"].as_array().into_iter().flatten();
        let mut named: Vec<_> = named
            .map(|parameter| document.at(parameter))
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| text_of(parameter, "name"))
            .collect();
        let places = path.split('{').skip(1);
        let mut places: Vec<_> = places.filter_map(|rest| rest.split('}').next()).collect();
        named.sort_unstable();
        places.sort_unstable();
        assert_eq!(named, places, "{verb} {path}");
    }
}

#[test]
fn every_refusal_has_the_schema_of_errors() {
    let document = document(&World::start());
    for Operation { verb, path, body } in document.operations() {
        let schema = match path {
            "/" => "JsonRpcErrorResponse",
            _ if path.starts_with("/v1/") => "LegacyErrorResponse",
            _ => "ErrorResponse",
        };
        let refused = body["responses"].as_object().unwrap().iter();
        for (status, response) in refused.filter(|(status, _)| status.starts_with('4')) {
            let response = document.at(response);
            assert!(!text_of(response, "description").is_empty());
            for content in response["content"].as_object().unwrap().values() {
                let expected = format!("#/components/schemas/{schema}");
                assert_eq!(text_of(&content["schema"], "$ref"), expected, "{verb} {path} {status}");
            }
        }
    }
}

#[test]
fn what_is_described_has_not_changed_unseen() {
    let document = document(&World::start());
    let lines = document.operations().into_iter().map(|operation| {
        let Operation { verb, path, body } = operation;
        format!("{verb} {path} {}", text_of(body, "operationId"))
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(lines, @r"
    POST /message:send SendMessage
    POST /message:stream SendStreamingMessage
    GET /tasks/{id} GetTask
    GET /tasks ListTasks
    POST /tasks/{id}:cancel CancelTask
    POST /tasks/{id}:subscribe SubscribeToTask
    GET /tasks/{id}:subscribe SubscribeToTaskByGet
    POST /tasks/{id}/pushNotificationConfigs CreateTaskPushNotificationConfig
    GET /tasks/{id}/pushNotificationConfigs ListTaskPushNotificationConfigs
    GET /tasks/{id}/pushNotificationConfigs/{configId} GetTaskPushNotificationConfig
    DELETE /tasks/{id}/pushNotificationConfigs/{configId} DeleteTaskPushNotificationConfig
    GET /extendedAgentCard GetExtendedAgentCard
    POST /v1/message:send SendMessageV03
    POST /v1/message:stream SendStreamingMessageV03
    GET /v1/tasks/{id} GetTaskV03
    GET /v1/tasks ListTasksV03
    POST /v1/tasks/{id}:cancel CancelTaskV03
    POST /v1/tasks/{id}:subscribe SubscribeToTaskV03
    GET /v1/tasks/{id}:subscribe SubscribeToTaskByGetV03
    POST /v1/tasks/{id}/pushNotificationConfigs CreateTaskPushNotificationConfigV03
    GET /v1/tasks/{id}/pushNotificationConfigs ListTaskPushNotificationConfigsV03
    GET /v1/tasks/{id}/pushNotificationConfigs/{configId} GetTaskPushNotificationConfigV03
    DELETE /v1/tasks/{id}/pushNotificationConfigs/{configId} DeleteTaskPushNotificationConfigV03
    GET /v1/card GetExtendedAgentCardV03
    POST / CallJsonRpc
    GET /.well-known/agent-card.json GetAgentCard
    GET /.well-known/agent.json GetLegacyAgentCard
    GET /.well-known/jwks.json GetSigningKeys
    GET /health GetHealth
    GET /ready GetReadiness
    GET /metrics GetMetrics
    GET /api/v1/sessions ListSessions
    POST /api/v1/live Live
    GET /api/v1/system GetSystem
    GET /api/v1/asks ListAsks
    GET /api/v1/asks/{id} GetAsk
    POST /api/v1/asks/{id} AnswerAsk
    POST /api/v1/links ShowLink
    POST /api/v1/links/answer AnswerByLink
    GET /api/v1/grants ListGrants
    DELETE /api/v1/grants/{id} RevokeGrant
    GET /api/v1/sessions/{id} GetSession
    GET /api/v1/usage GetUsage
    POST /api/v1/reload Reload
    POST /api/v1/erase Erase
    POST /api/v1/drain Drain
    GET /api/v1/tokens ListTokens
    POST /api/v1/tokens CreateToken
    DELETE /api/v1/tokens/{id} RevokeToken
    GET /api/v1/sessions/{id}/files ListSessionFiles
    GET /api/v1/sessions/{id}/files/{path} GetSessionFile
    GET /api/v1/sessions/{id}/archive GetSessionArchive
    GET /api/v1/sessions/{id}/diff GetSessionDiff
    POST /api/v1/sessions/{id}/push PushSession
    GET /api/v1/tasks/{id}/results/{name} GetTaskResult
    GET /api/v1/tasks/{id}/events ListTaskEvents
    GET /api/v1/tasks/{id}/events/{seq} GetTaskEvent
    GET /api/v1/tasks/{id}/export ExportTask
    GET /api/v1/tasks/{id}/trace GetTaskTrace
    GET /api/v1/tasks/{id}/artifacts/{artifact} GetArtifact
    GET /api/v1/tasks/{id}/answer GetTaskAnswer
    ");
}

#[test]
fn a_bearer_token_is_described_where_one_is_asked_for() {
    let with = document(&World::start()).0;
    assert_eq!(with["security"], json!([{"bearer": []}]));
    assert_eq!(with["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(with["paths"]["/health"]["get"]["security"], json!([]));
    let without = World::describe().args(["--no-auth"]).start();
    let Document(without) = document(&without);
    assert!(without.get("security").is_none());
    assert!(without["components"].get("securitySchemes").is_none());
    assert!(without["paths"]["/tasks"]["get"]["responses"].get("401").is_none());
}

#[test]
fn limits_are_those_of_the_configuration() {
    let config = json!({"limits": {"body": "3MiB", "rate": 7}, "push": {"per_task": 5}});
    let Document(document) = document(&World::describe().config(config).start());
    let said = |value: &Value, words: &str| text_of(value, "description").contains(words);
    assert!(said(&document["info"], "3MiB"));
    assert!(said(&document["paths"]["/message:send"]["post"], "7 messages a minute"));
    let configs = &document["paths"]["/tasks/{id}/pushNotificationConfigs"]["post"];
    assert!(said(configs, "5 configs"));
}

// === the page for people ===

#[test]
fn the_page_of_the_doors_has_every_operation_and_every_error() {
    let page = include_str!("../../docs/api.md");
    for names in &OPERATIONS {
        let heading = format!("\n# {}", names.method);
        assert!(page.contains(&heading), "{}", names.method);
    }
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("| -32"));
    let rows: Vec<_> = rows.map(ToOwned::to_owned).collect();
    let known = ERRORS.iter().map(|codes| {
        let (reason, http, rpc, grpc) = (codes.reason, codes.http, codes.json_rpc, codes.grpc);
        format!("| `{reason}` | {http} | {rpc} | {grpc} |")
    });
    assert_eq!(rows, known.collect::<Vec<_>>());
}

// === how it is served ===

#[test]
fn the_document_is_public_and_not_sent_twice() {
    let world = World::start();
    let first = world.get(DOCUMENT, &[]);
    assert_eq!((first.status, first.header("content-type")), (200, Some("application/json")));
    assert!(first.header("cache-control").unwrap().contains("max-age"));
    let tag = first.header("etag").unwrap();
    let second = world.get(DOCUMENT, &[("If-None-Match", tag)]);
    assert_eq!((second.status, second.body.len()), (304, 0));
    assert_eq!(world.get(DOCUMENT, &[("Host", "elsewhere.test")]).status, 403);
}

#[test]
fn the_servers_are_the_address_that_was_used_and_those_of_the_agents() {
    let world = World::start();
    let address = format!("http://{}", world.address());
    let servers = document(&world).0["servers"].clone();
    assert_eq!(servers[0]["url"], address);
    assert_eq!(servers[1]["variables"]["agent"]["enum"], json!(["fake"]));
    let below = world.get("/agents/fake/openapi.json", &[]).json();
    assert_eq!(below["servers"], json!([{"url": format!("{address}/agents/fake")}]));
    let public = json!({"server": {"public_url": "https://agents.example.com/"}});
    let public = World::describe().config(public).start();
    assert_eq!(document(&public).0["servers"][0]["url"], "https://agents.example.com");
}

// === against the routes ===

#[test]
fn every_operation_of_the_binding_is_described() {
    let document = document(&World::start());
    for names in &OPERATIONS {
        let operation = &document.0["paths"][names.route][names.verb.to_lowercase()];
        assert_eq!(operation["operationId"], names.method, "{} {}", names.verb, names.route);
    }
}

#[test]
fn what_is_described_is_routed_and_nothing_else_is() {
    let document = document(&World::start());
    let described = document.operations();
    let mut routed = 0;
    for path in described.iter().map(|operation| operation.path).collect::<BTreeSet<_>>() {
        if ["/", "/health", "/ready", "/metrics"].contains(&path)
            || path.starts_with("/api/")
            || path.starts_with("/.well-known/")
        {
            continue;
        }
        let dialect = if path.starts_with("/v1/") { Dialect::V0_3 } else { Dialect::V1_0 };
        for verb in VERBS {
            let here = described
                .iter()
                .find(|operation| operation.path == path && operation.verb == verb)
                .map(|operation| text_of(operation.body, "operationId"));
            match (route(verb, path), here) {
                (Ok(route), Some(id)) => {
                    let id = id.trim_end_matches("V03").trim_end_matches("ByGet");
                    assert_eq!(
                        (route.operation.method(), route.dialect),
                        (id, dialect),
                        "{verb} {path}"
                    );
                    routed += 1;
                }
                (Err(_), None) => {}
                (route, here) => panic!("{verb} {path}: {route:?}, described as {here:?}"),
            }
        }
    }
    assert_eq!(routed, 2 * (OPERATIONS.len() + 1));
}

#[test]
fn our_own_doors_open_as_described() {
    let world = World::start();
    let document = document(&world);
    let described = document.operations();
    let ours = described.iter().filter(|operation| {
        operation.path.starts_with("/api/")
            || operation.path.starts_with("/.well-known/")
            || ["/health", "/ready", "/metrics"].contains(&operation.path)
    });
    let paths: Vec<_> = ours.map(|operation| operation.path).collect();
    assert_eq!(paths.len(), 36);
    for path in paths {
        for verb in VERBS {
            let refused = world.ask(verb, path, &[], b"").whole().status == 405;
            let here =
                described.iter().any(|operation| operation.path == path && operation.verb == verb);
            assert_eq!(refused, !here, "{verb} {path}");
        }
    }
}
