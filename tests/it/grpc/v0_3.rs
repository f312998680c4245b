//! gRPC of v0.3.

use super::{V0_3, V1, encoded, events, last_state, sent};
use crate::reading::{answer, message, message_to, state, text_of};
use crate::world::World;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::operation::Operation;
use pilothouse_a2a::pb;
use serde_json::{Value, json};

#[test]
fn a_v0_3_client_sends_and_reads() {
    let world = World::start();
    let reply = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/SendMessage"),
        Operation::SendMessage,
        &message("say hello"),
    );
    let task = &reply["task"];
    assert_eq!((state(task), answer(task).as_str()), ("COMPLETED", "hello"));
    let again = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/GetTask"),
        Operation::GetTask,
        &json!({"id": task["id"]}),
    );
    assert_eq!(again["id"], task["id"]);
}

#[test]
fn a_v0_3_client_streams_and_subscribes() {
    let world = World::start();
    let body = encoded(Dialect::V0_3, Operation::SendStreamingMessage, &message("say hello"));
    let answer = world.grpc(&format!("{V0_3}/SendStreamingMessage"), &[], body);
    let streamed = events(Dialect::V0_3, answer);
    assert_eq!(last_state(&streamed), "COMPLETED");

    let id = world.begin_waiting("cue go; say hello", "go");
    let body = encoded(Dialect::V0_3, Operation::SubscribeToTask, &json!({"id": id}));
    let mut answer = world.grpc(&format!("{V0_3}/TaskSubscription"), &[], body);
    let first = pb::decode_event(Dialect::V0_3, &answer.next().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(first).unwrap()["task"]["id"], json!(id));
    world.cue("go");
    assert_eq!(last_state(&events(Dialect::V0_3, answer)), "COMPLETED");
}

#[test]
fn a_v0_3_client_cancels() {
    let world = World::start();
    let id = world.begin_waiting("cue never", "never");
    let task = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/CancelTask"),
        Operation::CancelTask,
        &json!({"id": id}),
    );
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn a_v0_3_client_hears_of_a_task_that_is_not_there() {
    let world = World::start();
    let body = encoded(Dialect::V0_3, Operation::GetTask, &json!({"id": "none"}));
    let status = world.grpc_status(&format!("{V0_3}/GetTask"), &[], body);
    assert_eq!(status.code, 5, "{status:?}");
}

#[test]
fn a_v0_3_client_keeps_push_notification_configs() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let call = |method: &str, operation, params| {
        world.grpc_reply(Dialect::V0_3, &format!("{V0_3}/{method}"), operation, &params)
    };
    let config = json!({"taskId": id, "id": "mine", "url": "http://127.0.0.1:1/hook"});
    call("CreateTaskPushNotificationConfig", Operation::CreateTaskPushNotificationConfig, config);
    let named = json!({"taskId": id, "id": "mine"});
    let found = call(
        "GetTaskPushNotificationConfig",
        Operation::GetTaskPushNotificationConfig,
        named.clone(),
    );
    assert_eq!(text_of(&found, "url"), "http://127.0.0.1:1/hook");
    let list = call(
        "ListTaskPushNotificationConfig",
        Operation::ListTaskPushNotificationConfigs,
        json!({"taskId": id}),
    );
    assert_eq!(list["configs"].as_array().unwrap().len(), 1);
    call("DeleteTaskPushNotificationConfig", Operation::DeleteTaskPushNotificationConfig, named);
}

#[test]
fn both_services_share_one_connection_and_one_store() {
    let world = World::start();
    let message = world.grpc_message(&format!("{V1}/SendMessage"), sent("ask which?"));
    let reply = pb::decode_reply(Dialect::V1_0, Operation::SendMessage, &message).unwrap();
    let json = Dialect::V1_0.encode_reply(Operation::SendMessage, &reply, None);
    let asked: Value = serde_json::from_str(&json).unwrap();
    let params = message_to(text_of(&asked["task"], "id"), "say green");
    let done = world.grpc_reply(
        Dialect::V0_3,
        &format!("{V0_3}/SendMessage"),
        Operation::SendMessage,
        &params,
    );
    assert_eq!(answer(&done["task"]), "green");
}
