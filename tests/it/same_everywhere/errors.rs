//! Errors are the same over every binding, each by its own codes.

use super::{assert_all_equal, results, told_by, told_everywhere};
use crate::bindings::BINDINGS;
use crate::processes::await_some;
use crate::reading::{message, message_to, text_of};
use crate::world::{PATIENCE, World};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::operation::Operation;
use serde_json::json;

#[test]
fn a_task_that_is_not_there_is_told_alike() {
    let world = World::start();
    let id = uuid::Uuid::now_v7().to_string();
    for operation in [Operation::GetTask, Operation::CancelTask, Operation::SubscribeToTask] {
        assert_eq!(told_everywhere(&world, operation, &json!({"id": id})), ErrorKind::TaskNotFound);
    }
    let params = message_to(&id, "say x");
    for operation in [Operation::SendMessage, Operation::SendStreamingMessage] {
        assert_eq!(told_everywhere(&world, operation, &params), ErrorKind::TaskNotFound);
    }
}

#[test]
fn a_task_that_is_over_is_told_alike() {
    let world = World::start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let params = json!({"id": id});
    assert_eq!(
        told_everywhere(&world, Operation::CancelTask, &params),
        ErrorKind::TaskNotCancelable
    );
    assert_eq!(
        told_everywhere(&world, Operation::SubscribeToTask, &params),
        ErrorKind::UnsupportedOperation
    );
    assert_eq!(
        told_everywhere(&world, Operation::SendMessage, &message_to(&id, "say y")),
        ErrorKind::UnsupportedOperation
    );
}

#[test]
fn a_wrong_field_is_told_alike() {
    let world = World::start();
    assert_eq!(
        told_everywhere(&world, Operation::ListTasks, &json!({"pageToken": "junk"})),
        ErrorKind::InvalidParams
    );
    let id = text_of(&world.say("ask which?"), "id").to_owned();
    let mut params = message_to(&id, "say x");
    params["message"]["contextId"] = json!("another");
    assert_eq!(told_everywhere(&world, Operation::SendMessage, &params), ErrorKind::InvalidParams);
}

#[test]
fn a_missing_token_is_told_alike() {
    let world = World::start();
    let kind =
        told_by(Operation::ListTasks, &json!({}), |binding| world.through(binding).token("wrong"));
    assert_eq!(kind, ErrorKind::Unauthenticated);
}

#[test]
fn a_version_that_is_not_served_is_told_alike() {
    let world = World::start();
    let kind = told_by(Operation::ListTasks, &json!({}), |binding| {
        world.through(binding).header("a2a-version", "99.0")
    });
    assert_eq!(kind, ErrorKind::VersionNotSupported);
}

#[test]
fn the_patch_of_a_version_does_not_matter() {
    let world = World::start();
    for binding in BINDINGS {
        let door = world.through(binding).header("a2a-version", "1.0.7");
        door.well(Operation::ListTasks, &json!({}));
    }
}

#[test]
fn too_many_messages_are_told_alike() {
    let world = World::describe().config(json!({"limits": {"rate": 1}})).start();
    world.say("say x");
    let told: Vec<ErrorKind> = BINDINGS
        .iter()
        .map(|binding| {
            let door = world.through(*binding);
            door.error(Operation::SendMessage, &message("say x")).kind
        })
        .collect();
    assert_eq!(told, [ErrorKind::ResourceExhausted; 3]);
}

#[test]
fn a_body_that_is_too_large_is_told_alike() {
    let world = World::describe().config(json!({"limits": {"body": "16KiB"}})).start();
    let params = message(&"x".repeat(20_000));
    assert_eq!(told_everywhere(&world, Operation::SendMessage, &params), ErrorKind::TooLarge);
}

#[test]
fn push_notifications_that_are_off_are_told_alike() {
    let world = World::describe().config(json!({"push": {"enabled": false}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    let params = json!({"taskId": id, "url": "https://hooks.example.com/"});
    assert_eq!(
        told_everywhere(&world, Operation::CreateTaskPushNotificationConfig, &params),
        ErrorKind::PushNotificationNotSupported
    );
}

#[test]
fn push_notification_configs_are_kept_alike() {
    let world = World::describe().config(json!({"push": {"allow": ["127.0.0.1"]}})).start();
    let id = text_of(&world.say("say x"), "id").to_owned();
    for binding in BINDINGS {
        let door = world.through(binding);
        let config = json!({"taskId": id, "id": "mine", "url": "http://127.0.0.1:1/hook"});
        door.well(Operation::CreateTaskPushNotificationConfig, &config);
        let named = json!({"taskId": id, "id": "mine"});
        let found = results(&world, Operation::GetTaskPushNotificationConfig, &named);
        assert_all_equal(&found);
        let lists =
            results(&world, Operation::ListTaskPushNotificationConfigs, &json!({"taskId": id}));
        assert_all_equal(&lists);
        assert_eq!(lists[0]["configs"][0], found[0]);
        // Removing is idempotent (specification 3.1.10).
        for _ in 0..2 {
            door.well(Operation::DeleteTaskPushNotificationConfig, &named);
        }
        assert_eq!(
            told_everywhere(&world, Operation::GetTaskPushNotificationConfig, &named),
            ErrorKind::TaskNotFound
        );
    }
}

#[test]
fn who_waits_for_a_turn_is_told_alike_that_the_server_stops() {
    let mut world = World::describe().config(json!({"processes": {"max": 1}})).start();
    world.begin_waiting("cue never", "never");
    let waiting: Vec<_> = BINDINGS
        .iter()
        .map(|binding| {
            let door = world.through(*binding);
            std::thread::spawn(move || door.error(Operation::SendMessage, &message("say x")).kind)
        })
        .collect();
    await_some("three that wait", world.patience(), || {
        let params = json!({"status": "TASK_STATE_SUBMITTED"});
        (world.rpc("ListTasks", params)["totalSize"] == 3).then_some(())
    });
    world.sigterm();
    for told in waiting {
        assert_eq!(told.join().unwrap(), ErrorKind::Unavailable);
    }
    world.ended();
}

#[test]
fn every_visit_is_audited_by_its_operation() {
    let world = World::start();
    for binding in BINDINGS {
        world.through(binding).well(Operation::SendMessage, &message("say x"));
    }
    await_some("three entries", PATIENCE, || {
        let log = std::fs::read_to_string(world.path("audit.jsonl")).ok()?;
        let entries = log.lines().filter(|line| line.contains("SendMessage"));
        (entries.count() == 3).then_some(())
    });
}
