//! Messages, tasks, events and push notification configs, and what is asked of them.

use super::schema::Side::{self, Answers, Asks};
use super::schema::{Add, With, count, flag, free, list, object, of, one_of, text, texts, time};
use pilothouse_a2a::task::TaskState;
use serde_json::{Value, json};

/// Adds the schemas.
pub(super) fn add(add: &mut Add<'_>) {
    for side in [Asks, Answers] {
        add(side.name("Part", "PartInput"), part(side));
        add(side.name("Message", "MessageInput"), message(side));
        add(
            side.name("AuthenticationInfo", "AuthenticationInfoInput"),
            object(
                side,
                "The `Authorization` header of a notification.",
                [
                    ("scheme!", text("An HTTP authentication scheme (`Bearer`).")),
                    ("credentials", text("What follows the scheme.")),
                ],
            ),
        );
    }
    requests(add);
    tasks(add);
    events(add);
}

fn metadata() -> Value {
    free("Free-form data.")
}

fn tenant() -> Value {
    text("The agent that is meant, by its name in the configuration; the default one when absent.")
}

fn history_length() -> Value {
    count("At most so many messages of the history; all when absent, no history for 0.")
}

fn part(side: Side) -> Value {
    one_of(
        side,
        "A piece of content: exactly one of `text`, `raw`, `url` and `data`.",
        [
            ("text", text("Plain text.")),
            (
                "raw",
                json!({"type": "string", "contentEncoding": "base64", "description": "The bytes of a file."}),
            ),
            ("url", text("Where the content lies.")),
            ("data", json!({"description": "Any JSON value."})),
        ],
    )
    .with("metadata", metadata())
    .with("filename", text("A name for the content as a file."))
    .with(
        "mediaType",
        text("The media type of the content (`text/plain`)."),
    )
}

fn message(side: Side) -> Value {
    let mut parts = list(side.name("Part", "PartInput"));
    parts["minItems"] = json!(1);
    object(
        side,
        "One turn of speech between client and agent.",
        [
            ("messageId!", text("Made by whoever wrote the message.")),
            ("contextId", text("The conversation, which is a session.")),
            ("taskId", text("The task that the message belongs to.")),
            ("role!", json!({"enum": ["ROLE_USER", "ROLE_AGENT"]})),
            ("parts!", parts),
            ("metadata", metadata()),
            ("extensions", texts("URIs of the extensions that shaped it.")),
            ("referenceTaskIds", texts("Tasks that it refers to.")),
        ],
    )
}

fn requests(add: &mut Add<'_>) {
    let config = |side: Side, description: &str, id: &str, task: &str| {
        object(
            side,
            description,
            [
                ("tenant", tenant()),
                (id, text("Names the config within its task; made when absent.")),
                (task, text("Which task.")),
                ("url!", text("Where the events are posted to.")),
                ("token", text("Sent as `X-A2A-Notification-Token`.")),
                ("authentication", of(side.name("AuthenticationInfo", "AuthenticationInfoInput"))),
            ],
        )
    };
    add(
        "TaskPushNotificationConfigInput",
        config(Asks, "A webhook for the events of a task.", "id", "taskId"),
    );
    add("TaskPushNotificationConfig", config(Answers, "A webhook of a task.", "id!", "taskId!"));
    add(
        "ListTaskPushNotificationConfigsResponse",
        object(
            Answers,
            "The webhooks of a task.",
            [
                ("configs!", list("TaskPushNotificationConfig")),
                ("nextPageToken", text("Leads to the next page; absent on the last one.")),
            ],
        ),
    );
    add(
        "SendMessageConfiguration",
        object(
            Asks,
            "How the answer is wanted.",
            [
                ("acceptedOutputModes", texts("Media types that the client can use.")),
                ("taskPushNotificationConfig", of("TaskPushNotificationConfigInput")),
                ("historyLength", history_length()),
                (
                    "returnImmediately",
                    flag(
                        "Answer as soon as there is a task; otherwise at its end, or when it asks.",
                    ),
                ),
            ],
        ),
    );
    add(
        "SendMessageRequest",
        object(
            Asks,
            "Something is said to the agent.",
            [
                ("tenant", tenant()),
                ("message!", of("MessageInput")),
                ("configuration", of("SendMessageConfiguration")),
                ("metadata", metadata()),
            ],
        ),
    );
    add(
        "SendMessageResponse",
        one_of(
            Answers,
            "The task; or a bare message of an agent that made none.",
            [("task", of("Task")), ("message", of("Message"))],
        ),
    );
    add(
        "CancelTaskRequest",
        object(Asks, "May be left out.", [("tenant", tenant()), ("metadata", metadata())]),
    );
    add("SubscribeToTaskRequest", object(Asks, "May be left out.", [("tenant", tenant())]));
    add("Empty", object(Answers, "Done, and nothing to say.", []));
}

