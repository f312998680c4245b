//! The official Rust A2A client: `foreign-rust BINDING URL TOKEN`.
//!
//! Does what a user of that library does, and prints one JSON line for each fact it saw. A line
//! `{"cue": NAME}` asks whoever started us to let the agent go on.

use a2a::{
    CancelTaskRequest, DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTasksRequest, Message, Part, Role,
    SendMessageConfiguration, SendMessageRequest, SendMessageResponse, StreamResponse,
    SubscribeToTaskRequest, Task, TaskPushNotificationConfig, TaskStatus,
};
use a2a_client::agent_card::AgentCardResolver;
use a2a_client::auth::AuthInterceptor;
use a2a_client::{A2AClient, A2AClientFactory, Transport};
use a2a_grpc::GrpcTransportFactory;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

type Fact = Result<Value, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(20);
const FACTS: [&str; 8] = [
    "send",
    "stream",
    "subscribe",
    "cancel",
    "get",
    "list",
    "push",
    "unknown",
];

/// One client, and the task that later facts ask for.
struct Run {
    client: A2AClient<Box<dyn Transport>>,
    finished: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let (Some(binding), Some(url), Some(token)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: foreign-rust BINDING URL TOKEN");
        return ExitCode::from(64);
    };
    let mut run = match connect(&binding, &url, token).await {
        Ok(run) => run,
        Err(error) => {
            eprintln!("foreign-rust: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for fact in FACTS {
        let found = match timeout(PATIENCE, run.look(fact)).await {
            Ok(found) => found,
            Err(_) => Err("waited too long".into()),
        };
        let mut line = found.unwrap_or_else(|error| {
            code = ExitCode::FAILURE;
            json!({"failed": error.to_string()})
        });
        line["fact"] = json!(fact);
        println!("{line}");
    }
    code
}

async fn connect(binding: &str, url: &str, token: String) -> Result<Run, Box<dyn Error>> {
    let mut card = AgentCardResolver::new(None).resolve(url).await?;
    // The factory falls back to another binding; what is tested is this one.
    card.supported_interfaces
        .retain(|face| face.protocol_binding == binding);
    let faces = card.supported_interfaces.iter();
    let urls: Vec<&str> = faces.map(|face| face.url.as_str()).collect();
    let streaming = card.capabilities.streaming;
    println!(
        "{}",
        json!({"fact": "card", "name": card.name, "streaming": streaming, "urls": urls})
    );
    let client = A2AClientFactory::builder()
        .register(Arc::new(GrpcTransportFactory::new()))
        .preferred_bindings(vec![binding.to_owned()])
        .with_interceptor(Arc::new(AuthInterceptor::bearer(token)))
        .build()
        .create_from_card(&card)
        .await?;
    Ok(Run {
        client,
        finished: String::new(),
    })
}

impl Run {
    async fn look(&mut self, fact: &str) -> Fact {
        match fact {
            "send" => self.send().await,
            "stream" => self.stream().await,
            "subscribe" => self.subscribe().await,
            "cancel" => self.cancel().await,
            "get" => self.get().await,
            "list" => self.list().await,
            "push" => self.push().await,
            _ => self.unknown().await,
        }
    }

    async fn task(&self, request: &SendMessageRequest) -> Result<Task, Box<dyn Error>> {
        match self.client.send_message(request).await? {
            SendMessageResponse::Task(task) => Ok(task),
            SendMessageResponse::Message(_) => Err("a message came instead of a task".into()),
        }
    }

    async fn send(&mut self) -> Fact {
        let task = self.task(&request("say: good morning", true)).await?;
        self.finished.clone_from(&task.id);
        Ok(json!({"task": task.id, "state": state(&task.status), "answer": answer(&task)}))
    }

    async fn stream(&self) -> Fact {
        let request = request("say: one; cue next; say: two", true);
        let events = self.client.send_streaming_message(&request).await?;
        gather(events, |text| (!text.is_empty()).then_some("next")).await
    }

    async fn subscribe(&self) -> Fact {
        let request = request("say: before; cue go; say: after", true);
        let mut sending = self.client.send_streaming_message(&request).await?;
        let mut id = None;
        while let Some(event) = sending.next().await {
            let event = event?;
            if let StreamResponse::Task(task) = &event {
                id.get_or_insert_with(|| task.id.clone());
            }
            if !seen(&event).1.is_empty() {
                break;
            }
        }
        drop(sending);
        let request = SubscribeToTaskRequest {
            id: id.ok_or("the stream began without a task")?,
            tenant: None,
        };
        let events = self.client.subscribe_to_task(&request).await?;
        gather(events, |_| Some("go")).await
    }

    async fn cancel(&self) -> Fact {
        let task = self.task(&request("hang", false)).await?;
        let request = CancelTaskRequest {
            id: task.id.clone(),
            metadata: None,
            tenant: None,
        };
        let canceled = self.client.cancel_task(&request).await?;
        Ok(json!({"before": state(&task.status), "state": state(&canceled.status)}))
    }

    async fn get(&self) -> Fact {
        let task = self.client.get_task(&wanted(&self.finished)).await?;
        Ok(json!({"task": task.id, "state": state(&task.status), "answer": answer(&task)}))
    }

    async fn list(&self) -> Fact {
        let request = ListTasksRequest {
            context_id: None,
            status: None,
            page_size: Some(50),
            page_token: None,
            history_length: None,
            status_timestamp_after: None,
            include_artifacts: None,
            tenant: None,
        };
        let listed = self.client.list_tasks(&request).await?;
        let ids: Vec<&String> = listed.tasks.iter().map(|task| &task.id).collect();
        Ok(json!({"tasks": ids}))
    }

    async fn push(&self) -> Fact {
        let config = TaskPushNotificationConfig {
            url: "http://127.0.0.1:9/a2a".to_owned(),
            id: Some("hook".to_owned()),
            task_id: self.finished.clone(),
            token: Some("t".to_owned()),
            authentication: None,
            tenant: None,
        };
        let made = self.client.create_push_config(&config).await?;
        let id = made.id.ok_or("the config came back without an id")?;
        let request = GetTaskPushNotificationConfigRequest {
            task_id: self.finished.clone(),
            id: id.clone(),
            tenant: None,
        };
        let read = self.client.get_push_config(&request).await?;
        let request = DeleteTaskPushNotificationConfigRequest {
            task_id: self.finished.clone(),
            id,
            tenant: None,
        };
        self.client.delete_push_config(&request).await?;
        Ok(json!({"id": read.id, "task": read.task_id, "url": read.url}))
    }

    async fn unknown(&self) -> Fact {
        let request = wanted("00000000-0000-7000-8000-000000000000");
        let error = self.client.get_task(&request).await.err();
        Ok(json!({"error": error.map(|error| error.code)}))
    }
}

/// Reads a stream to its end; asks once for the cue that `cue` names, given the text so far.
async fn gather(
    mut stream: impl Stream<Item = Result<StreamResponse, a2a::A2AError>> + Unpin,
    cue: impl Fn(&str) -> Option<&'static str>,
) -> Fact {
    let (mut events, mut text, mut cued) = (Vec::new(), String::new(), false);
    while let Some(event) = stream.next().await {
        let (words, more) = seen(&event?);
        if words == "artifact" {
            text += &more;
        } else if !more.is_empty() {
            text = more;
        }
        events.push(words);
        if let Some(name) = cue(&text).filter(|_| !cued) {
            cued = true;
            println!("{}", json!({"cue": name}));
        }
    }
    Ok(json!({"events": events, "answer": text}))
}

fn request(text: &str, wait: bool) -> SendMessageRequest {
    SendMessageRequest {
        message: Message::new(Role::User, vec![Part::text(text)]),
        configuration: Some(SendMessageConfiguration {
            accepted_output_modes: None,
            task_push_notification_config: None,
            history_length: None,
            return_immediately: Some(!wait),
        }),
        metadata: None,
        tenant: None,
    }
}

fn wanted(id: &str) -> GetTaskRequest {
    GetTaskRequest {
        id: id.to_owned(),
        history_length: None,
        tenant: None,
    }
}

fn state(status: &TaskStatus) -> String {
    format!("{:?}", status.state).to_lowercase()
}

fn text_of(parts: &[Part]) -> String {
    parts.iter().filter_map(Part::as_text).collect()
}

fn answer(task: &Task) -> String {
    let artifacts = task.artifacts.iter().flatten();
    let answers = artifacts.filter(|artifact| artifact.name.as_deref() == Some("answer"));
    answers.map(|artifact| text_of(&artifact.parts)).collect()
}

/// Short words for an event, and the text that it adds to the answer, or that takes its place.
fn seen(event: &StreamResponse) -> (String, String) {
    match event {
        StreamResponse::Task(task) => (format!("task {}", state(&task.status)), answer(task)),
        StreamResponse::Message(_) => ("message".to_owned(), String::new()),
        StreamResponse::StatusUpdate(update) => {
            (format!("status {}", state(&update.status)), String::new())
        }
        StreamResponse::ArtifactUpdate(update) => {
            let words = if update.append == Some(true) { "artifact" } else { "artifact anew" };
            (words.to_owned(), text_of(&update.artifact.parts))
        }
    }
}