fn tasks(add: &mut Add<'_>) {
    let states = TaskState::ALL.iter().filter(|state| **state != TaskState::Unspecified);
    let states: Vec<_> = states.map(|state| state.name()).collect();
    add("TaskState", json!({"type": "string", "enum": states}));
    add(
        "TaskStatus",
        object(
            Answers,
            "Where a task stands.",
            [
                ("state!", of("TaskState")),
                ("message", of("Message")),
                ("timestamp", time("Since when.")),
            ],
        ),
    );
    add(
        "Artifact",
        object(
            Answers,
            "Something that a task produced; the one named `answer` is the agent's answer.",
            [
                ("artifactId!", text("Unique within the task.")),
                ("name", text("A name for people.")),
                ("description", text("A sentence for people.")),
                ("parts!", list("Part")),
                ("metadata", metadata()),
                ("extensions", texts("URIs of the extensions that shaped it.")),
            ],
        ),
    );
    add(
        "Task",
        object(
            Answers,
            "One piece of work.",
            [
                ("id!", text("Made by the server.")),
                ("contextId!", text("The conversation, which is a session.")),
                ("status!", of("TaskStatus")),
                ("artifacts", list("Artifact")),
                ("history", list("Message")),
                ("metadata", free("Free-form data; at the end with usage, cost and duration.")),
            ],
        ),
    );
    add(
        "ListTasksResponse",
        object(
            Answers,
            "A page of tasks, latest status first.",
            [
                ("tasks!", list("Task")),
                ("nextPageToken!", text("Leads to the next page; empty on the last one.")),
                ("pageSize!", count("How many tasks a page may have.")),
                ("totalSize!", count("How many tasks there are on all pages.")),
            ],
        ),
    );
}

fn events(add: &mut Add<'_>) {
    let which = || [("taskId!", text("Which task.")), ("contextId!", text("Its conversation."))];
    let [task, context] = which();
    add(
        "TaskStatusUpdateEvent",
        object(
            Answers,
            "A task changed its status, or says what it is doing.",
            [task, context, ("status!", of("TaskStatus")), ("metadata", metadata())],
        ),
    );
    let [task, context] = which();
    add(
        "TaskArtifactUpdateEvent",
        object(
            Answers,
            "A task produced an artifact, or more of one.",
            [
                task,
                context,
                ("artifact!", of("Artifact")),
                (
                    "append",
                    flag("The parts continue the artifact of that id; otherwise they replace it."),
                ),
                ("lastChunk", flag("Nothing will be appended any more.")),
                ("metadata", metadata()),
            ],
        ),
    );
    add(
        "StreamResponse",
        one_of(
            Answers,
            "One event of a stream. The first is the task, or the message that is the whole answer.",
            [
                ("task", of("Task")),
                ("message", of("Message")),
                ("statusUpdate", of("TaskStatusUpdateEvent")),
                ("artifactUpdate", of("TaskArtifactUpdateEvent")),
            ],
        ),
    );
    add(
        "EventStream",
        json!({
            "type": "string",
            "contentMediaType": "text/event-stream",
            "description": "Server-sent events. `id` is the event's number in its task, for `Last-Event-ID`; `data` is \
                one line of JSON. Comments keep a silent stream open. It ends with the task; an error on the way is a \
                last event of the type `error`.",
            "contentSchema": {"type": "array", "items": of("ServerSentEvent")},
        }),
    );
    add(
        "ServerSentEvent",
        object(
            Answers,
            "One frame of a stream.",
            [
                ("id", count("The event's number in its task.")),
                ("event", json!({"const": "error", "description": "Only in front of an error."})),
                (
                    "data!",
                    json!({
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": {"oneOf": [of("StreamResponse"), of("ErrorResponse")]},
                    }),
                ),
            ],
        ),
    );
}
